// Rules built in code are printed in PF's notation; what the loader prints is covered by its golden files.
#include "lib/filter/print.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "lib/filter/print_ruleset.h"
#include "tests/unit/filter/rules.h"

namespace twinwall {
namespace {

using namespace testing_rules;

TEST(Print, TheDefaultRule) { EXPECT_EQ(print_rule(Ruleset{}.default_rule), "pass all no state"); }

TEST(Print, ABlockRuleThatLogs) {
  Rule r = block();
  r.log = true;
  EXPECT_EQ(print_rule(r), "block drop log all");
}

TEST(Print, AFullPassRule) {
  Rule r = pass();
  r.direction = Direction::in;
  r.quick = true;
  r.any_interface = false;
  r.interfaces.set(1);
  r.interface_text = "lan";
  r.af = Af::inet;
  r.proto = kProtoTcp;
  r.from.address = prefix("10.0.0.0/24");
  r.to.port = port(80);
  r.flags = kTcpSyn;
  r.flag_mask = kTcpSyn | kTcpAck;
  r.label = "web";
  EXPECT_EQ(
      print_rule(r),
      "pass in quick on lan inet proto tcp from 10.0.0.0/24 to any port = 80 flags S/SA keep state label \"web\"");
}

TEST(Print, InterfacesByNameWhenTheRuleCarriesNoText) {
  const std::vector<std::string> names = {"lan", "wan", "dmz"};
  Rule r = pass();
  r.any_interface = false;
  r.interfaces.set(2);
  EXPECT_EQ(print_rule(r, names), "pass on wan all flags any keep state");
  r.interfaces.set(3);
  EXPECT_EQ(print_rule(r, names), "pass on { wan dmz } all flags any keep state");
  EXPECT_EQ(print_rule(r), "pass on { #2 #3 } all flags any keep state");
}

TEST(Print, ModesOfALaterVersionHaveTheirWords) {
  Rule r = pass();
  r.flag_mask = r.flags = kTcpSyn;
  r.state = StateMode::modulate;
  EXPECT_EQ(print_rule(r), "pass all flags S/S modulate state");
  r.state = StateMode::synproxy;
  EXPECT_EQ(print_rule(r), "pass all flags S/S synproxy state");
}

TEST(Print, ATranslationToSeveralAddresses) {
  Rule r = match();
  r.nat_to = translation("192.0.2.1");
  EXPECT_EQ(print_rule(r), "match all nat-to 192.0.2.1");
  r.nat_to.pool.entries.push_back({*parse_prefix("192.0.2.4/30"), 3});
  r.nat_to.pool.type = PoolType::round_robin;
  r.nat_to.pool.sticky = true;
  EXPECT_EQ(print_rule(r), "match all nat-to { 192.0.2.1, 192.0.2.4/30 weight 3 } round-robin sticky-address");
}

TEST(Print, ThePlaceOfARuleIsItsOwn) {
  Ruleset rules = ruleset({pass(), rule(Action::anchor), pass(), rule(Action::anchor), block(), pass()});
  for (const auto& [at, number, around] :
       {std::tuple{2u, 0u, 1u}, {3u, 1u, 1u}, {4u, 0u, 3u}, {5u, 2u, kNoRuleNumber}}) {
    rules.rules[at].number = number;
    rules.rules[at].anchor = around;
  }
  std::vector<std::string> places;
  for (const Rule& r : rules.rules) places.push_back(rule_place(rules, r));
  EXPECT_EQ(places, (std::vector<std::string>{"0", "1", "1.0", "1.1", "1.1.0", "2"}));
}

TEST(Print, Pieces) {
  EXPECT_EQ(print_address({}), "any");
  EXPECT_EQ(print_address(prefix("10.0.0.0/8", true)), "! 10.0.0.0/8");
  EXPECT_EQ(print_address(prefix("2001:db8::1")), "2001:db8::1");
  EXPECT_EQ(print_address(range("10.0.0.1", "10.0.0.9")), "10.0.0.1 - 10.0.0.9");
  EXPECT_EQ(print_port({}), "");
  EXPECT_EQ(print_port({PortOperator::range, 1, 5}), "1:5");
  EXPECT_EQ(print_protocol(kProtoIcmp6), "ipv6-icmp");
  EXPECT_EQ(print_protocol(250), "250");
}

}  // namespace
}  // namespace twinwall
