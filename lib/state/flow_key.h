// The key under which a state is found: PF's positional key (pf-semantics: index 0 is the far end on the interface,
// index 1 the near end, whatever way the packet travels).
#pragma once

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <array>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "lib/net/address.h"

namespace twinwall {

struct FlowKey {
  Address addr[2];
  uint16_t port[2] = {0, 0};  // network order, as in the packet
  Af af = Af::none;
  uint8_t proto = 0;
  uint16_t rdomain = 0;

  using Words = std::array<uint64_t, 5>;

  [[nodiscard]] static Af family(const Words& w) { return static_cast<Af>(w[4] >> 32 & 0xff); }

  [[nodiscard]] static FlowKey of(const Words& words) {
    FlowKey key;
    key.set(words);
    return key;
  }
  static FlowKey of(const Address& a0, const Address& a1, uint16_t port0, uint16_t port1, Af af, uint8_t proto) {
    const uint64_t rest =
        uint64_t{port0} | uint64_t{port1} << 16 | static_cast<uint64_t>(af) << 32 | uint64_t{proto} << 40;
    return of({a0.words()[0], a0.words()[1], a1.words()[0], a1.words()[1], rest});
  }

  // The key at the other hook of a packet that nobody translates.
  [[nodiscard]] FlowKey mirrored() const {
    const auto word = [this](size_t i) { return load_raw<uint64_t>(reinterpret_cast<const char*>(this) + i * 8); };
    const uint64_t rest = word(4), ports = rest & 0xffffffff;
    return of({word(2), word(3), word(0), word(1), (rest ^ ports) | (ports >> 16) | (ports << 16 & 0xffffffff)});
  }

  // Word by word: what was stored in larger or smaller pieces is slow to load soon after.
  [[gnu::always_inline]] void set(const Words& words) {
    for (size_t i = 0; i < words.size(); ++i) store_raw(reinterpret_cast<char*>(this) + i * 8, words[i]);
  }

  // The same of IPv4: both addresses in one word, the first in the lower half.
  [[gnu::always_inline]] void set_v4(uint64_t addresses, uint64_t rest) {
#ifdef __AVX2__
    const __m128i both = _mm_cvtepu32_epi64(_mm_cvtsi64_si128(static_cast<int64_t>(addresses)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(this), _mm256_permute4x64_epi64(_mm256_zextsi128_si256(both), 0xd8));
    store_raw(reinterpret_cast<char*>(this) + 32, rest);
#else
    set({addresses & 0xffffffff, 0, addresses >> 32, 0, rest});
#endif
  }

  friend bool operator==(const FlowKey& a, const FlowKey& b) {
    const auto word = [](const FlowKey& k, size_t i) {
      return load_raw<uint64_t>(reinterpret_cast<const char*>(&k) + i * 8);
    };
    uint64_t different = 0;
    for (size_t i = 0; i < 5; ++i) different |= word(a, i) ^ word(b, i);
    return different == 0;
  }

  // operator== of keys that were both written a while ago: at once where the machine can.
  [[nodiscard, gnu::always_inline]] bool same(const FlowKey& o) const {
#ifdef __AVX2__
    const __m256i d = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(this)),
                                       _mm256_loadu_si256(reinterpret_cast<const __m256i*>(&o)));
    const auto rest = [](const FlowKey& k) { return load_raw<uint64_t>(&k.port); };
    return _mm256_testz_si256(d, d) != 0 && rest(*this) == rest(o);
#else
    return *this == o;
#endif
  }
};
static_assert(sizeof(FlowKey) == 40 && std::has_unique_object_representations_v<FlowKey>);

// Which of a state's two keys: as seen on the wire of its interface, or as the routing side sees it.
enum class Side : uint8_t { wire = 0, stack = 1 };

}  // namespace twinwall
