#include "lib/frag/refragment.h"

#include <gtest/gtest.h>

#include "lib/frag/reassembly.h"
#include "tests/unit/frag/packets.h"

namespace twinwall {
namespace {

using test::Buffer;
using test::pattern;
using test::V4;
using test::V6;

template <class Splitter>
std::vector<Buffer> all(Splitter splitter) {
  std::vector<Buffer> out;
  EXPECT_TRUE(splitter.ready());
  Buffer space(kMaxReassembled);
  const size_t expected = splitter.pieces();
  while (true) {
    const size_t promised = splitter.next_length();
    const size_t n = splitter.next(space);
    EXPECT_EQ(n, promised);
    if (n == 0) break;
    out.emplace_back(space.begin(), space.begin() + static_cast<std::ptrdiff_t>(n));
  }
  EXPECT_EQ(out.size(), expected);
  return out;
}

TEST(Ipv4Splitter, CutsAtMultiplesOfEightWithinTheMtu) {
  const Buffer data = pattern(3000);
  const auto pieces = all(Ipv4Splitter(V4{}.packet(data), 1500));
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0], V4{}.piece(data, 0, 1480));
  EXPECT_EQ(pieces[1], V4{}.piece(data, 1480, 2960));
  EXPECT_EQ(pieces[2], V4{}.piece(data, 2960, 3000));
  EXPECT_EQ(all(Ipv4Splitter(V4{}.packet(data), 1499))[0], V4{}.piece(data, 0, 1472));
}

TEST(Ipv4Splitter, APacketThatFitsStaysAsItIs) {
  const Buffer packet = V4{}.packet(pattern(1480));
  EXPECT_EQ(all(Ipv4Splitter(packet, 1500)), std::vector<Buffer>{packet});
}

TEST(Ipv4Splitter, OnlyOptionsWithTheCopiedFlagGoIntoLaterPieces) {
  V4 make;
  make.options = {1, 7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0};  // nop, record route, router alert
  const Buffer data = pattern(100);
  const auto pieces = all(Ipv4Splitter(make.packet(data), 96));
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0], make.piece(data, 0, 64));
  V4 later;
  later.options = {0x94, 4, 0, 0};
  EXPECT_EQ(pieces[1], later.piece(data, 64, 100));
}

TEST(Ipv4Splitter, CopiedOptionsArePaddedToAWholeWord) {
  V4 make;
  make.options = {0x83, 7, 4, 1, 2, 3, 4, 0};
  const auto pieces = all(Ipv4Splitter(make.packet(pattern(100)), 96));
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[1][0], 0x47);
  EXPECT_EQ(Buffer(pieces[1].begin() + 20, pieces[1].begin() + 28), make.options);
}

TEST(Ipv4Splitter, PiecesOfAFragmentKeepTheirPlaceInTheDatagram) {
  const Buffer data = pattern(1000);
  auto pieces = all(Ipv4Splitter(V4{}.piece(data, 104, 504), 220));
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0], V4{}.piece(data, 104, 304));
  EXPECT_EQ(pieces[1], V4{}.piece(data, 304, 504));  // more to come still
  pieces = all(Ipv4Splitter(V4{}.piece(data, 504, 1000), 300));
  EXPECT_EQ(pieces.back(), V4{}.piece(data, 784, 1000));
}

TEST(Ipv4Splitter, RefusesWhatMustNotBeSplit) {
  V4 make;
  make.df = true;
  EXPECT_EQ(Ipv4Splitter(make.packet(pattern(100)), 60).error(), SplitError::dont_fragment);
  EXPECT_EQ(Ipv4Splitter(V4{}.packet(pattern(100)), 27).error(), SplitError::too_small);
  EXPECT_EQ(Ipv4Splitter(V4{}.packet({}), 60).error(), SplitError::malformed);
  V4 bad;
  bad.options = {7, 1, 0, 0};  // an option shorter than itself
  EXPECT_EQ(Ipv4Splitter(bad.packet(pattern(100)), 60).error(), SplitError::malformed);
  bad.options = {1, 1, 1, 7};  // no length byte
  EXPECT_EQ(Ipv4Splitter(bad.packet(pattern(100)), 60).error(), SplitError::malformed);
  EXPECT_EQ(Ipv4Splitter(V6{}.whole(pattern(100)), 60).error(), SplitError::malformed);
}

