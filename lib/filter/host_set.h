// Single addresses added one at a time while others look: open addressing, a state word a slot, of bounded size.
//
// Threads: contains() and add() from any at once, neither waits; remove() and clear() from one at a time. An addition
// that finds no room is refused and the caller counts it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "lib/filter/entry_counts.h"
#include "lib/net/address.h"

namespace twinwall {

class HostSet {
 public:
  // With `counts` each host has a number there for as long as it is in.
  explicit HostSet(uint32_t capacity, std::shared_ptr<EntryCounts> counts = nullptr);

  enum class Added : uint8_t { added, present, full };
  Added add(Af af, const Address& address, uint32_t now_s) noexcept;
  [[nodiscard]] bool contains(Af af, const Address& address) const noexcept;
  // False: it is not in. `out`: the host's number, if it has one.
  [[nodiscard]] bool find_number(Af af, const Address& address, EntryCounts::Number& out) const noexcept;
  bool remove(Af af, const Address& address) noexcept;
  void clear() noexcept;
  [[nodiscard]] uint32_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint32_t capacity() const noexcept { return capacity_; }
  // fn(Af, const Address&, uint32_t added_s)
  template <class Fn>
  void each(Fn&& fn) const {
    for (uint32_t i = 0; i <= mask_; ++i)
      if (slots_[i].state.load(std::memory_order_acquire) == kFull)
        fn(slots_[i].af, slots_[i].address, slots_[i].added);
  }

 private:
  static constexpr uint32_t kEmpty = 0, kWriting = 1, kFull = 2, kGone = 3;
  struct Slot {
    std::atomic<uint32_t> state{kEmpty};
    uint32_t added = 0;
    Address address;
    Af af = Af::none;
  };
  [[nodiscard]] static size_t hash(Af af, const Address& address) noexcept;
  [[nodiscard]] Slot* find(Af af, const Address& address) const noexcept;

  uint32_t capacity_;
  uint32_t mask_;
  std::unique_ptr<Slot[]> slots_;
  std::atomic<uint32_t> size_{0};
  std::shared_ptr<EntryCounts> counts_;
  std::unique_ptr<std::atomic<EntryCounts::Number>[]> numbers_;  // by slot; null without counts
};

}  // namespace twinwall
