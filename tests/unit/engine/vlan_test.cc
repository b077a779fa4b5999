#include "lib/engine/vlan.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <utility>
#include <vector>

#include "lib/engine/finish_link.h"

namespace twinwall {
namespace {

constexpr size_t kRoom = 64;

struct TaggedFrame {
  explicit TaggedFrame(size_t length, size_t headroom = 8) {
    std::iota(bytes.begin(), bytes.end(), uint8_t{0});
    packet.frame = bytes.data() + headroom;
    packet.headroom = static_cast<uint32_t>(headroom);
    packet.length = static_cast<uint32_t>(length);
    packet.in = 1;
    packet.l3 = kEthernetHeader;
  }
  std::array<uint8_t, kRoom> bytes{};
  Packet packet;
};

Snapshot with_vlans() {
  Snapshot s;
  s.vlans = {{1, 20, 3}, {1, 30, 4}, {2, 20, 5}};
  return s;
}

TEST(Vlan, TagsAreFoundByParentAndNumber) {
  const Snapshot s = with_vlans();
  EXPECT_EQ(s.vlan_port(1, 20), 3);
  EXPECT_EQ(s.vlan_port(1, 30), 4);
  EXPECT_EQ(s.vlan_port(2, 20), 5);
  for (const auto& [parent, vlan] : {std::pair{1, 21}, std::pair{2, 30}, std::pair{3, 20}, std::pair{1, 0}})
    EXPECT_EQ(s.vlan_port(static_cast<InterfaceId>(parent), static_cast<uint16_t>(vlan)), kNoInterface);
}

TEST(Vlan, ATagThatIsPutOnAndTakenOffLeavesTheFrameAsItWas) {
  const Snapshot s = with_vlans();
  for (uint8_t prio = 0; prio < 8; ++prio) {
    TaggedFrame f(40);
    const std::vector<uint8_t> before(f.packet.frame, f.packet.frame + 40);
    f.packet.prio = prio;
    ASSERT_TRUE(put_tag(f.packet, 30));
    EXPECT_EQ(f.packet.length, 44u);
    EXPECT_EQ(load_be16(f.packet.frame + 12), kEtherTypeVlan);
    // 802.1Q: 1 is the lowest, then 0.
    const int pcp = prio == 0 ? 1 : prio == 1 ? 0 : prio;
    EXPECT_EQ(load_be16(f.packet.frame + 14), pcp << 13 | 30);
    EXPECT_EQ(f.packet.ip(), f.bytes.data() + 8 + kEthernetHeader);
    f.packet.prio = kDefaultPrio;
    ASSERT_TRUE(take_tag(f.packet, s));
    EXPECT_EQ(f.packet.in, 4);
    EXPECT_EQ(f.packet.prio, prio);
    EXPECT_EQ(std::vector<uint8_t>(f.packet.frame, f.packet.frame + f.packet.length), before);
    EXPECT_EQ(f.packet.headroom, 8u);
  }
}

TEST(Vlan, WhatHasNoTagOrAnUnknownOneStays) {
  const Snapshot s = with_vlans();
  for (const size_t length : {0u, 13u, 14u, 17u, 40u}) {
    TaggedFrame f(length);
    if (length >= 14) store_be16(f.packet.frame + 12, length == 40 ? kEtherTypeIpv4 : kEtherTypeVlan);
    const auto bytes = f.bytes;
    EXPECT_FALSE(take_tag(f.packet, s));
    EXPECT_EQ(f.bytes, bytes);
    EXPECT_EQ(f.packet.in, 1);
  }
  TaggedFrame unknown(40);
  store_be16(unknown.packet.frame + 12, kEtherTypeVlan);
  store_be16(unknown.packet.frame + 14, 21);
  EXPECT_FALSE(take_tag(unknown.packet, s));
}

TEST(Vlan, WithoutRoomNothingIsWrittenAndTheFrameIsNotSent) {
  TaggedFrame f(40, 3);
  const auto bytes = f.bytes;
  EXPECT_FALSE(put_tag(f.packet, 20));
  EXPECT_EQ(f.bytes, bytes);
  InterfaceInfo out;
  out.id = 3;
  out.vlan = 20;
  f.packet.l3_length = 26;
  const Mac mac{{2, 0, 0, 0, 0, 9}};
  finish_link(f.packet, out, &mac);
  EXPECT_EQ(f.packet.fate, Fate::drop);
}

TEST(Vlan, OnlyWhatIsSentIsTagged) {
  InterfaceInfo out;
  out.id = 3;
  out.vlan = 20;
  const Mac mac{{2, 0, 0, 0, 0, 9}};
  TaggedFrame sent(40), waits(40);
  for (TaggedFrame* f : {&sent, &waits}) {
    f->packet.af = Af::inet;
    f->packet.l3_length = 26;
    finish_link(f->packet, out, f == &sent ? &mac : nullptr);
  }
  EXPECT_EQ(sent.packet.fate, Fate::forward);
  EXPECT_EQ(Mac::from_wire(sent.packet.frame), mac);
  EXPECT_EQ(load_be16(sent.packet.frame + 12), kEtherTypeVlan);
  EXPECT_EQ(load_be16(sent.packet.frame + 16), kEtherTypeIpv4);
  EXPECT_EQ(waits.packet.fate, Fate::punt);
  EXPECT_EQ(load_be16(waits.packet.frame + 12), kEtherTypeIpv4);
}

}  // namespace
}  // namespace twinwall
