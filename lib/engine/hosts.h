// Which addresses a router answers and forwards.
#pragma once

#include "lib/net/address.h"

namespace twinwall {

[[nodiscard]] inline bool loopback(Af af, const Address& a) {
  if (af == Af::inet) return a.bytes[0] == 127;
  Address one;
  one.bytes[15] = 1;
  return a == one;
}

// The address of one host that can be somewhere on the network, so that an answer may be sent to it (RFC 1122 sections
// 3.2.1.3 and 3.2.2, RFC 4291 section 2.5).
[[nodiscard]] inline bool names_a_host(Af af, const Address& a) {
  if (a.is_zero() || is_multicast(af, a) || loopback(af, a)) return false;
  return af != Af::inet || a != Address::v4(0xffffffff);
}

// RFC 1812 section 5.3.7, RFC 4291 sections 2.5.2, 2.5.3 and 2.5.6.
[[nodiscard]] inline bool forwardable(Af af, const Address& src, const Address& dst) {
  if (!names_a_host(af, src) || loopback(af, dst)) return false;
  if (af == Af::inet) return dst != Address::v4(0xffffffff);
  return !is_link_local(af, src) && !is_link_local(af, dst);
}

// forwardable(), and not to a group.
[[nodiscard]] inline bool between_hosts(Af af, const Address& src, const Address& dst) {
  if (af != Af::inet) return forwardable(af, src, dst) && !is_multicast(af, dst);
  constexpr uint32_t kGroup = 0xe, kLoopback = 127, kEverybody = 0xffffffff;
  const uint32_t s = src.v4_host(), d = dst.v4_host();
  const bool either = s >> 28 == kGroup || d >> 28 == kGroup || s >> 24 == kLoopback || d >> 24 == kLoopback;
  return !either && s - 1 < kEverybody - 1 && d != kEverybody;
}

}  // namespace twinwall
