#include "lib/state/timeouts.h"

#include <gtest/gtest.h>

#include <cstring>

#include "lib/base/random.h"
#include "lib/net/headers.h"
#include "lib/state/ordinary.h"
#include "lib/state/pseudo_track.h"

namespace twinwall {
namespace {

uint32_t value(const Timeouts& t, TimeoutClass c) { return t[static_cast<size_t>(c)]; }

TEST(Timeouts, EveryClassHasANameThatLeadsBackToIt) {
  for (size_t i = 0; i < kTimeoutClasses; ++i) {
    const auto c = static_cast<TimeoutClass>(i);
    ASSERT_FALSE(timeout_name(c).empty());
    EXPECT_EQ(timeout_by_name(timeout_name(c)), c);
  }
  EXPECT_EQ(timeout_name(TimeoutClass::tcp_established), "tcp.established");
  EXPECT_EQ(timeout_name(TimeoutClass::ts_diff), "tcp.tsdiff");
  EXPECT_TRUE(timeout_name(TimeoutClass::count).empty());
  EXPECT_TRUE(timeout_name(TimeoutClass::purge).empty());
  EXPECT_FALSE(timeout_by_name("tcp.never").has_value());
}

TEST(Timeouts, ProfilesChangeTheTcpValuesOnly) {
  EXPECT_EQ(profile_timeouts(Optimization::normal), kDefaultTimeouts);
  const Timeouts aggressive = profile_timeouts(Optimization::aggressive);
  EXPECT_EQ(value(aggressive, TimeoutClass::tcp_first), 30u);
  EXPECT_EQ(value(aggressive, TimeoutClass::tcp_established), 18000u);
  EXPECT_EQ(value(aggressive, TimeoutClass::tcp_closed), 30u);
  EXPECT_EQ(value(aggressive, TimeoutClass::ts_diff), 10u);
  const Timeouts conservative = profile_timeouts(Optimization::conservative);
  EXPECT_EQ(value(conservative, TimeoutClass::tcp_opening), 900u);
  EXPECT_EQ(value(conservative, TimeoutClass::tcp_finwait), 600u);
  EXPECT_EQ(profile_timeouts(Optimization::satellite), profile_timeouts(Optimization::high_latency));
  EXPECT_EQ(value(profile_timeouts(Optimization::satellite), TimeoutClass::tcp_closing), 905u);
  for (const auto o : {Optimization::aggressive, Optimization::conservative, Optimization::satellite})
    for (size_t i = 6; i < kTimeoutClasses - 1; ++i) EXPECT_EQ(profile_timeouts(o)[i], kDefaultTimeouts[i]);
}

TEST(Timeouts, ARulesOwnValueWins) {
  Timeouts rule{};
  EXPECT_EQ(scaled_timeout(TimeoutClass::udp_single, kDefaultTimeouts, &rule, 0, 0), 30u);
  rule[static_cast<size_t>(TimeoutClass::udp_single)] = 7;
  EXPECT_EQ(scaled_timeout(TimeoutClass::udp_single, kDefaultTimeouts, &rule, 0, 0), 7u);
  EXPECT_EQ(scaled_timeout(TimeoutClass::purge, kDefaultTimeouts, nullptr, 0, 0), 0u);
}

TEST(Timeouts, ManyStatesShortenThem) {
  const auto established = [](uint64_t n) {
    return scaled_timeout(TimeoutClass::tcp_established, kDefaultTimeouts, nullptr, n, 0);
  };
  EXPECT_EQ(established(60000), 86400u);
  EXPECT_EQ(established(60001), 86398u);
  EXPECT_EQ(established(90000), 43200u);
  EXPECT_EQ(established(119999), 1u);
  EXPECT_EQ(established(120000), 0u);
  Timeouts off = kDefaultTimeouts;
  off[static_cast<size_t>(TimeoutClass::adaptive_start)] = off[static_cast<size_t>(TimeoutClass::adaptive_end)] = 0;
  EXPECT_EQ(scaled_timeout(TimeoutClass::tcp_established, off, nullptr, 10'000'000, 0), 86400u);
}

TEST(Timeouts, ARulesOwnScaleCountsItsOwnStates) {
  Timeouts rule{};
  rule[static_cast<size_t>(TimeoutClass::adaptive_start)] = 60;
  rule[static_cast<size_t>(TimeoutClass::adaptive_end)] = 120;
  EXPECT_EQ(scaled_timeout(TimeoutClass::udp_multiple, kDefaultTimeouts, &rule, 500000, 10), 60u);
  EXPECT_EQ(scaled_timeout(TimeoutClass::udp_multiple, kDefaultTimeouts, &rule, 0, 90), 30u);
  EXPECT_EQ(scaled_timeout(TimeoutClass::udp_multiple, kDefaultTimeouts, &rule, 0, 120), 0u);
}

State started(uint8_t proto) {
  State s;
  s.wire.proto = proto;
  pseudo_start(s, 100);
  return s;
}

TEST(PseudoTrack, UdpGoesFromFirstOverSingleToMultiple) {
  State s = started(kProtoUdp);
  EXPECT_EQ(s.src.level, kSingle);
  EXPECT_EQ(s.dst.level, kNoTraffic);
  EXPECT_EQ(s.timeout, TimeoutClass::udp_first);
  EXPECT_FALSE(pseudo_track(s, true, 101));  // a second request, no answer
  EXPECT_EQ(s.timeout, TimeoutClass::udp_single);
  EXPECT_TRUE(pseudo_track(s, false, 102));
  EXPECT_EQ(s.src.level, kMultiple);
  EXPECT_EQ(s.dst.level, kSingle);
  EXPECT_EQ(s.timeout, TimeoutClass::udp_single);
  EXPECT_TRUE(pseudo_track(s, true, 103));
  EXPECT_EQ(s.dst.level, kMultiple);
  EXPECT_EQ(s.timeout, TimeoutClass::udp_multiple);
  EXPECT_EQ(s.last_update, 103u);
  EXPECT_FALSE(pseudo_track(s, false, 104));
}

TEST(PseudoTrack, WhatIsOrdinaryOnlyNotesTheTime) {
  Random random(1);
  unsigned ordinary = 0;
  for (int run = 0; run < 200; ++run) {
    State s = started(kProtoUdp);
    for (uint32_t i = 0; i < 6; ++i) {
      const bool forward = random.below(2) == 0;
      State shortened = s;
      shortened.last_update = 101 + i;
      const bool is_ordinary = udp_ordinary(s, forward);
      const bool changed = pseudo_track(s, forward, 101 + i);
      if (!is_ordinary) continue;
      ++ordinary;
      EXPECT_FALSE(changed);
      EXPECT_EQ(std::memcmp(&shortened, &s, sizeof s), 0);
    }
  }
  EXPECT_GT(ordinary, 300u);
}

TEST(PseudoTrack, OtherProtocolsHaveTheirOwnTimeouts) {
  State s = started(kProtoGre);
  EXPECT_EQ(s.timeout, TimeoutClass::other_first);
  pseudo_track(s, false, 101);
  EXPECT_EQ(s.timeout, TimeoutClass::other_single);
  pseudo_track(s, true, 101);
  EXPECT_EQ(s.timeout, TimeoutClass::other_multiple);
}

TEST(PseudoTrack, IcmpQueriesHaveNoLevels) {
  for (const uint8_t proto : {kProtoIcmp, kProtoIcmp6}) {
    State s = started(proto);
    EXPECT_EQ(s.timeout, TimeoutClass::icmp_first);
    EXPECT_FALSE(pseudo_track(s, false, 105));
    EXPECT_EQ(s.timeout, TimeoutClass::icmp_error);
    EXPECT_EQ(s.last_update, 105u);
    EXPECT_EQ(s.src.level, 0);
    EXPECT_EQ(s.dst.level, 0);
  }
}

}  // namespace
}  // namespace twinwall
