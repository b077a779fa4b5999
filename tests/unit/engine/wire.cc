#include "tests/unit/engine/wire.h"

#include <algorithm>
#include <map>

#include "lib/net/headers.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::test {

namespace {

uint16_t be16(const Frame& f, size_t at) { return static_cast<uint16_t>(f[at] << 8 | f[at + 1]); }
void put16(Frame& f, size_t at, uint32_t value) {
  f[at] = static_cast<uint8_t>(value >> 8);
  f[at + 1] = static_cast<uint8_t>(value);
}
Frame part(const Frame& f, size_t from, size_t to) {
  return {f.begin() + static_cast<std::ptrdiff_t>(from), f.begin() + static_cast<std::ptrdiff_t>(to)};
}

// Where things lie in an IP packet.
struct Layout {
  Af af = Af::none;
  uint8_t proto = 0;
  size_t header = 0;  // of IPv4
  size_t l4 = 0, end = 0;
  bool fragment = false, more = false;
  size_t offset = 0;  // of the fragment
  size_t before = 0;  // its next-header field
  size_t piece = 0;   // where its payload begins
  uint32_t id = 0;
};

// `whole`: the packet has all the bytes that it claims.
std::optional<Layout> layout_of(const Frame& ip, bool whole) {
  Layout l;
  if (ip.size() >= kIpv4Header && ip[0] >> 4 == 4) {
    l.af = Af::inet;
    l.header = (ip[0] & 0xfu) * 4;
    l.end = be16(ip, 2);
    if (l.header < kIpv4Header || l.header > ip.size() || l.end < l.header) return {};
    if (l.end > ip.size()) {
      if (whole) return {};
      l.end = ip.size();
    }
    l.proto = ip[9];
    l.l4 = l.piece = l.header;
    const uint16_t field = be16(ip, 6);
    l.more = (field & kIpv4MoreFragments) != 0;
    l.offset = (field & kIpv4FragmentOffset) * 8u;
    l.fragment = l.more || l.offset != 0;
    l.id = be16(ip, 4);
    while (!l.fragment && l.proto == kProtoAh && l.l4 + 8 <= l.end) {
      l.proto = ip[l.l4];
      l.l4 += (ip[l.l4 + 1] + 2u) * 4;
    }
    if (l.l4 > l.end) return {};
    return l;
  }
  if (ip.size() < kIpv6Header || ip[0] >> 4 != 6) return {};
  l.af = Af::inet6;
  l.end = kIpv6Header + be16(ip, 4);
  if (l.end > ip.size()) {
    if (whole) return {};
    l.end = ip.size();
  }
  l.proto = ip[6];
  l.l4 = kIpv6Header;
  size_t next = 6;
  while (l.proto == kProtoHopByHop || l.proto == kProtoRouting || l.proto == kProtoDestOpts || l.proto == kProtoAh ||
         l.proto == kProtoFragment) {
    if (l.l4 + 8 > l.end) return {};
    if (l.proto == kProtoFragment) {
      const uint16_t field = be16(ip, l.l4 + 2);
      l.fragment = (field & 0xfff9) != 0;
      l.more = (field & 1) != 0;
      l.offset = field & 0xfff8u;
      l.before = next;
      l.piece = l.l4 + 8;
      l.id = static_cast<uint32_t>(be16(ip, l.l4 + 4)) << 16 | be16(ip, l.l4 + 6);
      if (l.fragment) return l;
    }
    const size_t length = l.proto == kProtoFragment ? 8
                          : l.proto == kProtoAh     ? (ip[l.l4 + 1] + 2u) * 4
                                                    : (ip[l.l4 + 1] + 1u) * 8;
    next = l.l4;
    l.proto = ip[l.l4];
    l.l4 += length;
    if (l.l4 > l.end) return {};
  }
  return l;
}

bool is_error(Af af, uint8_t type) {
  return af == Af::inet ? type == 3 || type == 4 || type == 5 || type == 11 || type == 12 : type >= 1 && type <= 4;
}

// Offset of the checksum in the transport header, 0: there is none or it is not there.
size_t sum_offset(uint8_t proto, size_t length) {
  if (proto == kProtoTcp && length >= kTcpHeader) return 16;
  if (proto == kProtoUdp && length >= kUdpHeader) return 6;
  if ((proto == kProtoIcmp || proto == kProtoIcmp6) && length >= kIcmpHeader) return 2;
  return 0;
}

uint16_t transport_sum(Af af, const Frame& src, const Frame& dst, uint8_t proto, const Frame& l4) {
  Frame all;
  if (proto != kProtoIcmp) {
    all.insert(all.end(), src.begin(), src.end());
    all.insert(all.end(), dst.begin(), dst.end());
    all.resize(all.size() + 8);
    put16(all, all.size() - 6, static_cast<uint32_t>(l4.size()));
    put16(all, all.size() - 2, proto);
  }
  (void)af;
  all.insert(all.end(), l4.begin(), l4.end());
  return plain_sum(all);
}

uint16_t transport_sum_of(const Frame& ip, const Layout& l, bool without_field) {
  Frame l4 = part(ip, l.l4, l.end);
  if (without_field) put16(l4, sum_offset(l.proto, l4.size()), 0);
  const size_t n = address_length(l.af), at = l.af == Af::inet ? 12 : 8;
  return transport_sum(l.af, part(ip, at, at + n), part(ip, at + n, at + 2 * n), l.proto, l4);
}

Frame ip_of(const Frame& frame) { return part(frame, std::min(kEthernetHeader, frame.size()), frame.size()); }

bool quotes(const Frame& ip, const Layout& l) {
  return (l.proto == kProtoIcmp || l.proto == kProtoIcmp6) && l.l4 + kIcmpHeader + kIpv4Header <= l.end &&
         is_error(l.af, ip[l.l4]);
}

}  // namespace

