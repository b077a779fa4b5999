// What bounds the cache: zones, fragments, bytes, time.
#include <gtest/gtest.h>

#include "tests/unit/frag/reassemble.h"

namespace twinwall {
namespace {

using test::Buffer;
using test::pattern;
using test::Reassemble;
using test::V4;
using test::V6;

TEST_F(Reassemble, TheSixtyFifthFragmentOfAZoneDiscardsAllOfThem) {
  const Buffer data = pattern(8000);
  for (size_t i = 0; i < 64; ++i) expect_held(V4{}.piece(data, i * 8, i * 8 + 8));
  expect_dropped(V4{}.piece(data, 512, 520));
  EXPECT_EQ(cache_.counters().removals.get(), 64u);
  expect_empty();
  expect_held(V4{}.piece(data, 520, 528));  // begins a new one
}

TEST_F(Reassemble, SixtyFourFragmentsInEachOfSixteenZonesAreTaken) {
  const Buffer data = pattern(65472);
  size_t given = 0;
  Reassembly last;
  for (size_t at = 0; at < data.size(); at += 64, ++given)
    last = give(V4{}.piece(data, at, std::min(at + 64, data.size())));
  EXPECT_EQ(given, 1023u);
  EXPECT_EQ(last.fate, FragmentFate::complete);
  EXPECT_EQ(last.pieces, 1023);
  EXPECT_EQ(result_, V4{}.packet(data));
}

TEST_F(Reassemble, ACutPieceThatWouldOverfillItsNewZoneDiscardsTheDatagram) {
  const Buffer data = pattern(8192);
  expect_held(V4{}.piece(data, 4088, 4104));  // in zone 0
  for (size_t i = 0; i < 64; ++i) expect_held(V4{}.piece(data, 4104 + i * 8, 4112 + i * 8));
  expect_dropped(V4{}.piece(data, 4000, 4096));  // cuts it to begin in zone 1
  expect_empty();
}

TEST_F(Reassemble, ANewPieceIsCountedInTheZoneItBeginsInAfterItWasCut) {
  const Buffer data = pattern(8192);
  expect_held(V4{}.piece(data, 4080, 4096));
  for (size_t i = 0; i < 64; ++i) expect_held(V4{}.piece(data, 4200 + i * 8, 4208 + i * 8));
  expect_dropped(V4{}.piece(data, 4088, 4112));  // cut to begin at 4096
  expect_empty();
}

TEST_F(Reassemble, WhenFragmentsRunOutTheOldestDatagramsMakeRoom) {
  FragmentCache cache({.fragments = 100, .bytes = size_t{1} << 20}, SipKey{3, 4});
  const Buffer data = pattern(24);
  V4 make;
  for (uint16_t i = 0; i < 100; ++i) {
    make.id = i;
    EXPECT_EQ(give(cache, make.piece(data, 0, 16)).fate, FragmentFate::held);
  }
  make.id = 100;
  EXPECT_EQ(give(cache, make.piece(data, 0, 16)).fate, FragmentFate::held);
  EXPECT_EQ(cache.fragments(), 91u);  // a tenth went, one came
  EXPECT_EQ(cache.counters().evicted.get(), 10u);
  make.id = 10;  // the oldest left
  EXPECT_EQ(give(cache, make.piece(data, 16, 24)).fate, FragmentFate::complete);
  make.id = 9;
  EXPECT_EQ(give(cache, make.piece(data, 16, 24)).fate, FragmentFate::held);
}

TEST_F(Reassemble, WhenBytesRunOutTheOldestDatagramsMakeRoom) {
  FragmentCache cache({.fragments = 1000, .bytes = 100 * kFragmentBlock}, SipKey{3, 4});
  const Buffer data = pattern(1000);
  V4 make;
  for (uint16_t i = 0; i < 40; ++i) {
    make.id = i;
    EXPECT_EQ(give(cache, make.piece(data, 0, 800)).fate, FragmentFate::held);
    EXPECT_LE(cache.blocks(), 100u);
  }
  EXPECT_GT(cache.counters().evicted.get(), 0u);
  EXPECT_EQ(give(cache, make.piece(data, 800, 1000)).fate, FragmentFate::complete);
  EXPECT_EQ(result_, make.packet(data));
}

TEST_F(Reassemble, SmallOldFragmentsMakeRoomForALargeOne) {
  FragmentCache cache({.fragments = 1000, .bytes = 100 * kFragmentBlock}, SipKey{3, 4});
  V4 make;
  for (make.id = 0; make.id < 20; ++make.id) (void)give(cache, make.piece(pattern(24), 0, 16));  // a block each
  for (; make.id < 30; ++make.id) (void)give(cache, make.piece(pattern(2000), 0, 1904));         // eight blocks each
  EXPECT_EQ(cache.blocks(), 100u);
  EXPECT_EQ(give(cache, make.piece(pattern(2000), 0, 1904)).fate, FragmentFate::held);
  EXPECT_EQ(cache.counters().evicted.get(), 10u);
}

TEST_F(Reassemble, MakingRoomMayDiscardTheVeryDatagramThatGoesOn) {
  FragmentCache cache({.fragments = 4, .bytes = size_t{1} << 20}, SipKey{3, 4});
  const Buffer data = pattern(80);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(give(cache, V4{}.piece(data, i * 8, i * 8 + 8)).fate, FragmentFate::held);
  EXPECT_EQ(give(cache, V4{}.piece(data, 32, 40)).fate, FragmentFate::held);
  EXPECT_EQ(cache.fragments(), 1u);
}

TEST_F(Reassemble, AFragmentLargerThanAllMemoryIsDropped) {
  FragmentCache cache({.fragments = 10, .bytes = 4 * kFragmentBlock}, SipKey{3, 4});
  const Reassembly r = give(cache, V4{}.piece(pattern(2000), 0, 1600));
  EXPECT_EQ(r.fate, FragmentFate::dropped);
  EXPECT_EQ(r.reason, FragmentDrop::memory);
  FragmentCache none({.fragments = 0, .bytes = 0}, SipKey{3, 4});
  EXPECT_EQ(give(none, V4{}.piece(pattern(24), 0, 16)).reason, FragmentDrop::memory);
}

// Time.

TEST_F(Reassemble, ADatagramExpiresATimeoutAfterItsFirstFragment) {
  const Buffer data = pattern(40);
  expect_held(V4{}.piece(data, 0, 16));
  now_ += 59s;
  expect_held(V4{}.piece(data, 16, 24));  // does not prolong
  EXPECT_EQ(cache_.expire(now_), 0u);
  EXPECT_EQ(cache_.next_expiry(), now_ + 1s);
  now_ += 1s;
  EXPECT_EQ(cache_.expire(now_), 1u);
  EXPECT_EQ(cache_.next_expiry(), std::nullopt);
  expect_empty();
}

TEST_F(Reassemble, AnExpiredDatagramIsNotGoneOnWithEvenIfNobodyCleanedUp) {
  const Buffer data = pattern(40);
  expect_held(V4{}.piece(data, 0, 16));
  now_ += 60s;
  expect_held(V4{}.piece(data, 16, 40));
  EXPECT_EQ(cache_.counters().expired.get(), 1u);
  EXPECT_EQ(cache_.fragments(), 1u);
}

TEST_F(Reassemble, ExpiryDoesABoundedPieceOfWork) {
  V4 make;
  for (uint16_t i = 0; i < 10; ++i) {
    make.id = i;
    expect_held(make.piece(pattern(24), 0, 16));
  }
  now_ += 3600s;
  EXPECT_EQ(cache_.expire(now_, 4), 4u);
  EXPECT_EQ(cache_.expire(now_, 4), 4u);
  EXPECT_EQ(cache_.expire(now_, 4), 2u);
  expect_empty();
}

TEST_F(Reassemble, ANewTimeoutHoldsForWhatIsThere) {
  expect_held(V4{}.piece(pattern(24), 0, 16));
  now_ += 5s;
  EXPECT_EQ(cache_.expire(now_), 0u);
  cache_.set_timeout(2s);
  EXPECT_EQ(cache_.expire(now_), 1u);
}

TEST_F(Reassemble, AnIdentificationThatMustHaveComeRoundIsNotGoneOnWith) {
  cache_.set_timeout(1s);  // two hundred generations
  const Buffer data = pattern(24);
  const auto pass = [&](uint16_t from, uint16_t to) {
    V4 make;
    for (uint16_t id = from; id < to; ++id) {
      make.id = id;
      expect_held(make.piece(data, 0, 16));
      expect_complete(make.piece(data, 16, 24), make.packet(data));
    }
  };
  V4 slow;
  slow.id = 9999;
  expect_held(slow.piece(data, 0, 16));
  pass(0, 198);
  expect_complete(slow.piece(data, 16, 24), slow.packet(data));  // 199 begun since and with it: still good

  expect_held(slow.piece(data, 0, 16));
  pass(0, 199);
  expect_held(slow.piece(data, 16, 24));
  EXPECT_EQ(cache_.counters().stale.get(), 1u);
  EXPECT_EQ(cache_.fragments(), 1u);
}

TEST_F(Reassemble, ClearForgetsEverything) {
  expect_held(V4{}.piece(pattern(24), 0, 16));
  expect_held(V6{}.piece(pattern(24), 0, 16));
  cache_.clear();
  expect_empty();
  expect_held(V4{}.piece(pattern(24), 16, 24));
}

}  // namespace
}  // namespace twinwall
