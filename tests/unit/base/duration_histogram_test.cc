#include "lib/base/duration_histogram.h"

#include <gtest/gtest.h>

namespace twinwall {
namespace {

TEST(DurationHistogram, CountsEachInTheFirstBucketThatHoldsIt) {
  DurationHistogram h;
  h.add(0ns);
  h.add(10us);  // the upper ends belong to their buckets
  h.add(10us + 1ns);
  h.add(100us);
  h.add(101us);
  h.add(1s);
  h.add(3s);
  const DurationHistogram::View v = h.view();
  EXPECT_EQ(v.buckets, (std::array<uint64_t, 13>{2, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(v.count(), 7u);
  EXPECT_EQ(v.longest, Duration(3s));
  EXPECT_EQ(v.sum, Duration(4s + 221us + 1ns));
}

TEST(DurationHistogram, HoldsNothingAtFirst) {
  const DurationHistogram::View v = DurationHistogram().view();
  EXPECT_EQ(v.count(), 0u);
  EXPECT_EQ(v.longest, Duration(0));
}

}  // namespace
}  // namespace twinwall
