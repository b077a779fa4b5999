// Several workers on one table. Built with -Db_sanitize=thread this also shows that nothing races.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <barrier>
#include <memory>
#include <thread>
#include <vector>

#include "lib/base/random.h"
#include "lib/net/headers.h"
#include "lib/state/state_table.h"

namespace twinwall {
namespace {

constexpr unsigned kMaxThreads = 4;

// Grace periods as the workers' quiescent points make them: a token is over when every thread has reported since.
class Quiescence {
 public:
  explicit Quiescence(unsigned threads) : threads_(threads) {}
  void report(unsigned thread) { seen_[thread].store(now_.load()); }
  void leave(unsigned thread) { seen_[thread].store(UINT64_MAX); }
  static uint64_t start(void* self) { return ++static_cast<Quiescence*>(self)->now_; }
  static bool over(void* self, uint64_t token) {
    auto* q = static_cast<Quiescence*>(self);
    for (unsigned t = 0; t < q->threads_; ++t)
      if (q->seen_[t].load() < token) return false;
    return true;
  }

 private:
  unsigned threads_;
  std::atomic<uint64_t> now_{0};
  std::array<std::atomic<uint64_t>, kMaxThreads> seen_{};
};

FlowKey udp_flow(uint32_t n) {
  FlowKey k;
  k.af = Af::inet;
  k.proto = kProtoUdp;
  k.addr[0] = Address::v4(0x0a000000 + n);
  k.port[0] = static_cast<uint16_t>(n);
  return k;
}

StateTableOptions options(uint32_t capacity, unsigned threads, Quiescence& q) {
  StateTableOptions o;
  o.capacity = capacity;
  o.workers = static_cast<uint8_t>(threads);
  o.secret[0] = 1;
  o.secret[1] = 2;
  o.grace_start = Quiescence::start;
  o.grace_over = Quiescence::over;
  o.grace_context = &q;
  return o;
}

// One key after the other is inserted by all threads at the same moment.
TEST(StateTableThreads, OfSimultaneousInsertionsExactlyOneWins) {
  constexpr unsigned kThreads = 3;
  constexpr uint32_t kRounds = 3000;
  Quiescence q(kThreads);
  StateTable table(options(kRounds * kThreads + 1000, kThreads, q));
  std::vector<std::atomic<int>> won(kRounds);
  std::atomic<int> lost{0};
  std::barrier start(kThreads);
  const auto work = [&](unsigned thread) {
    for (uint32_t round = 0; round < kRounds; ++round) {
      State& s = table.state(table.allocate(static_cast<uint8_t>(thread)));
      // Equal on one side or on both; the other side's keys differ.
      s.wire = udp_flow(round);
      s.stack = round % 2 == 0 ? udp_flow(round) : udp_flow(1'000'000 + round * kThreads + thread);
      s.id = round % 3 == 0 ? round : round * kThreads + thread + kRounds;
      s.direction = Direction::in;
      start.arrive_and_wait();
      if (table.insert(s).outcome == InsertOutcome::ok) {
        ++won[round];
      } else {
        ++lost;
        table.discard(static_cast<uint8_t>(thread), s);
      }
      q.report(thread);
    }
    q.leave(thread);
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (auto& t : threads) t.join();
  for (uint32_t round = 0; round < kRounds; ++round) {
    ASSERT_EQ(won[round], 1) << round;
    ASSERT_NE(table.find(udp_flow(round), Side::wire, 1), nullptr);
  }
  EXPECT_EQ(lost, static_cast<int>(kRounds * (kThreads - 1)));
  EXPECT_EQ(table.states(), kRounds);
}

// Everything at once: own states come and go, keys are contested, and whatever a look-up finds is what it claims to be.
TEST(StateTableThreads, LookUpsAreRightWhileStatesComeAndGo) {
  constexpr unsigned kThreads = 4;
  constexpr uint32_t kKeys = 400, kSteps = 40000;
  Quiescence q(kThreads);
  StateTable table(options(4000, kThreads, q));
  std::barrier start(kThreads);
  std::vector<std::atomic<int>> holders(kKeys);
  std::atomic<int> wrong{0};
  std::atomic<uint64_t> found{0}, refused{0}, exhausted{0};
  const auto work = [&](unsigned thread) {
    const auto worker = static_cast<uint8_t>(thread);
    Random random(thread + 1);
    std::vector<State*> mine;
    start.arrive_and_wait();
    for (uint32_t step = 0; step < kSteps; ++step) {
      const uint32_t n = random.below(kKeys);
      switch (random.below(4)) {
        case 0: {
          const StateIndex index = table.allocate(worker);
          if (index == kNoState) {
            ++exhausted;
            q.report(thread);
            std::this_thread::yield();  // the others must get past their quiescent points
            break;
          }
          State& s = table.state(index);
          s.wire = udp_flow(n);
          s.stack = random.below(2) == 0 ? udp_flow(n) : udp_flow(n + 1'000'000);
          s.id = n;
          s.direction = Direction::out;
          if (table.insert(s).outcome == InsertOutcome::ok) {
            if (holders[n].fetch_add(1) != 0) ++wrong;
            mine.push_back(&s);
          } else {
            ++refused;
            table.discard(worker, s);
          }
          break;
        }
        case 1:
          if (!mine.empty()) {
            const size_t i = random.below(static_cast<uint32_t>(mine.size()));
            State& s = *mine[i];
            mine[i] = mine.back();
            mine.pop_back();
            holders[static_cast<size_t>(s.id)].fetch_sub(1);
            table.remove(s);
            table.release(worker, s);
          }
          break;
        case 2:
          if (const State* s = table.find(udp_flow(n), Side::wire, 1)) {
            ++found;
            if (!(s->wire == udp_flow(n)) || s->id != n || s->owner >= kThreads) ++wrong;
          }
          break;
        case 3:
          if (const State* s = table.find_by_id(n, 0)) {
            ++found;
            if (!(s->wire == udp_flow(n))) ++wrong;
          }
          break;
      }
      if (step % 16 == 0) {
        q.report(thread);  // holds no state of others here
        table.reclaim(worker);
        std::this_thread::yield();  // fewer processors than threads: they must meet all the same
      }
    }
    for (State* s : mine) {
      if (table.owned(table.index_of(*s), worker) != s) ++wrong;
      holders[static_cast<size_t>(s->id)].fetch_sub(1);
      table.remove(*s);
      table.release(worker, *s);
    }
    q.leave(thread);
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(found, 1000u);
  EXPECT_GT(refused, 100u);
  EXPECT_EQ(table.states(), 0u);
  EXPECT_EQ(table.load(), 0);
  // Nothing leaked.
  for (unsigned t = 0; t < kThreads; ++t)
    while (table.waiting(static_cast<uint8_t>(t)) != 0) table.reclaim(static_cast<uint8_t>(t));
  uint32_t n = 0;
  for (unsigned t = 0; t < kThreads; ++t)
    while (table.allocate(static_cast<uint8_t>(t)) != kNoState) ++n;
  EXPECT_EQ(n, table.capacity());
}

}  // namespace
}  // namespace twinwall
