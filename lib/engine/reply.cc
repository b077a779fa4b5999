#include "lib/engine/reply.h"

#include <algorithm>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr uint8_t kLowDelay = 0x10;
constexpr size_t kMssOption = 4;
constexpr size_t kIcmp6ErrorLimit = 1280;  // RFC 4443 section 3.1: no more than the minimum IPv6 MTU
constexpr uint8_t kErrorTtl = 255;
constexpr uint8_t kErrorHopLimit = 64;

struct V4Header {
  size_t total = 0;
  uint8_t tos = 0, ttl = 64, proto = 0;
  bool dont_fragment = false;
  uint16_t id = 0;
};

void write_v4(uint8_t* h, const V4Header& f, const Address& src, const Address& dst) {
  h[0] = 0x45;
  h[1] = f.tos;
  store_be16(h + 2, static_cast<uint16_t>(f.total));
  store_be16(h + 4, f.id);
  store_be16(h + 6, f.dont_fragment ? kIpv4DontFragment : 0);
  h[8] = f.ttl;
  h[9] = f.proto;
  store_raw<uint16_t>(h + 10, 0);
  std::memcpy(h + 12, src.bytes.data(), 4);
  std::memcpy(h + 16, dst.bytes.data(), 4);
  store_raw(h + 10, checksum(h, kIpv4Header));
}

void write_v6(uint8_t* h, size_t payload, uint8_t hop_limit, uint8_t next, const Address& src, const Address& dst) {
  store_be32(h, 0x60000000);
  store_be16(h + 4, static_cast<uint16_t>(payload));
  h[6] = next;
  h[7] = hop_limit;
  std::memcpy(h + 8, src.bytes.data(), 16);
  std::memcpy(h + 24, dst.bytes.data(), 16);
}

}  // namespace

size_t build_tcp(MutableBytes out, Af af, const TcpReply& reply, uint16_t ip_id) {
  const size_t header = af == Af::inet ? kIpv4Header : kIpv6Header;
  const size_t segment = kTcpHeader + (reply.mss != 0 ? kMssOption : 0);
  const size_t total = header + segment;
  if (out.size() < total) return 0;
  uint8_t* t = out.data() + header;
  std::memset(t, 0, segment);
  store_raw(t, reply.sport);
  store_raw(t + 2, reply.dport);
  store_be32(t + 4, reply.seq);
  store_be32(t + 8, reply.ack);
  t[12] = static_cast<uint8_t>(segment / 4 << 4);
  if (reply.mss != 0) {
    t[kTcpHeader] = 2;  // RFC 9293 section 3.2
    t[kTcpHeader + 1] = kMssOption;
    store_be16(t + kTcpHeader + 2, reply.mss);
  }
  t[13] = reply.flags;
  store_be16(t + 14, reply.window);
  store_raw(t + 16, l4_checksum(af, reply.src.bytes.data(), reply.dst.bytes.data(), kProtoTcp, t, segment));
  if (af == Af::inet)
    write_v4(out.data(), {total, kLowDelay, reply.ttl, kProtoTcp, true, ip_id}, reply.src, reply.dst);
  else
    write_v6(out.data(), segment, reply.ttl, kProtoTcp, reply.src, reply.dst);
  return total;
}

size_t build_reset(MutableBytes out, const Packet& p, uint8_t ttl, uint16_t ip_id) {
  if (p.proto != kProtoTcp || (p.tcp_flags & kTcpRst) != 0) return 0;
  const uint8_t* t = p.transport();
  TcpReply r;
  r.src = p.dst;
  r.dst = p.src;
  r.sport = p.dport;
  r.dport = p.sport;
  r.seq = load_be32(t + 8);
  r.ack =
      load_be32(t + 4) + p.payload + ((p.tcp_flags & kTcpSyn) != 0 ? 1 : 0) + ((p.tcp_flags & kTcpFin) != 0 ? 1 : 0);
  r.flags = kTcpRst | kTcpAck;
  r.ttl = ttl != 0 ? ttl : 64;
  return build_tcp(out, p.af, r, ip_id);
}

bool may_send_error(const Packet& p) {
  if (p.is_fragment && !p.first_fragment) return false;
  if (p.frame != nullptr && p.l3 == kEthernetHeader && (p.frame[0] & 1) != 0) return false;
  if (p.src.is_zero() || is_multicast(p.af, p.src)) return false;
  if (p.af == Af::inet) {
    if (p.src == Address::v4(0xffffffff)) return false;
    if (p.proto != kProtoIcmp) return true;
    switch (p.icmp_type) {
      case kIcmpUnreachable:
      case kIcmpSourceQuench:
      case kIcmpRedirect:
      case kIcmpTimeExceeded:
      case kIcmpParameterProblem: return false;
      default: return true;
    }
  }
  if (p.proto != kProtoIcmp6) return true;
  return p.icmp_type >= 128 && p.icmp_type != kIcmp6Redirect;
}

