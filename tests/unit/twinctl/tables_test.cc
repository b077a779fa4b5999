// The daemon's views as people read them.
#include "app/twinctl/tables.h"

#include <gtest/gtest.h>

namespace twinwall::ctl {
namespace {

Json state(const char* direction) {
  return Json::parse(R"({
    "id": "0000000000000007", "creatorid": "0000002a", "interface": "all", "af": "inet", "proto": "tcp",
    "wire": {"src": {"address": "192.0.2.1", "port": 50123}, "dst": {"address": "198.51.100.7", "port": 80}},
    "stack": {"src": {"address": "10.0.0.5", "port": 40000}, "dst": {"address": "198.51.100.7", "port": 80}},
    "src": {"state": "ESTABLISHED", "seqlo": 100, "seqhi": 4000, "wscale": 7},
    "dst": {"state": "SYN_SENT", "seqlo": 4294967290, "seqhi": 10, "seqdiff": 5},
    "age": 90061, "expires": 30, "packets": [3, 2], "bytes": [180, 120], "rule": 4, "label": "web",
    "flags": ["no-sync"], "imported": true})")
      .patch(Json::parse(std::string(R"([{"op": "add", "path": "/direction", "value": ")") + direction + R"("}])"));
}

TEST(Tables, AnOutStateHasItsSourceFirst) {
  EXPECT_EQ(state_lines(state("out"), false),
            "all tcp 192.0.2.1:50123 (10.0.0.5:40000) -> 198.51.100.7:80       ESTABLISHED:SYN_SENT\n");
}

TEST(Tables, AnInStateHasItsDestinationFirst) {
  EXPECT_EQ(state_lines(state("in"), false),
            "all tcp 198.51.100.7:80 <- 192.0.2.1:50123 (10.0.0.5:40000)       SYN_SENT:ESTABLISHED\n");
}

TEST(Tables, DetailsAreWindowsAgeCountersAndIds) {
  EXPECT_EQ(state_lines(state("out"), true),
            "all tcp 192.0.2.1:50123 (10.0.0.5:40000) -> 198.51.100.7:80       ESTABLISHED:SYN_SENT\n"
            "   [100 + 3900] wscale 7  [4294967290 + 16](+5)\n"
            "   age 1 days 01:01:01, expires in 00:00:30, 3:2 pkts, 180:120 bytes, rule 4 (web), no-sync, from a peer\n"
            "   id: 0000000000000007 creatorid: 0000002a\n");
}

TEST(Tables, Ipv6PortsStandInBrackets) {
  const Json s = Json::parse(R"({"interface": "wan", "af": "inet6", "proto": "udp", "direction": "out",
    "wire": {"src": {"address": "2001:db8::5", "port": 9}, "dst": {"address": "2001:db8::7", "port": 53}},
    "stack": {"src": {"address": "2001:db8::5", "port": 9}, "dst": {"address": "2001:db8::7", "port": 53}},
    "src": {"state": "SINGLE"}, "dst": {"state": "NO_TRAFFIC"}})");
  EXPECT_EQ(state_lines(s, false), "wan udp 2001:db8::5[9] -> 2001:db8::7[53]       SINGLE:NO_TRAFFIC\n");
}

TEST(Tables, AnEntryCountsOnRequest) {
  const Json entry = Json::parse(R"({"address": "10.0.0.0/8", "counters": {"cleared": 60,
    "in": {"block": {"packets": 1, "bytes": 60}}, "out": {"pass": {"packets": 2, "bytes": 1234}}}})");
  EXPECT_EQ(entry_text(entry, false, 0), "10.0.0.0/8\n");
  const std::string text = entry_text(entry, true, 1'700'000'060);
  EXPECT_NE(text.find("10.0.0.0/8\n\tCleared:     "), std::string::npos) << text;
  EXPECT_NE(text.find(" 2023\n\tIn/Block:    [ Packets: 1                  Bytes: 60                 ]\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\tOut/Pass:    [ Packets: 2                  Bytes: 1234               ]\n"), std::string::npos);
  EXPECT_EQ(entry_text(Json{{"address", "10.0.0.1"}}, true, 0), "10.0.0.1\n");  // of a table that does not count
}

TEST(Tables, ACutListSaysSo) {
  const Json view = {
      {"states", Json::array({state("out")})}, {"count", 70000}, {"truncated", true}, {"complete", true}};
  EXPECT_NE(view_text("states", view, false).find("1 of 70000 states shown"), std::string::npos);
}

TEST(Tables, RulesAreNumberedAndCountedOnRequest) {
  const Json view = Json::parse(R"({"rules": [{"number": 0, "rule": "block drop all", "evaluations": 5, "packets": 4,
    "bytes": 300, "states": 0, "state_creations": 0}], "default": {"packets": 1}})");
  EXPECT_EQ(view_text("rules", view, false), "@0 block drop all\n");
  const std::string verbose = view_text("rules", view, true);
  EXPECT_NE(verbose.find("[ Evaluations: 5        Packets: 4        Bytes: 300"), std::string::npos) << verbose;
  EXPECT_NE(verbose.find("default rule\n"), std::string::npos);
}

