// Fixed pools addressed by index, and hash chains over them: what a bounded table is built from.
//
// All memory is reserved at construction and touched only when used, so a generous limit costs nothing until it is
// needed. No initialisation: who takes a slot fills it. Owner: one thread. Indices out of range are the caller's error.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace twinwall {

using SlotIndex = uint32_t;
inline constexpr SlotIndex kNoSlot = 0xffffffff;

// T is copied like bytes and has a member `SlotIndex next`, which links free slots.
template <class T>
class SlotPool {
 public:
  // Storage rather than an array of T: constructors would touch every page.
  explicit SlotPool(uint32_t capacity)
      : storage_(std::make_unique_for_overwrite<std::byte[]>(sizeof(T) * capacity)),
        slots_(reinterpret_cast<T*>(storage_.get())),
        capacity_(capacity) {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
  }

  // kNoSlot when all are taken.
  [[nodiscard]] SlotIndex take() {
    SlotIndex i = kNoSlot;
    if (free_ != kNoSlot) {
      i = free_;
      free_ = slots_[i].next;
    } else if (fresh_ < capacity_) {
      i = fresh_++;
    } else {
      return kNoSlot;
    }
    ++used_;
    return i;
  }

  void give(SlotIndex i) {
    slots_[i].next = free_;
    free_ = i;
    --used_;
  }

  T& operator[](SlotIndex i) { return slots_[i]; }
  const T& operator[](SlotIndex i) const { return slots_[i]; }
  [[nodiscard]] uint32_t used() const { return used_; }
  [[nodiscard]] uint32_t left() const { return capacity_ - used_; }

 private:
  std::unique_ptr<std::byte[]> storage_;
  T* slots_;
  uint32_t capacity_;
  uint32_t used_ = 0;
  uint32_t fresh_ = 0;  // slots from here on were never taken
  SlotIndex free_ = kNoSlot;
};

// Buckets for slots of a pool whose T has `SlotIndex chain` and `uint64_t hash`.
class SlotTable {
 public:
  explicit SlotTable(uint32_t capacity)
      : mask_(std::bit_ceil(std::max<size_t>(capacity, 16)) - 1),
        buckets_(std::make_unique_for_overwrite<SlotIndex[]>(mask_ + 1)) {
    std::fill_n(buckets_.get(), mask_ + 1, kNoSlot);
  }

  template <class T, class Equal>
  [[nodiscard]] SlotIndex find(const SlotPool<T>& pool, uint64_t hash, Equal&& equal) const {
    SlotIndex i = buckets_[hash & mask_];
    while (i != kNoSlot && !(pool[i].hash == hash && equal(pool[i]))) i = pool[i].chain;
    return i;
  }

  template <class T>
  void insert(SlotPool<T>& pool, SlotIndex i, uint64_t hash) {
    pool[i].hash = hash;
    pool[i].chain = buckets_[hash & mask_];
    buckets_[hash & mask_] = i;
  }

  template <class T>
  void remove(SlotPool<T>& pool, SlotIndex i) {
    SlotIndex* link = &buckets_[pool[i].hash & mask_];
    while (*link != i) link = &pool[*link].chain;
    *link = pool[i].chain;
  }

 private:
  size_t mask_;
  std::unique_ptr<SlotIndex[]> buckets_;
};

}  // namespace twinwall