size_t build_icmp_error(MutableBytes out, const Packet& p, const Address& source, uint8_t type, uint8_t code,
                        uint32_t parameter, uint16_t ip_id) {
  if (!may_send_error(p)) return 0;
  const size_t header = p.af == Af::inet ? kIpv4Header : kIpv6Header;
  size_t quote = p.l3_length;
  if (p.af == Af::inet) {
    const size_t ip_header = (p.ip()[0] & 0x0fu) * 4;
    quote = std::min<size_t>(quote, ip_header + 8);
  } else {
    quote = std::min<size_t>(quote, kIcmp6ErrorLimit - kIpv6Header - kIcmpHeader);
  }
  const size_t total = header + kIcmpHeader + quote;
  if (out.size() < total) return 0;
  uint8_t* t = out.data() + header;
  t[0] = type;
  t[1] = code;
  store_raw<uint16_t>(t + 2, 0);
  store_be32(t + 4, parameter);
  std::memcpy(t + kIcmpHeader, p.ip(), quote);
  if (p.af == Af::inet) {
    store_raw(t + 2, checksum(t, kIcmpHeader + quote));
    write_v4(out.data(), {total, 0, kErrorTtl, kProtoIcmp, false, ip_id}, source, p.src);
  } else {
    store_raw(t + 2, l4_checksum(p.af, source.bytes.data(), p.src.bytes.data(), kProtoIcmp6, t, kIcmpHeader + quote));
    write_v6(out.data(), kIcmpHeader + quote, kErrorHopLimit, kProtoIcmp6, source, p.src);
  }
  return total;
}

void make_echo_reply(Packet& p) {
  uint8_t* h = p.ip();
  uint8_t* t = p.transport();
  const uint8_t before[2] = {t[0], t[1]};
  t[0] = p.af == Af::inet ? kIcmpEchoReply : kIcmp6EchoReply;
  store_raw(t + 2, checksum_adjust(load_raw<uint16_t>(t + 2), before, t, 2));
  std::swap(p.src, p.dst);  // the sum over the addresses stays the same
  const size_t n = address_length(p.af);
  const size_t offset = p.af == Af::inet ? 12 : 8;
  std::memcpy(h + offset, p.src.bytes.data(), n);
  std::memcpy(h + offset + n, p.dst.bytes.data(), n);
  if (p.af == Af::inet) {
    uint8_t old[2] = {h[8], h[9]};
    h[8] = kErrorTtl;
    store_raw(h + 10, checksum_adjust(load_raw<uint16_t>(h + 10), old, h + 8, 2));
    p.ttl = kErrorTtl;
  } else {
    h[7] = kErrorHopLimit;
    p.ttl = kErrorHopLimit;
  }
  p.icmp_type = t[0];
}

void cut_to_reset(Packet& p) {
  uint8_t* const h = p.ip();
  uint8_t* const t = p.transport();
  const uint32_t gone = p.l4_length - static_cast<uint32_t>(kTcpHeader);
  p.l3_length -= gone;
  p.l4_length -= gone;
  p.length = p.l3 + p.l3_length;
  p.payload = 0;
  p.tcp_flags = kTcpRst | kTcpAck;
  t[12] = static_cast<uint8_t>(kTcpHeader / 4 << 4);
  t[13] = p.tcp_flags;
  store_raw<uint32_t>(t + 14, 0);  // window and checksum
  store_raw<uint16_t>(t + 18, 0);  // urgent pointer
  store_raw(t + 16, l4_checksum(p.af, p.src.bytes.data(), p.dst.bytes.data(), kProtoTcp, t, kTcpHeader));
  if (p.af == Af::inet) {
    store_be16(h + 2, static_cast<uint16_t>(p.l3_length));
    store_raw<uint16_t>(h + 10, 0);
    store_raw(h + 10, checksum(h, (h[0] & 0x0fu) * 4));
  } else {
    store_be16(h + 4, static_cast<uint16_t>(p.l3_length - kIpv6Header));
  }
}

bool tcp_checksum_ok(const Packet& p) {
  return l4_checksum(p.af, p.src.bytes.data(), p.dst.bytes.data(), kProtoTcp, p.transport(), p.l4_length) == 0;
}

}  // namespace twinwall
