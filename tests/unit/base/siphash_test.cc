#include "lib/base/siphash.h"

#include <gtest/gtest.h>

#include <bit>

namespace twinwall {
namespace {

// CPython hashes bytes with SipHash-1-3 too, under a zero key when PYTHONHASHSEED=0: hash(bytes(range(8))) and
// hash(bytes(range(40))).
TEST(SipHash, IsThePublishedFunction) {
  EXPECT_EQ(siphash13({0, 0}, {0x0706050403020100ull}), 0xead411e67ebe2eeaull);
  EXPECT_EQ(siphash13({0, 0}, {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull, 0x1716151413121110ull,
                               0x1f1e1d1c1b1a1918ull, 0x2726252423222120ull}),
            0x95bc321ab41d8206ull);
}

// The vectors of the paper's appendix: key 00 01 … 0f, message 00 01 … 0e; and of the reference program for shorter
// ones.
TEST(SipHash, TwoFourIsThePublishedFunction) {
  const SipKey key{0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};
  uint8_t message[15];
  for (uint8_t i = 0; i < 15; ++i) message[i] = i;
  EXPECT_EQ(siphash24(key, message, 15), 0xa129ca6149be45e5ull);
  EXPECT_EQ(siphash24(key, message, 0), 0x726fdb47dd0e0e31ull);
  EXPECT_EQ(siphash24(key, message, 8), 0x93f5f5799a932462ull);
}

TEST(SipHash, EveryBitOfKeyAndInputChangesAboutHalfOfTheHash) {
  const uint64_t base = siphash13({1, 2}, {3, 4});
  for (unsigned bit = 0; bit < 64; ++bit) {
    const uint64_t one = uint64_t{1} << bit;
    for (const uint64_t other : {siphash13({1 ^ one, 2}, {3, 4}), siphash13({1, 2 ^ one}, {3, 4}),
                                 siphash13({1, 2}, {3 ^ one, 4}), siphash13({1, 2}, {3, 4 ^ one})}) {
      const int changed = std::popcount(base ^ other);
      EXPECT_GT(changed, 10);
      EXPECT_LT(changed, 54);
    }
  }
}

}  // namespace
}  // namespace twinwall
