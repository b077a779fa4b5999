#include "lib/filter/table.h"

#include <algorithm>
#include <span>
#include <tuple>

namespace twinwall {

namespace {

// The places of a family's entries in the order of their networks; of a prefix that stands there several times the last
// one, whose word holds.
template <class Key>
void add_sorted(const std::vector<TableEntry>& entries, Af af, std::vector<uint32_t>& out) {
  // Compared without a look at the entries, which lie about: a million are sorted in a tenth of a second.
  struct Place {
    Key begin;
    uint32_t index;
    uint8_t length;
    auto operator<=>(const Place& o) const {
      return std::tie(begin, length, index) <=> std::tie(o.begin, o.length, o.index);
    }
    bool operator==(const Place&) const = default;
  };
  std::vector<Place> places;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Prefix& p = entries[i].prefix;
    if (p.af == af) places.push_back({Key::of(p.addr), static_cast<uint32_t>(i), p.length});
  }
  if (!std::is_sorted(places.begin(), places.end())) std::sort(places.begin(), places.end());
  for (size_t i = 0; i < places.size(); ++i) {
    const bool again =
        i + 1 < places.size() && places[i].begin == places[i + 1].begin && places[i].length == places[i + 1].length;
    if (!again) out.push_back(places[i].index);
  }
}

}  // namespace

TableContent::TableContent(std::vector<TableEntry> entries, std::shared_ptr<HostSet> hosts)
    : entries_(std::move(entries)), hosts_(std::move(hosts)) {
  for (TableEntry& e : entries_) e.prefix.addr = e.prefix.network();
  sorted_.reserve(entries_.size());
  add_sorted<Key32>(entries_, Af::inet, sorted_);
  const size_t six = sorted_.size();
  add_sorted<Key128>(entries_, Af::inet6, sorted_);
  const std::span<const uint32_t> all = sorted_;
  v4_.build(entries_, all.first(six));
  v6_.build(entries_, all.subspan(six));
}

namespace {

// Where what `value_of` says of the deciding entry (by its place in `sorted`) changes, and to what; 0 where there is
// none. Networks are inside each other or apart, and one that holds others comes before them.
template <class Key, class Value, class ValueOf>
void find_turns(const std::vector<TableEntry>& entries, std::span<const uint32_t> sorted, ValueOf&& value_of,
                std::vector<Key>& turns, std::vector<Value>& values) {
  struct Around {
    Key last;
    Value value;
  };
  std::vector<Around> around;
  const auto becomes = [&](Key from, Value value) {
    if (!turns.empty() && turns.back() == from) {
      turns.pop_back();
      values.pop_back();
    }
    if ((values.empty() ? Value{} : values.back()) == value) return;
    turns.push_back(from);
    values.push_back(value);
  };
  const auto leave = [&] {
    const Key last = around.back().last;
    around.pop_back();
    if (last != Key::max()) becomes(last.next(), around.empty() ? Value{} : around.back().value);
  };
  for (size_t i = 0; i < sorted.size(); ++i) {
    const TableEntry& e = entries[sorted[i]];
    const Key begin = Key::of(e.prefix.addr);
    while (!around.empty() && around.back().last < begin) leave();
    const Value value = value_of(i, e);
    around.push_back({begin.last(e.prefix.length), value});
    becomes(begin, value);
  }
  while (!around.empty()) leave();
}

}  // namespace

template <class Key>
void TableContent::Turns<Key>::build(const std::vector<TableEntry>& entries, std::span<const uint32_t> sorted) {
  std::vector<Key> turns;
  std::vector<uint8_t> is_in;  // from the turn on
  find_turns(
      entries, sorted, [](size_t, const TableEntry& e) { return static_cast<uint8_t>(e.negate ? 0 : 1); }, turns,
      is_in);
  // A turn at the very first address is none.
  first = !turns.empty() && turns.front() == Key{};
  edges = RankTree<Key>(std::span<const Key>(turns).subspan(first ? 1 : 0));
}

// `begin`: where the family's begin in sorted_.
template <class Key>
void TableContent::Deciders<Key>::build(const std::vector<TableEntry>& entries, std::span<const uint32_t> sorted,
                                        size_t begin) {
  std::vector<Key> turns;
  find_turns(
      entries, sorted,
      [begin](size_t i, const TableEntry& e) {
        return static_cast<uint32_t>((begin + i + 1) * 2 + (e.negate ? 1 : 0));
      },
      turns, between);
  const bool first = !turns.empty() && turns.front() == Key{};
  if (!first) between.insert(between.begin(), 0);
  edges = RankTree<Key>(std::span<const Key>(turns).subspan(first ? 1 : 0));
}

// Where the entry of exactly this network is in sorted_; behind its end without one.
size_t TableContent::place(const Prefix& network) const {
  const auto it = std::lower_bound(sorted_.begin(), sorted_.end(), network,
                                   [this](uint32_t i, const Prefix& p) { return comes_before(entries_[i].prefix, p); });
  if (it == sorted_.end() || !(entries_[*it].prefix == network)) return sorted_.size();
  return static_cast<size_t>(it - sorted_.begin());
}

const TableEntry* TableContent::find(const Prefix& prefix) const {
  const size_t at = place({prefix.af, prefix.network(), prefix.length});
  return at != sorted_.size() ? &entries_[sorted_[at]] : nullptr;
}

