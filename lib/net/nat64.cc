#include "lib/net/nat64.h"

#include <utility>

#include "lib/net/headers.h"

namespace twinwall {

namespace {

// The bytes of the IPv6 address that hold the IPv4 address: octet 8 is left out.
constexpr bool standard(unsigned length) { return length % 8 == 0 && ((length >= 32 && length <= 64) || length == 96); }

constexpr unsigned next_octet(unsigned octet) { return octet == 8 ? 9 : octet; }

constexpr uint8_t kUnmapped = 0xff;

uint8_t pointer_to_v6(uint32_t pointer) {
  if (pointer < 2) return static_cast<uint8_t>(pointer);
  if (pointer < 4) return 4;
  if (pointer == 8) return 7;
  if (pointer == 9) return 6;
  if (pointer >= 12 && pointer < 16) return 8;
  if (pointer >= 16 && pointer < 20) return 24;
  return kUnmapped;
}

uint8_t pointer_to_v4(uint32_t pointer) {
  if (pointer < 2) return static_cast<uint8_t>(pointer);
  if (pointer == 4 || pointer == 5) return 2;
  if (pointer == 6) return 9;
  if (pointer == 7) return 8;
  if (pointer >= 8 && pointer < 24) return 12;
  if (pointer >= 24 && pointer < 40) return 16;
  return kUnmapped;
}

// RFC 7915 section 4.2.
std::optional<IcmpHeader> unreachable_to_v6(const IcmpHeader& v4) {
  switch (v4.code) {
    case 0:
    case 1:
    case 6:
    case 7:
    case 8:
    case 11:
    case 12: return IcmpHeader{kIcmp6Unreachable, 0, 0};
    case 2: return IcmpHeader{kIcmp6ParameterProblem, 1, 6};
    case 3: return IcmpHeader{kIcmp6Unreachable, 4, 0};
    case 4: return IcmpHeader{kIcmp6TooBig, 0, (v4.parameter & 0xffff) + 20};
    case 9:
    case 10:
    case 13:
    case 15: return IcmpHeader{kIcmp6Unreachable, 1, 0};
    default: return std::nullopt;
  }
}

}  // namespace

std::optional<Address> embed_v4(const Address& prefix, unsigned length, const Address& v4) {
  Address out = prefix;
  if (length > 96 && length <= 128) {
    for (unsigned bit = length; bit < 128; ++bit) {
      const auto mask = static_cast<uint8_t>(0x80u >> bit % 8);
      const uint8_t from = v4.bytes[bit / 8 - 12];
      out.bytes[bit / 8] = static_cast<uint8_t>((out.bytes[bit / 8] & ~mask) | (from & mask));
    }
    return out;
  }
  if (!standard(length)) return std::nullopt;
  unsigned octet = length / 8;
  for (unsigned i = 0; i < 4; ++i, ++octet) {
    octet = next_octet(octet);
    out.bytes[octet] = v4.bytes[i];
  }
  if (length == 96) return out;
  out.bytes[8] = 0;
  for (; octet < 16; ++octet)
    if (octet != 8) out.bytes[octet] = 0;
  return out;
}

std::optional<Address> extract_v4(const Address& v6, unsigned length) {
  if (length > 96 && length <= 128) length = 96;
  if (!standard(length)) return std::nullopt;
  Address out;
  unsigned octet = length / 8;
  for (unsigned i = 0; i < 4; ++i, ++octet) {
    octet = next_octet(octet);
    out.bytes[i] = v6.bytes[octet];
  }
  return out;
}

std::optional<IcmpHeader> icmp_error_to_v6(const IcmpHeader& v4) {
  if (v4.type == kIcmpUnreachable) return unreachable_to_v6(v4);
  if (v4.type == kIcmpTimeExceeded) return IcmpHeader{kIcmp6TimeExceeded, v4.code, 0};
  if (v4.type != kIcmpParameterProblem || (v4.code != 0 && v4.code != 2)) return std::nullopt;
  const uint8_t pointer = pointer_to_v6(v4.parameter >> 24);
  if (pointer == kUnmapped) return std::nullopt;
  return IcmpHeader{kIcmp6ParameterProblem, 0, pointer};
}

std::optional<IcmpHeader> icmp_error_to_v4(const IcmpHeader& v6) {
  switch (v6.type) {
    case kIcmp6Unreachable:
      if (v6.code == 0 || v6.code == 2 || v6.code == 3) return IcmpHeader{kIcmpUnreachable, 1, 0};
      if (v6.code == 1) return IcmpHeader{kIcmpUnreachable, 10, 0};
      if (v6.code == 4) return IcmpHeader{kIcmpUnreachable, 3, 0};
      return std::nullopt;
    case kIcmp6TooBig: return IcmpHeader{kIcmpUnreachable, 4, v6.parameter > 20 ? v6.parameter - 20 : 0};
    case kIcmp6TimeExceeded: return IcmpHeader{kIcmpTimeExceeded, v6.code, 0};
    case kIcmp6ParameterProblem: {
      if (v6.code == 1) return IcmpHeader{kIcmpUnreachable, 2, 0};
      const uint8_t pointer = v6.code == 0 ? pointer_to_v4(v6.parameter) : kUnmapped;
      if (pointer == kUnmapped) return std::nullopt;
      return IcmpHeader{kIcmpParameterProblem, 0, static_cast<uint32_t>(pointer) << 24};
    }
    default: return std::nullopt;
  }
}

std::optional<uint8_t> echo_type(Af to, uint8_t type) {
  static constexpr std::pair<uint8_t, uint8_t> kTypes[] = {{kIcmpEchoRequest, kIcmp6EchoRequest},
                                                           {kIcmpEchoReply, kIcmp6EchoReply}};
  for (const auto& [v4, v6] : kTypes) {
    if (to == Af::inet6 && type == v4) return v6;
    if (to == Af::inet && type == v6) return v4;
  }
  return std::nullopt;
}

}  // namespace twinwall
