// The Internet checksum: whole (RFC 1071) and by difference (RFC 1624), with pseudo-headers of both families.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/base/bytes.h"
#include "lib/net/address.h"

namespace twinwall {

// Sum of 16-bit words in memory order, not folded and not complemented. Start with `sum` to go on from an earlier part;
// every part but the last must have an even length.
inline uint64_t checksum_add(uint64_t sum, const void* data, size_t length) {
  const auto* p = static_cast<const uint8_t*>(data);
  while (length >= 4) {
    sum += load_raw<uint32_t>(p);
    p += 4;
    length -= 4;
  }
  if (length >= 2) {
    sum += load_raw<uint16_t>(p);
    p += 2;
    length -= 2;
  }
  if (length != 0) sum += *p;
  return sum;
}

inline uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// The value for a checksum field, in memory order (store it raw, without byte swapping). Over data that holds a right
// checksum the result is 0.
inline uint16_t checksum(const void* data, size_t length) {
  return static_cast<uint16_t>(~checksum_fold(checksum_add(0, data, length)));
}

inline uint64_t pseudo_header_sum(Af af, const void* src, const void* dst, uint8_t proto, uint32_t l4_length) {
  const size_t n = address_length(af);
  uint64_t sum = checksum_add(checksum_add(0, src, n), dst, n);
  return sum + bswap(l4_length) + bswap(static_cast<uint16_t>(proto));
}

// TCP, UDP or ICMPv6 over the pseudo-header; the field inside `l4` must be zero to compute, or in place to verify (0).
inline uint16_t l4_checksum(Af af, const void* src, const void* dst, uint8_t proto, const void* l4, size_t length) {
  const uint64_t sum = pseudo_header_sum(af, src, dst, proto, static_cast<uint32_t>(length));
  return static_cast<uint16_t>(~checksum_fold(checksum_add(sum, l4, length)));
}

// RFC 1624 equation 3: the new field value after `length` (even) bytes at an even offset changed from `before` to
// `after`. A wrong checksum stays wrong by the same amount, so damage is never hidden.
inline uint16_t checksum_adjust(uint16_t field, const void* before, const void* after, size_t length) {
  uint64_t sum = static_cast<uint16_t>(~field);
  const auto* b = static_cast<const uint8_t*>(before);
  const auto* a = static_cast<const uint8_t*>(after);
  for (size_t i = 0; i < length; i += 2) {
    sum += static_cast<uint16_t>(~load_raw<uint16_t>(b + i));
    sum += load_raw<uint16_t>(a + i);
  }
  return static_cast<uint16_t>(~checksum_fold(sum));
}

}  // namespace twinwall
