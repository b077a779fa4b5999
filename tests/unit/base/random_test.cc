#include "lib/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace twinwall {
namespace {

// From the authors' C code (xoshiro256starstar.c), its state filled by their splitmix64.c from the seed.
TEST(Random, GivesTheSequenceOfThePublishedGenerator) {
  Random zero(0);
  for (const uint64_t expected : {0x99ec5f36cb75f2b4ull, 0xbf6e1f784956452aull, 0x1a5f849d4933e6e0ull}) {
    EXPECT_EQ(zero.next(), expected);
  }
}

TEST(Random, TheSameSeedRepeatsAndAnotherDoesNot) {
  Random a(42), b(42), c(43);
  bool differs = false;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t x = a.next();
    EXPECT_EQ(x, b.next());
    differs = differs || x != c.next();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, BelowStaysBelowAndReachesBothEnds) {
  Random random(7);
  for (const uint32_t bound : {1u, 2u, 3u, 7u, 64u}) {
    std::set<uint32_t> seen;
    for (int i = 0; i < 5000; ++i) {
      const uint32_t x = random.below(bound);
      ASSERT_LT(x, bound);
      seen.insert(x);
    }
    EXPECT_EQ(seen.size(), bound);
  }
  uint32_t largest = 0;
  for (int i = 0; i < 1000; ++i) largest = std::max(largest, random.below(UINT32_MAX));
  EXPECT_GT(largest, 0xf0000000u);
}

TEST(Random, BelowIsEven) {
  Random random(8);
  constexpr int kDraws = 100000;
  std::vector<int> counts(10);
  for (int i = 0; i < kDraws; ++i) ++counts[random.below(10)];
  double chi_square = 0;
  for (const int n : counts) chi_square += (n - kDraws / 10.0) * (n - kDraws / 10.0) / (kDraws / 10.0);
  EXPECT_LT(chi_square, 27.9);  // nine degrees of freedom, one in a thousand
}

TEST(Random, EveryBitIsSetHalfTheTime) {
  Random random(9);
  std::vector<int> ones(64);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t x = random.next();
    for (size_t bit = 0; bit < 64; ++bit) ones[bit] += (x >> bit & 1) != 0 ? 1 : 0;
  }
  for (const int n : ones) EXPECT_NEAR(n, 10000, 350);  // five standard deviations
}

}  // namespace
}  // namespace twinwall
