#include "control/table_counts.h"

#include <gtest/gtest.h>

namespace twinwall {
namespace {

class TableCountsTest : public testing::Test {
 protected:
  // A ruleset of tables, and of rules that name one of them as their source, each with its slot.
  struct Named {
    std::string table;
    RuleSlot slot;
    Action action = Action::pass;
  };
  static Ruleset rules(std::initializer_list<const char*> tables, std::initializer_list<Named> named) {
    Ruleset out;
    for (const char* const name : tables) out.tables.push_back(std::make_shared<Table>(name));
    for (const Named& n : named) {
      Rule r;
      r.action = n.action;
      r.slot = n.slot;
      r.from.address.kind = AddressKind::table;
      for (const auto& t : out.tables)
        if (t->name() == n.table) r.from.address.table = t;
      out.rules.push_back(r);
    }
    return out;
  }
  TableSlot slot(const Ruleset& r, size_t i) { return r.tables[i]->slot; }
  void replace(const Ruleset& old, const Ruleset& next) {
    counts.before_reload(old);
    counts.after_reload(next);
  }

  std::map<TableSlot, TableEvaluations> asked;
  std::map<RuleSlot, RuleTotals> counted;
  TableCounts counts{[this](TableSlot s) { return asked[s]; }, [this](RuleSlot s) { return counted[s]; }, 4};
};

TEST_F(TableCountsTest, TablesHaveSlotsOfTheirOwnWhichTheyKeep) {
  const Ruleset a = rules({"x", "(wan)", "y"}, {});
  counts.after_reload(a);
  EXPECT_NE(slot(a, 0), kNoTableSlot);
  EXPECT_NE(slot(a, 0), slot(a, 2));
  EXPECT_EQ(slot(a, 1), kNoTableSlot);  // the loader's
  const Ruleset b = rules({"y", "z", "x"}, {});
  replace(a, b);
  EXPECT_EQ(slot(b, 0), slot(a, 2));
  EXPECT_EQ(slot(b, 2), slot(a, 0));
  EXPECT_EQ(counts.totals(b).size(), 3u);
}

TEST_F(TableCountsTest, EvaluationsAreCountedOverReloads) {
  const Ruleset a = rules({"x"}, {});
  asked[1] = {100, 200};  // of a table before it
  counts.after_reload(a);
  ASSERT_EQ(slot(a, 0), 1);
  asked[1] = {103, 205};
  EXPECT_EQ(counts.totals(a).at("x").evaluations.match, 3u);
  EXPECT_EQ(counts.totals(a).at("x").evaluations.nomatch, 5u);
  const Ruleset b = rules({"x"}, {});
  replace(a, b);
  asked[1].match += 4;
  EXPECT_EQ(counts.totals(b).at("x").evaluations.match, 7u);
}

TEST_F(TableCountsTest, TrafficIsThatOfTheRulesThatNameTheTable) {
  const Ruleset a = rules({"x", "y"}, {{"x", 1}, {"x", 2, Action::block}, {"y", 3, Action::match}});
  counts.after_reload(a);
  counted[1].packets[0] = 10;
  counted[1].bytes[1] = 700;
  counted[2].packets[0] = 4;
  counted[3].packets[1] = 2;
  const auto t = counts.totals(a);
  EXPECT_EQ(t.at("x").packets[0][TableTotals::pass], 10u);
  EXPECT_EQ(t.at("x").bytes[1][TableTotals::pass], 700u);
  EXPECT_EQ(t.at("x").packets[0][TableTotals::block], 4u);
  EXPECT_EQ(t.at("x").rules, 2u);
  EXPECT_EQ(t.at("y").packets[1][TableTotals::match], 2u);
}

TEST_F(TableCountsTest, TrafficGoesOnWhenRulesComeAndGo) {
  const Ruleset a = rules({"x"}, {{"x", 1}, {"x", 2}});
  counts.after_reload(a);
  counted[1].packets[0] = 10;
  counted[2].packets[0] = 5;
  counted[3].packets[0] = 1000;  // a rule that did not name it
  const Ruleset b = rules({"x"}, {{"x", 2}, {"x", 3}});
  replace(a, b);
  EXPECT_EQ(counts.totals(b).at("x").packets[0][TableTotals::pass], 15u);
  counted[2].packets[0] += 2;
  counted[3].packets[0] += 1;
  EXPECT_EQ(counts.totals(b).at("x").packets[0][TableTotals::pass], 18u);
}

TEST_F(TableCountsTest, ZeroBeginsAnewForOneTableOrForAll) {
  const Ruleset a = rules({"x", "y"}, {{"x", 1}, {"y", 1}});
  counts.after_reload(a);
  const auto grow = [&] {
    counted[1].packets[0] += 10;
    asked[slot(a, 0)].match += 6;
    asked[slot(a, 1)].match += 6;
  };
  grow();
  EXPECT_TRUE(counts.zero(a, "x"));
  EXPECT_FALSE(counts.zero(a, "none"));
  EXPECT_EQ(counts.totals(a).at("x").packets[0][TableTotals::pass], 0u);
  EXPECT_EQ(counts.totals(a).at("x").evaluations.match, 0u);
  EXPECT_EQ(counts.totals(a).at("y").packets[0][TableTotals::pass], 10u);
  grow();
  EXPECT_EQ(counts.totals(a).at("x").packets[0][TableTotals::pass], 10u);
  EXPECT_EQ(counts.totals(a).at("y").evaluations.match, 12u);
  counts.zero_all(a);
  EXPECT_EQ(counts.totals(a).at("y").packets[0][TableTotals::pass], 0u);
  EXPECT_EQ(counts.totals(a).at("y").evaluations.match, 0u);
}

TEST_F(TableCountsTest, ATableThatReturnsBeginsAnew) {
  const Ruleset a = rules({"x"}, {}), none = rules({}, {}), b = rules({"x"}, {});
  counts.after_reload(a);
  asked[slot(a, 0)].match = 9;
  replace(a, none);
  replace(none, b);
  EXPECT_EQ(counts.totals(b).at("x").evaluations.match, 0u);
}

TEST_F(TableCountsTest, ASlotGoesToAnotherTableOnlyAfterTwoReloads) {
  const Ruleset a = rules({"a", "b", "c"}, {});  // all there are
  counts.after_reload(a);
  asked[slot(a, 0)].match = 9;
  const Ruleset b = rules({"b", "c", "d"}, {}), c = rules({"b", "c", "e"}, {});
  replace(a, b);
  EXPECT_EQ(slot(b, 2), kNoTableSlot);
  EXPECT_EQ(counts.totals(b).at("d").evaluations.match, 0u);
  replace(b, c);
  const Ruleset d = rules({"b", "c", "f"}, {});
  replace(c, d);
  EXPECT_EQ(slot(d, 2), slot(a, 0));
  EXPECT_EQ(counts.totals(d).at("f").evaluations.match, 0u);
}

}  // namespace
}  // namespace twinwall