TEST(Ipv4Splitter, WritesNothingIntoABufferThatIsTooSmall) {
  const Buffer packet = V4{}.packet(pattern(100));
  Ipv4Splitter splitter(packet, 60);
  Buffer small(59, 0xaa);
  EXPECT_EQ(splitter.next(small), 0u);
  EXPECT_EQ(small, Buffer(59, 0xaa));
  EXPECT_EQ(splitter.next_length(), 60u);  // still to come
}

TEST(Ipv6Splitter, UsesTheGivenSizeAndIdentification) {
  V6 make;
  make.id = 0xdeadbeef;
  const Buffer data = pattern(1208);
  const auto pieces = all(Ipv6Splitter(V6{}.whole(data), 408, 0xdeadbeef));
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0], make.piece(data, 0, 408));
  EXPECT_EQ(pieces[1], make.piece(data, 408, 816));
  EXPECT_EQ(pieces[2], make.piece(data, 816, 1208));
}

TEST(Ipv6Splitter, RoundsTheSizeDownToEight) {
  const Buffer data = pattern(100);
  EXPECT_EQ(all(Ipv6Splitter(V6{}.whole(data), 63, 1))[0].size(), 40u + 8 + 56);
  EXPECT_EQ(Ipv6Splitter(V6{}.whole(data), 7, 1).error(), SplitError::too_small);
}

TEST(Ipv6Splitter, ASinglePieceHasAFragmentHeaderToo) {
  V6 make;
  const Buffer data = pattern(100);
  const auto pieces = all(Ipv6Splitter(V6{}.whole(data), 1000, make.id));
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0], make.packet(data, 0, false));
}

TEST(Ipv6Splitter, SaysHowLongTheLongestPieceIs) {
  EXPECT_EQ(Ipv6Splitter(V6{}.whole(pattern(1000)), 408, 1).longest(), 40u + 8 + 408);
  EXPECT_EQ(Ipv6Splitter(V6{}.whole(pattern(100)), 408, 1).longest(), 40u + 8 + 100);
}

TEST(Ipv6Splitter, TheFragmentHeaderGoesBehindTheRoutingHeader) {
  V6 make;
  make.first_extension = kProtoHopByHop;
  make.extensions = {kProtoDestOpts, 0, 1, 4, 0, 0, 0, 0, kProtoRouting, 0, 1, 4, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0};
  make.last_extension_at = 16;
  const Buffer data = pattern(100);
  const auto pieces = all(Ipv6Splitter(make.whole(data), 64, make.id));
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0], make.piece(data, 0, 64));
  EXPECT_EQ(pieces[1], make.piece(data, 64, 100));
}

TEST(Ipv6Splitter, DestinationOptionsWithoutARoutingHeaderAreDivided) {
  V6 with;
  with.first_extension = kProtoDestOpts;
  with.extensions = {0, 0, 1, 4, 0, 0, 0, 0};
  const Buffer data = pattern(100);
  const auto pieces = all(Ipv6Splitter(with.whole(data), 64, 5));
  V6 expected;
  expected.id = 5;
  expected.proto = kProtoDestOpts;
  Buffer divided{kProtoUdp, 0, 1, 4, 0, 0, 0, 0};
  divided.insert(divided.end(), data.begin(), data.end());
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0], expected.piece(divided, 0, 64));
  EXPECT_EQ(pieces[1], expected.piece(divided, 64, 108));
}

TEST(Ipv6Splitter, RefusesMalformedPackets) {
  Buffer packet = V6{}.whole(pattern(100));
  packet.resize(139);
  EXPECT_EQ(Ipv6Splitter(packet, 64, 1).error(), SplitError::malformed);
  EXPECT_EQ(Ipv6Splitter(V6{}.whole({}), 64, 1).error(), SplitError::malformed);
  EXPECT_EQ(Ipv6Splitter(V4{}.packet(pattern(100)), 64, 1).error(), SplitError::malformed);
  V6 make;
  make.first_extension = kProtoHopByHop;
  make.extensions = {0, 200, 1, 4, 0, 0, 0, 0};
  EXPECT_EQ(Ipv6Splitter(make.whole(pattern(100)), 64, 1).error(), SplitError::malformed);
}

}  // namespace
}  // namespace twinwall
