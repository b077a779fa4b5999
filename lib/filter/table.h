// A PF table: addresses and prefixes of both families, some negated, looked up by the longest match (pf.conf(5)
// "TABLES").
//
// Two parts. What the ruleset says is fixed once the table is sealed. Hosts added at run time (`overload`, the
// operator) go to a set of bounded size beside it. Lookups and additions may come from any thread at once and never
// wait; remove and clear are for one thread at a time. An addition that finds no room is refused and the caller counts
// it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/net/address.h"

namespace twinwall {

struct TableEntry {
  Prefix prefix;
  bool negate = false;
  friend bool operator==(const TableEntry&, const TableEntry&) = default;
};

// Hosts added one at a time while others look: open addressing, a state word a slot.
class HostSet {
 public:
  explicit HostSet(uint32_t capacity);

  enum class Added : uint8_t { added, present, full };
  Added add(Af af, const Address& address, uint32_t now_s) noexcept;
  [[nodiscard]] bool contains(Af af, const Address& address) const noexcept;
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
};

class Table {
 public:
  static constexpr uint32_t kRunTimeHosts = 65536;

  explicit Table(std::string name) : name_(std::move(name)) {}

  // Before the table is used: the ruleset's entries. A prefix given again replaces the sign it had.
  void add_entry(const TableEntry& entry);
  // Sorts the entries for lookup, and makes room for hosts added at run time when `dynamic`.
  void seal(bool dynamic);

  [[nodiscard]] bool contains(Af af, const Address& address) const noexcept;
  // Null when the table takes no additions at run time.
  [[nodiscard]] HostSet* hosts() const noexcept { return hosts_.get(); }
  // A table of the previous ruleset with the same name: its run-time hosts live on in this one.
  void take_hosts_of(const Table& other);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::vector<TableEntry>& entries() const { return entries_; }

  bool persist = false;
  bool constant = false;
  bool counters = false;
  bool overload = false;  // rules add hosts to it
  bool declared = false;  // else only referred to: it matches nothing until it is made

 private:
  // One prefix length: the networks of that length, sorted.
  struct Level {
    uint8_t length = 0;
    std::vector<TableEntry> networks;
  };
  std::string name_;
  std::vector<TableEntry> entries_;
  std::array<std::vector<Level>, 2> levels_;  // [0] IPv4, [1] IPv6; the longest first
  std::shared_ptr<HostSet> hosts_;
};

}  // namespace twinwall
