// Packets and bytes by entry of a table with `counters` (pf.conf(5) "TABLES", pfctl -vT show).
//
// An entry has a number for as long as it is in the table; each worker counts in an array of its own, at that number.
// A number that another entry gets begins at 0: it is of another generation then, and a worker that finds its counts
// to be of an older one begins them anew itself. Memory is taken when a number is first counted at. Bounded: an entry
// for which there is no number is not counted, as with PF when its memory is short.
//
// Threads: take() and the readers from any; add() of a worker from that worker; give(), zero() and begin() from the one
// that configures. A worker that still looks at a content that is gone may count a packet at a number that was given
// back; numbers are taken in turn, so that it is nobody's yet.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/counter.h"
#include "lib/base/zeroed.h"

namespace twinwall {

class EntryCounts {
 public:
  using Number = uint32_t;
  static constexpr Number kNone = 0;
  static constexpr uint32_t kNumbers = 131072;  // 0 among them
  enum Fate : uint8_t { block, match, pass };
  struct Traffic {
    uint64_t packets[2][3] = {}, bytes[2][3] = {};  // [0] in, [1] out; [Fate], of the rule
  };

  explicit EntryCounts(size_t workers);

  // For an entry that counts from `now_s` on; 0: that is still to be said (begin()). kNone: there are no more.
  [[nodiscard]] Number take(uint32_t now_s) noexcept;
  void give(Number n) noexcept;
  void zero(Number n, uint32_t now_s) noexcept;
  void begin(Number n, uint32_t now_s) noexcept;
  // A worker that was not told of at construction counts nothing.
  void add(size_t worker, Number n, bool out, Fate fate, uint32_t length) noexcept;

  [[nodiscard]] Traffic traffic(Number n) const noexcept;
  // Seconds: since when it counts.
  [[nodiscard]] uint32_t cleared(Number n) const noexcept { return slots_[n].since.load(std::memory_order_relaxed); }
  // Entries that had to go without a number.
  [[nodiscard]] uint64_t refused() const noexcept { return refused_.load(std::memory_order_relaxed); }

 private:
  struct Slot {
    std::atomic<uint32_t> generation, since;
  };
  struct Counts {
    std::atomic<uint32_t> generation;
    Counter packets[2][3], bytes[2][3];
  };
  static constexpr uint32_t kWords = kNumbers / 64;

  ZeroedArray<Slot> slots_;
  std::vector<ZeroedArray<Counts>> workers_;
  ZeroedArray<std::atomic<uint64_t>> taken_;  // a bit a number
  std::atomic<uint32_t> left_{kNumbers - 1};
  std::atomic<uint32_t> next_{1};  // where the search for a free one begins
  std::atomic<uint64_t> refused_{0};
};

}  // namespace twinwall
