// The pf.conf reader: what PF's own grammar and loader make of a text, and that nothing can make it fall over.
#include "lib/pfconf/pfconf.h"

#include <gtest/gtest.h>

#include "lib/filter/print.h"
#include "lib/pfconf/lexer.h"
#include "tests/unit/pfconf/reading.h"

namespace twinwall::pfconf {
namespace {

// The rules in PF's notation; a problem instead where there is one.
std::vector<std::string> rules(std::string_view text) {
  const Result r = read(text);
  std::vector<std::string> out;
  for (const auto& u : r.unsupported) out.push_back("unsupported " + u.feature);
  for (const auto& d : r.diagnostics) out.push_back(to_string(d));
  if (out.empty())
    for (const Rule& rule : r.config.rules.rules) out.push_back(print_rule(rule));
  return out;
}
using Lines = std::vector<std::string>;

std::string feature(std::string_view text) {
  const Result r = read(text);
  return r.unsupported.size() == 1 && r.diagnostics.empty() ? r.unsupported[0].feature : "?";
}

uint32_t timeout(const Result& r, TimeoutClass c) { return r.config.options.timeouts[static_cast<size_t>(c)]; }

TEST(PfconfRules, StatefulPassGetsPfsDefaults) {
  EXPECT_EQ(rules("pass\n"), Lines{"pass all flags S/SA keep state"});
  EXPECT_EQ(rules("pass in on vio0 proto udp no state"), Lines{"pass in on vio0 proto udp all no state"});
  EXPECT_EQ(rules("pass proto tcp flags any\n"), Lines{"pass proto tcp all flags any keep state"});
}

TEST(PfconfRules, ListsExpandInPfsOrder) {
  Lines want;
  for (const char* interface : {"vio0", "vio1"})
    for (const char* proto : {"tcp", "udp"})
      for (const char* from : {"10.0.0.1", "10.0.0.2"})
        for (const char* port : {"= 1", "2:3"})
          want.push_back(std::string("block drop in on ") + interface + " inet proto " + proto + " from " + from +
                         " to any port " + port);
  EXPECT_EQ(rules("block in on { vio0 vio1 } proto { tcp, udp } from { 10.0.0.1 10.0.0.2 } to any port { 1 2:3 }"),
            want);
}

TEST(PfconfRules, RulesAreNumberedAndDistinct) {
  const Result r = read("block\npass quick proto udp to port { 53 54 } no state\nblock\n");
  ASSERT_TRUE(r.ok());
  ASSERT_EQ(r.config.rules.rules.size(), 4u);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(r.config.rules.rules[i].number, i);
  EXPECT_NE(r.config.rules.rules[0].identity, r.config.rules.rules[3].identity);
}

TEST(PfconfRules, EveryPortOperator) {
  const std::pair<const char*, PortMatch> kCases[] = {{"80", {PortOperator::eq, 80, 0}},
                                                      {"= 80", {PortOperator::eq, 80, 0}},
                                                      {"!= 80", {PortOperator::ne, 80, 0}},
                                                      {"< 80", {PortOperator::lt, 80, 0}},
                                                      {"<= 80", {PortOperator::le, 80, 0}},
                                                      {"> 80", {PortOperator::gt, 80, 0}},
                                                      {">= 80", {PortOperator::ge, 80, 0}},
                                                      {"80:90", {PortOperator::range, 80, 90}},
                                                      {"80 >< 90", {PortOperator::inside, 80, 90}},
                                                      {"80 <> 90", {PortOperator::outside, 80, 90}},
                                                      {"https", {PortOperator::eq, 443, 0}}};
  for (const auto& [text, want] : kCases) {
    const Result r = read(std::string("block proto tcp to port ") + text);
    ASSERT_TRUE(r.ok()) << text;
    EXPECT_EQ(r.config.rules.rules.at(0).to.port, want) << text;
  }
  for (const char* bad : {"90:80", "90 >< 80", "65536", "80:", "!= x", "<"})
    EXPECT_FALSE(read(std::string("block proto tcp to port ") + bad).ok()) << bad;
}

TEST(PfconfRules, AddressesRangesNegationAndInterfaces) {
  EXPECT_EQ(rules("block from 10.30.0.11 - 10.30.0.13 to ! 10.1.0.0/16"),
            Lines{"block drop inet from 10.30.0.11 - 10.30.0.13 to ! 10.1.0.0/16"});
  EXPECT_EQ(rules("block from { !10.0.0.1 !10.0.0.2 }"),
            (Lines{"block drop inet from ! 10.0.0.1 to any", "block drop inet from ! 10.0.0.2 to any"}));
  EXPECT_EQ(rules("block inet6 from vio0"), Lines{"block drop inet6 from fd00:30::1 to any"});
  EXPECT_EQ(rules("block from vio1:network"), Lines{"block drop inet from 10.30.1.0/24 to any"});
  EXPECT_EQ(rules("block from 10.0.0.1 to { fd00::1 10.0.0.2 }"), Lines{"block drop inet from 10.0.0.1 to 10.0.0.2"});
}

TEST(PfconfRules, NegatedAndGroupedInterfaces) {
  const Result r = read("block on ! vio0\nblock on egress\nblock on nosuch0\nblock on any");
  ASSERT_TRUE(r.ok());
  const auto& rules = r.config.rules.rules;
  EXPECT_TRUE(!rules[0].interfaces[1] && rules[0].interfaces[2]);
  EXPECT_TRUE(!rules[1].interfaces[1] && rules[1].interfaces[2]);
  EXPECT_TRUE(!rules[2].any_interface && rules[2].interfaces.none());
  EXPECT_TRUE(rules[3].interfaces[1] && rules[3].interfaces[2]);
}

TEST(PfconfRules, RepliesOfBlockRules) {
  EXPECT_EQ(rules("set block-policy return\nblock\nblock drop"), (Lines{"block return all", "block drop all"}));
  const Result r = read(
      "block return-rst (ttl 77) proto tcp\nblock return-icmp (net-unr, noroute-unr)\nblock return-icmp6 (1) inet6\n");
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r.config.rules.rules[0].reply_ttl, 77);
  EXPECT_EQ(r.config.rules.rules[1].reply_icmp_code, 0);
  EXPECT_EQ(r.config.rules.rules[1].reply_icmp6_code, 0);
  EXPECT_EQ(r.config.rules.rules[2].reply_icmp6_code, 1);
}

TEST(PfconfRules, IcmpTypesAndCodes) {
  EXPECT_EQ(rules("pass quick inet6 proto icmp6 icmp6-type { neighbrsol neighbradv } no state"),
            (Lines{"pass quick inet6 proto ipv6-icmp all icmp6-type neighbrsol no state",
                   "pass quick inet6 proto ipv6-icmp all icmp6-type neighbradv no state"}));
  const Result r = read("block inet proto icmp icmp-type unreach code needfrag");
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r.config.rules.rules.at(0).icmp_type, 3);
  EXPECT_EQ(r.config.rules.rules.at(0).icmp_code, 4);
}

