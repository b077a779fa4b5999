// The frames that tell the network that a virtual address has moved: gratuitous ARP and unsolicited neighbour
// advertisement.
//
// Why: switches learn the virtual MAC's port from any frame that comes from it, hosts refresh their neighbour entries.
// Pure functions into a caller's buffer; they return the bytes written, or 0 when these do not fit. Frames are not
// padded to Ethernet's minimum; ports do that.
//
// Source: RFC 826, RFC 5227 section 3 (announcement), RFC 4861 sections 4.4 and 7.2.6, RFC 4291 appendix A.
#pragma once

#include <cstddef>

#include "lib/base/bytes.h"
#include "lib/net/address.h"
#include "lib/net/headers.h"

namespace twinwall::carp {

inline constexpr size_t kArpFrame = kEthernetHeader + 28;
inline constexpr size_t kNeighborAdvertFrame = kEthernetHeader + kIpv6Header + 32;

// A broadcast ARP request for `address` from `address`, with `virtual_mac` as the sender's hardware address.
// `ethernet_source` is the virtual MAC on OpenBSD (and here), the port's own MAC on FreeBSD.
[[nodiscard]] size_t build_gratuitous_arp(const Mac& virtual_mac, const Mac& ethernet_source, const Address& address,
                                          MutableBytes out);

// A neighbour advertisement to all nodes (ff02::1), override set, not solicited. `source` is a link-local address of
// the sender; `router` tells whether this node forwards IPv6.
[[nodiscard]] size_t build_unsolicited_na(const Mac& virtual_mac, const Address& source, const Address& target,
                                          bool router, MutableBytes out);

// fe80:: with the modified EUI-64 of a MAC address: the address OpenBSD gives a carp interface by itself.
[[nodiscard]] Address link_local_of(const Mac& mac);

}  // namespace twinwall::carp
