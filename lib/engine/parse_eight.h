// look_at_v4() of eight frames at once, for machines that can: what nearly all bursts are made of costs half of what it
// costs one by one. Private to lib/engine.
#pragma once

#include <array>

#include "lib/engine/parse_ordinary.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace twinwall {

struct Eight {
  static constexpr size_t kFrames = 8;
  std::array<const uint8_t*, kFrames> frames;
  std::array<uint32_t, kFrames> lengths;
  alignas(32) std::array<Ordinary::Head, kFrames> heads;
  alignas(32) std::array<uint32_t, kFrames> payloads;
  // Of the key (FlowKey::of): source and destination; ports, family and protocol.
  alignas(32) std::array<uint64_t, kFrames> addresses, rests;
  // Destinations once more, in host order; written by look_between_hosts().
  alignas(32) std::array<uint32_t, kFrames> destinations;
};

// True: look_at_v4() says of each that it is ordinary, all are for `mac` (in the low six bytes as they are in memory),
// and the arrays are what it would say. False: nothing is said; it may be of one that is too short for this.
#ifdef __AVX2__
[[nodiscard, gnu::always_inline]] inline bool look_at_eight(Eight& e, uint64_t mac) {
  constexpr uint32_t kRead = kEthernetHeader + kIpv4Header + kTcpHeader;  // of each frame, whatever is in it
  const auto all = [](uint32_t v) { return _mm256_set1_epi32(static_cast<int>(v)); };
  const auto lengths = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(e.lengths.data()));
  if (_mm256_movemask_epi8(_mm256_cmpgt_epi32(all(kRead), lengths)) != 0) [[unlikely]]
    return false;

  // The Ethernet headers: what is not as wanted leaves a bit.
  const __m128i wanted =
      _mm_set_epi64x(static_cast<long long>(uint64_t{bswap(kEtherTypeIpv4)} << 32), static_cast<long long>(mac));
  const __m128i asked = _mm_set_epi64x(0x0000ffff00000000, 0x0000ffffffffffff);
  __m128i other = _mm_setzero_si128();
  for (const uint8_t* const f : e.frames)
    other = _mm_or_si128(other, _mm_xor_si128(wanted, _mm_loadu_si128(reinterpret_cast<const __m128i*>(f))));
  if (_mm_testz_si128(other, asked) == 0) [[unlikely]]
    return false;

  // Word n of all of them in row n: of the IP header with the ports, …
  const auto row = [&](size_t i) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(e.frames[i] + kEthernetHeader));
  };
  const auto quarters = [&](size_t i, __m256i& w04, __m256i& w15, __m256i& w2, __m256i& w3) {
    const __m256i r0 = row(i), r1 = row(i + 1), r2 = row(i + 2), r3 = row(i + 3);
    const __m256i low01 = _mm256_unpacklo_epi32(r0, r1), low23 = _mm256_unpacklo_epi32(r2, r3);
    const __m256i high01 = _mm256_unpackhi_epi32(r0, r1), high23 = _mm256_unpackhi_epi32(r2, r3);
    w04 = _mm256_unpacklo_epi64(low01, low23);
    w15 = _mm256_unpackhi_epi64(low01, low23);
    w2 = _mm256_unpacklo_epi64(high01, high23);
    w3 = _mm256_unpackhi_epi64(high01, high23);
  };
  __m256i a04, a15, a26, a3, b04, b15, b26, b3;
  quarters(0, a04, a15, a26, a3);
  quarters(4, b04, b15, b26, b3);
  constexpr int kLow = 0x20, kHigh = 0x31;
  const __m256i w0 = _mm256_permute2x128_si256(a04, b04, kLow), w4 = _mm256_permute2x128_si256(a04, b04, kHigh);
  const __m256i w1 = _mm256_permute2x128_si256(a15, b15, kLow), w5 = _mm256_permute2x128_si256(a15, b15, kHigh);
  const __m256i w2 = _mm256_permute2x128_si256(a26, b26, kLow), w6 = _mm256_permute2x128_si256(a26, b26, kHigh);
  const __m256i w3 = _mm256_permute2x128_si256(a3, b3, kLow);
  // … and of TCP's from the data offset on.
  const auto pair = [&](size_t i) {
    const auto at = [&](size_t n) { return e.frames[n] + kEthernetHeader + kIpv4Header + 12; };
    return _mm_set_epi64x(load_raw<int64_t>(at(i + 1)), load_raw<int64_t>(at(i)));
  };
  const auto q0 = _mm256_castsi256_ps(_mm256_set_m128i(pair(4), pair(0)));
  const auto q1 = _mm256_castsi256_ps(_mm256_set_m128i(pair(6), pair(2)));
  const __m256i t3 = _mm256_castps_si256(_mm256_shuffle_ps(q0, q1, 0x88));
  const __m256i t4 = _mm256_castps_si256(_mm256_shuffle_ps(q0, q1, 0xdd));

  const __m256i zero = _mm256_setzero_si256(), low16 = all(0xffff);
  // Ones where the bits of `mask` are as in `value`.
  const auto are = [&](__m256i w, uint32_t mask, uint32_t value) {
    return _mm256_cmpeq_epi32(_mm256_and_si256(w, all(mask)), all(value));
  };
  const auto sixteens = [&](__m256i w) {
    return _mm256_add_epi32(_mm256_and_si256(w, low16), _mm256_srli_epi32(w, 16));
  };
  __m256i sum = _mm256_add_epi32(_mm256_add_epi32(sixteens(w0), sixteens(w1)),
                                 _mm256_add_epi32(_mm256_add_epi32(sixteens(w2), sixteens(w3)), sixteens(w4)));
  sum = sixteens(sixteens(sum));  // RFC 1071
  __m256i good = _mm256_and_si256(are(w0, 0xff, 0x45), are(w1, 0xffbf0000, 0));
  good = _mm256_and_si256(good, _mm256_cmpeq_epi32(sum, low16));

  // Two bytes of each word, which are in network order; `first`: the first of them.
  const auto swap = [](__m256i w, int first) {
    const int word = static_cast<int>(0x80800000u) | first << 8 | (first + 1);
    const __m128i words = _mm_set_epi32(word + 0x0c0c, word + 0x0808, word + 0x0404, word);
    return _mm256_shuffle_epi8(w, _mm256_broadcastsi128_si256(words));
  };
  const __m256i l3_length = swap(w0, 2);
  const __m256i l4_length = _mm256_sub_epi32(l3_length, all(kIpv4Header));
  const __m256i room = _mm256_sub_epi32(lengths, all(kEthernetHeader));
  const __m256i no_port = _mm256_cmpeq_epi32(_mm256_srli_epi32(w5, 16), zero);
  const __m256i too_long = _mm256_cmpgt_epi32(l3_length, room);

  const __m256i tcp = are(w2, 0xff00, uint32_t{kProtoTcp} << 8), udp = are(w2, 0xff00, uint32_t{kProtoUdp} << 8);
  const __m256i header = _mm256_and_si256(_mm256_srli_epi32(t3, 2), all(0x3c));
  const __m256i payload = _mm256_sub_epi32(l4_length, header);
  const __m256i bad_tcp =
      _mm256_or_si256(_mm256_cmpgt_epi32(all(kTcpHeader), header), _mm256_cmpgt_epi32(zero, payload));
  const __m256i goes_on = are(t3, uint32_t{kTcpSyn | kTcpRst | kTcpAck | kTcpUrg} << 8 | 0x0f, uint32_t{kTcpAck} << 8);
  const __m256i opens =
      are(t3, uint32_t{kTcpFin | kTcpSyn | kTcpRst | kTcpPush | kTcpUrg} << 8 | 0x0f, uint32_t{kTcpSyn} << 8);
  const __m256i plain_tcp = _mm256_and_si256(_mm256_or_si256(goes_on, opens), are(t4, 0xffff0000, 0));
  const __m256i good_tcp = _mm256_andnot_si256(bad_tcp, _mm256_and_si256(plain_tcp, tcp));
  const __m256i udp_length = swap(w6, 0);
  const __m256i bad_udp =
      _mm256_or_si256(_mm256_cmpgt_epi32(all(kUdpHeader), udp_length), _mm256_cmpgt_epi32(udp_length, l4_length));
  const __m256i good_l4 = _mm256_or_si256(good_tcp, _mm256_andnot_si256(bad_udp, udp));
  good = _mm256_andnot_si256(_mm256_or_si256(no_port, too_long), _mm256_and_si256(good, good_l4));
  if (_mm256_movemask_epi8(good) != -1) [[unlikely]]
    return false;

  const __m256i flags = _mm256_and_si256(_mm256_and_si256(_mm256_slli_epi32(t3, 8), all(0xff0000)), tcp);
  const __m256i proto = _mm256_and_si256(w2, all(0xff00));
  constexpr auto kSame = static_cast<uint32_t>(Ordinary::head_of(Af::inet, 0, 0, kEthernetHeader + kIpv4Header, 0));
  const __m256i low = _mm256_or_si256(_mm256_or_si256(flags, proto), all(kSame));
  const auto put = [](std::array<uint64_t, Eight::kFrames>& to, __m256i lower, __m256i upper) {
    const __m256i first = _mm256_unpacklo_epi32(lower, upper), second = _mm256_unpackhi_epi32(lower, upper);
    auto* const out = reinterpret_cast<__m256i*>(to.data());
    _mm256_store_si256(out, _mm256_permute2x128_si256(first, second, kLow));
    _mm256_store_si256(out + 1, _mm256_permute2x128_si256(first, second, kHigh));
  };
  put(e.heads, low, l3_length);
  put(e.addresses, w3, w4);
  put(e.rests, w5, _mm256_and_si256(low, low16));
  _mm256_store_si256(reinterpret_cast<__m256i*>(e.payloads.data()), _mm256_and_si256(payload, tcp));
  return true;
}

