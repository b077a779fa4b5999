// How many of a sorted set of keys are not above a key: one cache line a level, sixteen keys to a line.
//
// What a set of ranges of addresses comes down to: the keys are where a range begins or ends, the rank says between
// which of them an address lies. Immutable; any thread. Memory: the keys and a fifteenth on top (IPv6: a seventh).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "lib/base/bytes.h"
#include "lib/net/address.h"

namespace twinwall {

// An IPv6 address as a number.
struct Key128 {
  uint64_t high = 0, low = 0;
  friend constexpr auto operator<=>(const Key128&, const Key128&) = default;
  static constexpr Key128 max() { return {UINT64_MAX, UINT64_MAX}; }
  static Key128 of(const Address& a) { return {load_be64(a.bytes.data()), load_be64(a.bytes.data() + 8)}; }
  // Of a number below max().
  [[nodiscard]] constexpr Key128 next() const { return {high + (low == UINT64_MAX ? 1 : 0), low + 1}; }
  [[nodiscard]] constexpr Key128 previous() const { return {high - (low == 0 ? 1 : 0), low - 1}; }
  // The last of the network of this length that begins here.
  [[nodiscard]] constexpr Key128 last(unsigned length) const {
    const auto host = [](unsigned n) { return n == 0 ? UINT64_MAX : n >= 64 ? 0 : UINT64_MAX >> n; };
    return {high | host(length), low | host(length > 64 ? length - 64 : 0)};
  }
};

// The same for IPv4.
struct Key32 {
  uint32_t value = 0;
  friend constexpr auto operator<=>(const Key32&, const Key32&) = default;
  static constexpr Key32 max() { return {UINT32_MAX}; }
  static Key32 of(const Address& a) { return {a.v4_host()}; }
  [[nodiscard]] constexpr Key32 next() const { return {value + 1}; }
  [[nodiscard]] constexpr Key32 previous() const { return {value - 1}; }
  [[nodiscard]] constexpr Key32 last(unsigned length) const {
    return {value | (length == 0 ? UINT32_MAX : length >= 32 ? 0 : UINT32_MAX >> length)};
  }
};

// Keys in the form in which they are compared. Places without a key hold the greatest one.
template <class Key>
struct RankNode;

template <>
struct alignas(64) RankNode<Key32> {
  static constexpr size_t kKeys = 16;
  std::array<uint32_t, kKeys> keys;

  // The instruction compares signed numbers.
  static constexpr uint32_t kSign = 0x80000000;
  void set(size_t i, Key32 k) { keys[i] = k.value ^ kSign; }
  [[nodiscard]] Key32 get(size_t i) const { return {keys[i] ^ kSign}; }
  [[nodiscard]] uint32_t not_above(Key32 k) const noexcept {
#ifdef __AVX2__
    const __m256i x = _mm256_set1_epi32(static_cast<int>(k.value ^ kSign));
    const auto* const line = reinterpret_cast<const __m256i*>(keys.data());
    const __m256i first = _mm256_cmpgt_epi32(_mm256_load_si256(line), x);
    const __m256i second = _mm256_cmpgt_epi32(_mm256_load_si256(line + 1), x);
    const auto above = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(first))) |
                       static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(second))) << 8;
    return static_cast<uint32_t>(std::countr_zero(above | 1u << kKeys));
#else
    const auto x = static_cast<int32_t>(k.value ^ kSign);
    uint32_t n = 0;
    for (const uint32_t key : keys) n += static_cast<int32_t>(key) <= x ? 1 : 0;
    return n;
#endif
  }
};

template <>
struct alignas(64) RankNode<Key128> {
  static constexpr size_t kKeys = 8;
  std::array<uint64_t, kKeys> high, low;

  void set(size_t i, Key128 k) {
    high[i] = k.high;
    low[i] = k.low;
  }
  [[nodiscard]] Key128 get(size_t i) const { return {high[i], low[i]}; }
  [[nodiscard]] uint32_t not_above(Key128 k) const noexcept {
    uint32_t n = 0;
    for (size_t i = 0; i < kKeys; ++i)
      n += static_cast<uint32_t>(high[i] < k.high) | (static_cast<uint32_t>(high[i] == k.high) & (low[i] <= k.low));
    return n;
  }
};

template <class Key>
class RankTree {
 public:
  RankTree() = default;
  // `keys`: ascending, none twice; fewer than 2^32.
  explicit RankTree(std::span<const Key> keys) : size_(static_cast<uint32_t>(keys.size())) {
    if (keys.empty()) return;
    std::vector<std::vector<Node>> levels;
    levels.push_back(line_up(keys.size(), [&](size_t i) { return keys[i]; }));
    while (levels.back().size() > 1) {
      const std::vector<Node>& below = levels.back();
      levels.push_back(line_up(below.size(), [&](size_t i) { return below[i].get(0); }));
    }
    size_t total = 0;
    for (const auto& level : levels) total += level.size();
    nodes_.reserve(total);
    for (size_t l = levels.size(); l-- > 0;) {
      start_[depth_++] = static_cast<uint32_t>(nodes_.size());
      nodes_.insert(nodes_.end(), levels[l].begin(), levels[l].end());
    }
  }

  // How many keys are <= k.
  [[nodiscard]] uint32_t rank(Key k) const noexcept {
    if (depth_ == 0) return 0;
    if (k == Key::max()) [[unlikely]]  // as great as an empty place
      return size_;
    uint32_t node = 0;
    for (uint32_t level = 0; level + 1 < depth_; ++level) {
      const uint32_t n = nodes_[start_[level] + node].not_above(k);
      // The keys above a level are the first ones of its nodes; what is below them all is in the first.
      node = node * static_cast<uint32_t>(Node::kKeys) + n - (n != 0 ? 1 : 0);
    }
    return node * static_cast<uint32_t>(Node::kKeys) + nodes_[start_[depth_ - 1] + node].not_above(k);
  }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] size_t bytes() const { return nodes_.size() * sizeof(Node); }

 private:
  using Node = RankNode<Key>;
  template <class Get>
  static std::vector<Node> line_up(size_t count, Get&& key) {
    std::vector<Node> out((count + Node::kKeys - 1) / Node::kKeys);
    for (size_t i = 0; i < out.size() * Node::kKeys; ++i)
      out[i / Node::kKeys].set(i % Node::kKeys, i < count ? key(i) : Key::max());
    return out;
  }

  std::vector<Node> nodes_;           // the top first
  std::array<uint32_t, 12> start_{};  // of a level in nodes_
  uint32_t depth_ = 0;
  uint32_t size_ = 0;
};

}  // namespace twinwall
