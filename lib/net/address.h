// IP addresses of both families, prefixes, MAC addresses, and their texts.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "lib/base/bytes.h"

namespace twinwall {

// Family, numbered as the wire formats of PF do (AF_INET is 2 everywhere; IPv6 is numbered per dialect when written).
enum class Af : uint8_t { none = 0, inet = 2, inet6 = 24 };

// An address in network byte order. IPv4 uses the first four bytes, the rest are zero, so that comparing and hashing
// all sixteen bytes is right for both families.
struct Address {
  std::array<uint8_t, 16> bytes{};

  // Two words, in the order of the bytes in memory: what is compared for every packet is no call.
  using Words = std::array<uint64_t, 2>;
  [[nodiscard]] constexpr Words words() const { return std::bit_cast<Words>(bytes); }
  // Loaded word by word: from words() the compiler makes copies on the stack first.
  friend constexpr bool operator==(const Address& a, const Address& b) {
    if (std::is_constant_evaluated()) return a.bytes == b.bytes;
    const auto word = [](const Address& x, size_t at) { return load_raw<uint64_t>(x.bytes.data() + at); };
    return ((word(a, 0) ^ word(b, 0)) | (word(a, 8) ^ word(b, 8))) == 0;
  }
  friend constexpr auto operator<=>(const Address& a, const Address& b) { return a.bytes <=> b.bytes; }

  static Address v4(uint32_t host_order) {
    Address a;
    store_be32(a.bytes.data(), host_order);
    return a;
  }
  // In words, because they are read as words soon after: a processor waits for smaller stores to reach its cache.
  static Address v4_wire(const void* four_bytes) {
    return {std::bit_cast<std::array<uint8_t, 16>>(Words{load_raw<uint32_t>(four_bytes), 0})};
  }
  static Address v6_wire(const void* sixteen_bytes) {
    Address a;
    std::memcpy(a.bytes.data(), sixteen_bytes, 16);
    return a;
  }
  static Address from_wire(Af af, const void* p) { return af == Af::inet ? v4_wire(p) : v6_wire(p); }

  [[nodiscard]] uint32_t v4_host() const { return load_be32(bytes.data()); }
  [[nodiscard]] bool is_zero() const { return *this == Address{}; }
};

constexpr size_t address_length(Af af) { return af == Af::inet ? 4 : 16; }
constexpr unsigned address_bits(Af af) { return af == Af::inet ? 32 : 128; }

[[nodiscard]] constexpr bool is_multicast(Af af, const Address& a) {
  return af == Af::inet ? (a.bytes[0] & 0xf0) == 0xe0 : a.bytes[0] == 0xff;
}
// fe80::/10, and multicast of interface-local or link-local scope.
[[nodiscard]] constexpr bool is_link_local(Af af, const Address& a) {
  if (af == Af::inet) return a.bytes[0] == 169 && a.bytes[1] == 254;
  if (a.bytes[0] == 0xfe) return (a.bytes[1] & 0xc0) == 0x80;
  return a.bytes[0] == 0xff && ((a.bytes[1] & 0x0f) == 1 || (a.bytes[1] & 0x0f) == 2);
}
// ff02::1:ffXX:XXXX of the address (RFC 4291 section 2.7.1).
[[nodiscard]] Address solicited_node(const Address& a);

// "192.0.2.1", "2001:db8::1" (RFC 5952).
[[nodiscard]] std::string to_string(Af af, const Address& a);

struct IpAddress {
  Af af = Af::none;
  Address addr;
  friend bool operator==(const IpAddress&, const IpAddress&) = default;
  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
};
[[nodiscard]] inline std::string to_string(const IpAddress& a) { return to_string(a.af, a.addr); }
// Numeric addresses only; nothing is resolved.
[[nodiscard]] std::optional<IpAddress> parse_ip(std::string_view text);

struct Prefix {
  Af af = Af::none;
  Address addr;  // host bits may be set (an interface's own address); network() clears them
  uint8_t length = 0;

  friend bool operator==(const Prefix&, const Prefix&) = default;
  // The network bits of a prefix of this length, as Address::words().
  [[nodiscard]] static constexpr Address::Words mask(unsigned length) {
    const auto word = [](unsigned n) { return n == 0 ? 0 : bswap(~uint64_t{0} << (64 - n)); };
    return {word(length < 64 ? length : 64), word(length > 64 ? length - 64 : 0)};
  }
  [[nodiscard]] constexpr bool contains(const Address& a) const {
    const Address::Words m = mask(length), x = addr.words(), y = a.words();
    return (((x[0] ^ y[0]) & m[0]) | ((x[1] ^ y[1]) & m[1])) == 0;
  }
  [[nodiscard]] Address network() const;
  [[nodiscard]] Address broadcast() const;  // IPv4: all host bits set
  [[nodiscard]] IpAddress address() const { return {af, addr}; }
};
[[nodiscard]] std::string to_string(const Prefix& p);
[[nodiscard]] constexpr Prefix host_prefix(const IpAddress& ip) {
  return {ip.af, ip.addr, static_cast<uint8_t>(address_bits(ip.af))};
}
// "10.0.0.0/8"; a lone address is a /32 or /128.
[[nodiscard]] std::optional<Prefix> parse_prefix(std::string_view text);

struct Mac {
  std::array<uint8_t, 6> bytes{};
  friend constexpr bool operator==(const Mac&, const Mac&) = default;
  friend constexpr auto operator<=>(const Mac&, const Mac&) = default;
  [[nodiscard]] bool is_group() const { return (bytes[0] & 1) != 0; }
  [[nodiscard]] static Mac from_wire(const void* p) {
    Mac m;
    std::memcpy(m.bytes.data(), p, 6);
    return m;
  }
};
inline constexpr Mac kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
// 00:00:5e:00:01:VV, CARP's and VRRP's virtual MAC.
[[nodiscard]] constexpr Mac virtual_mac(uint8_t vhid) { return Mac{{0x00, 0x00, 0x5e, 0x00, 0x01, vhid}}; }
// The group MAC of a multicast address (RFC 1112 section 6.4, RFC 2464 section 7).
[[nodiscard]] Mac multicast_mac(Af af, const Address& group);
[[nodiscard]] std::string to_string(const Mac& m);
[[nodiscard]] std::optional<Mac> parse_mac(std::string_view text);

}  // namespace twinwall
