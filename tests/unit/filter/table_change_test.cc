// Changes of a table at run time, and that a change is seen whole.
#include "lib/filter/table_change.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "lib/base/random.h"
#include "tests/unit/filter/tables.h"

namespace twinwall {
namespace {

using testing_tables::entry;
using testing_tables::table;
using testing_tables::v4;

std::vector<TableEntry> entries(std::initializer_list<std::string_view> texts) {
  std::vector<TableEntry> out;
  for (const auto t : texts) out.push_back(entry(t));
  return out;
}

std::string all(const Table& t) {
  std::vector<std::string> texts;
  for (const TableEntry& e : all_entries(*t.content())) texts.push_back(to_string(e));
  std::sort(texts.begin(), texts.end());
  std::string out;
  for (const auto& text : texts) out += (out.empty() ? "" : " ") + text;
  return out;
}

TEST(TableChange, AddsWhatIsNew) {
  for (const bool dynamic : {false, true}) {
    Table t = table({"10.0.0.0/8", "!10.1.0.0/16"}, dynamic);
    const TableAddition a = table_add(
        t, entries({"10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "192.0.2.1", "!192.0.2.1", "2001:db8::/32"}), 10, 5);
    EXPECT_EQ(a.change.added, 2u);
    EXPECT_EQ(a.change.present, 2u);
    EXPECT_EQ(a.change.conflicts, 2u);
    EXPECT_EQ(all(t), "!10.1.0.0/16 10.0.0.0/8 192.0.2.1 2001:db8::/32");
    EXPECT_TRUE(t.contains(Af::inet, v4("192.0.2.1")));
  }
}

TEST(TableChange, WithoutRoomNothingIsAdded) {
  Table t = table({"10.0.0.0/8"}, true);
  EXPECT_TRUE(table_add(t, entries({"192.0.2.1", "192.0.2.2"}), 1, 5).full);
  EXPECT_EQ(all(t), "10.0.0.0/8");
  EXPECT_FALSE(table_add(t, entries({"192.0.2.1"}), 1, 5).full);
  EXPECT_TRUE(table_replace(t, entries({"1.1.1.1", "2.2.2.2", "3.3.3.3"}), 0, 5).full);
  EXPECT_EQ(all(t), "10.0.0.0/8 192.0.2.1");
}

TEST(TableChange, DeletesHostsAndNetworks) {
  Table t = table({"10.0.0.0/8", "!10.1.0.0/16"}, true);
  (void)table_add(t, entries({"192.0.2.1"}), 10, 5);
  TableChange change;
  (void)table_delete(t, entries({"192.0.2.1", "10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/9"}), change);
  EXPECT_EQ(change.deleted, 2u);
  EXPECT_EQ(change.missing, 2u);
  EXPECT_EQ(all(t), "!10.1.0.0/16");
}

TEST(TableChange, ReplaceSaysWhatCameAndWent) {
  Table t = table({"10.0.0.0/8", "172.16.0.0/12"}, true);
  (void)table_add(t, entries({"192.0.2.1", "192.0.2.2"}), 10, 5);
  const TableAddition a = table_replace(t, entries({"10.0.0.0/8", "192.0.2.2", "203.0.113.0/24"}), 10, 6);
  EXPECT_EQ(a.change.added, 1u);
  EXPECT_EQ(a.change.present, 2u);
  EXPECT_EQ(a.change.deleted, 2u);
  EXPECT_EQ(all(t), "10.0.0.0/8 192.0.2.2 203.0.113.0/24");
}

// Against sets that are compared word by word.
TEST(TableChange, ReplaceCountsAsSetsDo) {
  Random random(4);
  for (int round = 0; round < 200; ++round) {
    const auto draw = [&] {
      std::map<std::string, bool> out;  // the network's text, and its sign
      for (uint32_t n = random.below(20); n > 0; --n) {
        const uint32_t length = 30 + random.below(3);
        const Prefix p{Af::inet, Address::v4(0x0a000000 + random.below(16)), static_cast<uint8_t>(length)};
        out[to_string(Prefix{p.af, p.network(), p.length})] = random.below(4) == 0;
      }
      return out;
    };
    const auto list = [](const std::map<std::string, bool>& words) {
      std::vector<TableEntry> out;
      for (const auto& [text, negate] : words) out.push_back({*parse_prefix(text), negate});
      return out;
    };
    const auto before = draw(), after = draw();
    Table t("t");
    for (const TableEntry& e : list(before)) t.add_entry(e);
    t.seal(false);
    size_t same = 0;
    for (const auto& [text, negate] : after) same += before.contains(text) && before.at(text) == negate ? 1 : 0;
    const TableChange c = table_replace(t, list(after), 100, 1).change;
    ASSERT_EQ(c.present, same);
    ASSERT_EQ(c.added, after.size() - same);
    ASSERT_EQ(c.deleted, before.size() - same);
  }
}

TEST(TableChange, ExpiryTakesWhatWasAddedLongAgo) {
  Table t = table({"10.0.0.0/8"}, true);
  (void)table_add(t, entries({"192.0.2.1", "203.0.113.0/24"}), 10, 100);
  (void)table_add(t, entries({"192.0.2.2", "198.51.100.0/24"}), 10, 150);
  TableChange change;
  (void)table_expire(t, 60, 161, change);
  EXPECT_EQ(change.deleted, 2u);
  EXPECT_EQ(all(t), "10.0.0.0/8 192.0.2.2 198.51.100.0/24");
}

TEST(TableChange, FlushLeavesNothing) {
  Table t = table({"10.0.0.0/8"}, true);
  (void)table_add(t, entries({"192.0.2.1"}), 10, 100);
  TableChange change;
  (void)table_flush(t, change);
  EXPECT_EQ(change.deleted, 2u);
  EXPECT_EQ(all(t), "");
  EXPECT_FALSE(t.contains(Af::inet, v4("192.0.2.1")));
}

TEST(TableChange, SomeTablesAreFixed) {
  Table t = table({}, false);
  EXPECT_EQ(why_unchangeable(t), "");
  t.constant = true;
  EXPECT_NE(why_unchangeable(t), "");
  t.constant = false;
  t.in_pool = true;
  EXPECT_NE(why_unchangeable(t), "");
}

// Both contents hold one of two addresses: whoever looks finds exactly one of them at any time.
TEST(TableChange, WhoLooksMeanwhileSeesOneOrTheOther) {
  Table t = table({"10.0.0.0/8", "10.0.0.1"}, false);
  std::vector<std::shared_ptr<const TableContent>> kept;  // nothing is let go while others look
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> looks{0};
  std::thread looker([&] {
    while (!stop) {
      EXPECT_TRUE(t.contains(Af::inet, v4("10.0.0.1")));
      ++looks;
    }
  });
  for (uint32_t i = 0; i < 2000 || looks == 0; ++i)
    kept.push_back(table_replace(t, entries({i % 2 == 0 ? "10.0.0.0/24" : "10.0.0.1"}), 10, i).before);
  stop = true;
  looker.join();
}

}  // namespace
}  // namespace twinwall
