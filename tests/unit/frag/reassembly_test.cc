#include "lib/frag/reassembly.h"

#include <gtest/gtest.h>

#include "tests/unit/frag/reassemble.h"

namespace twinwall {
namespace {

using test::Buffer;
using test::pattern;
using test::Reassemble;
using test::V4;
using test::V6;

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
  const Buffer data = pattern(65516);  // with twenty bytes of header one beyond 65535
  for (size_t at = 0; at < 65000; at += 1000) expect_held(V4{}.piece(data, at, at + 1000));
  expect_dropped(V4{}.piece(data, 65000, 65516), FragmentDrop::too_short);
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

}  // namespace
}  // namespace twinwall
