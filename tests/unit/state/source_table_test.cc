#include "lib/state/source_table.h"

#include <gtest/gtest.h>

#include <thread>

namespace twinwall {
namespace {

constexpr RuleSlot kRule = 7;

SourceKey source(uint32_t host, RuleSlot rule = kRule, SourcePurpose purpose = SourcePurpose::track) {
  return {rule, purpose, Af::inet, Address::v4(host)};
}

std::vector<SourceView> all(const SourceTable& t, uint32_t now_s = 0) {
  std::vector<SourceView> out;
  for (uint32_t b = 0; b < t.buckets(); ++b) t.view_bucket(b, now_s, out);
  return out;
}

void purge_all(SourceTable& t, uint32_t now_s) { (void)t.purge(now_s, t.buckets()); }

TEST(SourceTable, CountsStatesOfASourceUpToTheLimit) {
  SourceTable t(16, 1);
  const SourceLimits limits{0, 2, {}};
  const SourceResult first = t.acquire(source(1), kRule, limits, nullptr, 0);
  EXPECT_EQ(first.outcome, SourceOutcome::made);
  EXPECT_EQ(t.acquire(source(1), kRule, limits, nullptr, 0).outcome, SourceOutcome::found);
  EXPECT_EQ(t.acquire(source(1), kRule, limits, nullptr, 0).outcome, SourceOutcome::max_states);
  EXPECT_EQ(t.acquire(source(2), kRule, limits, nullptr, 0).outcome, SourceOutcome::made);
  t.release(first.node, false, 0, false, 0);
  EXPECT_EQ(t.acquire(source(1), kRule, limits, nullptr, 0).outcome, SourceOutcome::found);
}

TEST(SourceTable, LimitsTheSourcesOfARule) {
  SourceTable t(16, 1);
  const SourceLimits limits{1, 0, {}};
  const SourceResult first = t.acquire(source(1), kRule, limits, nullptr, 0);
  EXPECT_EQ(t.acquire(source(2), kRule, limits, nullptr, 0).outcome, SourceOutcome::max_nodes);
  EXPECT_EQ(t.acquire(source(2, 8), 8, limits, nullptr, 0).outcome, SourceOutcome::made);
  // The place is free once the node is gone, not before.
  t.release(first.node, false, 5, false, 0);
  EXPECT_EQ(t.acquire(source(2), kRule, limits, nullptr, 0).outcome, SourceOutcome::max_nodes);
  purge_all(t, 4);
  EXPECT_EQ(t.size(), 2u);
  purge_all(t, 5);
  EXPECT_EQ(t.size(), 1u);
  EXPECT_EQ(t.acquire(source(2), kRule, limits, nullptr, 5).outcome, SourceOutcome::made);
}

TEST(SourceTable, AFullTableRefusesAndALowerLimitHolds) {
  SourceTable t(2, 1);
  EXPECT_EQ(t.acquire(source(1), kRule, {}, nullptr, 0).outcome, SourceOutcome::made);
  t.set_limit(1);
  EXPECT_EQ(t.acquire(source(2), kRule, {}, nullptr, 0).outcome, SourceOutcome::full);
  t.set_limit(9);
  EXPECT_EQ(t.acquire(source(2), kRule, {}, nullptr, 0).outcome, SourceOutcome::made);
  EXPECT_EQ(t.acquire(source(3), kRule, {}, nullptr, 0).outcome, SourceOutcome::full);
  EXPECT_EQ(t.acquire(source(2), kRule, {}, nullptr, 0).outcome, SourceOutcome::found);
}

TEST(SourceTable, RemembersAnAddress) {
  SourceTable t(16, 1);
  const SourceKey sticky = source(1, kRule, SourcePurpose::rdr);
  Address mapping;
  EXPECT_EQ(t.find(sticky, mapping).outcome, SourceOutcome::absent);
  const Address to = Address::v4(99);
  const SourceResult made = t.acquire(sticky, kRule, {}, &to, 0);
  const SourceResult found = t.find(sticky, mapping);
  EXPECT_EQ(found.node, made.node);
  EXPECT_EQ(mapping, to);
  ASSERT_EQ(all(t).size(), 1u);
  EXPECT_EQ(all(t)[0].states, 2u);
  EXPECT_EQ(t.find(source(1), mapping).outcome, SourceOutcome::absent);  // another purpose
}

TEST(SourceTable, ADetachedNodeIsFreedWithItsLastState) {
  SourceTable t(1, 1);
  const SourceResult a = t.acquire(source(1), kRule, {}, nullptr, 0);
  t.detach(a.node);
  EXPECT_TRUE(all(t).empty());
  EXPECT_EQ(t.acquire(source(1), kRule, {}, nullptr, 0).outcome, SourceOutcome::full);  // still held by a state
  t.release(a.node, false, 100, false, 0);
  EXPECT_EQ(t.acquire(source(1), kRule, {}, nullptr, 0).outcome, SourceOutcome::made);
}

TEST(SourceTable, FlushForgetsAllAndStatesEndLater) {
  SourceTable t(4, 1);
  const SourceResult a = t.acquire(source(1), kRule, {}, nullptr, 0);
  const SourceResult b = t.acquire(source(2), kRule, {}, nullptr, 0);
  t.release(b.node, false, 100, false, 0);
  uint32_t flushed = 0;
  for (uint32_t i = 0; i < t.buckets(); ++i) flushed += t.flush_bucket(i);
  EXPECT_EQ(flushed, 2u);
  EXPECT_EQ(t.size(), 1u);
  t.release(a.node, true, 0, false, 0);
  EXPECT_EQ(t.size(), 0u);
  EXPECT_EQ(t.removals(), 2u);
}

// PF: n events in s seconds pass, one more within them does not; the count decays with the part that has gone by.
TEST(SourceTable, MetersConnections) {
  SourceTable t(4, 1);
  const SourceResult a = t.acquire(source(1), kRule, {0, 0, {2, 10}}, nullptr, 100);
  EXPECT_FALSE(t.connect(a.node, 100).too_fast);
  EXPECT_FALSE(t.connect(a.node, 100).too_fast);
  const auto third = t.connect(a.node, 100);
  EXPECT_TRUE(third.too_fast);
  EXPECT_EQ(third.connections, 3u);
  EXPECT_EQ(third.source.addr, Address::v4(1));
  EXPECT_EQ(all(t, 105)[0].rate, 1500u);
  EXPECT_EQ(all(t, 110)[0].rate, 0u);
  EXPECT_TRUE(t.connect(a.node, 101).too_fast);   // 2700 + 1000
  EXPECT_FALSE(t.connect(a.node, 111).too_fast);  // all is forgotten
}

TEST(SourceTable, AnUnusedNodeGoesAtOnceWhereThatIsAsked) {
  SourceTable t(4, 1);
  const SourceResult a = t.acquire(source(1), kRule, {}, nullptr, 0);
  t.release(a.node, false, 0, true, 0);
  EXPECT_EQ(t.size(), 0u);
}

TEST(SourceTable, FlushRequestsAreKeptForAWhile) {
  SourceTable t(4, 1);
  for (uint32_t i = 0; i < 70; ++i) t.post_flush({Af::inet, Address::v4(i), 0, false, kRule});
  std::vector<FlushRequest> out;
  uint64_t lost = 0;
  t.recent_flushes(0, out, lost);
  EXPECT_EQ(lost, 6u);
  ASSERT_EQ(out.size(), 64u);
  EXPECT_EQ(out[0].source, Address::v4(6));
  out.clear();
  t.recent_flushes(69, out, lost);
  EXPECT_EQ(lost, 0u);
  EXPECT_EQ(out.size(), 1u);
}

// Of all workers together exactly as many states as the limits allow, while nodes come and go.
TEST(SourceTable, LimitsHoldOverWorkers) {
  SourceTable t(64, 1);
  constexpr uint32_t kMost = 5;
  std::atomic<int> now_held[8]{};
  std::atomic<bool> broken{false};
  const auto work = [&](uint32_t seed) {
    Random random(seed);
    for (int i = 0; i < 20000; ++i) {
      const uint32_t host = random.below(8);
      const bool rule_ok = t.add_state(kRule, 12);
      const SourceResult r = t.acquire(source(host), kRule, {0, kMost, {}}, nullptr, 0);
      if (r.node != kNoSourceNode) {
        if (now_held[host].fetch_add(1) >= static_cast<int>(kMost)) broken = true;
        if (t.states_of(kRule) > 12 + 4) broken = true;
        now_held[host].fetch_sub(1);
        t.release(r.node, false, 0, random.below(2) == 0, 0);
      }
      if (rule_ok) t.sub_state(kRule);
      if (seed == 1 && i % 64 == 0) purge_all(t, 1);
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t n = 1; n <= 4; ++n) threads.emplace_back(work, n);
  for (auto& thread : threads) thread.join();
  purge_all(t, 1);
  EXPECT_FALSE(broken);
  EXPECT_EQ(t.size(), 0u);
  EXPECT_EQ(t.states_of(kRule), 0u);
  EXPECT_EQ(t.inserts(), t.removals());
}

}  // namespace
}  // namespace twinwall
