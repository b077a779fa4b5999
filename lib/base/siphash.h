// SipHash of a few words: a hash whose collisions cannot be built without knowing the key.
//
// siphash13 is for tables keyed by what strangers send. The key is drawn once at start and never leaves the process;
// the value is for this process only and must not go on a wire. siphash24 is the function as published, where its value
// has to be the same everywhere (pf.conf(5) "source-hash"). Pure. Source: Aumasson and Bernstein, "SipHash: a fast
// short-input PRF"; 1-3 are the rounds that hash tables use.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace twinwall {

struct SipKey {
  uint64_t k0 = 0, k1 = 0;
};

class SipState {
 public:
  explicit SipState(const SipKey& key)
      : v0(key.k0 ^ 0x736f6d6570736575ull),
        v1(key.k1 ^ 0x646f72616e646f6dull),
        v2(key.k0 ^ 0x6c7967656e657261ull),
        v3(key.k1 ^ 0x7465646279746573ull) {}

  void word(uint64_t w, int rounds) {
    v3 ^= w;
    for (int i = 0; i < rounds; ++i) round();
    v0 ^= w;
  }
  [[nodiscard]] uint64_t finish(int rounds) {
    v2 ^= 0xff;
    for (int i = 0; i < rounds; ++i) round();
    return v0 ^ v1 ^ v2 ^ v3;
  }

 private:
  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  uint64_t v0, v1, v2, v3;
};

// Always give the same number of words for one table: the length takes part in the hash.
[[nodiscard]] inline uint64_t siphash13(const SipKey& key, std::initializer_list<uint64_t> words) {
  SipState s(key);
  for (const uint64_t w : words) s.word(w, 1);
  s.word(static_cast<uint64_t>(words.size() * 8) << 56, 1);
  return s.finish(3);
}

// Of `size` bytes.
[[nodiscard]] inline uint64_t siphash24(const SipKey& key, const uint8_t* data, size_t size) {
  SipState s(key);
  size_t i = 0;
  const auto little = [data](size_t at, size_t n) {
    uint64_t w = 0;
    for (size_t b = 0; b < n; ++b) w |= static_cast<uint64_t>(data[at + b]) << (8 * b);
    return w;
  };
  for (; i + 8 <= size; i += 8) s.word(little(i, 8), 2);
  s.word(little(i, size - i) | static_cast<uint64_t>(size) << 56, 2);
  return s.finish(4);
}

}  // namespace twinwall
