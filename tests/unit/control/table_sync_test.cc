// Two nodes with tables that are to be alike, and messages between them that may be lost.
#include "control/table_sync.h"

#include <gtest/gtest.h>

#include <deque>

#include "lib/filter/table_change.h"

namespace twinwall {
namespace {

TableEntry entry(const char* text) { return *parse_table_entry(text); }

struct TableNode final : TableSyncOutput {
  explicit TableNode(std::vector<const char*> configured = {}) {
    auto table = std::make_shared<Table>("clients");
    table->sync = table->declared = true;
    for (const char* text : configured) table->add_entry(entry(text));
    table->seal(true);
    rules.tables.push_back(table);
  }
  void start(Time now) { sync.configure(now, rules); }
  Table& table() { return *rules.tables[0]; }
  void add(Time now, const char* text) {
    keep(table_add(table(), std::vector{entry(text)}, room, to_seconds(now)).before);
    sync.changed(now, "clients");
  }
  void remove(Time now, const char* text) {
    TableChange change;
    keep(table_delete(table(), std::vector{entry(text)}, change));
    sync.changed(now, "clients");
  }
  void keep(std::shared_ptr<const TableContent> content) { kept.push_back(std::move(content)); }
  std::vector<std::string> held() {
    std::vector<std::string> out;
    for (const TableEntry& e : all_entries(*table().content())) out.push_back(to_string(e));
    std::ranges::sort(out);
    return out;
  }
  TableSyncStatus status() { return sync.status().at(0); }
  const TableSyncCounters& counters() { return sync.counters(); }

  void tell_peers(std::vector<uint8_t> message) override { told.push_back(std::move(message)); }
  size_t table_room() const override { return room; }
  void retire_content(std::shared_ptr<const TableContent> content) override { keep(std::move(content)); }

  Ruleset rules;
  size_t room = 1000;
  std::deque<std::vector<uint8_t>> told;
  std::vector<std::shared_ptr<const TableContent>> kept;
  TableSync sync{*this};
};

using Held = std::vector<std::string>;

struct TablePair : testing::Test {
  TableNode a, b;
  Time now = Time(1000s);
  bool cut = false;

