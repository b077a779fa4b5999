#include "lib/state/syncookies.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "lib/base/bytes.h"

namespace twinwall {

namespace {

constexpr uint16_t kMss[] = {216, 536, 1200, 1360, 1400, 1440, 1452, 1460};
constexpr int kScales[] = {0, 0, 1, 2, 4, 6, 7, 8};
constexpr uint16_t kLeastMss = 216;

template <class T, size_t N, class V>
unsigned index_of(const T (&table)[N], V value) {
  unsigned i = 0;
  while (i + 1 < N && table[i + 1] <= value) ++i;
  return i;
}

}  // namespace

Syncookies::Syncookies(const SipKey& secret) : secret_(secret) {
  renew(0);
  renew(1);
}

void Syncookies::renew(unsigned odd) noexcept {
  const uint64_t words[2] = {++renewals_, odd};
  const auto* const bytes = reinterpret_cast<const uint8_t*>(words);
  keys_[odd].k0.store(siphash24(secret_, bytes, sizeof words), std::memory_order_relaxed);
  keys_[odd].k1.store(siphash24({secret_.k1, ~secret_.k0}, bytes, sizeof words), std::memory_order_relaxed);
  keys_[odd].in_flight.store(0, std::memory_order_relaxed);
}

uint32_t Syncookies::mac(unsigned odd, const FlowKey& key, uint32_t client_seq, uint8_t flags) const noexcept {
  uint8_t data[sizeof(FlowKey) + 5];
  std::memcpy(data, &key, sizeof key);
  store_be32(data + sizeof key, client_seq);
  data[sizeof key + 4] = flags;
  const SipKey k{keys_[odd].k0.load(std::memory_order_relaxed), keys_[odd].k1.load(std::memory_order_relaxed)};
  const uint64_t h = siphash24(k, data, sizeof data);
  return static_cast<uint32_t>(h ^ (h >> 32));
}

uint32_t Syncookies::make(const FlowKey& key, uint32_t client_seq, uint16_t mss, int wscale) noexcept {
  const unsigned odd = odd_.load(std::memory_order_acquire);
  const auto flags = static_cast<uint8_t>(odd | (wscale < 0 ? 0 : index_of(kScales, wscale) << 2) |
                                          index_of(kMss, std::max(mss, kLeastMss)) << 5);
  const uint32_t hash = mac(odd, key, client_seq, flags);
  keys_[odd].in_flight.fetch_add(1, std::memory_order_relaxed);
  return (hash & ~0xffu) | (flags ^ (hash >> 24));
}

Syncookies::Checked Syncookies::check(const FlowKey& key, uint32_t client_seq, uint32_t cookie) noexcept {
  const auto flags = static_cast<uint8_t>(cookie ^ (cookie >> 24));
  Key& k = keys_[flags & 1];
  uint64_t flying = k.in_flight.load(std::memory_order_relaxed);
  if (flying == 0) return {};
  if (((mac(flags & 1, key, client_seq, flags) ^ cookie) & ~0xffu) != 0) return {};
  do {
    if (flying == 0) return {};
  } while (!k.in_flight.compare_exchange_weak(flying, flying - 1, std::memory_order_relaxed));
  const unsigned scale = flags >> 2 & 7;
  return {true, kMss[flags >> 5], scale == 0 ? -1 : kScales[scale]};
}

uint64_t Syncookies::in_flight() const noexcept {
  return keys_[0].in_flight.load(std::memory_order_relaxed) + keys_[1].in_flight.load(std::memory_order_relaxed);
}

void Syncookies::rotate(uint32_t now_s, uint64_t half_open) noexcept {
  const uint32_t turned = turned_.load(std::memory_order_relaxed);
  if (turned == 0) turned_.store(now_s, std::memory_order_relaxed);
  if (turned == 0 || now_s - turned < kCookieKeySeconds) return;
  turned_.store(now_s, std::memory_order_relaxed);
  if (active() && half_open + in_flight() < end_.load(std::memory_order_relaxed))
    active_.store(false, std::memory_order_relaxed);
  // The key whose cookies are the oldest is made anew, and used from now on.
  const unsigned next = 1 - odd_.load(std::memory_order_relaxed);
  renew(next);
  odd_.store(next, std::memory_order_release);
}

void Syncookies::set_thresholds(uint64_t start, uint64_t end) noexcept {
  start_.store(start, std::memory_order_relaxed);
  end_.store(end, std::memory_order_relaxed);
}

bool Syncookies::flooded(uint64_t half_open) noexcept {
  if (active()) return true;
  if (half_open <= start_.load(std::memory_order_relaxed)) return false;
  if (!active_.exchange(true, std::memory_order_relaxed)) floods_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

}  // namespace twinwall
