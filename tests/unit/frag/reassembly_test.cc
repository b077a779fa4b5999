#include "lib/frag/reassembly.h"

#include <gtest/gtest.h>

#include "tests/unit/frag/packets.h"

namespace twinwall {
namespace {

using test::Buffer;
using test::pattern;
using test::slice;
using test::V4;
using test::V6;

// A cache, a clock, and the packet that was completed last.
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

TEST_F(Reassemble, PutsTwoIpv4FragmentsTogether) {
  const Buffer data = pattern(24);
  expect_held(V4{}.piece(data, 0, 16));
  expect_complete(V4{}.piece(data, 16, 24), V4{}.packet(data));
  expect_empty();
}

TEST_F(Reassemble, PutsTwoIpv6FragmentsTogether) {
  const Buffer data = pattern(24);
  expect_held(V6{}.piece(data, 0, 16));
  expect_complete(V6{}.piece(data, 16, 24), V6{}.whole(data));
  expect_empty();
}

TEST_F(Reassemble, OrderDoesNotMatter) {
  const Buffer data = pattern(40);
  const size_t cuts[] = {0, 8, 24, 32, 40};
  size_t order[] = {0, 1, 2, 3};
  do {
    for (int i = 0; i < 3; ++i) {
      expect_held(V4{}.piece(data, cuts[order[i]], cuts[order[i] + 1]));
      expect_held(V6{}.piece(data, cuts[order[i]], cuts[order[i] + 1]));
    }
    expect_complete(V4{}.piece(data, cuts[order[3]], cuts[order[3] + 1]), V4{}.packet(data));
    expect_complete(V6{}.piece(data, cuts[order[3]], cuts[order[3] + 1]), V6{}.whole(data));
  } while (std::next_permutation(std::begin(order), std::end(order)));
  expect_empty();
}

TEST_F(Reassemble, TheHeaderOfTheFirstFragmentIsKept) {
  const Buffer data = pattern(24);
  V4 first, second;
  first.ttl = 33;
  first.tos = 0x20;
  first.options = {7, 7, 4, 0, 0, 0, 0, 0};
  second.ttl = 99;
  expect_held(second.piece(data, 16, 24));
  expect_complete(first.piece(data, 0, 16), first.packet(data));
}

TEST_F(Reassemble, ExtensionHeadersInFrontOfTheFragmentHeaderAreKept) {
  V6 make;
  make.first_extension = kProtoHopByHop;
  make.extensions = {kProtoDestOpts, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0};
  make.last_extension_at = 8;
  const Buffer data = pattern(3000);
  expect_held(make.piece(data, 1400, 3000));
  expect_complete(make.piece(data, 0, 1400), make.whole(data));
}

TEST_F(Reassemble, TheFirstIpv6FragmentNamesTheNextHeader) {
  const Buffer data = pattern(24);
  V6 other;
  other.proto = kProtoTcp;
  expect_held(other.piece(data, 16, 24));
  expect_complete(V6{}.piece(data, 0, 16), V6{}.whole(data));
}

TEST_F(Reassemble, ReportsHowTheDatagramCame) {
  const Buffer data = pattern(100);
  expect_held(V6{}.piece(data, 0, 40));
  expect_held(V6{}.piece(data, 40, 88));
  const Reassembly r = give(V6{}.piece(data, 88, 100));
  EXPECT_EQ(r.fate, FragmentFate::complete);
  EXPECT_EQ(r.largest, 48);
  EXPECT_EQ(r.pieces, 3);
  EXPECT_EQ(r.length, 140u);
}

TEST_F(Reassemble, DatagramsAreToldApartByIdAddressesAndIpv4Protocol) {
  const Buffer data = pattern(24);
  V4 other_id, other_src, other_dst, other_proto;
  other_id.id = 78;
  other_src.src++;
  other_dst.dst++;
  other_proto.proto = kProtoTcp;
  const V4 all[] = {V4{}, other_id, other_src, other_dst, other_proto};
  for (const V4& make : all) expect_held(make.piece(data, 0, 16));
  EXPECT_EQ(cache_.counters().datagrams.get(), 5u);
  for (const V4& make : all) expect_complete(make.piece(data, 16, 24), make.packet(data));
  expect_empty();
}

TEST_F(Reassemble, TheSameAddressBytesInBothFamiliesAreTwoDatagrams) {
  FragmentView view;
  const Buffer packet = V4{}.piece(pattern(24), 0, 16);
  ASSERT_EQ(parse_fragment(packet, view).kind, FragmentKind::fragment);
  view.proto = 0;
  EXPECT_EQ(cache_.insert(view, false, now_, space_).fate, FragmentFate::held);
  const Buffer header = V6{}.packet({}, 0, false);
  view.af = Af::inet6;
  view.header = Bytes(header).first(40);
  view.next_header_at = 6;
  EXPECT_EQ(cache_.insert(view, false, now_, space_).fate, FragmentFate::held);
  EXPECT_EQ(cache_.counters().datagrams.get(), 2u);
}

// Overlaps in IPv4.

TEST_F(Reassemble, HeldBytesWinOverTheFrontOfANewFragment) {
  const Buffer data = pattern(24);
  Buffer junk = data;
  std::fill(junk.begin() + 8, junk.begin() + 16, uint8_t{0x55});
  expect_held(V4{}.piece(data, 0, 16));
  expect_complete(V4{}.piece(junk, 8, 24), V4{}.packet(data));
  expect_empty();
}

TEST_F(Reassemble, ANewFragmentCutsTheFrontOfAHeldOneBehindIt) {
  const Buffer data = pattern(24);
  Buffer junk = data;
  std::fill(junk.begin() + 8, junk.begin() + 16, uint8_t{0x55});
  expect_held(V4{}.piece(junk, 8, 24));
  expect_complete(V4{}.piece(data, 0, 16), V4{}.packet(data));
  EXPECT_EQ(cache_.counters().inserts.get(), 3u);  // the cut piece counts once more
  EXPECT_EQ(cache_.counters().removals.get(), 3u);
  expect_empty();
}

TEST_F(Reassemble, AHeldFragmentThatIsFullyCoveredIsDiscarded) {
  const Buffer data = pattern(32);
  Buffer junk = data;
  std::fill(junk.begin() + 16, junk.begin() + 24, uint8_t{0x55});
  expect_held(V4{}.piece(data, 0, 8));
  expect_held(V4{}.piece(junk, 16, 24));
  expect_complete(V4{}.piece(data, 8, 32), V4{}.packet(data));
  expect_empty();
}

TEST_F(Reassemble, AHeldEndThatIsCoveredIsReplacedByTheNewEnd) {
  const Buffer data = pattern(32);
  expect_held(V4{}.piece(pattern(32, 9), 24, 32));
  expect_held(V4{}.piece(data, 8, 32));
  expect_complete(V4{}.piece(data, 0, 8), V4{}.packet(data));
}

TEST_F(Reassemble, AFragmentInsideAHeldOneIsADuplicateWithoutAReason) {
  const Buffer data = pattern(48);
  expect_held(V4{}.piece(data, 0, 32));
  EXPECT_EQ(give(V4{}.piece(pattern(48, 2), 0, 32)).fate, FragmentFate::duplicate);
  EXPECT_EQ(give(V4{}.piece(pattern(48, 2), 8, 24)).fate, FragmentFate::duplicate);
  EXPECT_EQ(give(V4{}.piece(pattern(48, 2), 24, 32)).fate, FragmentFate::duplicate);
  expect_complete(V4{}.piece(data, 32, 48), V4{}.packet(data));
  EXPECT_EQ(cache_.counters().duplicates.get(), 3u);
  EXPECT_EQ(cache_.counters().dropped_fragment.get(), 0u);
}

TEST_F(Reassemble, AFragmentIsCutAtBothSidesByWhatItJoins) {
  const Buffer data = pattern(64);
  Buffer junk = pattern(64, 2);
  std::copy(data.begin() + 16, data.begin() + 48, junk.begin() + 16);
  expect_held(V4{}.piece(data, 0, 16));
  expect_held(V4{}.piece(data, 40, 64));
  Buffer expected = data;
  expect_complete(V4{}.piece(junk, 8, 48), V4{}.packet(expected));
  expect_empty();
}

TEST_F(Reassemble, ACutPieceMayMoveToTheNextZoneAndIsFoundThere) {
  const Buffer data = pattern(8192 + 64);
  expect_held(V4{}.piece(pattern(8192 + 64, 2), 4088, 4112));
  expect_held(V4{}.piece(data, 4080, 4104));  // the held piece now begins at 4104, in zone 1
  expect_held(V4{}.piece(data, 0, 4080));
  expect_held(V4{}.piece(data, 4112, 8000));
  Buffer expected = data;
  const Buffer junk = pattern(8192 + 64, 2);
  std::copy(junk.begin() + 4104, junk.begin() + 4112, expected.begin() + 4104);
  expect_complete(V4{}.piece(data, 8000, 8256), V4{}.packet(expected));
  expect_empty();
}

// Overlaps in IPv6.

TEST_F(Reassemble, AnyIpv6OverlapDiscardsTheDatagram) {
  const Buffer data = pattern(48);
  const std::pair<size_t, size_t> overlaps[] = {{8, 24}, {0, 16}, {0, 32}, {8, 16}, {0, 40}};
  for (const auto& [from, to] : overlaps) {
    expect_held(V6{}.piece(data, 0, 16));
    expect_dropped(V6{}.piece(data, from, to));
    expect_empty();
  }
  // One that only touches what is behind it.
  expect_held(V6{}.piece(data, 16, 32));
  expect_dropped(V6{}.piece(data, 0, 24));
  expect_empty();
}

TEST_F(Reassemble, AfterAnIpv6OverlapTheDatagramCanBeSentAgain) {
  const Buffer data = pattern(48);
  expect_held(V6{}.piece(data, 0, 16));
  expect_dropped(V6{}.piece(data, 8, 24));
  expect_held(V6{}.piece(data, 16, 48));
  expect_complete(V6{}.piece(data, 0, 16), V6{}.whole(data));
}

// Ends.

TEST_F(Reassemble, FragmentsThatContradictTheEndAreDroppedInIpv4) {
  const Buffer data = pattern(64);
  expect_held(V4{}.piece(data, 48, 64));
  expect_dropped(V4{}.packet(pattern(8), 64, true));    // beyond
  expect_dropped(V4{}.packet(pattern(8), 64, false));   // beyond, and another end
  expect_dropped(V4{}.packet(pattern(16), 48, true));   // more to come at the very end
  expect_dropped(V4{}.packet(pattern(16), 16, false));  // an earlier end
  expect_complete(V4{}.piece(data, 0, 48), V4{}.packet(data));
}

TEST_F(Reassemble, AnEndInFrontOfOrAtWhatIsHeldIsDroppedInIpv4) {
  const Buffer data = pattern(64);
  expect_held(V4{}.piece(data, 32, 48));
  expect_dropped(V4{}.packet(pattern(8), 24, false));
  expect_dropped(V4{}.packet(pattern(8), 40, false));
  expect_held(V4{}.piece(data, 48, 64));
  expect_complete(V4{}.piece(data, 0, 32), V4{}.packet(data));
}

TEST_F(Reassemble, AContradictedEndDiscardsTheDatagramInIpv6) {
  const Buffer data = pattern(64);
  const Buffer bad[] = {V6{}.packet(pattern(8), 64, true), V6{}.packet(pattern(16), 48, true),
                        V6{}.packet(pattern(16), 16, false)};
  for (const Buffer& packet : bad) {
    expect_held(V6{}.piece(data, 48, 64));
    expect_dropped(packet);
    expect_empty();
  }
}

// Single bad fragments.

TEST_F(Reassemble, EmptyOddAndOverlongFragmentsAreDropped) {
  expect_dropped(V4{}.packet({}, 0, true));
  expect_dropped(V4{}.packet(pattern(401), 0, true));
  expect_dropped(V4{}.packet(pattern(16), 65528, false));
  expect_dropped(V4{}.packet(pattern(800), 64800, false));
  expect_dropped(V6{}.packet({}, 0, true));
  expect_dropped(V6{}.packet(pattern(401), 0, true));
  expect_dropped(V6{}.packet(pattern(16), 65528, false));
  EXPECT_EQ(cache_.counters().dropped_fragment.get(), 7u);
  expect_held(V4{}.packet(pattern(8), 65520, false));
}

TEST_F(Reassemble, ADatagramTooLongForItsHeaderIsShort) {
  const Buffer data = pattern(65528);  // with twenty bytes of header beyond 65535
  for (size_t at = 0; at < 65000; at += 1000) expect_held(V4{}.piece(data, at, at + 1000));
  expect_dropped(V4{}.piece(data, 65000, 65528), FragmentDrop::too_short);
  expect_empty();
}

TEST_F(Reassemble, TheLargestDatagramsFit) {
  const Buffer four = pattern(65515), six = pattern(65535);
  for (size_t at = 0; at < 65000; at += 1000) {
    expect_held(V4{}.piece(four, at, at + 1000));
    expect_held(V6{}.piece(six, at, at + 1000));
  }
  expect_complete(V4{}.piece(four, 65000, 65515), V4{}.packet(four));
  expect_complete(V6{}.piece(six, 65000, 65535), V6{}.whole(six));
  EXPECT_EQ(result_.size(), kMaxReassembled);
}

TEST_F(Reassemble, DfFragmentsAreDroppedUnlessNoDfClearsIt) {
  V4 make;
  make.df = true;
  const Buffer data = pattern(24);
  expect_dropped(make.piece(data, 0, 16));
  accept_df_ = true;
  expect_held(make.piece(data, 0, 16));
  expect_complete(make.piece(data, 16, 24), V4{}.packet(data));
}

TEST_F(Reassemble, APacketThatDoesNotFitTheBufferIsDropped) {
  const Buffer data = pattern(24);
  expect_held(V4{}.piece(data, 0, 16));
  space_.resize(43);
  expect_dropped(V4{}.piece(data, 16, 24), FragmentDrop::memory);
  expect_empty();
}

TEST_F(Reassemble, ViewsMadeByHandWithoutARealHeaderAreShort) {
  const Buffer bytes = pattern(100);
  FragmentView view;
  view.af = Af::inet;
  view.payload = bytes;
  EXPECT_EQ(cache_.insert(view, false, now_, space_).reason, FragmentDrop::too_short);
  view.af = Af::inet6;
  view.header = Bytes(bytes).first(40);
  view.next_header_at = 40;
  EXPECT_EQ(cache_.insert(view, false, now_, space_).reason, FragmentDrop::too_short);
  expect_empty();
}

// Limits.

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
