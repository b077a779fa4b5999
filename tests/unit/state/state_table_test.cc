#include "lib/state/state_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "lib/base/random.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

FlowKey tcp_flow(uint32_t a, uint16_t pa, uint32_t b = 0xcb007101, uint16_t pb = 80) {
  FlowKey k;
  k.af = Af::inet;
  k.proto = kProtoTcp;
  k.addr[0] = Address::v4(a);
  k.addr[1] = Address::v4(b);
  k.port[0] = pa;
  k.port[1] = pb;
  return k;
}

class Table : public testing::Test {
 protected:
  void make(StateTableOptions options) {
    options.secret[0] = 0x0123456789abcdef;
    options.secret[1] = 0xfedcba9876543210;
    table_ = std::make_unique<StateTable>(options);
  }
  State& fresh(const FlowKey& wire, const FlowKey& stack, uint64_t id, Direction dir = Direction::in,
               InterfaceId interface = kNoInterface) {
    const StateIndex index = table_->allocate(0);
    EXPECT_NE(index, kNoState);
    State& s = table_->state(index);
    s.wire = wire;
    s.stack = stack;
    s.id = id;
    s.creator = 9;
    s.direction = dir;
    s.interface = interface;
    return s;
  }
  InsertResult add(const FlowKey& wire, const FlowKey& stack, uint64_t id, Direction dir = Direction::in,
                   InterfaceId interface = kNoInterface) {
    return table_->insert(fresh(wire, stack, id, dir, interface));
  }
  State* find(const FlowKey& k, Side side, InterfaceId interface = 1) { return table_->find(k, side, interface); }

  std::unique_ptr<StateTable> table_;
};

TEST_F(Table, AStateIsFoundByEachOfItsNames) {
  make({.capacity = 100});
  State& s = fresh(tcp_flow(1, 10), tcp_flow(1, 10), 77);
  ASSERT_EQ(table_->insert(s).outcome, InsertOutcome::ok);
  EXPECT_FALSE(s.translated);
  EXPECT_TRUE(s.in_use);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire), &s);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::stack), &s);
  EXPECT_EQ(table_->find_by_id(77, 9), &s);
  EXPECT_EQ(find(tcp_flow(1, 11), Side::wire), nullptr);
  EXPECT_EQ(table_->find_by_id(77, 8), nullptr);
  EXPECT_EQ(table_->find_by_id(78, 9), nullptr);
  table_->prefetch(table_->hash_key(tcp_flow(1, 10), Side::wire));
  bool absent = false;
  EXPECT_EQ(StateTable::Glance(*table_).guess(table_->hash_key(tcp_flow(1, 10), Side::wire), absent), &table_->line(s));
  table_->remove(s);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire), nullptr);
  EXPECT_EQ(table_->find_by_id(77, 9), nullptr);
  EXPECT_EQ(table_->load(), 0);
}

TEST_F(Table, ATranslatedStateHasAKeyForEachSide) {
  make({.capacity = 100});
  State& s = fresh(tcp_flow(1, 10), tcp_flow(2, 20), 1);
  ASSERT_EQ(table_->insert(s).outcome, InsertOutcome::ok);
  EXPECT_TRUE(s.translated);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire), &s);
  EXPECT_EQ(find(tcp_flow(2, 20), Side::stack), &s);
  EXPECT_EQ(find(tcp_flow(2, 20), Side::wire), nullptr);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::stack), nullptr);
  EXPECT_TRUE(table_->key_in_use(tcp_flow(1, 10)));
  EXPECT_TRUE(table_->key_in_use(tcp_flow(2, 20)));
  EXPECT_FALSE(table_->key_in_use(tcp_flow(2, 21)));
}

TEST_F(Table, ABoundStateMatchesItsInterfaceAndGoesBeforeAFloatingOne) {
  make({.capacity = 100});
  State& bound = fresh(tcp_flow(1, 10), tcp_flow(1, 10), 1, Direction::in, 3);
  ASSERT_EQ(table_->insert(bound).outcome, InsertOutcome::ok);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire, 2), nullptr);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire, 3), &bound);
  State& floating = fresh(tcp_flow(1, 10), tcp_flow(1, 10), 2);
  ASSERT_EQ(table_->insert(floating).outcome, InsertOutcome::ok);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire, 2), &floating);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire, 3), &bound);
  table_->remove(bound);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire, 3), &floating);
}

