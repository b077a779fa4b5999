// Packets of the recorded PF cases: compared but for what a system draws at random.
#include <fmt/format.h>

#include <algorithm>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "tests/conformance/pf_case.h"

namespace twinwall::conformance::pf {

namespace {

constexpr uint16_t kDrawLow = 50001, kDrawHigh = 65535;

// Where the parts of a packet are. No transport in later fragments and in what is too short.
struct Layout {
  Af af = Af::none;
  uint8_t proto = 0;
  size_t l4 = 0;  // 0: none
  size_t fragment_header = 0;
};

Layout layout(const uint8_t* p, size_t size) {
  Layout l;
  if (size >= kIpv4Header && p[0] >> 4 == 4) {
    l.af = Af::inet;
    l.proto = p[9];
    if ((load_be16(p + 6) & kIpv4FragmentOffset) == 0) l.l4 = static_cast<size_t>(p[0] & 15) * 4;
  } else if (size >= kIpv6Header && p[0] >> 4 == 6) {
    l.af = Af::inet6;
    l.proto = p[6];
    l.l4 = kIpv6Header;
    while (l.l4 != 0 && l.l4 + 8 <= size &&
           (l.proto == kProtoHopByHop || l.proto == kProtoDestOpts || l.proto == kProtoRouting ||
            l.proto == kProtoFragment)) {
      const bool fragment = l.proto == kProtoFragment;
      const size_t at = l.l4;
      if (fragment) l.fragment_header = at;
      l.proto = p[at];
      l.l4 += fragment ? 8 : (static_cast<size_t>(p[at + 1]) + 1) * 8;
      if (fragment && (load_be16(p + at + 2) & 0xfff8) != 0) l.l4 = 0;
    }
  }
  if (l.l4 + 8 > size) l.l4 = 0;
  return l;
}

IpAddress address_at(const uint8_t* p, Af af, bool destination) {
  if (af == Af::inet) return {af, Address::v4_wire(p + (destination ? 16 : 12))};
  return {af, Address::v6_wire(p + (destination ? 24 : 8))};
}

bool is_echo(const Layout& l, const uint8_t* p) {
  const uint8_t type = p[l.l4];
  if (l.af == Af::inet) return l.proto == kProtoIcmp && (type == kIcmpEchoRequest || type == kIcmpEchoReply);
  return l.proto == kProtoIcmp6 && (type == kIcmp6EchoRequest || type == kIcmp6EchoReply);
}

bool has_ports(const Layout& l) { return l.proto == kProtoTcp || l.proto == kProtoUdp; }

bool is_error(const Layout& l, const uint8_t* p) {
  const uint8_t type = p[l.l4];
  if (l.af == Af::inet6) return l.proto == kProtoIcmp6 && type < 128;
  return l.proto == kProtoIcmp && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
}

size_t checksum_offset(const Layout& l) { return l.proto == kProtoTcp ? 16 : l.proto == kProtoUdp ? 6 : 2; }

}  // namespace

void Bindings::learn_from(const Ruleset& rules) {
  for (const Rule& r : rules.rules) {
    const Translation& t = r.nat_to;
    if (!t.enabled || t.static_port) continue;
    for (const Af af : {Af::inet, Af::inet6}) {
      if (!t.has(af)) continue;
      Draw d{{af, t.address(af)}, t.port_low, t.port_high, false};
      d.echo_only = t.port_low != 0 && t.port_low == t.port_high;
      if (t.port_low == 0) {
        d.low = kDrawLow;
        d.high = kDrawHigh;
      }
      draws_.push_back(d);
    }
  }
}

std::string Bindings::bind(const std::vector<uint8_t>& recorded, const std::vector<uint8_t>& own) {
  const Layout l = layout(recorded.data(), recorded.size()), m = layout(own.data(), own.size());
  if (l.l4 == 0 || m.l4 != l.l4 || l.af != m.af || l.proto != m.proto || is_error(l, recorded.data())) return {};
  const IpAddress source = address_at(recorded.data(), l.af, false);
  const bool echo = is_echo(l, recorded.data());
  if (!(source == address_at(own.data(), l.af, false)) || (!echo && !has_ports(l))) return {};
  const size_t at = l.l4 + (echo ? 4 : 0);
  const uint16_t want = load_be16(&recorded[at]), got = load_be16(&own[at]);
  for (const Binding& b : bindings_)
    if (b.address == source && b.echo == echo && (b.recorded == want || b.own == got)) return {};
  for (const Draw& d : draws_) {
    if (!(d.address == source) || (d.echo_only && !echo)) continue;
    if (!echo && (got < d.low || got > d.high)) return fmt::format("port {} is not in {}:{}", got, d.low, d.high);
    bindings_.push_back({source, echo, want, got});
    return {};
  }
  return {};
}

uint16_t Bindings::recorded_value(const IpAddress& address, bool echo, uint16_t own) const {
  for (const Binding& b : bindings_)
    if (b.address == address && b.echo == echo && b.own == own) return b.recorded;
  return own;
}

std::vector<uint8_t> Bindings::swap(const std::vector<uint8_t>& packet, bool own) const {
  std::vector<uint8_t> p = packet;
  // The packet itself, or what an ICMP error quotes of it; a change inside a quote changes the error's checksum too.
  size_t base = 0, outer = 0;
  Layout l = layout(p.data(), p.size());
  if (l.l4 == 0) return p;
  if (is_error(l, p.data())) {
    outer = l.l4 + 2;
    base = l.l4 + 8;
    if (base >= p.size()) return p;
    l = layout(p.data() + base, p.size() - base);
    if (l.l4 == 0) return p;
  }
  uint8_t* const q = p.data() + base;
  const bool echo = is_echo(l, q);
  if (!echo && !has_ports(l)) return p;
  for (const bool destination : {false, true}) {
    const IpAddress address = address_at(q, l.af, destination);
    const size_t at = l.l4 + (echo ? 4 : destination ? 2 : 0);
    for (const Binding& b : bindings_) {
      if (!(b.address == address) || b.echo != echo) continue;
      if (load_be16(q + at) != (own ? b.recorded : b.own)) continue;
      std::vector<uint8_t> before(p.begin() + static_cast<ptrdiff_t>(base), p.end());
      store_be16(q + at, own ? b.own : b.recorded);
      const size_t sum = l.l4 + checksum_offset(l);
      const bool kept = l.proto == kProtoUdp && load_be16(q + sum) == 0;  // no checksum
      // Behind an error the quoted TCP checksum is as the sender's host made it, which nobody updates.
      if (sum + 2 <= p.size() - base && !kept && (outer == 0 || echo))
        store_raw<uint16_t>(q + sum, checksum_adjust(load_raw<uint16_t>(q + sum), before.data() + at, q + at, 2));
      if (outer != 0 && at % 2 == 0)
        store_raw<uint16_t>(
            &p[outer], checksum_adjust(load_raw<uint16_t>(&p[outer]), before.data(), q, before.size() & ~size_t{1}));
      return p;
    }
  }
  return p;
}

std::vector<uint8_t> masked(std::vector<uint8_t> packet, const PacketMask& mask) {
  const Layout l = layout(packet.data(), packet.size());
  if (mask.ipv4_id && l.af == Af::inet) {
    store_be16(&packet[4], 0);
    store_be16(&packet[10], 0);
  }
  if (mask.fragment_id && l.fragment_header != 0) store_be32(&packet[l.fragment_header + 4], 0);
  return packet;
}

std::string damage(const std::vector<uint8_t>& packet) {
  const Layout l = layout(packet.data(), packet.size());
  if (l.af == Af::none) return "neither IPv4 nor IPv6";
  if (l.af == Af::inet6)
    return load_be16(&packet[4]) + kIpv6Header == packet.size() ? "" : "the IPv6 payload length is wrong";
  const size_t header = static_cast<size_t>(packet[0] & 15) * 4;
  if (header < kIpv4Header || header > packet.size()) return "the IPv4 header length is wrong";
  if (load_be16(&packet[2]) != packet.size()) return "the IPv4 length is wrong";
  return checksum(packet.data(), header) == 0 ? "" : "the IPv4 header checksum is wrong";
}

bool from_own_stack(const std::vector<uint8_t>& packet) {
  const Layout l = layout(packet.data(), packet.size());
  if (l.l4 == 0) return false;
  const uint8_t type = packet[l.l4];
  if (l.af == Af::inet) return l.proto == kProtoIcmp && (type == kIcmpTimeExceeded || type == kIcmpRedirect);
  return l.proto == kProtoIcmp6 && (type == kIcmp6TimeExceeded || type == kIcmp6Redirect);
}

IpAddress source_of(const std::vector<uint8_t>& packet) {
  const Layout l = layout(packet.data(), packet.size());
  return l.af == Af::none ? IpAddress{} : address_at(packet.data(), l.af, false);
}

IpAddress destination_of(const std::vector<uint8_t>& packet) {
  const Layout l = layout(packet.data(), packet.size());
  return l.af == Af::none ? IpAddress{} : address_at(packet.data(), l.af, true);
}

}  // namespace twinwall::conformance::pf
