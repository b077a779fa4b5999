// The headers of nearly all packets in one look: IPv4 without options or IPv6 without extensions, whole, TCP that
// opens a connection or goes on with one, or UDP, and nothing in it that PF's checks would change.
#pragma once

#include "lib/engine/packet.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/state/flow_key.h"

namespace twinwall {

// What is in an ordinary frame: of a packet that is found out to be nothing else nobody asks for more.
struct Ordinary {
  Af af = Af::none;
  uint8_t proto = 0;
  uint8_t tcp_flags = 0;
  uint8_t l4 = 0;          // offset of the transport header from the frame
  uint32_t l3_length = 0;  // the IP packet's own length
  uint32_t payload = 0;    // TCP: bytes behind the header

  // FlowKey::of() its ends, in words that need not pass through memory.
  [[nodiscard, gnu::always_inline]] FlowKey::Words key(const uint8_t* frame) const {
    const uint8_t* const h = frame + kEthernetHeader;
    const uint64_t rest = load_raw<uint32_t>(frame + l4) | static_cast<uint64_t>(af) << 32 | uint64_t{proto} << 40;
    if (af == Af::inet) [[likely]]
      return {load_raw<uint32_t>(h + 12), 0, load_raw<uint32_t>(h + 16), 0, rest};
    return {load_raw<uint64_t>(h + 8), load_raw<uint64_t>(h + 16), load_raw<uint64_t>(h + 24),
            load_raw<uint64_t>(h + 32), rest};
  }
  // The type of service without the ECN bits.
  [[nodiscard]] uint8_t tos(const uint8_t* frame) const {
    const uint8_t* const h = frame + kEthernetHeader;
    return af == Af::inet ? h[1] & 0xfc : static_cast<uint8_t>(load_be16(h) >> 4) & 0xfc;
  }
  // The TTL or hop limit.
  [[nodiscard, gnu::always_inline]] uint8_t ttl(const uint8_t* frame) const {
    return frame[kEthernetHeader + (af == Af::inet ? 8 : 7)];
  }
};

// A SYN or its answer, with nothing else that would be taken off or make it suspicious.
[[nodiscard]] inline bool opens_plainly(uint8_t tcp_flags) {
  const auto flags = static_cast<uint8_t>(tcp_flags & (kTcpFin | kTcpSyn | kTcpRst | kTcpPush | kTcpAck | kTcpUrg));
  return flags == kTcpSyn || flags == (kTcpSyn | kTcpAck);
}

// True: the frame is one, and fill_ordinary() makes of the packet what parse_link(), parse_ip() and the normalisations
// of the flags would; they would leave every byte as it is. False: nothing is said.
[[nodiscard, gnu::always_inline]] inline bool look_ordinary(const uint8_t* f, uint32_t length, Ordinary& o) {
  constexpr uint8_t kPlainHeader = 0x45;  // version 4, no options
  if (length < kEthernetHeader + kIpv4Header + kUdpHeader) return false;
  const uint8_t* const h = f + kEthernetHeader;
  const auto type = load_raw<uint16_t>(f + 12);
  uint32_t header;
  if (type == bswap(kEtherTypeIpv4)) [[likely]] {
    if (h[0] != kPlainHeader || (load_raw<uint16_t>(h + 6) & bswap(static_cast<uint16_t>(~kIpv4DontFragment))) != 0)
      return false;
    // It is right when the sum of its words is a multiple of 0xffff (RFC 1071 section 1): as it cannot be 0 here.
    const uint64_t sum = uint64_t{load_raw<uint32_t>(h)} + load_raw<uint32_t>(h + 4) + load_raw<uint32_t>(h + 8) +
                         load_raw<uint32_t>(h + 12) + load_raw<uint32_t>(h + 16);
    if (sum % 0xffff != 0) return false;
    o.af = Af::inet;
    o.proto = h[9];
    o.l3_length = load_be16(h + 2);
    header = kIpv4Header;
  } else if (type == bswap(kEtherTypeIpv6)) {
    if (length < kEthernetHeader + kIpv6Header + kUdpHeader || h[0] >> 4 != 6) return false;
    o.af = Af::inet6;
    o.proto = h[6];
    o.l3_length = load_be16(h + 4) + static_cast<uint32_t>(kIpv6Header);
    header = kIpv6Header;
  } else {
    return false;
  }
  if (o.l3_length < header + kUdpHeader || o.l3_length > length - kEthernetHeader) return false;
  const uint32_t l4_length = o.l3_length - header;
  o.l4 = static_cast<uint8_t>(kEthernetHeader + header);
  const uint8_t* const t = f + o.l4;
  if (load_raw<uint16_t>(t + 2) == 0) return false;
  if (o.proto == kProtoTcp) {
    if (l4_length < kTcpHeader) return false;
    o.tcp_flags = t[13];
    const uint32_t tcp = static_cast<uint32_t>(t[12] >> 4) * 4;
    if (tcp < kTcpHeader || tcp > l4_length || (t[12] & 0x0f) != 0) return false;
    if ((o.tcp_flags & (kTcpSyn | kTcpRst | kTcpAck | kTcpUrg)) != kTcpAck && !opens_plainly(o.tcp_flags)) return false;
    if (load_raw<uint16_t>(t + 18) != 0) return false;
    o.payload = l4_length - tcp;
    return true;
  }
  if (o.proto != kProtoUdp) return false;
  o.tcp_flags = 0;
  o.payload = 0;
  const uint32_t udp = load_be16(t + 4);
  return udp >= kUdpHeader && udp <= l4_length;
}

inline void fill_ordinary(Packet& p, const Ordinary& o) {
  const uint8_t* const h = p.frame + kEthernetHeader;
  const uint8_t* const t = p.frame + o.l4;
  p.af = o.af;
  p.proto = o.proto;
  p.tcp_flags = o.tcp_flags;
  p.is_fragment = p.first_fragment = p.more_fragments = p.ip_options = false;
  p.l3 = kEthernetHeader;
  p.l4 = o.l4;
  p.l3_length = o.l3_length;
  p.l4_length = o.l3_length + static_cast<uint32_t>(kEthernetHeader) - o.l4;
  p.payload = o.payload;
  p.ttl = o.ttl(p.frame);
  p.tos = o.tos(p.frame);
  if (o.af == Af::inet) {
    p.src = Address::v4_wire(h + 12);
    p.dst = Address::v4_wire(h + 16);
  } else {
    p.src = Address::v6_wire(h + 8);
    p.dst = Address::v6_wire(h + 24);
  }
  p.sport = load_raw<uint16_t>(t);
  p.dport = load_raw<uint16_t>(t + 2);
  p.icmp_type = p.icmp_code = -1;
  p.icmp_id = 0;
}

}  // namespace twinwall
