#include "lib/filter/pool.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace twinwall {
namespace {

PoolEntry entry(std::string_view prefix, uint16_t weight = 1) { return {*parse_prefix(prefix), weight}; }

Pool pool(PoolType type, std::vector<PoolEntry> entries) {
  Pool p;
  p.type = type;
  p.entries = std::move(entries);
  if (type != PoolType::none && type != PoolType::bitmask) p.state = std::make_shared<PoolState>();
  p.seal();
  return p;
}

struct Chooser {
  Random random{1};
  std::string operator()(const Pool& p, std::string_view source = "10.0.0.1", std::string_view original = "") {
    PoolSearch search;
    return again(p, search, source, original);
  }
  std::string again(const Pool& p, PoolSearch& search, std::string_view source = "10.0.0.1",
                    std::string_view original = "") {
    const IpAddress from = *parse_ip(source), to = *parse_ip(original.empty() ? source : original);
    Address out;
    if (!choose_address(p, from.af, from.addr, to.addr, random, search, out)) return "none";
    return to_string(from.af, out);
  }
};

TEST(Pool, OfNothingGivesNothing) {
  Chooser choose;
  const Pool p = pool(PoolType::round_robin, {entry("10.1.0.1"), entry("10.1.0.2")});
  EXPECT_EQ(choose(p, "2001:db8::1"), "none");
  Pool table;
  table.table = std::make_shared<Table>("empty");
  table.type = PoolType::round_robin;
  table.state = std::make_shared<PoolState>();
  table.seal();
  EXPECT_EQ(choose(table), "none");
}

TEST(Pool, BitmaskKeepsTheHostPart) {
  Chooser choose;
  EXPECT_EQ(choose(pool(PoolType::bitmask, {entry("192.0.2.0/25")}), "10.0.0.1", "10.0.0.200"), "192.0.2.72");
  EXPECT_EQ(choose(pool(PoolType::bitmask, {entry("2001:db8::/32")}), "::1", "fd00:1:2:3::4"), "2001:db8:2:3::4");
}

TEST(Pool, RoundRobinGoesThroughListsAndPrefixes) {
  Chooser choose;
  const Pool p = pool(PoolType::round_robin, {entry("10.1.0.9"), entry("10.1.0.0/31")});
  for (const char* want : {"10.1.0.0", "10.1.0.1", "10.1.0.9", "10.1.0.0"}) EXPECT_EQ(choose(p), want);
}

TEST(Pool, RoundRobinThroughATableLeavesNegatedEntriesOut) {
  Chooser choose;
  auto table = std::make_shared<Table>("t");
  table->add_entry({*parse_prefix("10.1.0.3"), false});
  table->add_entry({*parse_prefix("10.1.0.2"), true});
  table->add_entry({*parse_prefix("10.1.0.1"), false});
  table->seal(false);
  Pool p;
  p.table = table;
  p.type = PoolType::round_robin;
  p.state = std::make_shared<PoolState>();
  p.seal();
  for (const char* want : {"10.1.0.1", "10.1.0.3", "10.1.0.1"}) EXPECT_EQ(choose(p), want);
}

TEST(Pool, WeightsShareTheTurns) {
  Chooser choose;
  const Pool p = pool(PoolType::round_robin, {entry("10.1.0.1", 6), entry("10.1.0.2", 2), entry("10.1.0.3", 4)});
  std::map<std::string, int> n;
  for (int i = 0; i < 60; ++i) ++n[choose(p)];
  EXPECT_EQ(n["10.1.0.1"], 30);
  EXPECT_EQ(n["10.1.0.2"], 10);
  EXPECT_EQ(n["10.1.0.3"], 20);
}

TEST(Pool, RandomStaysInThePrefixAndSpreads) {
  Chooser choose;
  const Pool p = pool(PoolType::random, {entry("10.1.0.0/28")});
  std::set<std::string> seen;
  for (int i = 0; i < 500; ++i) {
    const std::string a = choose(p);
    EXPECT_TRUE(parse_prefix("10.1.0.0/28")->contains(parse_ip(a)->addr)) << a;
    seen.insert(a);
  }
  EXPECT_EQ(seen.size(), 16u);
  // Other tries go on from the first, once round.
  PoolSearch search;
  std::set<std::string> tried;
  for (std::string a = choose.again(p, search); a != "none"; a = choose.again(p, search)) tried.insert(a);
  EXPECT_EQ(tried.size(), 16u);
}

// As a kernel chose with this key (tests/data/captures: pool-source-hash).
TEST(Pool, SourceHashIsTheKernels) {
  Chooser choose;
  Pool p = pool(PoolType::source_hash, {entry("198.51.100.16/28")});
  p.key = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
  p.key_given = true;
  const char* want[] = {"198.51.100.21", "198.51.100.30", "198.51.100.22", "198.51.100.17"};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(choose(p, "10.30.0." + std::to_string(10 + i)), want[i]);
}

TEST(Pool, SourceHashFillsBothHalvesOfIpv6) {
  Chooser choose;
  Pool p = pool(PoolType::source_hash, {entry("2001:db8::/32")});
  p.key_given = true;
  const auto a = parse_ip(choose(p, "fd00::1"))->addr.bytes;
  EXPECT_EQ(choose(p, "fd00::1"), choose(p, "fd00::1"));
  EXPECT_NE(choose(p, "fd00::1"), choose(p, "fd00::2"));
  // The last four bytes are the complement of the first, which the prefix covers; the middle ones of each other.
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(a[4 + i], static_cast<uint8_t>(~a[8 + i]));
}

TEST(Pool, SourceHashWithoutAKeyDrawsOneForAllWorkers) {
  Chooser one, other;
  other.random = Random(99);
  const Pool p = pool(PoolType::source_hash, {entry("10.0.0.0/8")});
  for (const char* source : {"10.0.0.1", "10.0.0.2", "10.0.0.3"}) EXPECT_EQ(one(p, source), other(p, source));
}

TEST(Pool, LeastStatesFollowsTheCounts) {
  Chooser choose;
  const Pool p = pool(PoolType::least_states, {entry("10.1.0.1"), entry("10.1.0.2"), entry("10.1.0.3")});
  const auto count = [&](const char* a, bool begins) { count_pool_state(p, Af::inet, parse_ip(a)->addr, begins); };
  std::map<std::string, int> n;
  for (int i = 0; i < 30; ++i) {
    const std::string a = choose(p);
    ++n[a];
    count(a.c_str(), true);
  }
  for (const auto& [address, times] : n) EXPECT_EQ(times, 10) << address;
  for (int i = 0; i < 4; ++i) count("10.1.0.2", false);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(choose(p), "10.1.0.2");
    count("10.1.0.2", true);
  }
  // Ends that were never begun in this pool do not wrap.
  for (int i = 0; i < 50; ++i) count("10.1.0.3", false);
  EXPECT_EQ(choose(p), "10.1.0.3");
}