  void start() {
    a.start(now);
    b.start(now);
    run(2s);
  }
  void run(Duration d) { run(a, b, d); }
  void run(TableNode& x, TableNode& y, Duration d) {
    for (const Time end = now + d; now <= end; now += 50ms) {
      x.sync.poll(now);
      y.sync.poll(now);
      cross(x, y);
      cross(y, x);
    }
  }
  void cross(TableNode& from, TableNode& to) {
    for (const auto& message : std::exchange(from.told, {}))
      if (!cut) {
        EXPECT_TRUE(to.sync.take(now, message));
      }
  }
};

TEST_F(TablePair, WhatComesAndGoesHereDoesSoThere) {
  start();
  a.add(now, "10.0.0.0/8");
  a.add(now, "!10.66.0.0/16");
  a.add(now, "2001:db8::5");
  run(500ms);
  EXPECT_EQ(b.held(), a.held());
  EXPECT_EQ(b.held().size(), 3u);
  b.remove(now, "10.0.0.0/8");
  b.add(now, "192.0.2.1");
  run(2s);
  EXPECT_EQ(a.held(), (Held{"!10.66.0.0/16", "192.0.2.1", "2001:db8::5"}));
  EXPECT_EQ(a.held(), b.held());
  EXPECT_TRUE(a.status().equal && b.status().equal);
  EXPECT_EQ(a.counters().wholes_taken + b.counters().wholes_taken, 0u) << "changes suffice";
}

TEST_F(TablePair, NothingGoesRoundInCircles) {
  start();
  a.add(now, "10.0.0.1");
  run(10s);
  EXPECT_EQ(a.counters().changes_sent, 1u);
  EXPECT_EQ(b.counters().changes_taken, 1u);
  EXPECT_EQ(b.counters().changes_sent, 0u);
}

TEST_F(TablePair, WhatRulesAddIsTold) {
  start();
  ASSERT_EQ(a.table().hosts()->add(Af::inet, Address::v4(0x0a000009), to_seconds(now)), HostSet::Added::added);
  run(500ms);
  EXPECT_EQ(b.held(), Held{"10.0.0.9"});
}

TEST_F(TablePair, ReplaceAndFlush) {
  start();
  a.add(now, "10.0.0.1");
  run(500ms);
  a.keep(table_replace(a.table(), {entry("10.0.0.2"), entry("10.0.0.3")}, 100, to_seconds(now)).before);
  a.sync.changed(now, "clients");
  run(500ms);
  EXPECT_EQ(b.held(), (Held{"10.0.0.2", "10.0.0.3"}));
  TableChange change;
  b.keep(table_flush(b.table(), change));
  b.sync.changed(now, "clients");
  run(500ms);
  EXPECT_TRUE(a.held().empty());
}

TEST_F(TablePair, NodeThatStartsGetsItsPeersContent) {
  start();
  a.add(now, "10.0.0.1");
  b.add(now, "10.0.0.2");
  run(2s);
  TableNode again({"192.0.2.0/24"});
  again.start(now);
  again.sync.peer_met(now);
  a.sync.peer_met(now);
  run(a, again, 300ms);
  EXPECT_EQ(again.held(), a.held());
  EXPECT_EQ(again.counters().wholes_taken, 1u);
  EXPECT_EQ(again.status().version, a.status().version);
}

TEST_F(TablePair, AgesGoAlong) {
  start();
  a.add(now, "10.0.0.1");
  run(2s);
  now += 100s;
  TableNode again;
  again.start(now);
  run(a, again, 2s);
  TableChange change;
  again.keep(table_expire(again.table(), 60, to_seconds(now), change));
  EXPECT_EQ(change.deleted, 1u);
}

TEST_F(TablePair, WhatAnInterruptionHidIsMadeGood) {
  start();
  a.add(now, "10.0.0.1");
  run(500ms);
  cut = true;
  a.add(now, "10.0.0.2");
  run(1s);
  a.remove(now, "10.0.0.1");
  b.add(now, "10.0.0.9");
  run(5s);
  cut = false;
  run(20s);
  EXPECT_EQ(a.held(), Held{"10.0.0.2"}) << "it saw more changes";
  EXPECT_EQ(b.held(), a.held());
  EXPECT_TRUE(a.status().equal && b.status().equal);
}

TEST_F(TablePair, AsManyChangesOnBothSidesEndAlikeToo) {
  start();
  cut = true;
  a.add(now, "10.0.0.1");
  b.add(now, "10.0.0.2");
  run(1s);
  cut = false;
  run(20s);
  EXPECT_EQ(a.held(), b.held());
  EXPECT_EQ(a.held().size(), 1u);
}

TEST_F(TablePair, ConfigurationsThatDifferAreNotOverruled) {
  TableNode other({"192.0.2.0/24"});
  a.start(now);
  other.start(now);
  run(a, other, 20s);
  EXPECT_TRUE(a.held().empty());
  EXPECT_EQ(other.held(), Held{"192.0.2.0/24"});
  EXPECT_FALSE(a.status().equal);
}

TEST_F(TablePair, WhereThereIsNoRoomItIsRefused) {
  start();
  b.room = 0;
  a.add(now, "10.0.0.1");
  run(2s);
  EXPECT_TRUE(b.held().empty());
  EXPECT_GE(b.counters().refused, 1u);
  b.room = 10;
  run(15s);
  EXPECT_EQ(b.held(), Held{"10.0.0.1"});
}

TEST_F(TablePair, AReloadThatChangesItIsAChange) {
  start();
  a.add(now, "10.0.0.1");
  run(500ms);
  TableNode next({"192.0.2.0/24"});
  a.sync.configure(now, next.rules);
  run(500ms);
  EXPECT_EQ(b.held(), Held{"192.0.2.0/24"});
}

TEST_F(TablePair, WordsThatAreNoneAreRefused) {
  start();
  const auto good = write_table_word(TableWord::What::change, "clients", 9, 1, {}, {entry("10.0.0.1")}, 5);
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(a.sync.take(now, Bytes(good).first(n))) << n;
  for (const auto& [at, value] :
       {std::pair{60, 5}, std::pair{61, 33}, std::pair{62, 2}, std::pair{72, 1}, std::pair{1, 32}}) {
    auto bad = good;
    bad[static_cast<size_t>(at)] = static_cast<uint8_t>(value);
    EXPECT_FALSE(a.sync.take(now, bad)) << at;
  }
  EXPECT_TRUE(a.held().empty());
  const uint64_t refused = a.counters().refused;
  EXPECT_TRUE(a.sync.take(now, write_table_word(TableWord::What::change, "other", 9, 1, {}, {entry("10.0.0.1")}, 5)));
  EXPECT_EQ(a.counters().refused, refused + 1) << "no such table";
  EXPECT_TRUE(a.sync.take(now, good));
  EXPECT_EQ(a.held(), Held{"10.0.0.1"});
}

}  // namespace
}  // namespace twinwall