TEST(PfconfRules, StateOptions) {
  const Result r = read("pass proto udp keep state (sloppy, if-bound, no-sync, udp.first 2, udp.single 3)");
  ASSERT_TRUE(r.ok());
  const Rule& rule = r.config.rules.rules.at(0);
  EXPECT_TRUE(rule.sloppy && rule.if_bound && rule.no_sync);
  EXPECT_EQ(rule.timeouts[static_cast<size_t>(TimeoutClass::udp_single)], 3u);
  const Result policy = read("set state-policy if-bound\npass\npass keep state (floating)");
  EXPECT_TRUE(policy.config.rules.rules.at(0).if_bound);
  EXPECT_FALSE(policy.config.rules.rules.at(1).if_bound);
}

TEST(PfconfRules, Translation) {
  const Result r = read(
      "match out on vio1 inet nat-to 10.30.1.200 port 55555:55556\n"
      "pass out on vio1 nat-to 10.30.1.200 static-port\n"
      "pass in proto tcp to 198.51.100.7 port 80 rdr-to 10.30.1.20 port 81\n"
      "pass on vio1 from 10.30.0.10 to any binat-to 10.30.1.200\n");
  ASSERT_TRUE(r.ok());
  const auto& rules = r.config.rules.rules;
  ASSERT_EQ(rules.size(), 5u);
  EXPECT_EQ(rules[0].nat_to.port_low, 55555);
  EXPECT_EQ(rules[0].nat_to.port_high, 55556);
  EXPECT_TRUE(rules[1].nat_to.static_port);
  EXPECT_EQ(rules[1].af, Af::inet);
  EXPECT_EQ(rules[2].rdr_to.port_low, 81);
  EXPECT_EQ(rules[3].direction, Direction::out);
  EXPECT_EQ(rules[4].rdr_to.pool.entries[0].prefix.addr, parse_ip("10.30.0.10")->addr);
}