TEST_F(Table, TheSameKeyBindingAndDirectionCollide) {
  make({.capacity = 100});
  State& first = fresh(tcp_flow(1, 10), tcp_flow(2, 20), 1);
  ASSERT_EQ(table_->insert(first).outcome, InsertOutcome::ok);
  for (const auto& [wire, stack] :
       {std::pair(tcp_flow(1, 10), tcp_flow(3, 30)), std::pair(tcp_flow(3, 30), tcp_flow(2, 20)),
        std::pair(tcp_flow(2, 20), tcp_flow(2, 20)), std::pair(tcp_flow(3, 30), tcp_flow(1, 10))}) {
    const InsertResult r = add(wire, stack, 2);
    EXPECT_EQ(r.outcome, InsertOutcome::exists);
    EXPECT_EQ(r.existing, &first);
  }
  EXPECT_EQ(find(tcp_flow(3, 30), Side::wire), nullptr);
  EXPECT_EQ(find(tcp_flow(3, 30), Side::stack), nullptr);
  EXPECT_EQ(table_->find_by_id(2, 9), nullptr);
  EXPECT_EQ(add(tcp_flow(1, 10), tcp_flow(1, 10), 2, Direction::out).outcome, InsertOutcome::ok);
  EXPECT_EQ(add(tcp_flow(1, 10), tcp_flow(1, 10), 3, Direction::in, 4).outcome, InsertOutcome::ok);
  const InsertResult id = add(tcp_flow(8, 8), tcp_flow(8, 8), 1);
  EXPECT_EQ(id.outcome, InsertOutcome::id_exists);
  EXPECT_EQ(id.existing, &first);
  EXPECT_EQ(table_->counters(0).collisions.get(), 5u);
}

TEST_F(Table, AFailedInsertionCanBeTriedAgain) {
  make({.capacity = 100});
  State& first = fresh(tcp_flow(1, 10), tcp_flow(1, 10), 1);
  ASSERT_EQ(table_->insert(first).outcome, InsertOutcome::ok);
  State& second = fresh(tcp_flow(1, 10), tcp_flow(1, 10), 2);
  ASSERT_EQ(table_->insert(second).outcome, InsertOutcome::exists);
  table_->remove(first);
  ASSERT_EQ(table_->insert(second).outcome, InsertOutcome::ok);
  EXPECT_EQ(find(tcp_flow(1, 10), Side::wire), &second);
}

TEST_F(Table, TheCapacityIsExactAndExhaustionOrdinary) {
  for (const uint32_t capacity : {1u, 5u, 64u, 65u, 1000u, 4097u}) {
    make({.capacity = capacity});
    std::set<StateIndex> got;
    for (uint32_t i = 0; i < capacity; ++i) got.insert(table_->allocate(0));
    EXPECT_EQ(got.size(), capacity);
    EXPECT_LT(*got.rbegin(), capacity);
    EXPECT_EQ(table_->allocate(0), kNoState);
    EXPECT_EQ(table_->counters(0).exhausted.get(), 1u);
    table_->discard(0, table_->state(0));
    EXPECT_EQ(table_->allocate(0), 0u);
    for (const StateIndex i : got) table_->discard(0, table_->state(i));
    for (uint32_t i = 0; i < capacity; ++i) ASSERT_NE(table_->allocate(0), kNoState);
  }
}

TEST_F(Table, WorkersShareTheCapacity) {
  make({.capacity = 10000, .workers = 4});
  std::set<StateIndex> got;
  for (int round = 0; round < 3; ++round) {
    uint32_t n = 0;
    for (uint8_t w = 0; w < 4; ++w) {
      for (uint32_t i = 0; i < 2000; ++i) {
        const StateIndex index = table_->allocate(w);
        ASSERT_NE(index, kNoState);
        ASSERT_TRUE(got.insert(index).second);
        EXPECT_EQ(table_->state(index).owner, w);
        ++n;
      }
    }
    // One takes all that the others do not hold back.
    while (true) {
      const StateIndex index = table_->allocate(0);
      if (index == kNoState) break;
      ASSERT_TRUE(got.insert(index).second);
      ++n;
    }
    EXPECT_GE(n, 10000u * 7 / 8);
    for (const StateIndex i : got) table_->discard(static_cast<uint8_t>((i + round) % 4), table_->state(i));
    got.clear();
  }
}

struct Grace {
  uint64_t next = 1;
  uint64_t over = 0;
  static uint64_t start(void* g) { return static_cast<Grace*>(g)->next++; }
  static bool is_over(void* g, uint64_t token) { return token <= static_cast<Grace*>(g)->over; }
};

