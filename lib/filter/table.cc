#include "lib/filter/table.h"

#include <algorithm>

#include "lib/base/bytes.h"

namespace twinwall {

namespace {

// A power of two that leaves half of the slots empty, so that probing ends soon.
uint32_t slots_for(uint32_t capacity) {
  uint32_t n = 16;
  while (n < capacity * 2) n *= 2;
  return n;
}

Address network_of(Af af, const Address& address, uint8_t length) { return Prefix{af, address, length}.network(); }

}  // namespace

HostSet::HostSet(uint32_t capacity)
    : capacity_(capacity), mask_(slots_for(capacity) - 1), slots_(std::make_unique<Slot[]>(mask_ + size_t{1})) {}

size_t HostSet::hash(Af af, const Address& address) noexcept {
  const auto high = load_raw<uint64_t>(address.bytes.data()), low = load_raw<uint64_t>(address.bytes.data() + 8);
  uint64_t h = (high * 0x9e3779b97f4a7c15ull) ^ low ^ static_cast<uint64_t>(af);
  h = (h ^ (h >> 31)) * 0xff51afd7ed558ccdull;
  return static_cast<size_t>(h ^ (h >> 32));
}

HostSet::Slot* HostSet::find(Af af, const Address& address) const noexcept {
  for (size_t i = hash(af, address), n = 0; n <= mask_; ++i, ++n) {
    Slot& s = slots_[i & mask_];
    const uint32_t state = s.state.load(std::memory_order_acquire);
    if (state == kEmpty) return nullptr;
    if (state == kFull && s.af == af && s.address == address) return &s;
  }
  return nullptr;
}

bool HostSet::contains(Af af, const Address& address) const noexcept {
  return size() != 0 && find(af, address) != nullptr;
}

// Two threads that add the same host at once may leave it twice: harmless, remove() takes both.
HostSet::Added HostSet::add(Af af, const Address& address, uint32_t now_s) noexcept {
  if (find(af, address) != nullptr) return Added::present;
  if (size_.fetch_add(1, std::memory_order_relaxed) >= capacity_) {
    size_.fetch_sub(1, std::memory_order_relaxed);
    return Added::full;
  }
  for (size_t i = hash(af, address), n = 0; n <= mask_; ++i, ++n) {
    Slot& s = slots_[i & mask_];
    uint32_t state = s.state.load(std::memory_order_relaxed);
    if (state != kEmpty && state != kGone) continue;
    if (!s.state.compare_exchange_strong(state, kWriting, std::memory_order_acquire)) continue;
    s.af = af;
    s.address = address;
    s.added = now_s;
    s.state.store(kFull, std::memory_order_release);
    return Added::added;
  }
  size_.fetch_sub(1, std::memory_order_relaxed);
  return Added::full;
}

bool HostSet::remove(Af af, const Address& address) noexcept {
  bool removed = false;
  while (Slot* s = find(af, address)) {
    s->state.store(kGone, std::memory_order_release);
    size_.fetch_sub(1, std::memory_order_relaxed);
    removed = true;
  }
  return removed;
}

void HostSet::clear() noexcept {
  for (uint32_t i = 0; i <= mask_; ++i) {
    uint32_t full = kFull;
    if (slots_[i].state.compare_exchange_strong(full, kGone, std::memory_order_acq_rel))
      size_.fetch_sub(1, std::memory_order_relaxed);
  }
}

void Table::add_entry(const TableEntry& entry) {
  TableEntry e = entry;
  e.prefix.addr = e.prefix.network();
  entries_.push_back(e);
}

void Table::seal(bool dynamic) {
  const auto order = [](const TableEntry& a, const TableEntry& b) { return a.prefix.addr < b.prefix.addr; };
  for (auto& family : levels_) family.clear();
  for (const TableEntry& e : entries_) {
    auto& family = levels_[e.prefix.af == Af::inet ? 0 : 1];
    const auto at =
        std::find_if(family.begin(), family.end(), [&](const Level& l) { return l.length == e.prefix.length; });
    Level& level = at != family.end() ? *at : family.emplace_back();
    level.length = e.prefix.length;
    level.networks.push_back(e);
  }
  for (auto& family : levels_) {
    std::sort(family.begin(), family.end(), [](const Level& a, const Level& b) { return a.length > b.length; });
    for (Level& level : family) {
      // The last word on a prefix holds.
      std::reverse(level.networks.begin(), level.networks.end());
      std::stable_sort(level.networks.begin(), level.networks.end(), order);
      level.networks.erase(std::unique(level.networks.begin(), level.networks.end(),
                                       [](const auto& a, const auto& b) { return a.prefix.addr == b.prefix.addr; }),
                           level.networks.end());
    }
  }
  if (dynamic && hosts_ == nullptr) hosts_ = std::make_shared<HostSet>(kRunTimeHosts);
}

bool Table::contains(Af af, const Address& address) const noexcept {
  if (hosts_ != nullptr && hosts_->contains(af, address)) return true;
  for (const Level& level : levels_[af == Af::inet ? 0 : 1]) {
    const Address network = network_of(af, address, level.length);
    const auto it = std::lower_bound(level.networks.begin(), level.networks.end(), network,
                                     [](const TableEntry& e, const Address& a) { return e.prefix.addr < a; });
    if (it != level.networks.end() && it->prefix.addr == network) return !it->negate;
  }
  return false;
}

void Table::take_hosts_of(const Table& other) { hosts_ = other.hosts_; }

}  // namespace twinwall
