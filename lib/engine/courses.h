// The ways that packets of established connections take, as small numbers: from the rules of both hooks to the next
// hop.
//
// Very many connections share few ways, so each has but the number of its own. Bounded: while all numbers are taken by
// living connections further ones have none, and look at both their states for every packet.
// One worker's own; nothing is allocated after construction.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "lib/filter/rule.h"
#include "lib/net/address.h"

namespace twinwall {

// What the packets have in common that one state lets in and another out.
struct Course {
  uint32_t way = 0;  // State::way of the first
  RuleSlot in_rule = kDefaultRuleSlot, out_rule = kDefaultRuleSlot;
  uint16_t in_matches = 0, out_matches = 0;  // State::match_set
  InterfaceId bound = kNoInterface;          // the only one that they may leave by
  Af af = Af::none;

  friend bool operator==(const Course&, const Course&) = default;
};

class Courses {
 public:
  static constexpr uint16_t kMost = 0xffff;

  // From the kernel as pages of zeros: what nobody uses costs nothing.
  Courses() : all_(static_cast<Entry*>(std::calloc(size_t{kMost} + 1, sizeof(Entry)))) {
    if (all_ == nullptr) throw std::bad_alloc();
  }

  // The number of this one, for one more state. 0: there is no room.
  [[nodiscard]] uint16_t acquire(const Course& course) {
    uint16_t* const first = &first_of(course);
    for (uint16_t i = *first; i != 0; i = all_[i].next) {
      if (!(all_[i].course == course)) continue;
      ++all_[i].states;
      return i;
    }
    const uint16_t i = take_free();
    if (i == 0) return 0;
    all_[i] = {course, 1, *first, all_[i].first};
    *first = i;
    return i;
  }

  // One state fewer has it; the last one gives the number back. Returns whether it was.
  bool release(uint16_t number) {
    if (number == 0 || --all_[number].states != 0) return false;
    uint16_t* link = &first_of(all_[number].course);
    while (*link != number) link = &all_[*link].next;
    *link = all_[number].next;
    all_[number].next = free_;
    free_ = number;
    return true;
  }

  [[nodiscard]] const Course& at(uint16_t number) const { return all_[number].course; }

 private:
  struct Entry {
    Course course;
    uint32_t states = 0;
    uint16_t next = 0;   // in its bucket or among the free
    uint16_t first = 0;  // of the bucket with this entry's number
  };
  struct Free {
    void operator()(Entry* p) const { std::free(p); }
  };

  uint16_t& first_of(const Course& c) {
    uint64_t h = uint64_t{c.way} << 32 | c.in_rule;
    const uint64_t more = uint64_t{c.out_matches} << 32 | uint64_t{c.in_matches} << 16 | c.bound;
    for (const uint64_t part : {uint64_t{c.out_rule}, more}) h = (h ^ part) * 0x9e3779b97f4a7c15ull;
    return all_[h >> 48].first;
  }
  uint16_t take_free() {
    if (free_ != 0) {
      const uint16_t i = free_;
      free_ = all_[i].next;
      return i;
    }
    return used_ < kMost ? ++used_ : uint16_t{0};
  }

  std::unique_ptr<Entry[], Free> all_;  // [0] is nobody's
  uint16_t free_ = 0, used_ = 0;
};

}  // namespace twinwall
