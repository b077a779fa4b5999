// Rates from two looks at a daemon, and the frame made of them.
#include "app/twinctl/top.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace twinwall::ctl {
namespace {

Json rule(const std::string& text, const std::string& place, uint64_t packets, uint64_t bytes) {
  return {{"rule", text}, {"place", place}, {"packets", packets}, {"bytes", bytes}, {"states", 3}, {"label", "web"}};
}

TopPoll first() {
  TopPoll p;
  p.at = 100;
  p.info = Json::parse(R"({"hostname": "fw1", "uptime": 3600, "rules": 2,
      "states": {"current": 100, "limit": 1000, "searches": 1000, "inserts": 50, "removals": 40},
      "packets": {"received": 0, "forwarded": 0}, "drops": {"match": 5, "memory": 7, "no-route": 2}})");
  p.interfaces = Json::parse(R"({"interfaces": [
      {"name": "wan", "link": "up", "driver": "kernel", "counters": {"rx_packets": 1000, "rx_bytes": 100000}},
      {"name": "dmz", "link": "up", "driver": "vlan", "counters": {"rx_packets": 0},
       "pf": {"in": {"inet": {"pass": {"packets": 10, "bytes": 1000}, "block": {"packets": 0, "bytes": 0}}}}}]})");
  p.workers = Json::parse(R"({"workers": [{"cpu": 1, "loops": 1000, "busy_loops": 100, "rx_packets": 0}]})");
  p.carp = Json::parse(R"({"groups": [{"vhid": 1, "interface": "wan", "role": "MASTER"}], "demotion": 0,
                           "ready": true, "not_ready": []})");
  p.pfsync = Json::parse(R"({"enabled": true, "link": "up", "bulk": "complete", "packets_sent": 10,
      "packets_received": 0, "commands_waiting": 0, "errors": {"packets_lost": 0},
      "peers": [{"address": "10.255.0.2", "twinwall": "alive", "oldest_unconfirmed": 0.25, "frames_in_flight": 3}]})");
  p.rules = {{"rules", {rule("pass in", "0", 100, 1000), rule("pass out", "1", 100, 1000)}},
             {"default", {{"rule", "block"}, {"packets", 0}}}};
  return p;
}

// Two seconds later.
TopPoll second() {
  TopPoll p = first();
  p.at = 102;
  p.info["states"] = {{"current", 120}, {"limit", 1000}, {"searches", 5000}, {"inserts", 90}, {"removals", 60}};
  p.info["packets"] = {{"received", 4000}, {"forwarded", 3000}};
  p.info["drops"] = {{"match", 9}, {"memory", 107}, {"no-route", 2}};
  p.interfaces["interfaces"][0]["counters"] = {{"rx_packets", 3000}, {"rx_bytes", 2600000}, {"rx_dropped", 2}};
  p.interfaces["interfaces"][1]["pf"]["in"]["inet"]["pass"] = {{"packets", 30}, {"bytes", 3000}};
  p.workers["workers"][0].update({{"loops", 3000}, {"busy_loops", 600}, {"rx_packets", 4000}});
  p.pfsync["packets_sent"] = 30;
  return p;
}

TEST(Top, RatesAreWhatCountersGrewBySecond) {
  const Json v = top_view(first(), second());
  EXPECT_EQ(v["interval"], 2.0);
  EXPECT_EQ(v["forwarded_per_second"], 1500.0);
  EXPECT_EQ(v["states"]["current"], 120);
  EXPECT_EQ(v["states"]["new_per_second"], 20.0);
  EXPECT_EQ(v["states"]["gone_per_second"], 10.0);
  EXPECT_EQ(v["interfaces"][0]["rx_packets_per_second"], 1000.0);
  EXPECT_EQ(v["interfaces"][0]["rx_bits_per_second"], 1e7);
  EXPECT_EQ(v["interfaces"][0]["lost_per_second"], 1.0);
  EXPECT_EQ(v["workers"][0]["busy"], 0.25);
  EXPECT_EQ(v["pfsync"]["packets_sent_per_second"], 10.0);
  EXPECT_EQ(v["pfsync"]["peers"][0]["oldest_unconfirmed"], 0.25);
}

