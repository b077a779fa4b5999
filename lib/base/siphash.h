// SipHash-1-3 of a few words: a hash whose collisions cannot be built without knowing the key.
//
// For tables keyed by what strangers send. The key is drawn once at start and never leaves the process; the value is
// for this process only and must not go on a wire. Pure. Source: Aumasson and Bernstein, "SipHash: a fast short-input
// PRF"; 1-3 are the rounds that hash tables use.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace twinwall {

struct SipKey {
  uint64_t k0 = 0, k1 = 0;
};

// Always give the same number of words for one table: the length takes part in the hash.
[[nodiscard]] inline uint64_t siphash13(const SipKey& key, std::initializer_list<uint64_t> words) {
  uint64_t v0 = key.k0 ^ 0x736f6d6570736575ull;
  uint64_t v1 = key.k1 ^ 0x646f72616e646f6dull;
  uint64_t v2 = key.k0 ^ 0x6c7967656e657261ull;
  uint64_t v3 = key.k1 ^ 0x7465646279746573ull;
  const auto round = [&] {
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
  };
  for (const uint64_t word : words) {
    v3 ^= word;
    round();
    v0 ^= word;
  }
  const uint64_t tail = static_cast<uint64_t>(words.size() * 8) << 56;
  v3 ^= tail;
  round();
  v0 ^= tail;
  v2 ^= 0xff;
  round();
  round();
  round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace twinwall
