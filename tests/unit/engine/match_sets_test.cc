// Combinations of `match` rules as numbers: shared while states have them, given back after, bounded.
#include "lib/engine/match_sets.h"

#include <gtest/gtest.h>

#include <vector>

namespace twinwall {
namespace {

uint16_t acquire(MatchSets& sets, const std::vector<RuleSlot>& slots) { return sets.acquire(slots); }

std::vector<RuleSlot> slots(const MatchSets& sets, uint16_t number) {
  const auto s = sets.slots(number);
  return {s.begin(), s.end()};
}

TEST(MatchSets, EqualCombinationsShareANumber) {
  MatchSets sets;
  const uint16_t a = acquire(sets, {3, 5}), b = acquire(sets, {5, 3}), c = acquire(sets, {3, 5});
  EXPECT_NE(a, 0);
  EXPECT_EQ(a, c);
  EXPECT_NE(a, b);
  EXPECT_EQ(slots(sets, a), (std::vector<RuleSlot>{3, 5}));
  EXPECT_EQ(slots(sets, b), (std::vector<RuleSlot>{5, 3}));
}

TEST(MatchSets, NoneAndTooManyAreZero) {
  MatchSets sets;
  EXPECT_EQ(acquire(sets, {}), 0);
  EXPECT_EQ(acquire(sets, std::vector<RuleSlot>(MatchSets::kMaxSlots + 1, 1)), 0);
  EXPECT_TRUE(slots(sets, 0).empty());
  sets.release(0);
  EXPECT_NE(acquire(sets, std::vector<RuleSlot>(MatchSets::kMaxSlots, 1)), 0);
}

TEST(MatchSets, ANumberLivesAsLongAsItsLastState) {
  MatchSets sets;
  const uint16_t a = acquire(sets, {1});
  EXPECT_EQ(acquire(sets, {1}), a);
  sets.release(a);
  EXPECT_EQ(slots(sets, a), std::vector<RuleSlot>{1});
  sets.release(a);
  EXPECT_TRUE(slots(sets, a).empty());
  EXPECT_EQ(acquire(sets, {2}), a);
  EXPECT_EQ(slots(sets, a), std::vector<RuleSlot>{2});
}

TEST(MatchSets, FullMeansZeroUntilOneIsGivenBack) {
  MatchSets sets;
  std::vector<uint16_t> numbers;
  for (RuleSlot s = 1; s <= MatchSets::kCapacity; ++s) numbers.push_back(acquire(sets, {s}));
  for (RuleSlot s = 1; s <= MatchSets::kCapacity; ++s) ASSERT_EQ(slots(sets, numbers[s - 1]), std::vector<RuleSlot>{s});
  EXPECT_EQ(acquire(sets, {70000}), 0);
  EXPECT_EQ(acquire(sets, {7}), numbers[6]);
  sets.release(numbers[41]);
  EXPECT_EQ(acquire(sets, {70000}), numbers[41]);
  EXPECT_EQ(acquire(sets, {42}), 0);
}

}  // namespace
}  // namespace twinwall
