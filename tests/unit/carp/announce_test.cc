// Announcements and load sharing, byte by byte.
#include "lib/carp/announce.h"

#include <gtest/gtest.h>

#include <array>

#include "lib/carp/balance.h"
#include "lib/net/checksum.h"
#include "tests/unit/carp/hex.h"

namespace twinwall::carp {

namespace {

// Both as a recorded OpenBSD host sent them on becoming master.
TEST(GratuitousArp, IsARequestFromTheVirtualMacForItsOwnAddress) {
  std::array<uint8_t, 64> f{};
  const size_t n = build_gratuitous_arp(virtual_mac(7), virtual_mac(7), parse_ip("192.0.2.100")->addr, f);
  EXPECT_EQ(hex(Bytes(f).first(n)),
            "ffffffffffff00005e00010708060001080006040001"
            "00005e000107c0000264000000000000c0000264");
  EXPECT_EQ(n, kArpFrame);
}

TEST(GratuitousArp, TakesAnotherEthernetSource) {
  std::array<uint8_t, kArpFrame> f{};
  ASSERT_EQ(build_gratuitous_arp(virtual_mac(7), Mac{{2, 0, 0, 0, 0, 1}}, parse_ip("192.0.2.100")->addr, f), kArpFrame);
  EXPECT_EQ(hex(Bytes(f).subspan(6, 6)), "020000000001");
  EXPECT_EQ(hex(Bytes(f).subspan(22, 6)), "00005e000107");
}

TEST(UnsolicitedNa, IsWhatARealHostSends) {
  std::array<uint8_t, 128> f{};
  const Mac mac = virtual_mac(200);
  const size_t n = build_unsolicited_na(mac, link_local_of(mac), parse_ip("2001:db8:1::100")->addr, false, f);
  EXPECT_EQ(n, kNeighborAdvertFrame);
  EXPECT_EQ(hex(Bytes(f).first(n)),
            "33330000000100005e0001c886dd"
            "6000000000203afffe8000000000000002005efffe0001c8ff020000000000000000000000000001"
            "880068d42000000020010db8000100000000000000000100020100005e0001c8");
}

TEST(UnsolicitedNa, SaysRouterWhenThisNodeForwards) {
  std::array<uint8_t, kNeighborAdvertFrame> f{};
  const Mac mac = virtual_mac(1);
  ASSERT_NE(build_unsolicited_na(mac, link_local_of(mac), parse_ip("2001:db8::1")->addr, true, f), 0u);
  EXPECT_EQ(f[58], 0xa0);
  EXPECT_EQ(l4_checksum(Af::inet6, &f[22], &f[38], kProtoIcmp6, &f[54], 32), 0);
}

TEST(Announcements, AreNotBuiltWhereTheyDoNotFit) {
  std::array<uint8_t, kNeighborAdvertFrame> f{};
  const auto buffer = MutableBytes(f);
  for (size_t n = 0; n < kArpFrame; ++n) {
    EXPECT_EQ(build_gratuitous_arp(virtual_mac(1), virtual_mac(1), {}, buffer.first(n)), 0u);
  }
  for (size_t n = 0; n < kNeighborAdvertFrame; ++n) {
    EXPECT_EQ(build_unsolicited_na(virtual_mac(1), {}, {}, false, buffer.first(n)), 0u);
  }
}

TEST(LinkLocal, IsTheModifiedEui64) {
  EXPECT_EQ(to_string(Af::inet6, link_local_of(virtual_mac(0x40))), "fe80::200:5eff:fe00:140");
  EXPECT_EQ(to_string(Af::inet6, link_local_of(Mac{{0x52, 0x54, 0, 0x61, 0, 1}})), "fe80::5054:ff:fe61:1");
}

TEST(Balance, FoldsAllWordsOfBothAddresses) {
  EXPECT_EQ(balance_fold(Af::inet, parse_ip("192.0.2.1")->addr, parse_ip("255.255.255.255")->addr), 0x3ffffdfeu);
  EXPECT_EQ(balance_fold(Af::inet6, parse_ip("1:2:3:4:5:6:7:8")->addr, parse_ip("::1")->addr),
            0x00010002u ^ 0x00030004u ^ 0x00050006u ^ 0x00070008u ^ 1u);
}

TEST(Balance, EveryPacketIsTakenByExactlyOneNode) {
  for (uint32_t i = 0; i < 1000; ++i) {
    const Address src = Address::v4(i * 2654435761u);
    const Address dst = Address::v4(0x0a000001);
    int takers = 0;
    for (unsigned node = 0; node < 5; ++node) takers += balance_accepts(Af::inet, src, dst, 5, 1u << node) ? 1 : 0;
    EXPECT_EQ(takers, 1);
  }
}

TEST(Balance, NoNodesOrTooManyTakeNothing) {
  EXPECT_FALSE(balance_accepts(Af::inet, {}, {}, 0, 0xffffffff));
  EXPECT_FALSE(balance_accepts(Af::inet, {}, {}, 33, 0xffffffff));
  EXPECT_TRUE(balance_accepts(Af::inet, {}, {}, 32, 1));
}

}  // namespace

}  // namespace twinwall::carp
