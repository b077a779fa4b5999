#include "control/affected_states.h"

#include <gtest/gtest.h>

#include "fake_dataplane.h"
#include "lib/net/headers.h"
#include "sample_config.h"

namespace twinwall {
namespace {

using test::load;
using test::sample_text;
using Fate = AffectedStates::Fate;

constexpr InterfaceId kWan = 1, kLan = 2;

std::shared_ptr<const Snapshot> with_rules(const std::string& rules) {
  const config::Config c = load(sample_text(1, rules));
  std::vector<Mac> macs(c.interfaces.size());
  return make_snapshot(c, macs, make_plain_routes);
}

// A connection from the inside to a web server outside.
StateRow outbound(InterfaceId created_on = kLan, uint16_t port = 443) {
  StateRow row;
  pfsync::StateRecord& r = row.record;
  r.wire.af = r.stack.af = r.af = Af::inet;
  r.wire.addr[0] = Address::v4(0x0a000005);
  r.wire.addr[1] = Address::v4(0xc6336401);
  r.wire.port[0] = bswap(uint16_t{40000});
  r.wire.port[1] = bswap(port);
  r.stack = r.wire;
  r.proto = kProtoTcp;
  r.direction = 1;
  row.rule = 1;
  row.created_on = created_on;
  return row;
}

Fate fate(const std::string& rules, const StateRow& row, const std::vector<RuleSlot>& gone = {}) {
  return AffectedStates(with_rules(rules), gone).judge(row).fate;
}

TEST(AffectedStates, WhatPassesStays) {
  EXPECT_EQ(fate("  - {action: block}\n  - {action: pass, interface: lan, proto: tcp, to: {port: 443}}\n", outbound()),
            Fate::stays);
}

TEST(AffectedStates, WhatIsBlockedNowIsNamedWithItsRule) {
  const AffectedStates a(with_rules("  - {action: pass}\n  - {action: block, proto: tcp, to: {port: 443}}\n"), {});
  const AffectedStates::Verdict v = a.judge(outbound());
  EXPECT_EQ(v.fate, Fate::blocked);
  ASSERT_NE(v.by, nullptr);
  EXPECT_EQ(v.by->number, 1u);
  EXPECT_EQ(a.judge(outbound(kLan, 80)).fate, Fate::stays);
}

TEST(AffectedStates, AStateOfARuleThatIsGoneIsOneOfThem) {
  EXPECT_EQ(fate("  - {action: pass}\n", outbound(), {1}), Fate::rule_gone);
  EXPECT_EQ(fate("  - {action: pass}\n", outbound(), {2}), Fate::stays);
}

TEST(AffectedStates, TheHookAndTheInterfaceCount) {
  const std::string rules = "  - {action: block}\n  - {action: pass, direction: in, interface: lan}\n";
  EXPECT_EQ(fate(rules, outbound(kLan)), Fate::stays);
  EXPECT_EQ(fate(rules, outbound(kWan)), Fate::blocked);
  // A state of the peer: one interface is enough.
  EXPECT_EQ(fate(rules, outbound(kNoInterface)), Fate::stays);
  EXPECT_EQ(fate("  - {action: block}\n", outbound(kNoInterface)), Fate::blocked);
}

TEST(AffectedStates, AtTheOutHookTheAddressesBeforeTranslationAreAsked) {
  StateRow row = outbound(kWan);
  row.record.direction = 2;
  std::swap(row.record.stack.addr[0], row.record.stack.addr[1]);
  std::swap(row.record.stack.port[0], row.record.stack.port[1]);
  row.record.wire = row.record.stack;
  row.record.wire.addr[1] = Address::v4(0xc0000202);  // 192.0.2.2, by nat-to
  EXPECT_EQ(fate("  - {action: block}\n  - {action: pass, direction: out, from: 10.0.0.5}\n", row), Fate::stays);
  EXPECT_EQ(fate("  - {action: block}\n  - {action: pass, direction: out, from: 192.0.2.2}\n", row), Fate::blocked);
  // Behind a match rule that translates, the new address.
  EXPECT_EQ(fate("  - {action: block}\n  - {action: match, direction: out, interface: wan, nat-to: wan}\n"
                 "  - {action: pass, direction: out, from: 192.0.2.2}\n",
                 row),
            Fate::stays);
}

TEST(AffectedStates, ATagOfTheInHookIsRemembered) {
  const std::string rules =
      "  - {action: block}\n  - {action: match, direction: in, tag: inside}\n"
      "  - {action: pass, direction: out, tagged: inside}\n";
  StateRow row = outbound(kWan);
  row.record.direction = 2;
  row.tag = 1;
  EXPECT_EQ(fate(rules, row), Fate::stays);
  row.tag = 0;
  EXPECT_EQ(fate(rules, row), Fate::blocked);
}

TEST(AffectedStates, EchoIsAskedAboutByItsType) {
  StateRow row = outbound();
  row.record.proto = kProtoIcmp;
  row.record.wire.port[1] = row.record.stack.port[1] = bswap(uint16_t{8});
  EXPECT_EQ(fate("  - {action: block}\n  - {action: pass, proto: {icmp: {type: echoreq}}}\n", row), Fate::stays);
  EXPECT_EQ(fate("  - {action: pass}\n  - {action: block, proto: {icmp: {type: echoreq}}}\n", row), Fate::blocked);
}

// Rules with `once` and rates are not used up by being asked.
TEST(AffectedStates, NothingIsClaimed) {
  const auto snapshot = with_rules("  - {action: block}\n  - {action: pass, once: true}\n");
  const AffectedStates a(snapshot, {});
  EXPECT_EQ(a.judge(outbound()).fate, Fate::stays);
  EXPECT_EQ(a.judge(outbound()).fate, Fate::stays);
}

}  // namespace
}  // namespace twinwall