TEST(Tables, RulesInsideAnAnchorAreNumberedByTheirPlace) {
  const Json view = Json::parse(R"({"rules": [{"number": 0, "place": "2.0", "rule": "pass all no state"}]})");
  EXPECT_EQ(view_text("rules", view, false), "@2.0 pass all no state\n");
}

TEST(Tables, CarpGroupsReadLikeIfconfig) {
  const Json view = Json::parse(R"({"groups": [{"vhid": 1, "interface": "wan", "role": "MASTER", "advbase": 1,
    "advskew": 0, "demotion": 0, "addresses": ["192.0.2.1/24"], "last_change": 61.7, "transitions": 3, "cause": "timeout",
    "peer": {"advbase": 1, "advskew": 100, "demotion": 0, "last_heard": 2.0}}], "preempt": true, "demotion": 0})");
  const std::string text = view_text("carp", view, false);
  EXPECT_NE(text.find("wan: MASTER vhid 1 advbase 1 advskew 0 demotion 0\n"), std::string::npos) << text;
  EXPECT_NE(text.find("in this role for 00:01:01, 3 changes, because of: timeout"), std::string::npos) << text;
  EXPECT_NE(text.find("peer: advbase 1 advskew 100 demotion 0, heard 2 s ago"), std::string::npos) << text;
}

TEST(Tables, ColumnsLineUp) {
  const Json view = Json::parse(R"({"routes": [{"to": "0.0.0.0/0", "kind": "gateway", "via": "192.0.2.254",
    "interface": "wan"}, {"to": "10.0.0.1/32", "kind": "local", "interface": "lan", "vhid": 2}]})");
  EXPECT_EQ(view_text("routes", view, false),
            "DESTINATION  KIND     VIA          INTERFACE  VHID\n"
            "0.0.0.0/0    gateway  192.0.2.254  wan        -\n"
            "10.0.0.1/32  local    -            lan        2\n");
}

TEST(Tables, ATreeLeavesOutWhatCountsNothingUnlessAsked) {
  const Json view = {{"uptime", 12.6}, {"drops", {{"match", 3}, {"short", 0}}}};
  const std::string brief = view_text("info", view, false);
  EXPECT_NE(brief.find("match"), std::string::npos) << brief;
  EXPECT_EQ(brief.find("short"), std::string::npos) << brief;
  EXPECT_NE(view_text("info", view, true).find("short"), std::string::npos);
}

TEST(Tables, SourcesReadLikePfctl) {
  const Json view = Json::parse(R"({"sources": [
    {"address": "10.0.0.5", "purpose": "track", "states": 2, "connections": 1, "rate": 0.9, "rate_seconds": 100,
     "age": 61, "expires": 0, "rule": 3},
    {"address": "10.0.0.6", "purpose": "rdr-to", "mapping": "192.0.2.21", "states": 0, "connections": 0, "rate": 0.0,
     "rate_seconds": 0, "age": 5, "expires": 7}]})");
  EXPECT_EQ(view_text("sources", view, false),
            "10.0.0.5 ( states 2, connections 1, rate 0.9/100s )\n"
            "10.0.0.6 rdr-to 192.0.2.21 ( states 0, connections 0, rate 0.0/0s )\n");
  EXPECT_EQ(
      view_text("sources", view, true),
      "10.0.0.5 ( states 2, connections 1, rate 0.9/100s )\n   age 00:01:01, rule 3\n"
      "10.0.0.6 rdr-to 192.0.2.21 ( states 0, connections 0, rate 0.0/0s )\n   age 00:00:05, expires in 00:00:07\n");
}

TEST(Tables, TablesReadLikePfctl) {
  const Json view =
      Json::parse(R"({"tables": [{"table": "bad", "entries": 2, "references": 1, "persist": true, "const": false,
      "overload": false, "evaluations": {"match": 3, "nomatch": 5}, "in": {"block": {"packets": 2, "bytes": 120}}}]})");
  EXPECT_EQ(view_text("tables", view, false),
            "TABLE  ENTRIES  MATCH  NO MATCH  PERSIST  CONST  OVERLOAD\n"
            "bad          2      3         5  yes      no     no\n");
  const std::string details = view_text("tables", view, true);
  EXPECT_TRUE(
      details.starts_with("bad\n   addresses 2, named by rules 1 times\n   evaluations: match 3, no match 5\n"
                          "   in/block: packets 2, bytes 120\n   in/match: packets 0, bytes 0\n"))
      << details;
}

TEST(Tables, MissingOrOddFieldsDoNoHarm) {
  for (const char* what : {"info", "interfaces", "rules", "states", "carp", "pfsync", "routes", "neighbors", "timeouts",
                           "limits", "labels", "workers", "sources"})
    for (const char* text : {"{}", "null", "[]", "7", R"({"states": [1, {}], "rules": [{}, 2], "groups": [[]],
           "interfaces": [3, {}], "routes": {}, "neighbors": [null], "labels": "x", "workers": [{}], "sources": [{}, 3, {"rate": "x"}]})"})
      EXPECT_NO_THROW((void)view_text(what, Json::parse(text), true)) << what << " " << text;
}

}  // namespace
}  // namespace twinwall::ctl