TEST(PfconfRules, AntispoofGuardsNetworkAndAddresses) {
  EXPECT_EQ(rules("antispoof quick for vio0 inet"),
            (Lines{"block drop in quick on ! vio0 inet from 10.30.0.0/24 to any",
                   "block drop in quick inet from 10.30.0.1 to any"}));
}

TEST(PfconfOptions, AreRead) {
  const Result r = read(
      "set skip on { lo vio1 }\nset timeout { interval 1, tcp.closed 2 }\nset timeout frag 3\n"
      "set limit { states 5000, frags 100 }\nset reassemble yes no-df\nset optimization aggressive\n");
  ASSERT_TRUE(r.ok());
  const config::Options& o = r.config.options;
  EXPECT_TRUE(o.skip[2] && !o.skip[1]);
  EXPECT_EQ(timeout(r, TimeoutClass::interval), 1u);
  EXPECT_EQ(timeout(r, TimeoutClass::tcp_closed), 2u);
  EXPECT_EQ(timeout(r, TimeoutClass::tcp_first), 30u);
  EXPECT_EQ(timeout(r, TimeoutClass::frag), 3u);
  EXPECT_EQ(o.limit_states, 5000u);
  EXPECT_EQ(timeout(r, TimeoutClass::adaptive_start), 3000u);
  EXPECT_EQ(o.limit_fragments, 100u);
  EXPECT_TRUE(o.reassemble && o.reassemble_no_df);
}

TEST(PfconfUnsupported, IsNamedByFeature) {
  const std::pair<const char*, const char*> kCases[] = {
      {"table <t> file \"/etc/t\"", "tables from files"},
      {"table <t> { (vio0) }", "dynamic interface addresses in tables"},
      {"pass from fe80::1%vio0", "addresses of one link"},
      {"load anchor a from \"/etc/a\"", "load anchor"},
      {"pass to (vio0:peer)", ":peer"},
      {"pass to route customers", "route labels"},
      {"pass on rdomain 1", "routing domains"},
      {"pass from any os OpenBSD", "operating system fingerprints"},
      {"pass user root", "user"},
      {"pass group wheel", "group"},
      {"pass in rtable 1", "routing tables"},
      {"pass in divert-to 127.0.0.1 port 80", "divert"},
      {"pass set queue std", "set queue"},
      {"pass keep state (pflow)", "pflow"},
      {"pass log (to pflog1)", "log to an interface"},
      {"set ruleset-optimization profile", "the ruleset optimizer"},
      {"queue std on vio0", "queues"},
      {"antispoof for vio0 rtable 1", "routing tables"},
      {"include \"/etc/x\"", "include"}};
  for (const auto& [text, want] : kCases) EXPECT_EQ(feature(text), want) << text;
}

TEST(PfconfDialect, FreebsdsReassemblyIsWhatIsAlwaysDone) {
  Dialect freebsd;
  freebsd.scrub_rules = true;
  EXPECT_TRUE(parse("scrub on vio0 all fragment reassemble\npass\n", test_interfaces(), freebsd).ok());
  EXPECT_FALSE(parse("scrub on vio0 all reassemble tcp\n", test_interfaces(), freebsd).ok());
  EXPECT_FALSE(read("scrub on vio0 all fragment reassemble\n").ok());
}