// Of eight that look_at_eight() has taken: between_hosts() says so of each (lib/engine/hosts.h).
[[nodiscard, gnu::always_inline]] inline bool look_between_hosts(Eight& e) {
  const auto all = [](uint32_t v) { return _mm256_set1_epi32(static_cast<int>(v)); };
  const auto load = [&](size_t i) {
    return _mm256_castsi256_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(&e.addresses[i])));
  };
  // Sources and destinations in order of the frames, but for the middle two pairs, which are the other way round.
  const __m256i sources = _mm256_castps_si256(_mm256_shuffle_ps(load(0), load(4), 0x88));
  const __m256i targets = _mm256_castps_si256(_mm256_shuffle_ps(load(0), load(4), 0xdd));
  // 224.0.0.0/4 and 127.0.0.0/8; the first byte is the lowest here.
  const auto is = [&](__m256i w, uint32_t mask, uint32_t value) {
    return _mm256_cmpeq_epi32(_mm256_and_si256(w, all(mask)), all(value));
  };
  const auto odd = [&](__m256i w) { return _mm256_or_si256(is(w, 0xf0, 0xe0), is(w, 0xff, 0x7f)); };
  const __m256i everybody = all(0xffffffff);
  const __m256i bad = _mm256_or_si256(
      _mm256_or_si256(odd(sources), odd(targets)),
      _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi32(sources, everybody), _mm256_cmpeq_epi32(targets, everybody)),
                      _mm256_cmpeq_epi32(sources, _mm256_setzero_si256())));
  if (_mm256_testz_si256(bad, bad) == 0) [[unlikely]]
    return false;
  const __m256i order = _mm256_permute4x64_epi64(targets, 0xd8);
  const __m128i turned = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  _mm256_store_si256(reinterpret_cast<__m256i*>(e.destinations.data()),
                     _mm256_shuffle_epi8(order, _mm256_broadcastsi128_si256(turned)));
  return true;
}
#else
[[nodiscard]] inline bool look_at_eight(Eight&, uint64_t) { return false; }
[[nodiscard]] inline bool look_between_hosts(Eight&) { return false; }
#endif

}  // namespace twinwall
