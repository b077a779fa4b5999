#include "lib/filter/host_set.h"

#include "lib/base/bytes.h"

namespace twinwall {

namespace {

// A power of two that leaves half of the slots empty, so that probing ends soon.
uint32_t slots_for(uint32_t capacity) {
  uint32_t n = 16;
  while (n < capacity * 2) n *= 2;
  return n;
}

}  // namespace

HostSet::HostSet(uint32_t capacity, std::shared_ptr<EntryCounts> counts)
    : capacity_(capacity),
      mask_(slots_for(capacity) - 1),
      slots_(std::make_unique<Slot[]>(mask_ + size_t{1})),
      counts_(std::move(counts)) {
  if (counts_ != nullptr) numbers_ = std::make_unique<std::atomic<EntryCounts::Number>[]>(mask_ + size_t{1});
}

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

bool HostSet::find_number(Af af, const Address& address, EntryCounts::Number& out) const noexcept {
  const Slot* const s = size() != 0 ? find(af, address) : nullptr;
  if (s == nullptr) return false;
  out = numbers_ != nullptr ? numbers_[s - slots_.get()].load(std::memory_order_relaxed) : EntryCounts::kNone;
  return true;
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
    if (numbers_ != nullptr) numbers_[i & mask_].store(counts_->take(now_s), std::memory_order_relaxed);
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
    if (numbers_ != nullptr) counts_->give(numbers_[s - slots_.get()].load(std::memory_order_relaxed));
    removed = true;
  }
  return removed;
}

void HostSet::clear() noexcept {
  for (uint32_t i = 0; i <= mask_; ++i) {
    uint32_t full = kFull;
    if (!slots_[i].state.compare_exchange_strong(full, kGone, std::memory_order_acq_rel)) continue;
    size_.fetch_sub(1, std::memory_order_relaxed);
    if (numbers_ != nullptr) counts_->give(numbers_[i].load(std::memory_order_relaxed));
  }
}

}  // namespace twinwall