TEST(PfconfErrors, SayWhereTheyAre) {
  const Result r = read("pass\n  block in onn vio0\npass proto { tcp\n");
  ASSERT_EQ(r.diagnostics.size(), 2u);
  EXPECT_EQ(r.diagnostics[0].at.line, 2);
  EXPECT_EQ(r.diagnostics[0].at.column, 12);
  EXPECT_NE(r.diagnostics[0].message.find("'onn'"), std::string::npos);
}

TEST(PfconfErrors, RefuseWhatPfRefuses) {
  for (const char* text : {"block to port 80", "pass proto udp flags S/SA", "pass flags SA/S", "block keep state",
                           "block proto icmp6 inet", "pass on vio1 nat-to 10.0.0.1", "pass icmp-type echoreq",
                           "block allow-opts", "pass from 10.0.0.1/33", "block return-rst", "set timeout nosuch 3",
                           "set skip vio0", "pass label", "block from ! any", "pass \"", "pass \x01"})
    EXPECT_FALSE(read(text).ok()) << text;
}

TEST(PfconfErrors, OneWrongLineDoesNotHideTheNext) {
  const Result r = read("nonsense\npass in from 999.1.1.1\npass\n");
  EXPECT_EQ(r.diagnostics.size(), 2u);
  EXPECT_EQ(r.config.rules.rules.size(), 1u);
}

TEST(PfconfLexer, ContinuationCommentsAndBraces) {
  const Result r = read("pass in \\\n  on vio0 # a comment }\nblock on {\n vio0\n vio1 }\n");
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r.config.rules.rules.size(), 3u);
}

TEST(PfconfLexer, StopsAtItsLimit) {
  std::deque<std::string> quoted;
  const auto tokens = tokenize("a b c d e", 3, quoted);
  ASSERT_EQ(tokens.size(), 5u);
  EXPECT_EQ(tokens[3].kind, Token::Kind::bad);
  EXPECT_EQ(tokens[4].kind, Token::Kind::end);
}

// Every prefix, and every text with one byte changed, ends with an answer.
TEST(PfconfRobustness, DamagedTextsAreAnswered) {
  const std::string text =
      "set timeout { interval 1, tcp.closed 2 }\nblock return-icmp (net-unr, 3) in log (all) quick on { vio0 ! vio1 }\n"
      "pass in proto { tcp udp } from { 10.0.0.1 - 10.0.0.3 !fd00::/8 } port 1 >< 5 to any port { != 3 4:5 } "
      "flags S/SA keep state (sloppy, udp.first 2) label \"x y\" rdr-to 10.0.0.9 port 81\nantispoof for { (vio0) "
      "egress }\n"
      "table <t> { vio0:network '10/8' }\nmatch out nat-to { vio1:0 weight 2 egress } source-hash \"k\" static-port # "
      "\\\n\n";
  for (size_t n = 0; n <= text.size(); ++n) {
    const Result r = read(text.substr(0, n));
    EXPECT_LE(r.config.rules.rules.size(), 200u);
  }
  for (size_t i = 0; i < text.size(); ++i)
    for (const char c : {'{', '}', '(', ')', '<', '!', '"', '\n', '\0', '\xff', ','}) {
      std::string damaged = text;
      damaged[i] = c;
      EXPECT_LE(read(damaged).config.rules.rules.size(), 500u);
    }
}

TEST(PfconfRobustness, ExpansionIsBounded) {
  std::string ports, hosts;
  for (int i = 1; i <= 400; ++i) {
    ports += std::to_string(i) + " ";
    hosts += "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250) + " ";
  }
  const Result r =
      read("block proto tcp from { " + hosts + "} port { " + ports + "} to { " + hosts + "} port { " + ports + "}");
  EXPECT_FALSE(r.ok());
  EXPECT_LT(r.config.rules.rules.size(), kMaxRuleSlots);
}

}  // namespace
}  // namespace twinwall::pfconf
