#include "lib/capture/pcapng.h"

#include <gtest/gtest.h>

#include <vector>

#include "lib/capture/blocks.h"

namespace twinwall::pcapng {
namespace {

uint32_t u32(std::string_view s, size_t at) { return load_raw<uint32_t>(s.data() + at); }
uint16_t u16(std::string_view s, size_t at) { return load_raw<uint16_t>(s.data() + at); }

std::vector<std::string> cut(const std::string& stream, size_t piece) {
  Blocks blocks;
  std::vector<std::string> out;
  for (size_t at = 0; at < stream.size(); at += piece) {
    blocks.add(std::string_view(stream).substr(at, piece));
    while (const auto b = blocks.next()) out.emplace_back(*b);
  }
  EXPECT_FALSE(blocks.broken());
  return out;
}

TEST(Pcapng, TheFileNamesItsInterface) {
  const auto blocks = cut(header("wan", 96), 1000);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(u32(blocks[0], 0), 0x0a0d0d0au);
  EXPECT_EQ(u32(blocks[0], 8), 0x1a2b3c4du);
  EXPECT_EQ(u16(blocks[0], 12), 1);
  EXPECT_EQ(u16(blocks[0], 14), 0);
  EXPECT_EQ(type_of(blocks[1]), kInterface);
  EXPECT_EQ(u16(blocks[1], 8), 1);     // Ethernet
  EXPECT_EQ(u32(blocks[1], 12), 96u);  // snaplen
  EXPECT_EQ(u16(blocks[1], 16), 2);    // if_name
  EXPECT_EQ(u16(blocks[1], 18), 3);
  EXPECT_EQ(blocks[1].substr(20, 4), std::string("wan\0", 4));
  EXPECT_EQ(u16(blocks[1], 24), 9);  // if_tsresol
  EXPECT_EQ(u16(blocks[1], 26), 1);
  EXPECT_EQ(blocks[1][28], 9);
}

TEST(Pcapng, APacketHasTimeLengthsBytesAndDirection) {
  const std::string p = packet({0x0102030405060708, 1500, true}, "abcde");
  EXPECT_EQ(u32(p, 0), kPacket);
  EXPECT_EQ(u32(p, 4), p.size());
  EXPECT_EQ(u32(p, 12), 0x01020304u);
  EXPECT_EQ(u32(p, 16), 0x05060708u);
  EXPECT_EQ(u32(p, 20), 5u);
  EXPECT_EQ(u32(p, 24), 1500u);
  EXPECT_EQ(p.substr(28, 8), std::string("abcde\0\0\0", 8));
  EXPECT_EQ(u16(p, 36), 2);  // epb_flags
  EXPECT_EQ(u16(p, 38), 4);
  EXPECT_EQ(u32(p, 40), 2u);  // outbound
  EXPECT_EQ(u32(p, p.size() - 4), p.size());
  EXPECT_EQ(u32(packet({0, 5, false}, "abcde"), 40), 1u);
}

TEST(Pcapng, StatisticsAreReadAsTheyWereWritten) {
  const std::string s = statistics({7'000'000'000, 12}, 1);
  const auto got = read_statistics(s);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->received, 7'000'000'000u);
  EXPECT_EQ(got->dropped, 12u);
  EXPECT_FALSE(read_statistics(packet({}, "")));
  for (size_t n = 0; n < s.size(); ++n) (void)read_statistics(std::string_view(s).substr(0, n));
}

TEST(Pcapng, AStreamCutAnywhereHasTheSameBlocks) {
  const std::string stream = header("lan", 0) + packet({1, 3, false}, "abc") + statistics({1, 0}, 2) +
                             packet({3, 9000, true}, std::string(9000, 'x'));
  const auto whole = cut(stream, stream.size());
  ASSERT_EQ(whole.size(), 5u);
  for (const size_t piece : {1, 2, 3, 7, 100, 4096}) EXPECT_EQ(cut(stream, piece), whole);
}

TEST(Pcapng, WhatIsNoBlockEndsItForGood) {
  for (const uint32_t length : {0u, 11u, 13u, 0x7fffffffu}) {
    std::string s = packet({1, 3, false}, "abc");
    store_raw(s.data() + 4, length);
    Blocks blocks;
    blocks.add(s);
    EXPECT_FALSE(blocks.next());
    EXPECT_TRUE(blocks.broken()) << length;
    blocks.add(header("wan", 0));
    EXPECT_FALSE(blocks.next());
  }
  std::string s = packet({1, 3, false}, "abc");
  s.back() = 1;
  Blocks blocks;
  blocks.add(s);
  EXPECT_FALSE(blocks.next());
  EXPECT_TRUE(blocks.broken());
}

}  // namespace
}  // namespace twinwall::pcapng