TEST(Top, OfAVlanThereIsWhatTheFilterSaw) {
  const Json v = top_view(first(), second());
  EXPECT_EQ(v["interfaces"][1]["rx_packets_per_second"], 10.0);
  EXPECT_EQ(v["interfaces"][1]["rx_bits_per_second"], 8000.0);
}

TEST(Top, DropsComeByRateAndOnlyThoseThatHappen) {
  const Json v = top_view(first(), second());
  ASSERT_EQ(v["drops"].size(), 2u);
  EXPECT_EQ(v["drops"][0]["reason"], "memory");
  EXPECT_EQ(v["drops"][0]["packets_per_second"], 50.0);
  EXPECT_EQ(v["drops"][1]["reason"], "match");
}

TEST(Top, RulesAreKnownByTheirTextWhereverTheyStand) {
  TopPoll now = second();
  // A new one in front; of two that are alike the second grew.
  now.rules["rules"] = {rule("block in", "0", 6, 60), rule("pass in", "1", 100, 1000), rule("pass out", "2", 300, 9000),
                        rule("pass in", "3", 20, 200)};
  const Json v = top_view(first(), now);
  ASSERT_EQ(v["rules"].size(), 3u);
  EXPECT_EQ(v["rules"][0]["place"], "2");
  EXPECT_EQ(v["rules"][0]["packets_per_second"], 100.0);
  EXPECT_EQ(v["rules"][0]["bits_per_second"], 32000.0);
  EXPECT_EQ(v["rules"][1]["place"], "3");
  EXPECT_EQ(v["rules"][2]["rule"], "block in");
}

TEST(Top, CountersThatWentBackCountFromZero) {
  TopPoll now = second();
  now.interfaces["interfaces"][0]["counters"] = {{"rx_packets", 50}, {"rx_bytes", 5000}};
  EXPECT_EQ(top_view(first(), now)["interfaces"][0]["rx_packets_per_second"], 25.0);
}

TEST(Top, TheFrameSaysItAll) {
  TopPoll now = second();
  now.rules["rules"][1] = rule("pass out", "1", 300, 9000);
  const std::string text = top_text(top_view(first(), now), {});
  EXPECT_TRUE(
      text.starts_with("fw1  up 01:00:00  packets 2.00k/s in, 1.50k/s forwarded\n"
                       "states 120 of 1000 (12%), new 20/s, gone 10/s, searches 2.00k/s\n"
                       "carp  MASTER wan/1  demotion 0\n"
                       "pfsync  link up, bulk complete, frames 10/s sent, 0/s received, 0/s lost, 0 commands "
                       "wait\n  peer 10.255.0.2 alive, 0.25 s behind, 3 frames in flight\n"))
      << text;
  EXPECT_NE(text.find("wan        up           1.00k  10.0M              0      0     1.0\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("25%"), std::string::npos);
  EXPECT_NE(text.find("\ndropped  memory 50/s  match 2.0/s\n"), std::string::npos) << text;
  EXPECT_NE(text.find("web    pass out\n"), std::string::npos) << text;
}

TEST(Top, TheFrameFitsTheTerminal) {
  const std::string text = top_text(top_view(first(), second()), {20, 5});
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5);
  size_t longest = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    longest = std::max(longest, end - at);
    at = end + 1;
  }
  EXPECT_EQ(longest, 20u);
}

TEST(Top, WhatADaemonDoesNotTellIsMissing) {
  const std::string text = top_text(top_view({}, {}), {});
  EXPECT_NE(text.find("states 0 of 0"), std::string::npos);
  EXPECT_EQ(text.find("carp"), std::string::npos);
  EXPECT_EQ(text.find("pfsync"), std::string::npos);
  EXPECT_NE(text.find("more than 2000 rules"), std::string::npos);
}

}  // namespace
}  // namespace twinwall::ctl
