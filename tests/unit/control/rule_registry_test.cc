#include "control/rule_registry.h"

#include <gtest/gtest.h>

namespace twinwall {
namespace {

Ruleset rules(std::initializer_list<uint64_t> identities) {
  Ruleset out;
  for (const uint64_t id : identities) {
    Rule r;
    r.identity = id;
    r.number = static_cast<uint32_t>(out.rules.size());
    out.rules.push_back(r);
  }
  return out;
}

class RuleRegistryTest : public testing::Test {
 protected:
  std::map<RuleSlot, RuleTotals> counted;
  RuleRegistry registry{[this](RuleSlot s) { return counted[s]; }, 6};  // slots 1 to 5
};

TEST_F(RuleRegistryTest, SlotsAreDistinctAndNeverTheDefaultRules) {
  Ruleset r = rules({10, 20, 30});
  ASSERT_TRUE(registry.assign(r));
  std::set<RuleSlot> slots;
  for (const auto& rule : r.rules) slots.insert(rule.slot);
  EXPECT_EQ(slots.size(), 3u);
  EXPECT_FALSE(slots.contains(kDefaultRuleSlot));
}

TEST_F(RuleRegistryTest, RuleKeepsItsSlotWhereverItMoves) {
  Ruleset before = rules({10, 20, 30});
  ASSERT_TRUE(registry.assign(before));
  Ruleset after = rules({30, 40, 10});
  ASSERT_TRUE(registry.assign(after));
  EXPECT_EQ(after.rules[0].slot, before.rules[2].slot);
  EXPECT_EQ(after.rules[2].slot, before.rules[0].slot);
  for (const auto& r : before.rules) EXPECT_NE(after.rules[1].slot, r.slot);
}

TEST_F(RuleRegistryTest, EqualRulesHaveSlotsOfTheirOwn) {
  Ruleset r = rules({10, 10});
  ASSERT_TRUE(registry.assign(r));
  EXPECT_NE(r.rules[0].slot, r.rules[1].slot);
  Ruleset again = rules({10, 10});
  ASSERT_TRUE(registry.assign(again));
  EXPECT_EQ(again.rules[0].slot, r.rules[0].slot);
  EXPECT_EQ(again.rules[1].slot, r.rules[1].slot);
}

TEST_F(RuleRegistryTest, RuleThatComesBackSoonStartsAfreshAndOldStatesStayWithTheOldSlot) {
  Ruleset r = rules({10});
  ASSERT_TRUE(registry.assign(r));
  const RuleSlot first = r.rules[0].slot;
  counted[first].states = 3;
  Ruleset none = rules({20});
  ASSERT_TRUE(registry.assign(none));
  Ruleset back = rules({20, 10});
  ASSERT_TRUE(registry.assign(back));
  EXPECT_NE(back.rules[1].slot, first);
}

TEST_F(RuleRegistryTest, SlotOfAVanishedRuleIsReusedOnlyWithoutStatesAndNotByTheNextReload) {
  Ruleset all = rules({1, 2, 3, 4, 5});
  ASSERT_TRUE(registry.assign(all));
  const RuleSlot gone = all.rules[4].slot;
  counted[gone].states = 1;
  counted[gone].packets[0] = 1000;
  Ruleset fewer = rules({1, 2, 3, 4});
  ASSERT_TRUE(registry.assign(fewer));
  EXPECT_EQ(registry.retired(), 1u);

  Ruleset other = rules({1, 2, 3, 4, 6});
  EXPECT_FALSE(registry.assign(other));  // a worker may still be using the old rule
  ASSERT_TRUE(registry.assign(fewer));
  EXPECT_FALSE(registry.assign(other));  // its state is still there
  counted[gone].states = 0;
  ASSERT_TRUE(registry.assign(other));
  EXPECT_EQ(other.rules[4].slot, gone);
  EXPECT_EQ(registry.retired(), 0u);
  EXPECT_EQ(registry.since_assigned(gone).packets[0], 0u);
  counted[gone].packets[0] += 7;
  EXPECT_EQ(registry.since_assigned(gone).packets[0], 7u);
}

TEST_F(RuleRegistryTest, RefusalChangesNothing) {
  Ruleset r = rules({1, 2, 3});
  ASSERT_TRUE(registry.assign(r));
  Ruleset too_many = rules({11, 12, 13, 14, 15, 16});
  EXPECT_FALSE(registry.assign(too_many));
  EXPECT_EQ(registry.retired(), 0u);
  Ruleset same = rules({3, 2, 1});
  ASSERT_TRUE(registry.assign(same));
  EXPECT_EQ(same.rules[0].slot, r.rules[2].slot);
}

TEST_F(RuleRegistryTest, CountersAreKeptOverReloadsUntilReset) {
  Ruleset r = rules({1});
  ASSERT_TRUE(registry.assign(r));
  const RuleSlot slot = r.rules[0].slot;
  counted[slot].packets[1] = 5;
  counted[slot].bytes[1] = 500;
  counted[slot].states = 2;
  ASSERT_TRUE(registry.assign(r));
  EXPECT_EQ(registry.since_assigned(slot).packets[1], 5u);
  EXPECT_EQ(registry.since_assigned(slot).bytes[1], 500u);
  registry.reset();
  EXPECT_EQ(registry.since_assigned(slot).packets[1], 0u);
  EXPECT_EQ(registry.since_assigned(slot).states, 2u);
}

TEST_F(RuleRegistryTest, ManyReloadsDoNotUseUpTheSlots) {
  for (uint64_t i = 0; i < 1000; ++i) {
    Ruleset r = rules({100, 1000 + i});
    ASSERT_TRUE(registry.assign(r)) << i;
    EXPECT_EQ(r.rules[0].slot, 1u);
  }
}

}  // namespace
}  // namespace twinwall