void TableContent::count(std::shared_ptr<EntryCounts> counts, const TableContent* before) {
  counts_ = std::move(counts);
  numbers_.assign(sorted_.size(), EntryCounts::kNone);
  if (before != nullptr) {
    for (size_t i = 0; i < sorted_.size(); ++i) numbers_[i] = before->number_of(sorted(i));
    for (size_t i = 0; i < before->sorted_.size(); ++i)
      if (number_of(before->sorted(i)) != before->numbers_[i]) counts_->give(before->numbers_[i]);
    if (before->hosts_ != nullptr && before->hosts_ != hosts_)
      before->hosts_->each([&](Af af, const Address& a, uint32_t) {
        EntryCounts::Number n = EntryCounts::kNone;
        if (!before->hosts_->find_number(af, a, n)) return;
        if (number_of({{af, a, static_cast<uint8_t>(address_bits(af))}}) != n) counts_->give(n);
      });
  }
  for (size_t i = 0; i < sorted_.size(); ++i)
    if (numbers_[i] == EntryCounts::kNone) numbers_[i] = counts_->take(sorted(i).added);
  const auto six =
      std::find_if(sorted_.begin(), sorted_.end(), [this](uint32_t i) { return entries_[i].prefix.af == Af::inet6; });
  const auto fours = static_cast<size_t>(six - sorted_.begin());
  const std::span<const uint32_t> all = sorted_;
  decide_v4_.build(entries_, all.first(fours), 0);
  decide_v6_.build(entries_, all.subspan(fours), fours);
}

EntryCounts::Number TableContent::number_of(const TableEntry& e) const {
  if (counts_ == nullptr) return EntryCounts::kNone;
  const size_t at = place({e.prefix.af, e.prefix.network(), e.prefix.length});
  if (at != sorted_.size() && sorted(at).negate == e.negate) return numbers_[at];
  EntryCounts::Number n = EntryCounts::kNone;
  if (hosts_ != nullptr && !e.negate && e.prefix.length == address_bits(e.prefix.af))
    (void)hosts_->find_number(e.prefix.af, e.prefix.addr, n);
  return n;
}

EntryCounts::Number TableContent::decider(Af af, const Address& address, bool negate) const noexcept {
  EntryCounts::Number n = EntryCounts::kNone;
  if (hosts_ != nullptr && hosts_->find_number(af, address, n)) return negate ? EntryCounts::kNone : n;
  const uint32_t entry = af == Af::inet ? decide_v4_.of(address) : decide_v6_.of(address);
  return entry != 0 && (entry & 1) == (negate ? 1u : 0u) ? numbers_[entry / 2 - 1] : EntryCounts::kNone;
}

bool TableContent::contains(Af af, const Address& address) const noexcept {
  if (hosts_ != nullptr && hosts_->contains(af, address)) return true;
  return af == Af::inet ? v4_.contains(address) : v6_.contains(address);
}

Table::Table(Table&& other) noexcept
    : persist(other.persist),
      sync(other.sync),
      counters(other.counters),
      constant(other.constant),
      overload(other.overload),
      in_pool(other.in_pool),
      declared(other.declared),
      addressed(other.addressed),
      name_(std::move(other.name_)),
      building_(std::move(other.building_)) {
  set(std::move(other.current_));
}

void Table::seal(bool dynamic) {
  std::shared_ptr<HostSet> hosts = current_->hosts();
  if (dynamic && hosts == nullptr) hosts = std::make_shared<HostSet>(kRunTimeHosts);
  set(std::make_shared<TableContent>(entries(), std::move(hosts)));
  building_.clear();
}

void Table::take_over(const Table& other, bool whatever) {
  if ((addressed && !whatever) || in_pool) return;
  const std::shared_ptr<const TableContent>& from = other.content();
  const bool as_it_is = from->hosts() != nullptr || current_->hosts() == nullptr;
  set(as_it_is ? from : std::make_shared<const TableContent>(from->entries(), current_->hosts()));
}

void Table::keep_counts(const Table& other) {
  const std::shared_ptr<const TableContent>& from = other.content();
  if (counters && from->counts() != nullptr && from != current_) set_counted(from->counts(), from.get());
}

void Table::begin_counts(size_t workers) {
  if (counters && current_->counts() == nullptr) set_counted(std::make_shared<EntryCounts>(workers), nullptr);
}

// What it holds now, in a content of its own.
void Table::set_counted(const std::shared_ptr<EntryCounts>& counts, const TableContent* before) {
  std::shared_ptr<HostSet> hosts;
  if (const HostSet* const uncounted = current_->hosts().get(); uncounted != nullptr) {
    hosts = std::make_shared<HostSet>(uncounted->capacity(), counts);
    uncounted->each([&](Af af, const Address& a, uint32_t added) { (void)hosts->add(af, a, added); });
  }
  auto next = std::make_shared<TableContent>(current_->entries(), std::move(hosts));
  next->count(counts, before);
  set(std::move(next));
}

void Table::note_begin(uint32_t now_s) {
  current_->each_number([&](EntryCounts::Number n) { current_->counts()->begin(n, now_s); });
}

void Table::zero_entries(uint32_t now_s) {
  current_->each_number([&](EntryCounts::Number n) { current_->counts()->zero(n, now_s); });
}

}  // namespace twinwall
