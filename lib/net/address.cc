#include "lib/net/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstdio>

namespace twinwall {

Address solicited_node(const Address& a) {
  Address out;
  out.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a.bytes[13], a.bytes[14], a.bytes[15]};
  return out;
}

std::string to_string(Af af, const Address& a) {
  char text[INET6_ADDRSTRLEN];
  if (af == Af::none) return "none";
  inet_ntop(af == Af::inet ? AF_INET : AF_INET6, a.bytes.data(), text, sizeof text);
  return text;
}

std::optional<IpAddress> parse_ip(std::string_view text) {
  const std::string copy(text);
  IpAddress out;
  if (inet_pton(AF_INET, copy.c_str(), out.addr.bytes.data()) == 1) {
    out.af = Af::inet;
    return out;
  }
  if (inet_pton(AF_INET6, copy.c_str(), out.addr.bytes.data()) == 1) {
    out.af = Af::inet6;
    return out;
  }
  return std::nullopt;
}

Address Prefix::network() const {
  const Address::Words m = mask(length), x = addr.words();
  return {std::bit_cast<std::array<uint8_t, 16>>(Address::Words{x[0] & m[0], x[1] & m[1]})};
}

Address Prefix::broadcast() const {
  const Address::Words host = mask(length), all = mask(address_bits(af)), x = addr.words();
  return {
      std::bit_cast<std::array<uint8_t, 16>>(Address::Words{x[0] | (all[0] & ~host[0]), x[1] | (all[1] & ~host[1])})};
}

std::string to_string(const Prefix& p) { return to_string(p.af, p.addr) + "/" + std::to_string(p.length); }

std::optional<Prefix> parse_prefix(std::string_view text) {
  const size_t slash = text.find('/');
  const auto ip = parse_ip(text.substr(0, slash));
  if (!ip) return std::nullopt;
  Prefix out{ip->af, ip->addr, static_cast<uint8_t>(address_bits(ip->af))};
  if (slash == std::string_view::npos) return out;
  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (error != std::errc{} || end != digits.data() + digits.size() || length > address_bits(ip->af))
    return std::nullopt;
  out.length = static_cast<uint8_t>(length);
  return out;
}

Mac multicast_mac(Af af, const Address& group) {
  const auto& b = group.bytes;
  if (af == Af::inet) return Mac{{0x01, 0x00, 0x5e, static_cast<uint8_t>(b[1] & 0x7f), b[2], b[3]}};
  return Mac{{0x33, 0x33, b[12], b[13], b[14], b[15]}};
}

std::string to_string(const Mac& m) {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", m.bytes[0], m.bytes[1], m.bytes[2], m.bytes[3],
                m.bytes[4], m.bytes[5]);
  return text;
}

std::optional<Mac> parse_mac(std::string_view text) {
  Mac out;
  if (text.size() != 17) return std::nullopt;
  for (size_t i = 0; i < 6; ++i) {
    const char* p = text.data() + i * 3;
    const auto [end, error] = std::from_chars(p, p + 2, out.bytes[i], 16);
    if (error != std::errc{} || end != p + 2 || (i < 5 && p[2] != ':')) return std::nullopt;
  }
  return out;
}

}  // namespace twinwall
