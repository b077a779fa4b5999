// Which `match` rules a connection met, as one small number that its state can keep.
//
// A ruleset has few combinations of `match` rules that apply together, so a state holds the number of its combination;
// PF counts every packet of a connection under the rules it was made by, those of `match` included (pf.conf(5)).
// Bounded: when every number is taken by living states, further combinations get 0 and are not counted.
// One worker's own; nothing is allocated after construction.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/filter/evaluate.h"

namespace twinwall {

class MatchSets {
 public:
  static constexpr uint16_t kCapacity = 1024;
  static constexpr size_t kMaxSlots = kMaxMatchRules + 1;  // and the anchor around the deciding rule

  MatchSets() : sets_(kCapacity + 1u), first_(kBuckets, 0) {}

  // The number of this combination, for one more state. 0: there is no room.
  [[nodiscard]] uint16_t acquire(std::span<const RuleSlot> slots) {
    if (slots.empty() || slots.size() > kMaxSlots) return 0;
    const size_t bucket = hash(slots) % kBuckets;
    for (uint16_t i = first_[bucket]; i != 0; i = sets_[i].next) {
      if (!same(sets_[i], slots)) continue;
      ++sets_[i].states;
      return i;
    }
    const uint16_t i = take_free();
    if (i == 0) return 0;
    Set& s = sets_[i];
    std::copy(slots.begin(), slots.end(), s.slots.begin());
    s.count = static_cast<uint8_t>(slots.size());
    s.states = 1;
    s.bucket = static_cast<uint16_t>(bucket);
    s.next = first_[bucket];
    first_[bucket] = i;
    return i;
  }

  // One state fewer has it; the last one gives the number back.
  void release(uint16_t number) {
    Set& s = sets_[number];
    if (number == 0 || s.states == 0 || --s.states != 0) return;
    uint16_t* link = &first_[s.bucket];
    while (*link != number) link = &sets_[*link].next;
    *link = s.next;
    s.count = 0;
    s.next = free_;
    free_ = number;
  }

  [[nodiscard]] std::span<const RuleSlot> slots(uint16_t number) const {
    return {sets_[number].slots.data(), sets_[number].count};
  }

 private:
  static constexpr size_t kBuckets = 2048;
  struct Set {
    std::array<RuleSlot, kMaxSlots> slots{};
    uint32_t states = 0;
    uint16_t next = 0;
    uint16_t bucket = 0;
    uint8_t count = 0;
  };

  static size_t hash(std::span<const RuleSlot> slots) {
    uint64_t h = slots.size();
    for (const RuleSlot s : slots) h = (h ^ s) * 0x9e3779b97f4a7c15ull;
    return static_cast<size_t>(h >> 32);
  }
  static bool same(const Set& s, std::span<const RuleSlot> slots) {
    return s.count == slots.size() && std::equal(slots.begin(), slots.end(), s.slots.begin());
  }
  uint16_t take_free() {
    if (free_ != 0) {
      const uint16_t i = free_;
      free_ = sets_[i].next;
      return i;
    }
    return used_ < kCapacity ? ++used_ : uint16_t{0};
  }

  std::vector<Set> sets_;  // [0] is "none"
  std::vector<uint16_t> first_;
  uint16_t free_ = 0;
  uint16_t used_ = 0;
};

}  // namespace twinwall
