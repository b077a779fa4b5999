// Tables: the longest match against a list that is gone through entry by entry, and hosts added while others look.
#include "lib/filter/table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "lib/base/random.h"
#include "tests/unit/filter/tables.h"

namespace twinwall {
namespace {

using testing_tables::bit;
using testing_tables::table;
using testing_tables::v4;

// Of the entries that hold the address the longest, and of equal ones the last, decides.
bool naive_contains(const std::vector<TableEntry>& entries, Af af, const Address& address) {
  int longest = -1;
  bool inside = false;
  for (const TableEntry& e : entries) {
    if (e.prefix.af != af || e.prefix.length < longest) continue;
    bool holds = true;
    for (unsigned i = 0; i < e.prefix.length; ++i) holds = holds && bit(e.prefix.addr, i) == bit(address, i);
    if (!holds) continue;
    longest = e.prefix.length;
    inside = !e.negate;
  }
  return inside;
}

TEST(Table, AnEmptyTableHoldsNothing) {
  const Table t = table({});
  EXPECT_FALSE(t.contains(Af::inet, v4("10.0.0.1")));
  EXPECT_FALSE(t.contains(Af::inet6, parse_ip("::1")->addr));
}

TEST(Table, TheLongestEntryDecides) {
  const Table t = table({"10.0.0.0/8", "!10.1.0.0/16", "10.1.2.0/24", "!10.1.2.3"});
  EXPECT_TRUE(t.contains(Af::inet, v4("10.9.9.9")));
  EXPECT_FALSE(t.contains(Af::inet, v4("10.1.9.9")));
  EXPECT_TRUE(t.contains(Af::inet, v4("10.1.2.4")));
  EXPECT_FALSE(t.contains(Af::inet, v4("10.1.2.3")));
  EXPECT_FALSE(t.contains(Af::inet, v4("11.0.0.1")));
}

TEST(Table, APrefixGivenAgainReplacesItsSign) {
  const Table t = table({"10.0.0.0/8", "!10.0.0.0/8"});
  EXPECT_FALSE(t.contains(Af::inet, v4("10.0.0.1")));
}

TEST(Table, FamiliesAreApart) {
  const Table t = table({"0.0.0.0/0"});
  EXPECT_TRUE(t.contains(Af::inet, v4("1.2.3.4")));
  EXPECT_FALSE(t.contains(Af::inet6, parse_ip("2001:db8::1")->addr));
  const Table six = table({"::/0"});
  EXPECT_FALSE(six.contains(Af::inet, v4("1.2.3.4")));
  EXPECT_TRUE(six.contains(Af::inet6, parse_ip("2001:db8::1")->addr));
}

TEST(TableProperty, FindsWhatTheLinearSearchFinds) {
  Random random(5);
  size_t inside = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<TableEntry> entries;
    const auto some_address = [&](Af af) {
      Address a = af == Af::inet ? v4("10.0.0.0") : parse_ip("2001:db8::")->addr;
      const size_t last = af == Af::inet ? 3 : 15;
      a.bytes[last] = static_cast<uint8_t>(random.below(256));
      a.bytes[last - 1] = static_cast<uint8_t>(random.below(4));
      return a;
    };
    const auto some_af = [&] { return random.below(2) == 0 ? Af::inet : Af::inet6; };
    for (uint32_t n = random.below(30); n > 0; --n) {
      const Af af = some_af();
      const unsigned bits = address_bits(af);
      const auto length = static_cast<uint8_t>(random.below(8) == 0 ? random.below(bits + 1) : bits - random.below(12));
      Prefix p{af, some_address(af), length};
      p.addr = p.network();
      entries.push_back({p, random.below(3) == 0});
    }
    Table t("t");
    for (const TableEntry& e : entries) t.add_entry(e);
    t.seal(random.below(2) == 0);
    for (int i = 0; i < 200; ++i) {
      const Af af = some_af();
      const Address a = some_address(af);
      ASSERT_EQ(t.contains(af, a), naive_contains(entries, af, a)) << to_string(af, a) << " in round " << round;
      inside += t.contains(af, a) ? 1 : 0;
    }
  }
  EXPECT_GT(inside, 5000u);
  EXPECT_LT(inside, 55000u);
}

TEST(Table, HostsOfRunTimeAreBesideTheEntries) {
  Table t = table({"!10.0.0.0/24"}, true);
  ASSERT_NE(t.hosts(), nullptr);
  EXPECT_FALSE(t.contains(Af::inet, v4("10.0.0.5")));
  EXPECT_EQ(t.hosts()->add(Af::inet, v4("10.0.0.5"), 7), HostSet::Added::added);
  EXPECT_TRUE(t.contains(Af::inet, v4("10.0.0.5")));
  EXPECT_FALSE(t.contains(Af::inet, v4("10.0.0.6")));
  EXPECT_EQ(table({}).hosts(), nullptr);
}

TEST(Table, WithoutAddressesItKeepsWhatItHeld) {
  const Table t = table({"!10.0.0.0/24"}, true);
  (void)t.hosts()->add(Af::inet, v4("10.0.0.5"), 7);
  Table next = table({}, true);
  next.take_over(t);
  EXPECT_TRUE(next.contains(Af::inet, v4("10.0.0.5")));
  EXPECT_NE(next.content()->find(*parse_prefix("10.0.0.0/24")), nullptr);
  Table addressed = table({"192.0.2.0/24"}, true);
  addressed.addressed = true;
  addressed.take_over(t);
  EXPECT_FALSE(addressed.contains(Af::inet, v4("10.0.0.5")));
  EXPECT_TRUE(addressed.contains(Af::inet, v4("192.0.2.1")));
}

TEST(HostSet, AddsFindsAndRemoves) {
  HostSet set(4);
  EXPECT_EQ(set.add(Af::inet, v4("10.0.0.1"), 1), HostSet::Added::added);
  EXPECT_EQ(set.add(Af::inet, v4("10.0.0.1"), 2), HostSet::Added::present);
  // The same bytes in the other family are another host.
  EXPECT_FALSE(set.contains(Af::inet6, v4("10.0.0.1")));
  EXPECT_EQ(set.size(), 1u);
  std::vector<uint32_t> times;
  set.each([&](Af af, const Address& a, uint32_t added) {
    EXPECT_EQ(af, Af::inet);
    EXPECT_EQ(a, v4("10.0.0.1"));
    times.push_back(added);
  });
  EXPECT_EQ(times, std::vector<uint32_t>{1});
  EXPECT_TRUE(set.remove(Af::inet, v4("10.0.0.1")));
  EXPECT_FALSE(set.remove(Af::inet, v4("10.0.0.1")));
  EXPECT_FALSE(set.contains(Af::inet, v4("10.0.0.1")));
  EXPECT_EQ(set.size(), 0u);
}

TEST(HostSet, IsBoundedAndRoomComesBack) {
  HostSet set(100);
  const auto host = [](uint32_t i) { return Address::v4(0x0a000000 + i); };
  for (uint32_t i = 0; i < 100; ++i) ASSERT_EQ(set.add(Af::inet, host(i), i), HostSet::Added::added);
  EXPECT_EQ(set.add(Af::inet, host(100), 0), HostSet::Added::full);
  EXPECT_TRUE(set.remove(Af::inet, host(50)));
  EXPECT_EQ(set.add(Af::inet, host(100), 0), HostSet::Added::added);
  set.clear();
  EXPECT_EQ(set.size(), 0u);
  for (uint32_t round = 0; round < 50; ++round) {  // places that were left are used again
    for (uint32_t i = 0; i < 100; ++i) ASSERT_EQ(set.add(Af::inet, host(round * 1000 + i), i), HostSet::Added::added);
    set.clear();
  }
  EXPECT_FALSE(set.contains(Af::inet, host(0)));
}

TEST(HostSet, ManyThreadsAddAndLookAtOnce) {
  constexpr uint32_t kHosts = 4000;
  constexpr int kThreads = 4;
  HostSet set(kHosts * kThreads);
  const auto host = [](uint32_t i) { return Address::v4(0x0a000000 + i); };
  std::atomic<bool> go{false};
  std::atomic<uint32_t> lost{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      while (!go.load()) {}
      // Half of the hosts are everybody's, half are one thread's own.
      for (uint32_t i = 0; i < kHosts; ++i) {
        const Address a = host(i % 2 == 0 ? i : static_cast<uint32_t>(t + 1) * 100000 + i);
        if (set.add(Af::inet, a, i) == HostSet::Added::full) ++lost;
        if (!set.contains(Af::inet, a)) ++lost;
        if (set.contains(Af::inet, host(0x900000 + i))) ++lost;
      }
    });
  go.store(true);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(lost.load(), 0u);
  for (uint32_t i = 0; i < kHosts; i += 2) {
    EXPECT_TRUE(set.remove(Af::inet, host(i)));
    EXPECT_FALSE(set.contains(Af::inet, host(i)));  // also when two threads left it twice
  }
  EXPECT_EQ(set.size(), kHosts / 2 * kThreads);
}

}  // namespace
}  // namespace twinwall
