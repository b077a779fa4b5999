// A bucket of the state index, and the look at all its entries at once. What they mean: lib/state/state_table.h.
// Private to the state table.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "lib/base/sanitized.h"

#if defined(__AVX2__) && !TWINWALL_THREAD_SANITIZER
#include <immintrin.h>
#endif

namespace twinwall::index {

// Parts of an entry; the tag is the hash's own top bits. The bucket number comes from its low bits.
inline constexpr uint64_t kWire = 1ull << 32;
inline constexpr uint64_t kStack = 1ull << 33;
inline constexpr uint64_t kId = 1ull << 34;
inline constexpr uint64_t kBound = 1ull << 35;
inline constexpr uint64_t kTagMask = ~((1ull << 36) - 1);

inline constexpr size_t kSlots = 7;

struct alignas(64) Bucket {
  std::atomic<uint64_t> entries[kSlots];
  std::atomic<uint64_t> beyond;  // byte d - 1: entries at home here that lie d buckets on
};
static_assert(sizeof(Bucket) == 64);

// Bit i: entry i is `bits` where `mask` has ones. Which entry that is cannot be predicted, so they are compared without
// branches, and at once where the machine can. There, too, each is read whole, as an aligned word inside of a line is;
// only the language does not know it.
#if defined(__AVX2__) && !TWINWALL_THREAD_SANITIZER
[[gnu::always_inline]] inline uint32_t entries_with(const Bucket& bucket, uint64_t bits, uint64_t mask) {
  std::atomic_signal_fence(std::memory_order_seq_cst);  // not before what was published; see the header
  const __m256i wanted = _mm256_set1_epi64x(static_cast<long long>(bits & mask));
  const __m256i kept = _mm256_set1_epi64x(static_cast<long long>(mask));
  const auto four = [&](size_t first) {
    const __m256i e = _mm256_load_si256(reinterpret_cast<const __m256i*>(bucket.entries) + first);
    const __m256i same = _mm256_cmpeq_epi64(_mm256_and_si256(e, kept), wanted);
    return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(same)));
  };
  constexpr uint32_t kEntries = (1u << kSlots) - 1;
  const uint32_t found = (four(0) | four(1) << 4) & kEntries;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return found;
}
#else
inline uint32_t entries_with(const Bucket& bucket, uint64_t bits, uint64_t mask) {
  uint32_t found = 0;
  for (size_t i = 0; i < kSlots; ++i)
    found |= static_cast<uint32_t>(((bucket.entries[i].load() ^ bits) & mask) == 0) << i;
  return found;
}
#endif

}  // namespace twinwall::index
