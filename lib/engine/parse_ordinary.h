// The headers of nearly all packets in one look: IPv4 without options, whole, TCP of a connection under way or UDP, and
// nothing in it that PF's checks would change.
#pragma once

#include "lib/engine/packet.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

// True: `p` is what parse_link(), parse_ip() and the normalisations of the flags make of the frame, and they would
// leave every byte as it is. False: nothing is said, and nothing of `p` has changed.
[[nodiscard]] inline bool parse_ordinary(Packet& p) {
  constexpr uint32_t kL4 = kEthernetHeader + kIpv4Header;
  constexpr uint8_t kPlainHeader = 0x45;  // version 4, no options
  const uint8_t* const f = p.frame;
  if (p.length < kL4 + kUdpHeader || load_be16(f + 12) != kEtherTypeIpv4 || f[kEthernetHeader] != kPlainHeader)
    return false;
  const uint8_t* const h = f + kEthernetHeader;
  const uint8_t* const t = f + kL4;
  const uint32_t l3_length = load_be16(h + 2);
  if (l3_length < kIpv4Header + kUdpHeader || l3_length > p.length - kEthernetHeader) return false;
  if ((load_be16(h + 6) & ~uint32_t{kIpv4DontFragment}) != 0) return false;
  if (checksum_fold(uint64_t{load_raw<uint32_t>(h)} + load_raw<uint32_t>(h + 4) + load_raw<uint32_t>(h + 8) +
                    load_raw<uint32_t>(h + 12) + load_raw<uint32_t>(h + 16)) != 0xffff)
    return false;
  const uint32_t l4_length = l3_length - kIpv4Header;
  const uint8_t proto = h[9];
  const auto dport = load_raw<uint16_t>(t + 2);
  if (dport == 0) return false;
  uint8_t flags = 0;
  uint32_t payload = 0;
  if (proto == kProtoTcp) {
    if (l4_length < kTcpHeader) return false;
    flags = t[13];
    const uint32_t header = static_cast<uint32_t>(t[12] >> 4) * 4;
    if (header < kTcpHeader || header > l4_length || (t[12] & 0x0f) != 0) return false;
    if ((flags & (kTcpSyn | kTcpRst | kTcpAck | kTcpUrg)) != kTcpAck || load_raw<uint16_t>(t + 18) != 0) return false;
    payload = l4_length - header;
  } else if (proto == kProtoUdp) {
    const uint32_t length = load_be16(t + 4);
    if (length < kUdpHeader || length > l4_length) return false;
  } else {
    return false;
  }
  p.af = Af::inet;
  p.proto = proto;
  p.tcp_flags = flags;
  p.tos = h[1] & 0xfc;
  p.ttl = h[8];
  p.is_fragment = p.first_fragment = p.more_fragments = p.ip_options = false;
  p.l3 = kEthernetHeader;
  p.l4 = kL4;
  p.l3_length = l3_length;
  p.l4_length = l4_length;
  p.payload = payload;
  p.src = Address::v4_wire(h + 12);
  p.dst = Address::v4_wire(h + 16);
  p.sport = load_raw<uint16_t>(t);
  p.dport = dport;
  p.icmp_type = p.icmp_code = -1;
  p.icmp_id = 0;
  return true;
}

}  // namespace twinwall