bool Datagram::has_ports() const { return proto == kProtoTcp || proto == kProtoUdp; }

bool Datagram::is_echo() const {
  if (proto == kProtoIcmp) return l4[0] == kIcmpEchoRequest || l4[0] == kIcmpEchoReply;
  return proto == kProtoIcmp6 && (l4[0] == kIcmp6EchoRequest || l4[0] == kIcmp6EchoReply);
}

size_t Datagram::header() const {
  if (proto == kProtoTcp) return l4.size() < kTcpHeader ? l4.size() : std::min<size_t>((l4[12] >> 4) * 4u, l4.size());
  if (proto == kProtoUdp || proto == kProtoIcmp || proto == kProtoIcmp6) return std::min<size_t>(8, l4.size());
  return 0;
}

uint16_t plain_sum(const Frame& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
    if (sum > 0xffff) sum -= 0xffff;
  }
  return static_cast<uint16_t>(sum ^ 0xffff);
}

void put_sum(Datagram& d) {
  const size_t at = sum_offset(d.proto, d.l4.size());
  if (at == 0) return;
  d.set_word(at, 0);
  const size_t n = address_length(d.af);
  const Frame src(d.src.bytes.data(), d.src.bytes.data() + n), dst(d.dst.bytes.data(), d.dst.bytes.data() + n);
  const uint16_t sum = transport_sum(d.af, src, dst, d.proto, d.l4);
  d.set_word(at, d.proto == kProtoUdp && sum == 0 ? 0xffff : sum);
}

