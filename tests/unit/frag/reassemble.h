// A cache, a clock and the packet that was completed last: what the reassembly tests stand on.
#pragma once

#include <gtest/gtest.h>

#include "lib/frag/reassembly.h"
#include "tests/unit/frag/packets.h"

namespace twinwall::test {

class Reassemble : public ::testing::Test {
 protected:
  static constexpr FragmentLimits kLimits{.fragments = 2048, .bytes = size_t{4} << 20};

  Reassembly give(const Buffer& packet) { return give(cache_, packet); }
  Reassembly give(FragmentCache& cache, const Buffer& packet) {
    FragmentView view;
    if (parse_fragment(packet, view).kind != FragmentKind::fragment) {
      ADD_FAILURE() << "not a fragment";
      return {};
    }
    const Reassembly r = cache.insert(view, accept_df_, now_, space_);
    result_.assign(space_.begin(), space_.begin() + r.length);
    return r;
  }
  void expect_held(const Buffer& packet) { EXPECT_EQ(give(packet).fate, FragmentFate::held); }
  void expect_dropped(const Buffer& packet, FragmentDrop reason = FragmentDrop::fragment) {
    const Reassembly r = give(packet);
    EXPECT_EQ(r.fate, FragmentFate::dropped);
    EXPECT_EQ(r.reason, reason);
  }
  void expect_complete(const Buffer& packet, const Buffer& whole) {
    ASSERT_EQ(give(packet).fate, FragmentFate::complete);
    EXPECT_EQ(result_, whole);
  }
  void expect_empty() {
    EXPECT_EQ(cache_.fragments(), 0u);
    EXPECT_EQ(cache_.blocks(), 0u);
    EXPECT_EQ(cache_.counters().datagrams.get(), 0u);
    EXPECT_EQ(cache_.counters().inserts.get(), cache_.counters().removals.get());
  }

  FragmentCache cache_{kLimits, SipKey{1, 2}};
  Time now_{std::chrono::seconds(1000)};
  bool accept_df_ = false;
  Buffer space_ = Buffer(kMaxReassembled);
  Buffer result_;
};

}  // namespace twinwall::test
