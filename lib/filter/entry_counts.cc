#include "lib/filter/entry_counts.h"

#include <bit>

namespace twinwall {

EntryCounts::EntryCounts(size_t workers)
    : slots_(make_zeroed<Slot>(kNumbers)), taken_(make_zeroed<std::atomic<uint64_t>>(kWords)) {
  for (size_t w = 0; w < workers; ++w) workers_.push_back(make_zeroed<Counts>(kNumbers));
  taken_[0].store(1, std::memory_order_relaxed);
}

EntryCounts::Number EntryCounts::take(uint32_t now_s) noexcept {
  uint32_t left = left_.load(std::memory_order_relaxed);
  do {
    if (left == 0) {
      refused_.fetch_add(1, std::memory_order_relaxed);
      return kNone;
    }
  } while (!left_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed));
  // There is one now; others that take theirs at the same time may be in the way, but never for two rounds.
  uint32_t at = next_.load(std::memory_order_relaxed) % kNumbers;
  for (uint32_t looked = 0; looked <= 2 * kWords; ++looked) {
    std::atomic<uint64_t>& word = taken_[at / 64];
    uint64_t bits = word.load(std::memory_order_relaxed);
    for (;;) {
      const uint64_t free = ~bits & (~uint64_t{0} << at % 64);
      if (free == 0) break;
      const auto bit = static_cast<uint32_t>(std::countr_zero(free));
      if (!word.compare_exchange_weak(bits, bits | uint64_t{1} << bit, std::memory_order_relaxed)) continue;
      const Number n = at / 64 * 64 + bit;
      next_.store(n + 1, std::memory_order_relaxed);
      zero(n, now_s);
      return n;
    }
    at = (at / 64 + 1) % kWords * 64;
  }
  left_.fetch_add(1, std::memory_order_relaxed);
  refused_.fetch_add(1, std::memory_order_relaxed);
  return kNone;
}

void EntryCounts::give(Number n) noexcept {
  if (n == kNone) return;
  taken_[n / 64].fetch_and(~(uint64_t{1} << n % 64), std::memory_order_relaxed);
  left_.fetch_add(1, std::memory_order_relaxed);
}

void EntryCounts::zero(Number n, uint32_t now_s) noexcept {
  if (n == kNone) return;
  slots_[n].since.store(now_s, std::memory_order_relaxed);
  slots_[n].generation.fetch_add(1, std::memory_order_relaxed);
}

void EntryCounts::begin(Number n, uint32_t now_s) noexcept {
  if (n != kNone && cleared(n) == 0) slots_[n].since.store(now_s, std::memory_order_relaxed);
}

void EntryCounts::add(size_t worker, Number n, bool out, Fate fate, uint32_t length) noexcept {
  if (n == kNone || worker >= workers_.size()) return;
  Counts& c = workers_[worker][n];
  const uint32_t generation = slots_[n].generation.load(std::memory_order_relaxed);
  if (c.generation.load(std::memory_order_relaxed) != generation) {
    for (auto* const counters : {c.packets, c.bytes})
      for (size_t d = 0; d < 2; ++d)
        for (size_t f = 0; f < 3; ++f) counters[d][f].set(0);
    c.generation.store(generation, std::memory_order_release);
  }
  c.packets[out ? 1 : 0][fate].add();
  c.bytes[out ? 1 : 0][fate].add(length);
}

EntryCounts::Traffic EntryCounts::traffic(Number n) const noexcept {
  Traffic t;
  if (n == kNone) return t;
  const uint32_t generation = slots_[n].generation.load(std::memory_order_relaxed);
  for (const auto& worker : workers_) {
    const Counts& c = worker[n];
    if (c.generation.load(std::memory_order_acquire) != generation) continue;
    for (size_t d = 0; d < 2; ++d)
      for (size_t f = 0; f < 3; ++f) {
        t.packets[d][f] += c.packets[d][f].get();
        t.bytes[d][f] += c.bytes[d][f].get();
      }
  }
  return t;
}

}  // namespace twinwall
