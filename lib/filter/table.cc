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

// Networks are inside each other or apart, and one that holds others comes before them.
template <class Key>
void TableContent::Turns<Key>::build(const std::vector<TableEntry>& entries, std::span<const uint32_t> sorted) {
  struct Around {
    Key last;
    bool in;
  };
  std::vector<Around> around;
  std::vector<Key> turns;
  std::vector<uint8_t> is_in;  // from the turn on
  const auto becomes = [&](Key from, bool in) {
    if (!turns.empty() && turns.back() == from) {
      turns.pop_back();
      is_in.pop_back();
    }
    if ((is_in.empty() ? 0 : is_in.back()) == (in ? 1 : 0)) return;
    turns.push_back(from);
    is_in.push_back(in ? 1 : 0);
  };
  const auto leave = [&] {
    const Key last = around.back().last;
    around.pop_back();
    if (last != Key::max()) becomes(last.next(), !around.empty() && around.back().in);
  };
  for (const uint32_t i : sorted) {
    const TableEntry& e = entries[i];
    const Key begin = Key::of(e.prefix.addr);
    while (!around.empty() && around.back().last < begin) leave();
    around.push_back({begin.last(e.prefix.length), !e.negate});
    becomes(begin, !e.negate);
  }
  while (!around.empty()) leave();
  // A turn at the very first address is none.
  first = !turns.empty() && turns.front() == Key{};
  edges = RankTree<Key>(std::span<const Key>(turns).subspan(first ? 1 : 0));
}

const TableEntry* TableContent::find(const Prefix& prefix) const {
  const Prefix network{prefix.af, prefix.network(), prefix.length};
  const auto it = std::lower_bound(sorted_.begin(), sorted_.end(), network,
                                   [this](uint32_t i, const Prefix& p) { return comes_before(entries_[i].prefix, p); });
  return it != sorted_.end() && entries_[*it].prefix == network ? &entries_[*it] : nullptr;
}

bool TableContent::contains(Af af, const Address& address) const noexcept {
  if (hosts_ != nullptr && hosts_->contains(af, address)) return true;
  return af == Af::inet ? v4_.contains(address) : v6_.contains(address);
}

Table::Table(Table&& other) noexcept
    : persist(other.persist),
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

}  // namespace twinwall
