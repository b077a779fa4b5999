// 512 bits that are compared at once: what rows of bits are made of (lib/filter/bit_rows.h).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace twinwall {

struct alignas(64) BitBlock {
  static constexpr size_t kWords = 8;
  std::array<uint64_t, kWords> words;
};

// What several blocks have in common. By name and not as one vector of the compiler's: that it takes apart and puts
// together again in memory, word by word.
#ifdef __AVX2__
class CommonBits {
 public:
  CommonBits(const BitBlock& a, const BitBlock& b) noexcept
      : low_(_mm256_and_si256(half(a, 0), half(b, 0))), high_(_mm256_and_si256(half(a, 1), half(b, 1))) {}
  void also(const BitBlock& b) noexcept {
    low_ = _mm256_and_si256(low_, half(b, 0));
    high_ = _mm256_and_si256(high_, half(b, 1));
  }
  [[nodiscard]] bool empty() const noexcept {
    const __m256i both = _mm256_or_si256(low_, high_);
    return _mm256_testz_si256(both, both) != 0;
  }
  // Bit i: the i-th word is not 0.
  [[nodiscard]] uint32_t filled() const noexcept { return (zeros(low_) | zeros(high_) << 4) ^ 0xff; }
  void store(BitBlock& to) const noexcept {
    auto* const halves = reinterpret_cast<__m256i*>(&to);
    _mm256_store_si256(halves, low_);
    _mm256_store_si256(halves + 1, high_);
  }

 private:
  static __m256i half(const BitBlock& b, size_t i) noexcept {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(&b) + i);
  }
  static uint32_t zeros(__m256i words) noexcept {
    const __m256i are = _mm256_cmpeq_epi64(words, _mm256_setzero_si256());
    return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(are)));
  }
  __m256i low_, high_;
};
#else
class CommonBits {
 public:
  CommonBits(const BitBlock& a, const BitBlock& b) noexcept : bits_(a) { also(b); }
  void also(const BitBlock& b) noexcept {
    for (size_t i = 0; i < BitBlock::kWords; ++i) bits_.words[i] &= b.words[i];
  }
  [[nodiscard]] bool empty() const noexcept {
    uint64_t any = 0;
    for (const uint64_t w : bits_.words) any |= w;
    return any == 0;
  }
  // Bit i: the i-th word is not 0.
  [[nodiscard]] uint32_t filled() const noexcept {
    uint32_t out = 0;
    for (size_t i = 0; i < BitBlock::kWords; ++i) out |= static_cast<uint32_t>(bits_.words[i] != 0) << i;
    return out;
  }
  void store(BitBlock& to) const noexcept { to = bits_; }

 private:
  BitBlock bits_;
};
#endif

}  // namespace twinwall
