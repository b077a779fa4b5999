// A PF table: addresses and prefixes of both families, some negated, looked up by the longest match (pf.conf(5)
// "TABLES").
//
// What it holds at one time is a TableContent: prefixes that never change, and hosts that are added one at a time
// (`overload`, the operator). A change of prefixes makes another content and swaps the pointer, so that a packet sees
// the old one or the new one. Threads: contains() from any; everything else is for the one that configures.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/counter.h"
#include "lib/filter/entry_counts.h"
#include "lib/filter/host_set.h"
#include "lib/filter/rank_tree.h"
#include "lib/net/address.h"

namespace twinwall {

// Where workers count the evaluations of a table; 0: they are counted, but nobody looks.
using TableSlot = uint16_t;
inline constexpr TableSlot kNoTableSlot = 0;
inline constexpr size_t kMaxTableSlots = 4096;

// One worker's counts of one table.
struct TableCounters {
  Counter match, nomatch;
};

struct TableEntry {
  Prefix prefix;
  bool negate = false;
  uint32_t added = 0;  // seconds, when at run time; 0: of the configuration
  friend bool operator==(const TableEntry& a, const TableEntry& b) {
    return a.prefix == b.prefix && a.negate == b.negate;
  }
};

class TableContent {
 public:
  // In the order in which they are shown; host bits are masked, and the last word on a prefix holds. `hosts` may be
  // null: then the table takes none one at a time.
  TableContent(std::vector<TableEntry> entries, std::shared_ptr<HostSet> hosts);

  [[nodiscard]] bool contains(Af af, const Address& address) const noexcept;
  // The entry of exactly this prefix; null without one.
  [[nodiscard]] const TableEntry* find(const Prefix& prefix) const;
  [[nodiscard]] const std::vector<TableEntry>& entries() const { return entries_; }
  // Each prefix once, with the word that holds: fn(const TableEntry&), in the order of comes_before().
  template <class Fn>
  void each_sorted(Fn&& fn) const {
    for (const uint32_t i : sorted_) fn(entries_[i]);
  }
  [[nodiscard]] size_t sorted_size() const { return sorted_.size(); }
  [[nodiscard]] const TableEntry& sorted(size_t i) const { return entries_[sorted_[i]]; }
  // By family, network and length.
  [[nodiscard]] static bool comes_before(const Prefix& a, const Prefix& b) {
    if (a.af != b.af) return a.af < b.af;
    if (a.addr != b.addr) return a.addr < b.addr;
    return a.length < b.length;
  }
  // Memory, without the hosts.
  [[nodiscard]] size_t bytes() const {
    return entries_.size() * sizeof(TableEntry) + sorted_.size() * sizeof(uint32_t) + v4_.edges.bytes() +
           v6_.edges.bytes() + numbers_.size() * sizeof(EntryCounts::Number) + decide_v4_.bytes() + decide_v6_.bytes();
  }
  [[nodiscard]] const std::shared_ptr<HostSet>& hosts() const { return hosts_; }
  // Before anybody looks: its entries are counted from now on. Those that `before` (null: nothing was) held too keep
  // their counts, what it alone held gives its numbers back.
  void count(std::shared_ptr<EntryCounts> counts, const TableContent* before);
  // Null when its entries are not counted.
  [[nodiscard]] const std::shared_ptr<EntryCounts>& counts() const { return counts_; }
  // Of an entry or a host; kNone when it is not counted.
  [[nodiscard]] EntryCounts::Number number_of(const TableEntry& entry) const;
  // fn(EntryCounts::Number), of all.
  template <class Fn>
  void each_number(Fn&& fn) const {
    for (const EntryCounts::Number n : numbers_) fn(n);
    if (hosts_ == nullptr || counts_ == nullptr) return;
    hosts_->each([&](Af af, const Address& a, uint32_t) {
      EntryCounts::Number n = EntryCounts::kNone;
      if (hosts_->find_number(af, a, n)) fn(n);
    });
  }
  // The number of the entry that decides about the address, if its sign is `negate`; else kNone.
  [[nodiscard]] EntryCounts::Number decider(Af af, const Address& address, bool negate) const noexcept;
  [[nodiscard]] size_t size() const { return entries_.size() + (hosts_ != nullptr ? hosts_->size() : 0); }

 private:
  // Where addresses that are in the table and such that are not take turns. What the prefixes make of each other, the
  // longest deciding, is worked out beforehand: a look-up only counts the turns.
  template <class Key>
  struct Turns {
    RankTree<Key> edges;
    bool first = false;  // whether what is below the first edge is in
    // `sorted`: of the key's family, as in TableContent.
    void build(const std::vector<TableEntry>& entries, std::span<const uint32_t> sorted);
    [[nodiscard]] bool contains(const Address& a) const noexcept {
      return ((edges.rank(Key::of(a)) & 1) != 0) != first;
    }
  };