TEST_F(Table, AReleasedStateWaitsForItsGracePeriod) {
  Grace grace;
  make({.capacity = 2, .grace_start = Grace::start, .grace_over = Grace::is_over, .grace_context = &grace});
  State& a = fresh(tcp_flow(1, 1), tcp_flow(1, 1), 1);
  ASSERT_EQ(table_->insert(a).outcome, InsertOutcome::ok);
  State& b = fresh(tcp_flow(2, 2), tcp_flow(2, 2), 2);
  ASSERT_EQ(table_->insert(b).outcome, InsertOutcome::ok);
  table_->remove(a);
  table_->release(0, a);
  EXPECT_EQ(table_->waiting(0), 1u);
  EXPECT_EQ(table_->reclaim(0), 0u);
  EXPECT_TRUE(a.wire == tcp_flow(1, 1));  // still to be read
  EXPECT_EQ(table_->allocate(0), kNoState);
  table_->remove(b);
  table_->release(0, b);  // after the first period began: waits for another
  grace.over = 1;
  EXPECT_EQ(table_->reclaim(0), 1u);
  EXPECT_EQ(table_->reclaim(0), 0u);
  EXPECT_EQ(table_->waiting(0), 1u);
  grace.over = 2;
  EXPECT_NE(table_->allocate(0), kNoState);
  EXPECT_NE(table_->allocate(0), kNoState);  // an allocation in need reclaims by itself
}

TEST_F(Table, MemoryOfTheCallerIsUsed) {
  const size_t need = StateTable::memory_needed(1000);
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  const std::unique_ptr<std::byte, Free> memory(static_cast<std::byte*>(std::aligned_alloc(64, need)));
  std::fill_n(memory.get(), need, std::byte{0xa5});  // nothing may depend on zeros
  make({.capacity = 1000, .memory = {memory.get(), need}});
  EXPECT_EQ(reinterpret_cast<std::byte*>(table_->states_array()), memory.get());
  State& s = fresh(tcp_flow(1, 1), tcp_flow(1, 1), 1);
  EXPECT_EQ(s.sync_queue, SyncQueue::none);
  ASSERT_EQ(table_->insert(s).outcome, InsertOutcome::ok);
  EXPECT_EQ(find(tcp_flow(1, 1), Side::wire), &s);
}

TEST_F(Table, AWalkSeesTheWorkersStatesAndBearsTheirRemoval) {
  make({.capacity = 500, .workers = 2});
  std::set<const State*> mine;
  for (uint16_t i = 0; i < 300; ++i) {
    const auto w = static_cast<uint8_t>(i % 2);
    State& s = table_->state(table_->allocate(w));
    s.wire = s.stack = tcp_flow(5, i);
    s.id = i;
    ASSERT_EQ(table_->insert(s).outcome, InsertOutcome::ok);
    EXPECT_EQ(table_->owned(table_->index_of(s), w), &s);
    EXPECT_EQ(table_->owned(table_->index_of(s), static_cast<uint8_t>(1 - w)), nullptr);
    if (w == 1) mine.insert(&s);
  }
  EXPECT_EQ(table_->states(), 300u);
  std::set<const State*> seen;
  for (StateIndex at = 0; at < table_->capacity();) {
    at = table_->walk(1, at, 33, [&](State& s) {
      seen.insert(&s);
      table_->remove(s);
      table_->release(1, s);
    });
  }
  EXPECT_EQ(seen, mine);
  EXPECT_EQ(table_->states(), 150u);
  EXPECT_EQ(table_->owned(kNoState, 1), nullptr);
}

TEST_F(Table, AFullTableOfAnyKindOfFlowFindsEveryState) {
  constexpr uint32_t kStates = 50000;
  make({.capacity = kStates});
  for (uint32_t i = 0; i < kStates; ++i)  // regular numbers, as real networks have them
    ASSERT_EQ(add(tcp_flow(0x0a000000 + i / 250, static_cast<uint16_t>(i)),
                  tcp_flow(0xc0000200, static_cast<uint16_t>(i), i), i)
                  .outcome,
              InsertOutcome::ok);
  EXPECT_EQ(table_->allocate(0), kNoState);
  EXPECT_LE(table_->load(), 0.6);
  EXPECT_GT(table_->load(), 0.25);
  for (uint32_t i = 0; i < kStates; ++i) {
    const State* s = find(tcp_flow(0x0a000000 + i / 250, static_cast<uint16_t>(i)), Side::wire);
    ASSERT_NE(s, nullptr);
    ASSERT_EQ(s->id, i);
    ASSERT_EQ(find(tcp_flow(0xc0000200, static_cast<uint16_t>(i), i), Side::stack), s);
    ASSERT_EQ(table_->find_by_id(i, 9), s);
  }
}

TEST_F(Table, HashesSpreadEvenlyAndDependOnTheSecret) {
  make({.capacity = 10});
  const std::unique_ptr<StateTable> first = std::move(table_);
  StateTableOptions other{.capacity = 10};
  other.secret[0] = 1;
  const StateTable second(other);
  constexpr int kKeys = 64 * 1024, kBins = 1024;
  std::vector<int> low(kBins), high(kBins);
  int equal = 0;
  for (int i = 0; i < kKeys; ++i) {
    const FlowKey k = tcp_flow(0x0a000000 + static_cast<uint32_t>(i) / 256, static_cast<uint16_t>(i % 256));
    const uint64_t h = first->hash_key(k, Side::wire);
    ++low[h % kBins];
    ++high[h >> 54];
    equal += h == second.hash_key(k, Side::wire) ? 1 : 0;
  }
  EXPECT_EQ(equal, 0);
  for (const auto& bins : {low, high}) {
    double chi = 0;
    for (const int n : bins) chi += std::pow(n - 64.0, 2) / 64.0;
    EXPECT_LT(chi, 1200.0);  // 1023 degrees of freedom: less than one in ten thousand goes beyond
  }
}

