// Packets that the node itself makes in answer to one it got: resets, challenge ACKs, ICMP errors, echo replies.
//
// Each writes an IP packet behind room for an Ethernet header into the caller's buffer and returns its length (of the
// IP packet), 0 when nothing may be answered. Contents as PF and RFC 792/1122/1812/4443 want them.
#pragma once

#include <cstdint>

#include "lib/base/bytes.h"
#include "lib/engine/packet.h"

namespace twinwall {

struct TcpReply {
  Address src, dst;               // of the reply
  uint16_t sport = 0, dport = 0;  // network order
  uint32_t seq = 0, ack = 0;
  uint8_t flags = 0;
  uint16_t window = 0;
  uint8_t ttl = 64;
  uint16_t mss = 0;  // an option; 0: none
};
[[nodiscard]] size_t build_tcp(MutableBytes out, Af af, const TcpReply& reply, uint16_t ip_id);

// The reset for a blocked segment `p` (PF's "return-rst"); 0 when the segment is itself a reset. `ttl` 0: the default.
[[nodiscard]] size_t build_reset(MutableBytes out, const Packet& p, uint8_t ttl, uint16_t ip_id);

// True when an ICMP error may be sent about `p` (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e).
[[nodiscard]] bool may_send_error(const Packet& p);

// An ICMP or ICMPv6 error of the packet's own family, from `source` to the packet's sender, quoting it. `parameter` is
// the second word: the MTU of a too-big message, else 0.
[[nodiscard]] size_t build_icmp_error(MutableBytes out, const Packet& p, const Address& source, uint8_t type,
                                      uint8_t code, uint32_t parameter, uint16_t ip_id);

// Turns an echo request into its reply where it lies. The packet must be a whole, checked echo request.
void make_echo_reply(Packet& p);

// Makes a reset of a segment where it lies, with its sequence number and acknowledgement and without its options and
// payload. What a receiver in order takes for the end of the connection.
void cut_to_reset(Packet& p);

// True when the TCP checksum of a whole segment is right.
[[nodiscard]] bool tcp_checksum_ok(const Packet& p);

}  // namespace twinwall
