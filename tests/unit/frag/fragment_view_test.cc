#include "lib/frag/fragment_view.h"

#include <gtest/gtest.h>

#include "tests/unit/frag/packets.h"

namespace twinwall {
namespace {

using test::Buffer;
using test::pattern;
using test::V4;
using test::V6;

FragmentKind kind(const Buffer& packet) {
  FragmentView view;
  return parse_fragment(packet, view).kind;
}

FragmentDrop reason(const Buffer& packet) {
  FragmentView view;
  const FragmentParse parse = parse_fragment(packet, view);
  EXPECT_EQ(parse.kind, FragmentKind::malformed);
  return parse.reason;
}

TEST(FragmentView, ReadsEveryFieldOfAnIpv4Fragment) {
  V4 make;
  make.tos = 0xb9;
  make.df = true;
  make.options = {1, 1, 1, 0};
  const Buffer data = pattern(64);
  Buffer packet = make.piece(data, 16, 48);
  packet.insert(packet.end(), 6, 0xee);  // link-layer padding
  FragmentView view;
  ASSERT_EQ(parse_fragment(packet, view).kind, FragmentKind::fragment);
  EXPECT_EQ(view.af, Af::inet);
  EXPECT_EQ(view.src, Address::v4(make.src));
  EXPECT_EQ(view.dst, Address::v4(make.dst));
  EXPECT_EQ(view.id, 77u);
  EXPECT_EQ(view.proto, kProtoUdp);
  EXPECT_EQ(view.tos, 0xb9);
  EXPECT_EQ(view.ttl, 64);
  EXPECT_TRUE(view.more);
  EXPECT_TRUE(view.dont_fragment);
  EXPECT_EQ(view.offset, 16);
  EXPECT_EQ(view.header.size(), 24u);
  EXPECT_EQ(Buffer(view.payload.begin(), view.payload.end()), test::slice(data, 16, 48));
}

TEST(FragmentView, ReadsEveryFieldOfAnIpv6FragmentBehindExtensionHeaders) {
  V6 make;
  make.first_extension = kProtoHopByHop;
  make.extensions = {kProtoDestOpts, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0};
  make.last_extension_at = 8;
  const Buffer data = pattern(64);
  Buffer packet = make.piece(data, 8, 64);
  packet[0] = 0x6a;
  packet[1] = 0x50;  // traffic class 0xa5
  FragmentView view;
  ASSERT_EQ(parse_fragment(packet, view).kind, FragmentKind::fragment);
  EXPECT_EQ(view.af, Af::inet6);
  EXPECT_EQ(view.src, Address::v6_wire(&packet[8]));
  EXPECT_EQ(view.dst, Address::v6_wire(&packet[24]));
  EXPECT_EQ(view.id, 0x12345678u);
  EXPECT_EQ(view.proto, kProtoUdp);
  EXPECT_EQ(view.tos, 0xa5);
  EXPECT_FALSE(view.more);
  EXPECT_EQ(view.offset, 8);
  EXPECT_EQ(view.header.size(), 56u);
  EXPECT_EQ(view.next_header_at, 48);
  EXPECT_EQ(Buffer(view.payload.begin(), view.payload.end()), test::slice(data, 8, 64));
}

TEST(FragmentView, PacketsThatAreNotFragmentsAreWhole) {
  EXPECT_EQ(kind(V4{}.packet(pattern(40))), FragmentKind::whole);
  EXPECT_EQ(kind(V6{}.whole(pattern(40))), FragmentKind::whole);
}

TEST(FragmentView, AnAtomicIpv6FragmentIsWhole) {
  EXPECT_EQ(kind(V6{}.packet(pattern(40), 0, false)), FragmentKind::whole);
  EXPECT_EQ(kind(V6{}.packet(pattern(40), 0, true)), FragmentKind::fragment);
  EXPECT_EQ(kind(V6{}.packet(pattern(40), 8, false)), FragmentKind::fragment);
}

TEST(FragmentView, EveryTruncationOfAFragmentIsTooShort) {
  V6 make;
  make.first_extension = kProtoHopByHop;
  make.extensions = {0, 0, 1, 4, 0, 0, 0, 0};
  for (const Buffer& packet : {V4{}.packet(pattern(16), 8, true), make.packet(pattern(16), 8, true)}) {
    for (size_t n = 0; n < packet.size(); ++n)
      EXPECT_EQ(reason(test::slice(packet, 0, n)), FragmentDrop::too_short) << n;
  }
}

TEST(FragmentView, ContradictingHeaderLengthsAreTooShort) {
  Buffer packet = V4{}.packet(pattern(16), 8, true);
  packet[0] = 0x44;  // shorter than a header
  EXPECT_EQ(reason(packet), FragmentDrop::too_short);
  packet[0] = 0x4f;  // longer than the packet
  EXPECT_EQ(reason(packet), FragmentDrop::too_short);
  packet[0] = 0x55;  // neither version
  EXPECT_EQ(reason(packet), FragmentDrop::too_short);

  V6 make;
  make.first_extension = kProtoDestOpts;
  make.extensions = {0, 30, 1, 4, 0, 0, 0, 0};  // reaches behind the packet
  EXPECT_EQ(reason(make.packet(pattern(16), 8, true)), FragmentDrop::too_short);
}

TEST(FragmentView, ExtensionHeadersThatNobodySendsAreRefused) {
  V6 make;
  make.first_extension = kProtoRouting;
  make.extensions = {0, 0, 0, 0, 0, 0, 0, 0};  // routing type 0
  EXPECT_EQ(reason(make.packet(pattern(16), 8, true)), FragmentDrop::ip_option);
  make.extensions[2] = 2;
  EXPECT_EQ(kind(make.packet(pattern(16), 8, true)), FragmentKind::fragment);
  make.extensions = {kProtoRouting, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0};  // two of them
  make.last_extension_at = 8;
  EXPECT_EQ(reason(make.packet(pattern(16), 8, true)), FragmentDrop::ip_option);
  make.first_extension = kProtoDestOpts;
  make.extensions = {kProtoHopByHop, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0};  // hop-by-hop not in front
  EXPECT_EQ(reason(make.packet(pattern(16), 8, true)), FragmentDrop::ip_option);
}

TEST(FragmentView, TheTwentiethExtensionHeaderIsRefused) {
  for (const size_t count : {19u, 20u}) {
    V6 make;
    make.first_extension = kProtoDestOpts;
    for (size_t i = 0; i < count; ++i) {
      make.extensions.insert(make.extensions.end(), {kProtoDestOpts, 0, 1, 4, 0, 0, 0, 0});
    }
    make.last_extension_at = (count - 1) * 8;
    const Buffer packet = make.packet(pattern(16), 8, true);
    if (count == 19) {
      EXPECT_EQ(kind(packet), FragmentKind::fragment);
    } else {
      EXPECT_EQ(reason(packet), FragmentDrop::ip_option);
    }
  }
}

TEST(FragmentView, ASecondFragmentHeaderIsRefused) {
  V6 make;
  make.proto = kProtoFragment;
  Buffer inner(24, 0);
  inner[0] = kProtoUdp;
  EXPECT_EQ(reason(make.packet(inner, 0, true)), FragmentDrop::fragment);
  EXPECT_EQ(reason(make.packet(inner, 0, false)), FragmentDrop::fragment);  // behind an atomic one
  make.proto = kProtoDestOpts;
  inner = {kProtoFragment, 0, 1, 4, 0, 0, 0, 0, kProtoUdp, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(reason(make.packet(inner, 0, true)), FragmentDrop::fragment);
  // A later fragment holds anything.
  EXPECT_EQ(kind(make.packet(inner, 8, true)), FragmentKind::fragment);
}

TEST(FragmentView, AFirstFragmentMayEndInsideTheHeaderChain) {
  V6 make;
  make.proto = kProtoDestOpts;
  EXPECT_EQ(kind(make.packet({kProtoUdp, 9, 1, 4, 0, 0, 0, 0}, 0, true)), FragmentKind::fragment);
}

}  // namespace
}  // namespace twinwall
