// The headers of nearly all packets in one look: IPv4 without options or IPv6 without extensions, whole, TCP that
// opens a connection or goes on with one, or UDP, and nothing in it that PF's checks would change.
#pragma once

#include <cstddef>

#include "lib/engine/packet.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/state/flow_key.h"

namespace twinwall {

// What is in an ordinary frame, in two words: of a packet that is found out to be nothing else nobody asks for more.
struct Ordinary {
  Af af = Af::none;
  uint8_t proto = 0;
  uint8_t tcp_flags = 0;
  uint8_t l4 = 0;          // offset of the transport header from the frame
  uint32_t l3_length = 0;  // the IP packet's own length
  uint32_t payload = 0;    // TCP: bytes behind the header

  // All but `payload`, in the order of memory: what is asked for soon need not pass through it.
  using Head = uint64_t;
  [[gnu::always_inline]] static constexpr Head head_of(Af af, uint8_t proto, uint8_t tcp_flags, uint32_t l4,
                                                       uint32_t l3_length) {
    return uint64_t{static_cast<uint8_t>(af)} | uint64_t{proto} << 8 | uint64_t{tcp_flags} << 16 | uint64_t{l4} << 24 |
           uint64_t{l3_length} << 32;
  }
  [[gnu::always_inline]] void set(Head head, uint32_t payload_length) {
    store_raw(reinterpret_cast<uint8_t*>(this), head);
    payload = payload_length;
  }
  // FlowKey::of() its ends.
  [[nodiscard, gnu::always_inline]] static FlowKey::Words key(const uint8_t* frame, Head head) {
    const uint8_t* const h = frame + kEthernetHeader;
    const uint64_t rest = load_raw<uint32_t>(frame + (head >> 24 & 0xff)) | (head & 0xffff) << 32;
    if (static_cast<Af>(head & 0xff) == Af::inet) [[likely]]
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

static_assert(offsetof(Ordinary, l4) == 3 && offsetof(Ordinary, l3_length) == 4);

// A SYN or its answer, with nothing else that would be taken off or make it suspicious.
[[nodiscard]] inline bool opens_plainly(uint8_t tcp_flags) {
  const auto flags = static_cast<uint8_t>(tcp_flags & (kTcpFin | kTcpSyn | kTcpRst | kTcpPush | kTcpAck | kTcpUrg));
  return flags == kTcpSyn || flags == (kTcpSyn | kTcpAck);
}

// The IP header said so much: the rest from the transport header. 0: not ordinary.
[[nodiscard, gnu::always_inline]] inline Ordinary::Head look_transport(const uint8_t* f, uint32_t length, Af af,
                                                                       uint8_t proto, uint32_t header,
                                                                       uint32_t l3_length, uint32_t& payload) {
  const uint32_t l4 = kEthernetHeader + header;
  const uint8_t* const t = f + l4;
  if (l3_length > length - kEthernetHeader) return 0;
  if (proto == kProtoTcp) {
    if (l3_length < header + kTcpHeader || load_raw<uint16_t>(t + 2) == 0) return 0;
    // Data offset and four bits that nobody uses, flags, window, checksum, urgent pointer.
    const auto second = load_raw<uint64_t>(t + 12);
    constexpr uint64_t kNone = uint64_t{0xffff} << 48 | 0x0f;
    constexpr uint64_t kAsked = kNone | uint64_t{kTcpSyn | kTcpRst | kTcpAck | kTcpUrg} << 8;
    const auto flags = static_cast<uint8_t>(second >> 8);
    if ((second & kAsked) != uint64_t{kTcpAck} << 8) [[unlikely]] {
      if ((second & kNone) != 0 || !opens_plainly(flags)) return 0;
    }
    const uint32_t tcp = static_cast<uint32_t>(second) >> 2 & 0x3c;
    payload = l3_length - header - tcp;
    if (tcp < kTcpHeader || payload > 0xffff) return 0;
    return Ordinary::head_of(af, kProtoTcp, flags, l4, l3_length);
  }
  if (proto != kProtoUdp || l3_length < header + kUdpHeader || load_raw<uint16_t>(t + 2) == 0) return 0;
  const uint32_t udp = load_be16(t + 4);
  if (udp < kUdpHeader || udp > l3_length - header) return 0;
  payload = 0;
  return Ordinary::head_of(af, kProtoUdp, 0, l4, l3_length);
}

// Not 0: the frame is one, and fill_ordinary() makes of the packet what parse_link(), parse_ip() and the normalisations
// of the flags would; they would leave every byte as it is. 0: nothing is said.
[[nodiscard, gnu::always_inline]] inline Ordinary::Head look_at_v4(const uint8_t* f, uint32_t length,
                                                                   uint32_t& payload) {
  if (length < kEthernetHeader + kIpv4Header + kUdpHeader) return 0;
  const uint8_t* const h = f + kEthernetHeader;
  // EtherType, version, header length, type of service, total length, id.
  const auto first = load_raw<uint64_t>(f + 12);
  constexpr uint32_t kPlain = bswap(kEtherTypeIpv4) | 0x45u << 16;  // version 4, no options
  if ((first & 0xffffff) != kPlain) return 0;
  // Flags and offset of a fragment, TTL, protocol.
  const auto second = load_raw<uint32_t>(h + 6);
  if ((second & bswap(static_cast<uint16_t>(~kIpv4DontFragment))) != 0) return 0;
  // It is right when the sum of its words is a multiple of 0xffff (RFC 1071 section 1): as it cannot be 0 here.
  const uint64_t sum = uint64_t{load_raw<uint32_t>(h)} + load_raw<uint32_t>(h + 4) + load_raw<uint32_t>(h + 8) +
                       load_raw<uint32_t>(h + 12) + load_raw<uint32_t>(h + 16);
  if (sum % 0xffff != 0) return 0;
  const uint32_t l3_length = bswap(static_cast<uint32_t>(first >> 16)) & 0xffff;
  return look_transport(f, length, Af::inet, static_cast<uint8_t>(second >> 24), kIpv4Header, l3_length, payload);
}

// The same of IPv6.
[[nodiscard]] inline Ordinary::Head look_at_v6(const uint8_t* f, uint32_t length, uint32_t& payload) {
  const uint8_t* const h = f + kEthernetHeader;
  if (length < kEthernetHeader + kIpv6Header + kUdpHeader || load_raw<uint16_t>(f + 12) != bswap(kEtherTypeIpv6) ||
      h[0] >> 4 != 6)
    return 0;
  return look_transport(f, length, Af::inet6, h[6], kIpv6Header, load_be16(h + 4) + uint32_t{kIpv6Header}, payload);
}

[[nodiscard]] inline bool look_ordinary(const uint8_t* f, uint32_t length, Ordinary& o) {
  uint32_t payload = 0;
  Ordinary::Head head = look_at_v4(f, length, payload);
  if (head == 0) head = look_at_v6(f, length, payload);
  if (head != 0) o.set(head, payload);
  return head != 0;
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
