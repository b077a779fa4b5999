// Small fast generator for choices that need spread, not secrecy (xoshiro256**, Blackman & Vigna, public domain
// method).
//
// Seeded by the caller: the daemon from the kernel's generator, tests from a fixed number, so that a run can be
// repeated. Not for keys, cookies or anything an attacker must not guess.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace twinwall {

class Random {
 public:
  explicit Random(uint64_t seed) {
    for (auto& word : s_) {  // splitmix64, as the authors recommend for seeding
      seed += 0x9e3779b97f4a7c15ull;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      word = z ^ (z >> 31);
    }
  }

  uint64_t next() {
    const uint64_t result = std::rotl(s_[1] * 5, 7) * 9;
    const uint64_t t = s_[1] << 17;
    s_[2] ^= s_[0];
    s_[3] ^= s_[1];
    s_[1] ^= s_[2];
    s_[0] ^= s_[3];
    s_[2] ^= t;
    s_[3] = std::rotl(s_[3], 45);
    return result;
  }

  uint32_t next32() { return static_cast<uint32_t>(next() >> 32); }

  // Uniform in [0, bound); bound > 0 (Lemire's multiply-shift; the bias of at most bound/2^32 does not matter here).
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>((static_cast<uint64_t>(next32()) * bound) >> 32); }

 private:
  std::array<uint64_t, 4> s_{};
};

}  // namespace twinwall
