// A digest over all states, in slices, so that two nodes can tell that they hold the same without walking their tables.
//
// A state belongs to one of 1024 slices by its identity. A slice's sum adds up one number a state, made of what must be
// the same on both nodes: identity, both keys, direction, and the levels of both ends *as last told*. Windows and
// sequence numbers are left out: the standby may have those a second late. A sum changes with each state told, taken or
// removed, by one addition, so it is always current and costs nothing where packets only move windows.
//
// Comparing. While changes are on their way the sums of a busy slice differ all the time. What tells a lost change from
// one under way is the *difference* of the sums: every change under way gives another one, while a state that one side
// lacks stays in it. So a slice is taken for different when the difference was the same at several looks in a row, and
// for equal once it was zero.
//
// The mixing is not keyed: ids are the node's own count, so that nobody aims at a collision; and who can write on the
// sync link has shorter ways. Pure.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/base/time.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

inline constexpr size_t kSlices = 1024;

[[nodiscard]] constexpr uint64_t slice_mix(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide m = static_cast<Wide>(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xc2b2ae3d27d4eb4full);
  return static_cast<uint64_t>(m) ^ static_cast<uint64_t>(m >> 64);
}
[[nodiscard]] constexpr uint16_t slice_of(uint64_t id, uint32_t creator) {
  return static_cast<uint16_t>(slice_mix(id, creator) >> 20 & (kSlices - 1));
}

// Of all slices' sums; two tables with equal slices have equal ones.
[[nodiscard]] uint64_t digest_of(std::span<const uint64_t, kSlices> sums);

// Of one peer's sums beside ours.
class SliceComparison {
 public:
  // Looks at a slice. `looks`: how often the same difference must be seen.
  void look(Time now, uint16_t slice, uint64_t ours, uint64_t theirs);
  // Everything is unknown again.
  void reset() { *this = {}; }
  // Up to `limit` slices that are to be made good now; each is not named again for a while, longer every time.
  std::vector<uint16_t> to_repair(Time now, size_t limit);

  [[nodiscard]] size_t differing() const { return differing_.count(); }  // for sure
  // Every slice was seen equal since reset().
  [[nodiscard]] bool proven() const { return equal_.all(); }
  // Of so many states in each slice, those in slices that were equal when last looked at.
  [[nodiscard]] uint64_t confirmed(std::span<const uint64_t, kSlices> states) const;
  [[nodiscard]] size_t seen_equal() const { return equal_.count(); }
  // Since when the oldest difference stands.
  [[nodiscard]] std::optional<Time> differs_since() const;

 private:
  struct Slice {
    uint64_t difference = 0;
    uint8_t looks = 0;
    uint8_t repairs = 0;
    Time since{};
    Time repair_at{};
  };
  std::array<Slice, kSlices> slices_{};
  std::bitset<kSlices> equal_, differing_;
};

}  // namespace twinwall::pfsync