  // Which entry decides, of tables that count by entry: its place in sorted_ plus one, times two, plus one if negated.
  template <class Key>
  struct Deciders {
    RankTree<Key> edges;
    std::vector<uint32_t> between;  // them: [0] is below the first
    void build(const std::vector<TableEntry>& entries, std::span<const uint32_t> sorted, size_t begin);
    [[nodiscard]] size_t bytes() const { return edges.bytes() + between.size() * sizeof(uint32_t); }
    [[nodiscard]] uint32_t of(const Address& a) const noexcept { return between[edges.rank(Key::of(a))]; }
  };
  [[nodiscard]] size_t place(const Prefix& network) const;

  std::vector<TableEntry> entries_;
  std::vector<uint32_t> sorted_;  // into entries_
  Turns<Key32> v4_;
  Turns<Key128> v6_;
  std::shared_ptr<HostSet> hosts_;
  std::shared_ptr<EntryCounts> counts_;
  std::vector<EntryCounts::Number> numbers_;  // by place in sorted_
  Deciders<Key32> decide_v4_;
  Deciders<Key128> decide_v6_;
};

class Table {
 public:
  static constexpr uint32_t kRunTimeHosts = 65536;

  explicit Table(std::string name) : name_(std::move(name)) { set(std::make_shared<TableContent>(Entries{}, nullptr)); }
  // Before anybody looks.
  Table(Table&& other) noexcept;
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  // Before the table is used: the ruleset's entries.
  void add_entry(const TableEntry& entry) { building_.push_back(entry); }
  // Makes its content of them, with room for hosts added at run time when `dynamic`.
  void seal(bool dynamic);

  [[nodiscard]] bool contains(Af af, const Address& address) const noexcept {
    return content_.load(std::memory_order_acquire)->contains(af, address);
  }
  // Null when hosts cannot be added one at a time. Any thread.
  [[nodiscard]] HostSet* hosts() const noexcept { return content_.load(std::memory_order_acquire)->hosts().get(); }

  [[nodiscard]] const std::shared_ptr<const TableContent>& content() const { return current_; }
  // The new content holds from now on. The old one must be kept until no thread can be looking at it any more.
  [[nodiscard]] std::shared_ptr<const TableContent> exchange(std::shared_ptr<TableContent> next) {
    if (current_->counts() != nullptr) next->count(current_->counts(), current_.get());
    std::shared_ptr<const TableContent> old = std::move(current_);
    set(std::move(next));
    return old;
  }
  // A table of the previous ruleset with the same name: what it held lives on in this one where that was declared
  // without addresses (pf.conf(5)); with `whatever` also where it has some.
  void take_over(const Table& other, bool whatever = false);

  // After that, and only if this one takes the other's place: entries that both have keep their counts.
  void keep_counts(const Table& other);
  // Of a table with `counters`, before rules use it: its entries are counted, by so many workers.
  void begin_counts(size_t workers);
  // Entries that have counted since they do not know when have done so since now.
  void note_begin(uint32_t now_s);
  void zero_entries(uint32_t now_s);
  // A packet of a rule that names the table, negated or not, by the entry that made it match. That worker's thread.
  void count(size_t worker, Af af, const Address& address, bool negated, bool out, EntryCounts::Fate fate,
             uint32_t length) const noexcept {
    const TableContent& content = *content_.load(std::memory_order_acquire);
    if (content.counts() == nullptr) return;
    content.counts()->add(worker, content.decider(af, address, negated), out, fate, length);
  }

  [[nodiscard]] const std::string& name() const { return name_; }
  // Before seal(): those given so far.
  [[nodiscard]] const std::vector<TableEntry>& entries() const {
    return building_.empty() ? current_->entries() : building_;
  }

  TableSlot slot = kNoTableSlot;  // given before the table is used
  bool persist = false;
  bool sync = false;      // the peer's is made equal
  bool counters = false;  // by entry
  bool constant = false;
  bool overload = false;   // rules add hosts to it
  bool in_pool = false;    // rules translate or route to its addresses: it changes by a reload only
  bool declared = false;   // else only referred to: it matches nothing until it is made
  bool addressed = false;  // declared with addresses, be they none: a reload replaces what it holds

 private:
  using Entries = std::vector<TableEntry>;
  void set_counted(const std::shared_ptr<EntryCounts>& counts, const TableContent* before);
  void set(std::shared_ptr<const TableContent> content) {
    content_.store(content.get(), std::memory_order_release);
    current_ = std::move(content);
  }

  std::string name_;
  Entries building_;
  std::atomic<const TableContent*> content_{nullptr};
  std::shared_ptr<const TableContent> current_;
};

}  // namespace twinwall
