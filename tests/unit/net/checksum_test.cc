#include "lib/net/checksum.h"

#include <gtest/gtest.h>

#include <vector>

#include "lib/base/random.h"

namespace twinwall {
namespace {

// RFC 1071 section 3's example: the sum of these bytes is 0xddf2.
TEST(Checksum, ExampleOfRfc1071) {
  const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(bswap(checksum(data, sizeof data)), static_cast<uint16_t>(~0xddf2));
}

TEST(Checksum, OddLengthPadsWithZero) {
  const uint8_t odd[] = {0x12, 0x34, 0x56};
  const uint8_t even[] = {0x12, 0x34, 0x56, 0x00};
  EXPECT_EQ(checksum(odd, 3), checksum(even, 4));
}

TEST(Checksum, AdjustingEqualsComputingAgain) {
  Random random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> packet(40);
    for (auto& byte : packet) byte = static_cast<uint8_t>(random.next());
    store_raw<uint16_t>(&packet[10], 0);
    store_raw(&packet[10], checksum(packet.data(), packet.size()));
    const auto before = packet;
    for (size_t i = 20; i < 36; ++i) packet[i] = static_cast<uint8_t>(random.next());
    store_raw(&packet[10], checksum_adjust(load_raw<uint16_t>(&packet[10]), &before[20], &packet[20], 16));
    EXPECT_EQ(checksum(packet.data(), packet.size()), 0);
  }
}

TEST(Checksum, AdjustingKeepsDamage) {
  uint8_t packet[] = {1, 2, 0xab, 0xcd, 5, 6};
  const uint16_t wrong = checksum(packet, sizeof packet);
  ASSERT_NE(wrong, 0);
  const uint8_t before[2] = {5, 6};
  packet[4] = 7;
  store_raw(&packet[2], checksum_adjust(load_raw<uint16_t>(&packet[2]), before, &packet[4], 2));
  EXPECT_EQ(checksum(packet, sizeof packet), wrong);
}

}  // namespace
}  // namespace twinwall
