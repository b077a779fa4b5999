// From a frame to a Packet whose headers have been checked, as PF checks them before any rule is looked at
// (pf.conf(5); RFC 791, 8200, 9293). Reads only what lies inside the frame.
#pragma once

#include "lib/engine/packet.h"

namespace twinwall {

// What parse functions return when nothing is wrong.
inline constexpr DropReason kParsed = DropReason::count;

enum class LinkType : uint8_t { ip, arp, other };

// Looks at the Ethernet header: sets l3 and, for IP, the family. kParsed, or why the frame is dropped.
[[nodiscard]] DropReason parse_link(Packet& p, LinkType& type);

// Checks the IP header as the host's own stack would (lengths, version, IPv4 header checksum), then the header chain,
// the options and, in whole packets and first fragments, the transport header as PF does. Needs l3 and af.
[[nodiscard]] DropReason parse_ip(Packet& p);

// PF's clean-up of TCP flags, with the checksum kept in step. kParsed, or normalize.
[[nodiscard]] DropReason normalise_tcp(Packet& p);

// Reads IPv4 options; `flags` becomes non-zero when there are any. kParsed, or ip_option when they are malformed.
[[nodiscard]] DropReason walk_v4_options(const uint8_t* options, size_t length, uint8_t& flags);

}  // namespace twinwall
