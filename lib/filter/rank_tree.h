// How many of a sorted set of keys are not above a key: one cache line a level, sixteen keys to a line; but the top is
// of several lines, which are compared at once: a level costs the time that its line takes to arrive and be compared.
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
  // Of a key that is not the greatest.
  [[nodiscard]] uint32_t not_above(Key32 k) const noexcept {
#ifdef __AVX2__
    const __m256i above = _mm256_set1_epi32(static_cast<int>(k.next().value ^ kSign));
    const auto* const line = reinterpret_cast<const __m256i*>(keys.data());
    const __m256i first = _mm256_cmpgt_epi32(above, _mm256_load_si256(line));
    const __m256i second = _mm256_cmpgt_epi32(above, _mm256_load_si256(line + 1));
    // Packed, a key is two bits of the mask; in which order does not matter.
    const auto mask = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_packs_epi32(first, second)));
    return static_cast<uint32_t>(std::popcount(mask)) / 2;
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
    levels.push_back(line_up(keys, keys.size()));
    std::vector<Key> firsts;  // of what is below each node of the level
    for (size_t i = 0; i < keys.size(); i += Node::kKeys) firsts.push_back(keys[i]);
    while (levels.back().size() > kMostAtTop) {
      levels.push_back(line_up(std::span<const Key>(firsts).subspan(1), firsts.size()));
      size_t count = 0;
      for (size_t i = 0; i < firsts.size(); i += Node::kKeys) firsts[count++] = firsts[i];
      firsts.resize(count);
    }
    size_t total = 0;
    for (const auto& level : levels) total += level.size();
    nodes_.reserve(total);
    for (size_t l = levels.size(); l-- > 0;) {
      start_[depth_++] = static_cast<uint32_t>(nodes_.size());
      nodes_.insert(nodes_.end(), levels[l].begin(), levels[l].end());
    }
    top_ = static_cast<uint32_t>(levels.back().size());
  }

  // How many keys are <= k.
  [[nodiscard]] uint32_t rank(Key k) const noexcept {
    if (k == Key::max()) [[unlikely]]  // as great as an empty place
      return size_;
    const Node* const nodes = nodes_.data();
    uint32_t n = 0;
    for (uint32_t i = 0; i < top_; ++i) n += nodes[i].not_above(k);
    // The keys above a level are the first ones of its nodes but for the very first: so many nodes are passed over.
    for (uint32_t level = 1; level < depth_; ++level)
      n = n * static_cast<uint32_t>(Node::kKeys) + nodes[start_[level] + n].not_above(k);
    return n;
  }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] size_t bytes() const { return nodes_.size() * sizeof(Node); }

 private:
  using Node = RankNode<Key>;
  static constexpr size_t kMostAtTop = 6;  // nodes
  // `places`: at least as many as there are keys.
  static std::vector<Node> line_up(std::span<const Key> keys, size_t places) {
    std::vector<Node> out((places + Node::kKeys - 1) / Node::kKeys);
    for (size_t i = 0; i < out.size() * Node::kKeys; ++i)
      out[i / Node::kKeys].set(i % Node::kKeys, i < keys.size() ? keys[i] : Key::max());
    return out;
  }

  std::vector<Node> nodes_;           // the top first
  std::array<uint32_t, 12> start_{};  // of a level in nodes_
  uint32_t depth_ = 0;
  uint32_t top_ = 0;  // nodes of the top level
  uint32_t size_ = 0;
};

}  // namespace twinwall
