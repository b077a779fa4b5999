#include "control/log_hub.h"

#include <gtest/gtest.h>

#include <thread>

namespace twinwall {
namespace {

using namespace std::chrono_literals;

LoggedPacket numbered(uint32_t n) {
  LoggedPacket p;
  p.record.rule_number = n;
  p.record.af = Af::inet;
  p.interface = {'w', 'a', 'n'};
  return p;
}

TEST(LogHub, WhoComesLateGetsWhatIsKept) {
  LogHub hub;
  hub.push(numbered(1));
  hub.push(numbered(2));
  const auto reader = hub.open(false);
  const auto got = reader->take(10, 0ms);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].record.rule_number, 1u);
  EXPECT_EQ(got[1].record.rule_number, 2u);
  EXPECT_TRUE(reader->ended());
}

TEST(LogHub, ATakeHasALimit) {
  LogHub hub;
  for (uint32_t n = 0; n < 5; ++n) hub.push(numbered(n));
  const auto reader = hub.open(false);
  EXPECT_EQ(reader->take(3, 0ms).size(), 3u);
  EXPECT_FALSE(reader->ended());
  EXPECT_EQ(reader->take(3, 0ms).size(), 2u);
}

TEST(LogHub, WhoFollowsIsWoken) {
  LogHub hub;
  const auto reader = hub.open(true);
  std::thread writer([&] { hub.push(numbered(9)); });
  const auto got = reader->take(1, 60s);
  writer.join();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_FALSE(reader->ended());
}

TEST(LogHub, TheEndWakesWhoFollows) {
  LogHub hub;
  const auto reader = hub.open(true);
  std::thread stopper([&] { hub.stop(); });
  EXPECT_TRUE(reader->take(1, 60s).empty());
  stopper.join();
  EXPECT_TRUE(reader->ended());
  EXPECT_EQ(hub.open(true), nullptr);
}

TEST(LogHub, ASlowReaderLosesTheOldestAndItIsCounted) {
  LogHub hub;
  const auto reader = hub.open(true);
  for (uint32_t n = 0; n < LogHub::kKept + 7; ++n) hub.push(numbered(n));
  const auto got = reader->take(1, 0ms);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].record.rule_number, 7u);
  EXPECT_EQ(hub.lost(), 7u);
}

TEST(LogHub, ReadersAreFew) {
  LogHub hub;
  std::vector<std::unique_ptr<LogHub::Reader>> readers;
  for (unsigned n = 0; n < LogHub::kReaders; ++n) readers.push_back(hub.open(true));
  EXPECT_EQ(hub.open(false), nullptr);
  readers.pop_back();
  EXPECT_NE(hub.open(false), nullptr);
}

TEST(LogLine, ReadsLikeTcpdump) {
  LoggedPacket p = numbered(3);
  LogRecord& r = p.record;
  r.action = Action::block;
  r.proto = 6;
  r.tcp_flags = 2;
  r.src = Address::v4(0xc0000209);
  r.dst = Address::v4(0x0a000005);
  r.sport = 40000;
  r.dport = 22;
  r.length = 60;
  EXPECT_EQ(log_line(p), "rule 3/match: block in on wan: 192.0.2.9.40000 > 10.0.0.5.22: tcp [S], length 60");
  r.anchor_number = 2;
  r.ruleset[0] = 'a';
  r.rewritten = true;
  r.new_src = r.src;
  r.new_dst = Address::v4(0x0a000006);
  r.new_sport = 40000;
  r.new_dport = 2222;
  EXPECT_EQ(log_line(p),
            "rule 2.a.3/match: block in on wan: 192.0.2.9.40000 > 10.0.0.5.22: tcp [S], as 192.0.2.9.40000 > "
            "10.0.0.6.2222, length 60");
  r.af = Af::none;
  r.rule_number = r.anchor_number = kNoRuleNumber;
  r.reason = DropReason::too_short;
  EXPECT_EQ(log_line(p), "rule default/short: block in on wan: a broken packet, length 60");
}

}  // namespace
}  // namespace twinwall
