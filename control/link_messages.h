// ARP and neighbour discovery on the wire: the messages that tie an address to a link-layer address.
//
// Pure functions over spans. Parsers take untrusted bytes, read nothing outside them and say what is wrong; builders
// fill a caller's buffer with a whole Ethernet frame and return its length, 0 when it does not fit.
//
// Source: RFC 826; RFC 4861 sections 4.3, 4.4, 7.1 (validity), 7.2; RFC 6980 (no fragmented discovery).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "lib/base/bytes.h"
#include "lib/net/address.h"
#include "lib/net/headers.h"

namespace twinwall {

inline constexpr uint16_t kArpRequest = 1;
inline constexpr uint16_t kArpReply = 2;
inline constexpr size_t kArpLength = 28;
inline constexpr size_t kLinkMessageMax = kEthernetHeader + kIpv6Header + 32;

struct ArpMessage {
  uint16_t operation = 0;
  Mac sender_mac, target_mac;
  Address sender, target;
};
// `arp` starts behind the Ethernet header. Nothing for other hardware or protocols, short packets, and senders that
// cannot be a station (all-zero MAC, or a group that is not CARP's for nodes that share a load).
[[nodiscard]] std::optional<ArpMessage> parse_arp(Bytes arp);
[[nodiscard]] size_t build_arp(const Mac& ethernet_destination, const Mac& ethernet_source, const ArpMessage& message,
                               MutableBytes out);

enum class DiscoveryFault : uint8_t { none, not_discovery, hop_limit, checksum, length, value, option };
inline constexpr size_t kDiscoveryFaults = 7;
[[nodiscard]] std::string_view fault_text(DiscoveryFault fault);

// A neighbour solicitation or advertisement.
struct DiscoveryMessage {
  uint8_t type = 0;
  Address source, destination, target;
  bool router = false, solicited = false, override_entry = false;  // advertisements
  std::optional<Mac> link_layer;  // of the source (solicitation) or the target (advertisement)
};
// `ip` starts with the IPv6 header. Router messages and redirects are not_discovery: a firewall takes no routes from
// them.
[[nodiscard]] DiscoveryFault parse_discovery(Bytes ip, DiscoveryMessage& out);
[[nodiscard]] size_t build_discovery(const Mac& ethernet_destination, const Mac& ethernet_source,
                                     const DiscoveryMessage& message, MutableBytes out);

}  // namespace twinwall
