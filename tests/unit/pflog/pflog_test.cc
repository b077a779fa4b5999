#include "lib/pflog/pflog.h"

#include <gtest/gtest.h>

#include <cstring>

#include "lib/base/bytes.h"

namespace twinwall::pflog {
namespace {

LogRecord sample() {
  LogRecord r;
  r.action = Action::block;
  r.direction = Direction::out;
  r.af = Af::inet;
  r.proto = 17;
  r.rule_number = 7;
  r.length = 40;
  r.captured = 28;
  std::memset(r.packet, 0x45, sizeof r.packet);
  r.src = Address::v4(0x0a000001);
  r.dst = Address::v4(0xc0000207);
  r.sport = 5353;
  r.dport = 53;
  return r;
}

uint32_t host32(const std::string& s, size_t at) { return load_raw<uint32_t>(s.data() + at); }
uint32_t net32(const std::string& s, size_t at) { return load_be32(s.data() + at); }
uint8_t byte(const std::string& s, size_t at) { return static_cast<uint8_t>(s[at]); }

TEST(Pflog, TheFileSaysWhatItsPacketsAre) {
  const std::string h = file_header();
  ASSERT_EQ(h.size(), 24u);
  EXPECT_EQ(host32(h, 0), 0xa1b2c3d4u);
  EXPECT_EQ(load_raw<uint16_t>(h.data() + 4), 2);
  EXPECT_EQ(load_raw<uint16_t>(h.data() + 6), 4);
  EXPECT_GE(host32(h, 16), kHeader + kLogSnap);
  EXPECT_EQ(host32(h, 20), kLinkType);
}

TEST(Pflog, ARecordHoldsTheHeaderAndThePacket) {
  const std::string s = record(sample(), "wan", 1'700'000'000'123'456);
  ASSERT_EQ(s.size(), 16 + kHeader + 28);
  EXPECT_EQ(host32(s, 0), 1'700'000'000u);
  EXPECT_EQ(host32(s, 4), 123456u);
  EXPECT_EQ(host32(s, 8), kHeader + 28);
  EXPECT_EQ(host32(s, 12), kHeader + 40);
  const std::string h = s.substr(16);
  EXPECT_EQ(byte(h, 0), kHeader);
  EXPECT_EQ(byte(h, 1), 2);
  EXPECT_EQ(byte(h, 2), 1);
  EXPECT_EQ(byte(h, 3), 0);
  EXPECT_STREQ(h.data() + 4, "wan");
  EXPECT_STREQ(h.data() + 20, "");
  EXPECT_EQ(net32(h, 36), 7u);
  EXPECT_EQ(net32(h, 40), 0xffffffffu);
  EXPECT_EQ(host32(h, 44), 0xffffffffu);
  EXPECT_EQ(host32(h, 48), 100000u);
  EXPECT_EQ(byte(h, 60), 2);
  EXPECT_EQ(byte(h, 61), 0);
  EXPECT_EQ(net32(h, 64), 0x0a000001u);
  EXPECT_EQ(net32(h, 80), 0xc0000207u);
  EXPECT_EQ(load_be16(h.data() + 96), 5353);
  EXPECT_EQ(load_be16(h.data() + 98), 53);
  EXPECT_EQ(byte(h, kHeader), 0x45);
}

TEST(Pflog, InsideAnAnchorItsRuleComesFirst) {
  LogRecord r = sample();
  r.anchor_number = 3;
  std::strcpy(r.ruleset, "spam");
  const std::string h = record(r, "wan", 0).substr(16);
  EXPECT_STREQ(h.data() + 20, "spam");
  EXPECT_EQ(net32(h, 36), 3u);
  EXPECT_EQ(net32(h, 40), 7u);
}

TEST(Pflog, NewAddressesStandInTheHeader) {
  LogRecord r = sample();
  r.rewritten = true;
  r.new_src = Address::v4(0xc0000201);
  r.new_dst = r.dst;
  r.new_sport = 50001;
  r.new_dport = 53;
  const std::string h = record(r, "wan", 0).substr(16);
  EXPECT_EQ(byte(h, 61), 1);
  EXPECT_EQ(net32(h, 64), 0xc0000201u);
  EXPECT_EQ(load_be16(h.data() + 96), 50001);
}

TEST(Pflog, ABrokenPacketHasAFamilyByItsFirstBits) {
  LogRecord r = sample();
  r.af = Af::none;
  r.reason = DropReason::bad_header;
  EXPECT_EQ(byte(record(r, "wan", 0), 17), 2);
  r.packet[0] = 0x60;
  EXPECT_EQ(byte(record(r, "wan", 0), 17), 24);
  r.captured = 0;
  r.length = 0;
  EXPECT_EQ(record(r, "wan", 0).size(), 16 + kHeader);
}

TEST(Pflog, LongNamesAreCut) {
  const std::string h = record(sample(), "a-very-long-interface-name", 0).substr(16);
  EXPECT_EQ(std::string(h.data() + 4), "a-very-long-int");
}

}  // namespace
}  // namespace twinwall::pflog
