// PF's evaluation, one behaviour a test.
#include "lib/filter/evaluate.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/filter/rules.h"

namespace twinwall {
namespace {

using namespace testing_rules;

// The number of the deciding rule, -1 for the default rule.
int decided(const Ruleset& rules, const RuleInput& input) {
  const Decision d = evaluate(rules, input);
  return d.rule == &rules.default_rule ? -1 : static_cast<int>(d.rule->number);
}

TEST(Evaluate, WithoutRulesTheDefaultRulePassesWithoutState) {
  const Ruleset rules;
  const Decision d = evaluate(rules, kWeb);
  EXPECT_EQ(d.rule, &rules.default_rule);
  EXPECT_EQ(d.rule->action, Action::pass);
  EXPECT_EQ(d.rule->state, StateMode::none);
  EXPECT_FALSE(d.log);
  EXPECT_EQ(d.match_count, 0);
}

TEST(Evaluate, TheLastMatchWins) { EXPECT_EQ(decided(ruleset({block(), pass(), block()}), kWeb), 2); }

TEST(Evaluate, QuickStops) {
  Rule quick = pass();
  quick.quick = true;
  EXPECT_EQ(decided(ruleset({block(), quick, block()}), kWeb), 1);
}

TEST(Evaluate, MatchRulesNeverDecide) {
  const Ruleset rules = ruleset({block(), match()});
  const Decision d = evaluate(rules, kWeb);
  EXPECT_EQ(d.rule->number, 0u);
  ASSERT_EQ(d.match_count, 1);
  EXPECT_EQ(d.matched()[0]->number, 1u);
}

TEST(Evaluate, AQuickMatchRuleStopsToo) {
  Rule quick = match();
  quick.quick = true;
  EXPECT_EQ(decided(ruleset({block(), quick, pass()}), kWeb), 0);
}

TEST(Evaluate, DirectionInterfaceFamilyAndProtocolAreTested) {
  Rule in = pass();
  in.direction = Direction::in;
  Rule out = pass();
  out.direction = Direction::out;
  EXPECT_EQ(decided(ruleset({in, out}), kWeb), 0);
  Rule here = pass();
  here.any_interface = false;
  here.interfaces.set(1);
  Rule there = here;
  there.interfaces.reset().set(2);
  EXPECT_EQ(decided(ruleset({here, there}), kWeb), 0);
  Rule six = pass();
  six.af = Af::inet6;
  EXPECT_EQ(decided(ruleset({six}), kWeb), -1);
  Rule udp = pass();
  udp.proto = kProtoUdp;
  EXPECT_EQ(decided(ruleset({udp}), kWeb), -1);
}

TEST(Evaluate, APacketWithoutInterfaceMatchesNoInterfaceRule) {
  Rule r = pass();
  r.any_interface = false;
  r.interfaces.set();
  r.interfaces.reset(0);
  RuleInput in = kWeb;
  in.interface = kNoInterface;
  EXPECT_EQ(decided(ruleset({r}), in), -1);
  in.interface = 5000;  // out of range
  EXPECT_EQ(decided(ruleset({r}), in), -1);
}

TEST(Evaluate, PrefixesOfBothFamiliesAndTheirNegation) {
  const auto from = [](const AddressMatch& m, const char* source, const char* to) {
    Rule r = pass();
    r.from.address = m;
    return decided(ruleset({r}), tcp(source, to, 80)) == 0;
  };
  EXPECT_TRUE(from(prefix("10.0.0.0/8"), "10.255.0.1", "1.1.1.1"));
  EXPECT_FALSE(from(prefix("10.0.0.0/8"), "11.0.0.1", "1.1.1.1"));
  EXPECT_TRUE(from(prefix("0.0.0.0/0"), "11.0.0.1", "1.1.1.1"));
  EXPECT_TRUE(from(prefix("10.0.0.1"), "10.0.0.1", "1.1.1.1"));
  EXPECT_FALSE(from(prefix("10.0.0.1/31"), "10.0.0.2", "1.1.1.1"));
  EXPECT_TRUE(from(prefix("10.0.0.0/8", true), "11.0.0.1", "1.1.1.1"));
  EXPECT_FALSE(from(prefix("10.0.0.0/8", true), "10.0.0.1", "1.1.1.1"));
  EXPECT_TRUE(from(prefix("2001:db8::/32"), "2001:db8:ffff::1", "2001::1"));
  EXPECT_FALSE(from(prefix("2001:db8::/33"), "2001:db8:8000::1", "2001::1"));
  EXPECT_TRUE(from(prefix("2001:db8::/65"), "2001:db8::7fff:0:0:1", "2001::1"));
  EXPECT_FALSE(from(prefix("2001:db8::/65"), "2001:db8::8000:0:0:1", "2001::1"));
  EXPECT_TRUE(from(prefix("::/0"), "2001:db8::1", "2001::1"));
  EXPECT_TRUE(from(prefix("2001:db8::/127"), "2001:db8::1", "2001::1"));
  EXPECT_FALSE(from(prefix("2001:db8::/128"), "2001:db8::1", "2001::1"));
}

TEST(Evaluate, AnAddressOfTheOtherFamilyMatchesNeitherItselfNorItsNegation) {
  for (const bool negate : {false, true}) {
    Rule r = pass();
    r.from.address = prefix("10.0.0.0/8", negate);
    EXPECT_EQ(decided(ruleset({r}), tcp("2001:db8::1", "2001:db8::2", 80)), -1);
  }
}

TEST(Evaluate, RangesIncludeBothEnds) {
  Rule r = pass();
  r.to.address = range("10.0.0.250", "10.0.1.5");
  for (const char* inside : {"10.0.0.250", "10.0.1.0", "10.0.1.5"})
    EXPECT_EQ(decided(ruleset({r}), tcp("1.1.1.1", inside, 80)), 0) << inside;
  for (const char* outside : {"10.0.0.249", "10.0.1.6"})
    EXPECT_EQ(decided(ruleset({r}), tcp("1.1.1.1", outside, 80)), -1) << outside;
  r.to.address = range("2001:db8::fff0", "2001:db8::1:0");
  EXPECT_EQ(decided(ruleset({r}), tcp("::5", "2001:db8::ffff", 80)), 0);
  EXPECT_EQ(decided(ruleset({r}), tcp("::5", "2001:db8::1:1", 80)), -1);
}

TEST(Evaluate, EveryPortOperator) {
  struct Case {
    PortMatch port;
    std::vector<uint16_t> inside, outside;
  };
  const std::vector<Case> cases = {
      {{PortOperator::any, 0, 0}, {0, 80, 65535}, {}},
      {{PortOperator::eq, 80, 0}, {80}, {79, 81}},
      {{PortOperator::ne, 80, 0}, {79, 81}, {80}},
      {{PortOperator::lt, 80, 0}, {0, 79}, {80, 81}},
      {{PortOperator::le, 80, 0}, {79, 80}, {81}},
      {{PortOperator::gt, 80, 0}, {81, 65535}, {79, 80}},
      {{PortOperator::ge, 80, 0}, {80, 81}, {79}},
      {{PortOperator::range, 80, 90}, {80, 85, 90}, {79, 91}},
      {{PortOperator::inside, 80, 90}, {81, 89}, {80, 90, 79, 91}},
      {{PortOperator::outside, 80, 90}, {79, 91}, {80, 85, 90}},
  };
  for (const Case& c : cases) {
    Rule r = pass();
    r.proto = kProtoTcp;
    r.to.port = c.port;
    for (const uint16_t p : c.inside) EXPECT_EQ(decided(ruleset({r}), tcp("1.1.1.1", "2.2.2.2", p)), 0) << p;
    for (const uint16_t p : c.outside) EXPECT_EQ(decided(ruleset({r}), tcp("1.1.1.1", "2.2.2.2", p)), -1) << p;
  }
}

TEST(Evaluate, SourceAndDestinationPortsAreNotMixedUp) {
  Rule r = pass();
  r.proto = kProtoTcp;
  r.from.port = port(80);
  EXPECT_EQ(decided(ruleset({r}), kWeb), -1);
  r.from.port = port(40000);
  EXPECT_EQ(decided(ruleset({r}), kWeb), 0);
}

TEST(Evaluate, FlagsTestOnlyTcp) {
  Rule r = pass();
  r.flags = kTcpSyn;
  r.flag_mask = kTcpSyn | kTcpAck;
  EXPECT_EQ(decided(ruleset({r}), kWeb), 0);
  EXPECT_EQ(decided(ruleset({r}), tcp("1.1.1.1", "2.2.2.2", 80, kTcpSyn | kTcpAck)), -1);
  EXPECT_EQ(decided(ruleset({r}), tcp("1.1.1.1", "2.2.2.2", 80, kTcpSyn | kTcpEce)), 0);
  EXPECT_EQ(decided(ruleset({r}), packet("1.1.1.1", "2.2.2.2", kProtoUdp)), 0);
  EXPECT_EQ(decided(ruleset({r}), packet("1.1.1.1", "2.2.2.2", kProtoGre)), 0);
}

TEST(Evaluate, IcmpTypeAndCode) {
  Rule r = pass();
  r.proto = kProtoIcmp;
  r.icmp_type = 3;
  EXPECT_EQ(decided(ruleset({r}), icmp("1.1.1.1", "2.2.2.2", 3, 4)), 0);
  EXPECT_EQ(decided(ruleset({r}), icmp("1.1.1.1", "2.2.2.2", 8)), -1);
  r.icmp_code = 4;
  EXPECT_EQ(decided(ruleset({r}), icmp("1.1.1.1", "2.2.2.2", 3, 4)), 0);
  EXPECT_EQ(decided(ruleset({r}), icmp("1.1.1.1", "2.2.2.2", 3, 1)), -1);
  r.icmp_type = 0;  // echo reply, which is not "any"
  r.icmp_code = -1;
  r.state = StateMode::none;
  EXPECT_EQ(decided(ruleset({r}), icmp("1.1.1.1", "2.2.2.2", 0)), 0);
  EXPECT_EQ(decided(ruleset({r}), icmp("1.1.1.1", "2.2.2.2", 8)), -1);
}

TEST(Evaluate, AReplyMakesNoStateSoAStatefulRuleDoesNotMatchIt) {
  RuleInput reply = icmp("1.1.1.1", "2.2.2.2", 0);
  reply.icmp_is_reply = true;
  Rule r = pass();
  EXPECT_EQ(decided(ruleset({r}), reply), -1);
  r.sloppy = true;
  EXPECT_EQ(decided(ruleset({r}), reply), 0);
  r.sloppy = false;
  r.state = StateMode::none;
  EXPECT_EQ(decided(ruleset({r}), reply), 0);
  EXPECT_EQ(decided(ruleset({block()}), reply), 0);
  Rule stateful_block = block();
  stateful_block.state = StateMode::keep;  // a block rule makes no state whatever the field says
  EXPECT_EQ(decided(ruleset({stateful_block}), reply), 0);
}

TEST(Evaluate, AFragmentMatchesByProtocolAndAddressesOnly) {
  RuleInput fragment = kWeb;
  fragment.is_fragment = true;
  Rule r = pass();
  r.proto = kProtoTcp;
  EXPECT_EQ(decided(ruleset({r}), fragment), 0);
  Rule with_port = r;
  with_port.to.port = port(80);
  EXPECT_EQ(decided(ruleset({with_port}), fragment), -1);
  Rule with_flags = r;
  with_flags.flags = kTcpSyn;
  with_flags.flag_mask = kTcpSyn;
  EXPECT_EQ(decided(ruleset({with_flags}), fragment), -1);
  Rule flags_without_proto = with_flags;
  flags_without_proto.proto = 0;
  EXPECT_EQ(decided(ruleset({flags_without_proto}), fragment), -1);
  RuleInput udp_fragment = fragment;
  udp_fragment.proto = kProtoUdp;
  EXPECT_EQ(decided(ruleset({flags_without_proto}), udp_fragment), 0);
  Rule with_type = pass();
  with_type.proto = kProtoIcmp;
  with_type.icmp_type = 8;
  RuleInput ping = icmp("1.1.1.1", "2.2.2.2", 8);
  ping.is_fragment = true;
  EXPECT_EQ(decided(ruleset({with_type}), ping), -1);
}

TEST(Evaluate, LogsOfMatchRulesAndTheDecidingRuleAddUp) {
  Rule m = match();
  m.log = true;
  Rule all = match();
  all.log = all.log_all = true;
  EXPECT_FALSE(evaluate(ruleset({pass()}), kWeb).log);
  EXPECT_TRUE(evaluate(ruleset({m, pass()}), kWeb).log);
  EXPECT_FALSE(evaluate(ruleset({m, pass()}), kWeb).log_all);
  EXPECT_TRUE(evaluate(ruleset({m, all, pass()}), kWeb).log_all);
  Rule logged = pass();
  logged.log = true;
  EXPECT_TRUE(evaluate(ruleset({logged}), kWeb).log);
  EXPECT_FALSE(evaluate(ruleset({logged, block()}), kWeb).log);  // a pass rule that does not decide leaves nothing
}

TEST(Evaluate, MoreMatchRulesThanThereIsRoomForAreCounted) {
  Ruleset rules;
  for (size_t i = 0; i < kMaxMatchRules + 5; ++i) rules.rules.push_back(match());
  const Decision d = evaluate(rules, kWeb);
  EXPECT_EQ(d.match_count, kMaxMatchRules);
  EXPECT_EQ(d.match_overflow, 5);
}

Rule nat_match(const char* address) {
  Rule r = match();
  r.af = Af::inet;
  r.nat_to = translation(address);
  return r;
}

TEST(Evaluate, LaterRulesSeeWhatAMatchRuleTranslated) {
  Rule from_outside = pass();
  from_outside.from.address = prefix("192.0.2.2");
  Rule from_inside = pass();
  from_inside.from.address = prefix("10.0.0.0/8");
  const Ruleset rules = ruleset({block(), from_inside, nat_match("192.0.2.2"), from_outside, from_inside});
  RuleInput in = kWeb;
  const Decision d = evaluate(rules, in, [](const Rule& rule, RuleInput& input) {
    input.src = rule.nat_to.pool.entries[0].prefix.addr;
    return true;
  });
  EXPECT_EQ(d.rule->number, 3u);
  EXPECT_EQ(d.nat_rule->number, 2u);
  EXPECT_EQ(to_string(Af::inet, in.src), "192.0.2.2");
}

TEST(Evaluate, TheLastTranslationOfAKindHolds) {
  Rule rdr = match();
  rdr.rdr_to = translation("10.0.0.80");
  Rule deciding = pass();
  deciding.nat_to = nat_match("192.0.2.9").nat_to;
  const Ruleset rules = ruleset({nat_match("192.0.2.2"), rdr, nat_match("192.0.2.3"), pass()});
  Decision d = evaluate(rules, kWeb);
  EXPECT_EQ(d.nat_rule->number, 2u);
  EXPECT_EQ(d.rdr_rule->number, 1u);
  const Ruleset own = ruleset({nat_match("192.0.2.2"), deciding});
  d = evaluate(own, kWeb);
  EXPECT_EQ(d.nat_rule, d.rule);
}

TEST(Evaluate, ATranslationOfTheOtherFamilyIsNone) {
  Rule r = nat_match("192.0.2.2");
  RuleInput in = tcp("2001:db8::1", "2001:db8::2", 80);
  int calls = 0;
  const Decision d = evaluate(ruleset({r, pass()}), in, [&](const Rule&, RuleInput&) { return ++calls == 0; });
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(d.nat_rule, nullptr);
  EXPECT_FALSE(d.translate_failed);
}

TEST(Evaluate, ATranslationThatFailsEndsTheEvaluation) {
  std::vector<uint64_t> evaluations(3, 0);
  RuleInput in = kWeb;
  const Decision d = evaluate(
      ruleset({pass(), nat_match("192.0.2.2"), pass()}), in, [](const Rule&, RuleInput&) { return false; },
      evaluations.data());
  EXPECT_TRUE(d.translate_failed);
  EXPECT_EQ(evaluations, (std::vector<uint64_t>{1, 1, 0}));
}

TEST(Evaluate, CountsEveryRuleThatWasLookedAt) {
  Rule quick = pass();
  quick.quick = true;
  Rule never = block();
  never.proto = kProtoUdp;
  std::vector<uint64_t> evaluations(4, 0);
  RuleInput in = kWeb;
  const Ruleset rules = ruleset({block(), never, quick, pass()});
  for (int i = 0; i < 3; ++i)
    (void)evaluate(
        rules, in, [](const Rule&, RuleInput&) { return true; }, evaluations.data());
  EXPECT_EQ(evaluations, (std::vector<uint64_t>{3, 3, 3, 0}));
}

}  // namespace
}  // namespace twinwall
