// What is counted by entry of a table, and what becomes of it when the table changes.
#include "lib/filter/entry_counts.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "lib/base/random.h"
#include "tests/unit/filter/tables.h"

namespace twinwall {
namespace {

using testing_tables::entry;
using testing_tables::v4;

Table counting(std::initializer_list<std::string_view> texts, bool dynamic = false) {
  Table t("t");
  t.counters = true;
  for (const auto text : texts) t.add_entry(entry(text));
  t.seal(dynamic);
  t.begin_counts(2);
  return t;
}

void count(const Table& t, std::string_view address, bool negated = false, size_t worker = 0) {
  const auto ip = parse_ip(address);
  t.count(worker, ip->af, ip->addr, negated, false, EntryCounts::pass, 100);
}

uint64_t packets(const Table& t, std::string_view text) {
  const TableContent& c = *t.content();
  return c.counts()->traffic(c.number_of(entry(text))).packets[0][EntryCounts::pass];
}

TEST(EntryCounts, TheEntryThatDecidesCounts) {
  const Table t = counting({"10.0.0.0/8", "!10.1.0.0/16", "10.1.1.1", "2001:db8::/32"});
  for (const auto a : {"10.2.3.4", "10.1.1.1", "10.1.1.1", "2001:db8::9", "10.1.2.3", "192.0.2.1"}) count(t, a);
  EXPECT_EQ(packets(t, "10.0.0.0/8"), 1u);
  EXPECT_EQ(packets(t, "10.1.1.1"), 2u);
  EXPECT_EQ(packets(t, "2001:db8::/32"), 1u);
  EXPECT_EQ(packets(t, "!10.1.0.0/16"), 0u);  // its address did not match
}

TEST(EntryCounts, ANegatedRuleIsCountedByNegatedEntries) {
  const Table t = counting({"10.0.0.0/8", "!10.1.0.0/16"}, true);
  count(t, "10.1.2.3", true);
  count(t, "10.2.2.3", true);   // the rule cannot have matched
  count(t, "192.0.2.1", true);  // no entry
  EXPECT_EQ(packets(t, "!10.1.0.0/16"), 1u);
  EXPECT_EQ(packets(t, "10.0.0.0/8"), 0u);
}

TEST(EntryCounts, ByDirectionAndFateAndSummedOverWorkers) {
  const Table t = counting({"10.0.0.0/8"});
  for (const size_t worker : {0u, 1u, 1u, 2u})  // nobody said that there is a third
    t.count(worker, Af::inet, v4("10.0.0.1"), false, true, EntryCounts::block, 60);
  const TableContent& c = *t.content();
  const EntryCounts::Traffic n = c.counts()->traffic(c.number_of(entry("10.0.0.0/8")));
  EXPECT_EQ(n.packets[1][EntryCounts::block], 3u);
  EXPECT_EQ(n.bytes[1][EntryCounts::block], 180u);
  EXPECT_EQ(n.packets[0][EntryCounts::block] + n.packets[1][EntryCounts::pass], 0u);
}

TEST(EntryCounts, WhatStaysCountsOn) {
  for (const bool dynamic : {false, true}) {
    Table t = counting({"10.0.0.0/8", "192.0.2.0/24"}, dynamic);
    (void)table_add(t, std::vector{entry("198.51.100.1")}, 10, 5);
    for (const auto a : {"10.0.0.1", "192.0.2.1", "198.51.100.1"}) count(t, a);
    (void)table_add(t, std::vector{entry("10.0.0.0/16")}, 10, 6);
    TableChange change;
    (void)table_delete(t, std::vector{entry("192.0.2.0/24")}, change);
    EXPECT_EQ(packets(t, "10.0.0.0/8"), 1u);
    EXPECT_EQ(packets(t, "198.51.100.1"), 1u);
    // A host that becomes an entry among others is the same one.
    (void)table_replace(t, {entry("198.51.100.1"), entry("192.0.2.0/24"), entry("!10.0.0.0/8")}, 10, 7);
    count(t, "198.51.100.1");
    EXPECT_EQ(packets(t, "198.51.100.1"), 2u);
    EXPECT_EQ(packets(t, "192.0.2.0/24"), 0u);  // had gone meanwhile
    EXPECT_EQ(packets(t, "!10.0.0.0/8"), 0u);   // is another one
  }
}

TEST(EntryCounts, AHostThatComesAgainBeginsAnew) {
  Table t = counting({}, true);
  for (int i = 0; i < 300'000; ++i) {  // more often than there are numbers
    HostSet& hosts = *t.hosts();
    ASSERT_EQ(hosts.add(Af::inet, v4("10.0.0.1"), 5), HostSet::Added::added);
    if (i % 1000 == 0) {
      ASSERT_EQ(packets(t, "10.0.0.1"), 0u);
    }
    count(t, "10.0.0.1");
    hosts.remove(Af::inet, v4("10.0.0.1"));
  }
  EXPECT_EQ(t.content()->counts()->refused(), 0u);
}

TEST(EntryCounts, ZeroBeginsAnewAndMakesYoung) {
  Table t = counting({"10.0.0.0/8"}, true);
  (void)table_add(t, std::vector{entry("192.0.2.1"), entry("198.51.100.0/24")}, 10, 100);
  for (const auto a : {"10.0.0.1", "192.0.2.1"}) count(t, a);
  t.note_begin(50);
  const TableContent& c = *t.content();
  EXPECT_EQ(c.counts()->cleared(c.number_of(entry("10.0.0.0/8"))), 50u);
  EXPECT_EQ(c.counts()->cleared(c.number_of(entry("192.0.2.1"))), 100u);
  t.zero_entries(150);
  EXPECT_EQ(packets(t, "10.0.0.0/8") + packets(t, "192.0.2.1"), 0u);
  EXPECT_EQ(c.counts()->cleared(c.number_of(entry("192.0.2.1"))), 150u);
  count(t, "192.0.2.1", false, 1);
  EXPECT_EQ(packets(t, "192.0.2.1"), 1u);
  TableChange change;
  (void)table_expire(t, 60, 200, change);  // added 100 s ago, but at 0 since 50
  EXPECT_EQ(change.deleted, 0u);
  (void)table_expire(t, 60, 211, change);
  EXPECT_EQ(change.deleted, 2u);
}

TEST(EntryCounts, AReloadKeepsWhatBothHave) {
  Table a = counting({"10.0.0.0/8", "192.0.2.0/24"}, true);
  (void)table_add(a, std::vector{entry("198.51.100.1"), entry("198.51.100.2")}, 10, 5);
  for (const auto at : {"10.0.0.1", "192.0.2.1", "198.51.100.1", "198.51.100.2"}) count(a, at);
  Table b("t");
  b.counters = b.addressed = true;
  for (const auto text : {"198.51.100.2", "10.0.0.0/8", "!192.0.2.0/24"}) b.add_entry(entry(text));
  b.seal(true);
  b.take_over(a);
  b.keep_counts(a);
  b.begin_counts(2);
  EXPECT_EQ(packets(b, "10.0.0.0/8"), 1u);
  EXPECT_EQ(packets(b, "198.51.100.2"), 1u);
  EXPECT_EQ(packets(b, "!192.0.2.0/24"), 0u);
  count(b, "10.0.0.1");
  EXPECT_EQ(packets(b, "10.0.0.0/8"), 2u);
  // Declared without addresses it holds and counts what there was.
  Table c("t");
  c.counters = true;
  c.seal(true);
  c.take_over(b);
  c.keep_counts(b);
  c.begin_counts(2);
  EXPECT_EQ(packets(c, "10.0.0.0/8"), 2u);
}

TEST(EntryCounts, WhoOnlyLooksAtAReloadChangesNothing) {
  Table a = counting({"10.0.0.0/8", "192.0.2.0/24"}, true);
  for (const auto at : {"10.0.0.1", "192.0.2.1"}) count(a, at);
  for (int i = 0; i < 3; ++i) {
    Table b("t");
    b.counters = b.addressed = true;
    b.add_entry(entry("198.51.100.0/24"));
    b.seal(true);
    b.take_over(a);
    b.begin_counts(2);
    count(b, "198.51.100.1");
  }
  (void)table_add(a, std::vector{entry("203.0.113.0/24")}, 10, 5);
  EXPECT_EQ(packets(a, "10.0.0.0/8"), 1u);
  EXPECT_EQ(packets(a, "192.0.2.0/24"), 1u);
  EXPECT_EQ(packets(a, "203.0.113.0/24"), 0u);
}

TEST(EntryCounts, ATableBeginsToCountWithAReload) {
  Table a("t");
  a.add_entry(entry("10.0.0.0/8"));
  a.seal(true);
  (void)table_add(a, std::vector{entry("192.0.2.1")}, 10, 5);
  count(a, "10.0.0.1");  // counts nothing
  Table b("t");
  b.counters = true;
  b.seal(true);
  b.take_over(a);
  b.keep_counts(a);
  b.begin_counts(1);
  for (const auto at : {"10.0.0.1", "192.0.2.1"}) count(b, at);
  EXPECT_EQ(packets(b, "10.0.0.0/8"), 1u);
  EXPECT_EQ(packets(b, "192.0.2.1"), 1u);
}

TEST(EntryCounts, WithoutANumberAnEntryIsNotCounted) {
  EntryCounts counts(1);
  EntryCounts::Number last = EntryCounts::kNone;
  for (uint32_t i = 1; i < EntryCounts::kNumbers; ++i) ASSERT_NE(last = counts.take(1), EntryCounts::kNone);
  EXPECT_EQ(counts.take(1), EntryCounts::kNone);
  EXPECT_EQ(counts.refused(), 1u);
  counts.add(0, EntryCounts::kNone, false, EntryCounts::pass, 1);
  counts.add(0, last, false, EntryCounts::pass, 1);
  counts.give(last);
  EXPECT_EQ(counts.take(2), last);
  EXPECT_EQ(counts.traffic(last).packets[0][EntryCounts::pass], 0u);
}

// Against a map, by random changes.
TEST(EntryCounts, AgreesWithWhoeverKeepsTheBooks) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Random random(seed);
    Table t = counting({}, seed % 2 == 0);
    std::map<std::string, uint64_t> books;
    const auto random_entry = [&] {
      const uint32_t length = 28 + random.below(5);
      TableEntry e{{Af::inet, Address::v4(0x0a000000 + random.below(32)), static_cast<uint8_t>(length)},
                   random.below(4) == 0};
      e.prefix.addr = e.prefix.network();
      return e;
    };
    for (uint32_t step = 1; step < 400; ++step) {
      const TableEntry e = random_entry();
      TableChange change;
      if (random.below(4) == 0) {
        (void)table_delete(t, std::vector{e}, change);
      } else if (random.below(40) == 0) {
        std::vector<TableEntry> all;
        for (uint32_t n = random.below(6); n > 0; --n) {
          const TableEntry more = random_entry();
          if (std::none_of(all.begin(), all.end(), [&](const TableEntry& o) { return o.prefix == more.prefix; }))
            all.push_back(more);
        }
        (void)table_replace(t, all, 1000, step);
      } else {
        (void)table_add(t, std::vector{e}, 1000, step);
      }
      std::map<std::string, uint64_t> now;
      for (const TableEntry& has : all_entries(*t.content())) now[to_string(has)] = books[to_string(has)];
      books = std::move(now);
      const Address a = Address::v4(0x0a000000 + random.below(32));
      const TableEntry* longest = nullptr;  // of two of a length the host
      const std::vector<TableEntry> all = all_entries(*t.content());
      for (const TableEntry& has : all)
        if (has.prefix.contains(a) && (longest == nullptr || has.prefix.length >= longest->prefix.length))
          longest = &has;
      const bool negated = random.below(3) == 0;
      t.count(0, Af::inet, a, negated, false, EntryCounts::pass, 1);
      if (longest != nullptr && longest->negate == negated) ++books[to_string(*longest)];
      for (const auto& [text, n] : books) ASSERT_EQ(packets(t, text), n) << text << ", seed " << seed;
    }
  }
}

// What a worker counts while entries come and go is never seen by another entry.
TEST(EntryCounts, WorkersCountWhileTheTableChanges) {
  Table t = counting({"10.0.0.0/8"}, true);
  std::atomic<bool> stop{false};
  uint64_t counted = 0;
  std::thread worker([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      count(t, "10.0.0.1");
      count(t, "192.0.2.1");
      ++counted;
    }
  });
  std::vector<std::shared_ptr<const TableContent>> kept;
  for (uint32_t i = 1; i < 2000; ++i) {
    TableChange change;
    kept.push_back(table_add(t, std::vector{entry("192.0.2.1"), entry("198.51.100.0/24")}, 10, i).before);
    ASSERT_EQ(packets(t, "198.51.100.0/24"), 0u);
    kept.push_back(table_delete(t, std::vector{entry("192.0.2.1"), entry("198.51.100.0/24")}, change));
  }
  stop = true;
  worker.join();
  EXPECT_EQ(packets(t, "10.0.0.0/8"), counted);
}

}  // namespace
}  // namespace twinwall