TEST(Pool, LeastStatesWeighs) {
  Chooser choose;
  const Pool p = pool(PoolType::least_states, {entry("10.1.0.1", 3), entry("10.1.0.2", 1)});
  std::map<std::string, int> n;
  for (int i = 0; i < 40; ++i) {
    const std::string a = choose(p);
    ++n[a];
    count_pool_state(p, Af::inet, parse_ip(a)->addr, true);
  }
  EXPECT_EQ(n["10.1.0.1"], 30);
}

TEST(Pool, OnlySomeTypesHaveAnotherAddress) {
  Chooser choose;
  PoolSearch search;
  const Pool lone = pool(PoolType::none, {entry("10.1.0.1")});
  EXPECT_EQ(choose.again(lone, search), "10.1.0.1");
  EXPECT_EQ(choose.again(lone, search), "none");
  PoolSearch turn;
  const Pool two = pool(PoolType::round_robin, {entry("10.1.0.1"), entry("10.1.0.2")});
  EXPECT_EQ(choose.again(two, turn), "10.1.0.1");
  EXPECT_EQ(choose.again(two, turn), "10.1.0.2");
  EXPECT_EQ(choose.again(two, turn), "none");
  // However many there are, a connection tries so many.
  PoolSearch wide;
  const Pool many = pool(PoolType::round_robin, {entry("10.0.0.0/8")});
  unsigned tries = 0;
  while (choose.again(many, wide) != "none") ++tries;
  EXPECT_EQ(tries, PoolSearch::kMostTries);
}

}  // namespace
}  // namespace twinwall