Frame frame_of(const Datagram& d, const Mac& to) {
  Frame f(to.bytes.begin(), to.bytes.end());
  f.resize(kEthernetHeader);
  f[6] = 0x02;
  put16(f, 12, d.af == Af::inet ? kEtherTypeIpv4 : kEtherTypeIpv6);
  Frame h(d.af == Af::inet ? kIpv4Header : kIpv6Header);
  const size_t n = address_length(d.af), at = d.af == Af::inet ? 12 : 8;
  std::copy_n(d.src.bytes.begin(), n, h.begin() + static_cast<std::ptrdiff_t>(at));
  std::copy_n(d.dst.bytes.begin(), n, h.begin() + static_cast<std::ptrdiff_t>(at + n));
  if (d.af == Af::inet) {
    h[0] = 0x45;
    h[1] = d.tos;
    put16(h, 2, static_cast<uint32_t>(kIpv4Header + d.l4.size()));
    put16(h, 4, d.id);
    put16(h, 6, d.df ? kIpv4DontFragment : 0u);
    h[8] = d.ttl;
    h[9] = d.proto;
    put16(h, 10, plain_sum(h));
  } else {
    put16(h, 0, 0x6000u | d.tos << 4u);
    put16(h, 4, static_cast<uint32_t>(d.l4.size()));
    h[6] = d.proto;
    h[7] = d.ttl;
  }
  f.insert(f.end(), h.begin(), h.end());
  f.insert(f.end(), d.l4.begin(), d.l4.end());
  return f;
}

namespace {

Datagram datagram_of(const Frame& ip, const Layout& l) {
  Datagram d;
  d.af = l.af;
  d.proto = l.proto;
  d.src = l.af == Af::inet ? Address::v4_wire(&ip[12]) : Address::v6_wire(&ip[8]);
  d.dst = l.af == Af::inet ? Address::v4_wire(&ip[16]) : Address::v6_wire(&ip[24]);
  d.ttl = l.af == Af::inet ? ip[8] : ip[7];
  d.tos = l.af == Af::inet ? ip[1] : static_cast<uint8_t>(be16(ip, 0) >> 4);
  d.df = l.af == Af::inet && (be16(ip, 6) & kIpv4DontFragment) != 0;
  d.id = l.af == Af::inet ? be16(ip, 4) : uint16_t{0};
  d.l4 = part(ip, l.l4, l.end);
  return d;
}

}  // namespace

std::optional<Datagram> read(const Frame& frame) {
  const Frame ip = ip_of(frame);
  const auto l = layout_of(ip, true);
  if (!l || l->fragment) return {};
  return datagram_of(ip, *l);
}

unsigned wrong_parts(const Frame& frame) {
  const Frame ip = ip_of(frame);
  const auto l = layout_of(ip, true);
  if (!l) return kWrongLength;
  unsigned out = 0;
  if (l->af == Af::inet && plain_sum(part(ip, 0, l->header)) != 0) out |= kWrongHeaderSum;
  if (l->fragment) return out;
  const size_t length = l->end - l->l4, at = sum_offset(l->proto, length);
  if (at == 0) return out;
  const bool unsummed = l->proto == kProtoUdp && l->af == Af::inet && be16(ip, l->l4 + at) == 0;
  if (!unsummed && transport_sum_of(ip, *l, false) != 0) out |= kWrongTransportSum;
  // Over IPv6 a UDP checksum of zero is none, and there must be one.
  if (l->proto == kProtoUdp && l->af == Af::inet6 && be16(ip, l->l4 + at) == 0) out |= kWrongTransportSum;
  if (quotes(ip, *l)) {
    const Frame quote = part(ip, l->l4 + kIcmpHeader, l->end);
    const auto q = layout_of(quote, false);
    if (q && q->af == Af::inet && plain_sum(part(quote, 0, q->header)) != 0) out |= kWrongQuoteSum;
  }
  return out;
}

void repair(Frame& frame) {
  Frame ip = ip_of(frame);
  const auto l = layout_of(ip, true);
  if (!l) return;
  if (!l->fragment && quotes(ip, *l)) {
    Frame quote = part(ip, l->l4 + kIcmpHeader, l->end);
    if (const auto q = layout_of(quote, false); q && q->af == Af::inet) {
      put16(quote, 10, 0);
      put16(quote, 10, plain_sum(part(quote, 0, q->header)));
      std::copy(quote.begin(), quote.end(), ip.begin() + static_cast<std::ptrdiff_t>(l->l4 + kIcmpHeader));
    }
  }
  if (const size_t at = sum_offset(l->proto, l->end - l->l4); at != 0 && !l->fragment) {
    const uint16_t sum = transport_sum_of(ip, *l, true);
    put16(ip, l->l4 + at, l->proto == kProtoUdp && sum == 0 ? 0xffffu : sum);
  }
  if (l->af == Af::inet) {
    put16(ip, 10, 0);
    put16(ip, 10, plain_sum(part(ip, 0, l->header)));
  }
  std::copy(ip.begin(), ip.end(), frame.begin() + kEthernetHeader);
}