// The plainest possible table, to compare with.
struct KeyHash {
  size_t operator()(const FlowKey& k) const {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(&k), sizeof k});
  }
};

class Model {
 public:
  bool insert(State* s) {
    for (const State* o : all_) {
      if (o->id == s->id && o->creator == s->creator) return false;
    }
    for (const FlowKey* k : {&s->wire, &s->stack}) {
      const auto [from, to] = by_key_.equal_range(*k);
      if (std::any_of(from, to, [&](const auto& e) {
            return e.second->direction == s->direction && e.second->interface == s->interface;
          }))
        return false;
    }
    all_.push_back(s);
    by_key_.emplace(s->wire, s);
    if (!(s->stack == s->wire)) by_key_.emplace(s->stack, s);
    return true;
  }
  void remove(State* s) {
    std::erase(all_, s);
    std::erase_if(by_key_, [&](const auto& e) { return e.second == s; });
  }
  // Of those that may be used: are any bound, is any floating?
  std::tuple<bool, bool> find(const FlowKey& k, Side side, InterfaceId interface) const {
    bool bound = false, floating = false;
    const auto [from, to] = by_key_.equal_range(k);
    std::for_each(from, to, [&](const auto& e) {
      if (!((side == Side::wire ? e.second->wire : e.second->stack) == k)) return;
      bound |= e.second->interface == interface;
      floating |= e.second->interface == kNoInterface;
    });
    return {bound, floating};
  }
  std::vector<State*> all_;

 private:
  std::unordered_multimap<FlowKey, State*, KeyHash> by_key_;
};

TEST_F(Table, RandomUseAgreesWithAPlainTable) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    make({.capacity = 120});  // few keys and buckets: collisions and overflow all the time
    Random random(seed);
    Model model;
    const auto any_key = [&] { return tcp_flow(random.below(6), static_cast<uint16_t>(random.below(6))); };
    int inserted = 0, refused = 0, full = 0;
    for (int step = 0; step < 40000; ++step) {
      const uint32_t what = random.below(10);
      if (what < 4) {
        const StateIndex index = table_->allocate(0);
        if (index == kNoState) {
          ASSERT_EQ(model.all_.size(), 120u);
          ++full;
          continue;
        }
        State& s = table_->state(index);
        s.wire = any_key();
        s.stack = random.below(2) == 0 ? s.wire : any_key();
        s.id = random.below(300);
        s.direction = random.below(2) == 0 ? Direction::in : Direction::out;
        s.interface = static_cast<InterfaceId>(random.below(4));
        const InsertResult r = table_->insert(s);
        ASSERT_EQ(r.outcome == InsertOutcome::ok, model.insert(&s)) << step;
        if (r.outcome == InsertOutcome::ok) {
          ++inserted;
        } else {
          ++refused;
          ASSERT_NE(r.existing, nullptr);
          ASSERT_TRUE(std::find(model.all_.begin(), model.all_.end(), r.existing) != model.all_.end());
          table_->discard(0, s);
        }
      } else if (what < 6 && !model.all_.empty()) {
        State* s = model.all_[random.below(static_cast<uint32_t>(model.all_.size()))];
        table_->remove(*s);
        model.remove(s);
        table_->release(0, *s);
      } else {
        const FlowKey k = any_key();
        const Side side = random.below(2) == 0 ? Side::wire : Side::stack;
        const auto interface = static_cast<InterfaceId>(1 + random.below(4));
        const auto [bound, floating] = model.find(k, side, interface);
        const State* s = find(k, side, interface);
        ASSERT_EQ(s != nullptr, bound || floating) << step;
        if (s != nullptr) {
          ASSERT_TRUE((side == Side::wire ? s->wire : s->stack) == k);
          ASSERT_EQ(s->interface == interface, bound);
        }
      }
      ASSERT_EQ(table_->states(), model.all_.size());
    }
    EXPECT_GT(inserted, 3000);
    EXPECT_GT(refused, 3000);
    for (State* s : std::vector<State*>(model.all_)) {
      table_->remove(*s);
      table_->release(0, *s);
    }
    EXPECT_EQ(table_->load(), 0);
    EXPECT_EQ(table_->counters(0).inserts.get(), table_->counters(0).removals.get());
  }
}

}  // namespace
}  // namespace twinwall
