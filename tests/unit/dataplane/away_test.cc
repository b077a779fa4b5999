#include "dataplane/away.h"

#include <gtest/gtest.h>
#include <time.h>

namespace twinwall {
namespace {

Duration clock_time(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

Time now() { return Time(clock_time(CLOCK_MONOTONIC)); }

uint64_t longer_than(const DurationHistogram& h, Duration d) {
  const DurationHistogram::View v = h.view();
  uint64_t n = 0;
  for (size_t i = 1; i < v.buckets.size(); ++i)
    if (DurationHistogram::kBounds[i - 1] >= d) n += v.buckets[i];
  return n;
}

TEST(AwayMeter, WorkIsTheWorkersOwn) {
  AwayMeter meter;
  meter.begin();
  const Time before = now();
  // The processor may be another's in between, so what counts is what this thread got of it.
  const Duration ran = clock_time(CLOCK_THREAD_CPUTIME_ID);
  while (clock_time(CLOCK_THREAD_CPUTIME_ID) - ran < 5ms) {}
  const Time after = now();
  const Duration own = meter.note(after - before, after);
  EXPECT_GE(own, Duration(4900us));
  EXPECT_LE(own, after - before);
  EXPECT_EQ(longer_than(meter.own(), 2ms), 1u);
}

TEST(AwayMeter, WhatWasNotRunWasTaken) {
  AwayMeter meter;
  meter.begin();
  const Time before = now();
  constexpr timespec kWait{0, 20'000'000};
  nanosleep(&kWait, nullptr);
  const Time after = now();
  EXPECT_LT(meter.note(after - before, after), Duration(10ms));
  EXPECT_EQ(longer_than(meter.taken(), 10ms), 1u);
  EXPECT_EQ(longer_than(meter.own(), 10ms), 0u);
}

TEST(AwayMeter, ShortTimesAreCountedWithoutAsking) {
  AwayMeter meter;
  meter.begin();
  const Time since = meter.since();
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(meter.note(1us, since + 1us * i), Duration(1us));
  EXPECT_EQ(meter.since(), since);
  EXPECT_EQ(meter.own().view().buckets[0], 1000u);
  EXPECT_EQ(meter.taken().view().count(), 0u);
}

}  // namespace
}  // namespace twinwall
