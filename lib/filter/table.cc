#include "lib/filter/table.h"

#include <algorithm>

namespace twinwall {

namespace {

bool before(const TableEntry& a, const TableEntry& b) { return a.prefix.addr < b.prefix.addr; }
bool same_network(const TableEntry& a, const TableEntry& b) { return a.prefix.addr == b.prefix.addr; }

}  // namespace

TableContent::TableContent(std::vector<TableEntry> entries, std::shared_ptr<HostSet> hosts)
    : entries_(std::move(entries)), hosts_(std::move(hosts)) {
  std::array<std::array<Level*, 129>, 2> by_length{};
  for (auto& family : levels_) family.reserve(129);  // so that the pointers hold
  for (TableEntry& e : entries_) {
    e.prefix.addr = e.prefix.network();
    const size_t family = e.prefix.af == Af::inet ? 0 : 1;
    Level*& level = by_length[family][e.prefix.length];
    if (level == nullptr) {
      level = &levels_[family].emplace_back();
      level->length = e.prefix.length;
    }
    level->networks.push_back(e);
  }
  for (auto& family : levels_) {
    std::sort(family.begin(), family.end(), [](const Level& a, const Level& b) { return a.length > b.length; });
    for (Level& level : family) {
      // The last word on a prefix holds.
      std::reverse(level.networks.begin(), level.networks.end());
      std::stable_sort(level.networks.begin(), level.networks.end(), before);
      level.networks.erase(std::unique(level.networks.begin(), level.networks.end(), same_network),
                           level.networks.end());
    }
  }
}

const TableEntry* TableContent::find(const Level& level, const Address& network) {
  const auto it = std::lower_bound(level.networks.begin(), level.networks.end(), network,
                                   [](const TableEntry& e, const Address& a) { return e.prefix.addr < a; });
  return it != level.networks.end() && it->prefix.addr == network ? &*it : nullptr;
}

const TableEntry* TableContent::find(const Prefix& prefix) const {
  for (const Level& level : levels_[prefix.af == Af::inet ? 0 : 1])
    if (level.length == prefix.length) return find(level, prefix.network());
  return nullptr;
}

bool TableContent::contains(Af af, const Address& address) const noexcept {
  if (hosts_ != nullptr && hosts_->contains(af, address)) return true;
  for (const Level& level : levels_[af == Af::inet ? 0 : 1])
    if (const TableEntry* const e = find(level, Prefix{af, address, level.length}.network())) return !e->negate;
  return false;
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

void Table::take_over(const Table& other) {
  if (addressed || in_pool) return;
  const auto& from = *other.content();
  set(std::make_shared<TableContent>(from.entries(), from.hosts() != nullptr ? from.hosts() : current_->hosts()));
}

}  // namespace twinwall
