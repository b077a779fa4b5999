// Numbers of translation between IPv4 and IPv6: addresses inside addresses (RFC 6052) and ICMP against ICMPv6 (RFC 7915
// sections 4.2 and 5.2, as pf(4) does it).
#pragma once

#include <cstdint>
#include <optional>

#include "lib/net/address.h"

namespace twinwall {

// The IPv6 address that stands for `v4` under the first `length` bits of `prefix`: 32, 40, 48, 56, 64 or 96 as RFC 6052
// section 2.2 says; from 97 on only the bits behind the prefix are taken from `v4`. Nothing for other lengths.
[[nodiscard]] std::optional<Address> embed_v4(const Address& prefix, unsigned length, const Address& v4);
// The other way; from 97 on the last 32 bits.
[[nodiscard]] std::optional<Address> extract_v4(const Address& v6, unsigned length);

struct IcmpHeader {
  uint8_t type = 0, code = 0;
  uint32_t parameter = 0;  // the second word, host order: MTU or pointer where the type has one
};
// An error of the other family; nothing where there is none that says the same.
[[nodiscard]] std::optional<IcmpHeader> icmp_error_to_v6(const IcmpHeader& v4);
[[nodiscard]] std::optional<IcmpHeader> icmp_error_to_v4(const IcmpHeader& v6);
// Echo request and reply.
[[nodiscard]] std::optional<uint8_t> echo_type(Af to, uint8_t type);

}  // namespace twinwall