std::vector<Frame> assembled(const std::vector<Frame>& frames) {
  std::vector<Frame> out;
  std::map<std::pair<Frame, uint32_t>, std::vector<std::pair<Layout, Frame>>> pieces;
  for (const Frame& f : frames) {
    const Frame ip = ip_of(f);
    const auto l = layout_of(ip, true);
    if (!l || !l->fragment) {
      out.push_back(f);
      continue;
    }
    const size_t at = l->af == Af::inet ? 12 : 8;
    pieces[{part(ip, at, at + 2 * address_length(l->af)), l->id}].emplace_back(*l, ip);
  }
  for (auto& [key, of_one] : pieces) {
    std::sort(of_one.begin(), of_one.end(),
              [](const auto& a, const auto& b) { return a.first.offset < b.first.offset; });
    Frame payload;
    for (const auto& [l, ip] : of_one) {
      if (l.offset != payload.size()) break;
      payload.insert(payload.end(), ip.begin() + static_cast<std::ptrdiff_t>(l.piece),
                     ip.begin() + static_cast<std::ptrdiff_t>(l.end));
    }
    const auto& [last, last_ip] = of_one.back();
    if (last.more || payload.size() != last.offset + (last.end - last.piece)) continue;
    const auto& [first, first_ip] = of_one.front();
    Frame ip = part(first_ip, 0, first.af == Af::inet ? first.header : first.piece - 8);
    if (first.af == Af::inet)
      put16(ip, 6, 0);
    else
      ip[first.before] = first_ip[first.piece - 8];
    ip.insert(ip.end(), payload.begin(), payload.end());
    put16(ip, first.af == Af::inet ? 2 : 4,
          static_cast<uint32_t>(first.af == Af::inet ? ip.size() : ip.size() - kIpv6Header));
    if (first.af == Af::inet) {
      put16(ip, 10, 0);
      put16(ip, 10, plain_sum(part(ip, 0, first.header)));
    }
    Frame& whole = out.emplace_back(part(frames[0], 0, kEthernetHeader));
    put16(whole, 12, first.af == Af::inet ? kEtherTypeIpv4 : kEtherTypeIpv6);
    whole.insert(whole.end(), ip.begin(), ip.end());
  }
  return out;
}

Datagram icmp_error(const Frame& about, const Address& from, uint8_t type, uint8_t code, size_t quoted) {
  const Frame ip = ip_of(about);
  const Layout l = layout_of(ip, true).value_or(Layout{});
  Datagram d;
  d.af = l.af;
  d.src = from;
  d.dst = datagram_of(ip, l).src;
  d.proto = l.af == Af::inet ? kProtoIcmp : kProtoIcmp6;
  d.l4.assign(kIcmpHeader, 0);
  d.l4[0] = type;
  d.l4[1] = code;
  const Frame quote = part(ip, 0, std::min(l.end, l.l4 + quoted));
  d.l4.insert(d.l4.end(), quote.begin(), quote.end());
  put_sum(d);
  return d;
}

std::optional<Datagram> quote_of(const Datagram& error) {
  if (error.l4.size() < kIcmpHeader || !is_error(error.af, error.l4[0])) return {};
  const Frame quote = part(error.l4, kIcmpHeader, error.l4.size());
  const auto l = layout_of(quote, false);
  if (!l) return {};
  return datagram_of(quote, *l);
}

std::string show(const Frame& frame) { return scenario::print_packet(scenario::read_frame(frame)); }

}  // namespace twinwall::test
