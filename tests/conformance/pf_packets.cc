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

bool same_flow(const Binding& a, const Binding& b) {
  return a.address == b.address && a.peer == b.peer && a.peer_port == b.peer_port && a.echo == b.echo;
}

size_t checksum_offset(const Layout& l) { return l.proto == kProtoTcp ? 16 : l.proto == kProtoUdp ? 6 : 2; }

}  // namespace

void Bindings::learn_from(const Ruleset& rules) {
  for (const Rule& r : rules.rules) {
    const Translation& t = r.nat_to;
    if (!t.enabled) continue;
    const PoolChoices& choices = *t.pool.choices;
    std::vector<PoolEntry> entries = choices.entries[0];
    entries.insert(entries.end(), choices.entries[1].begin(), choices.entries[1].end());
    for (const PoolEntry& entry : entries) {
      Draw d{entry.prefix, t.port_low, t.port_high, false};
      d.echo_only = t.static_port || (t.port_low != 0 && t.port_low == t.port_high);
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
  const bool echo = is_echo(l, recorded.data());
  if (!echo && !has_ports(l)) return {};
  Binding b;
  b.address = address_at(recorded.data(), l.af, false);
  b.peer = address_at(recorded.data(), l.af, true);
  if (!(b.address == address_at(own.data(), l.af, false))) return {};
  b.echo = echo;
  b.peer_port = echo ? 0 : load_be16(&recorded[l.l4 + 2]);
  const size_t at = l.l4 + (echo ? 4 : 0);
  b.recorded = load_be16(&recorded[at]);
  b.own = load_be16(&own[at]);
  for (const Binding& known : bindings_)
    if (same_flow(known, b) && (known.recorded == b.recorded || known.own == b.own)) return {};
  std::string problem;
  for (const Draw& d : draws_) {
    if (d.address.af != b.address.af || !d.address.contains(b.address.addr) || (d.echo_only && !echo)) continue;
    if (echo || (b.own >= d.low && b.own <= d.high)) {
      bindings_.push_back(b);
      return {};
    }
    problem = fmt::format("port {} is not in {}:{}", b.own, d.low, d.high);
  }
  return problem;
}

uint16_t Bindings::recorded_value(const Binding& of_own) const {
  for (const Binding& b : bindings_)
    if (same_flow(b, of_own) && b.own == of_own.own) return b.recorded;
  return of_own.own;
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
    const size_t at = l.l4 + (echo ? 4 : destination ? 2 : 0);
    Binding flow;
    flow.address = address_at(q, l.af, destination);
    flow.peer = address_at(q, l.af, !destination);
    flow.echo = echo;
    flow.peer_port = echo ? 0 : load_be16(q + l.l4 + (destination ? 0 : 2));
    for (const Binding& b : bindings_) {
      if (!same_flow(b, flow) || load_be16(q + at) != (own ? b.recorded : b.own)) continue;
      const std::vector<uint8_t> before(p.begin() + static_cast<ptrdiff_t>(base), p.end());
      store_be16(q + at, own ? b.own : b.recorded);
      const size_t sum = l.l4 + checksum_offset(l);
      const bool none = l.proto == kProtoUdp && sum + 2 <= before.size() && load_be16(q + sum) == 0;
      // A quoted checksum is what the sender's host put there: nobody looks at it.
      if (outer == 0 && sum + 2 <= before.size() && !none)
        store_raw<uint16_t>(q + sum, checksum_adjust(load_raw<uint16_t>(q + sum), before.data() + at, q + at, 2));
      if (outer != 0)
        store_raw<uint16_t>(
            &p[outer], checksum_adjust(load_raw<uint16_t>(&p[outer]), before.data(), q, before.size() & ~size_t{1}));
      return p;
    }
  }
  return p;
}

std::vector<uint8_t> masked(std::vector<uint8_t> packet, const PacketMask& mask) {
  const Layout l = layout(packet.data(), packet.size());
  if ((mask.ipv4_id || mask.made_here) && l.af == Af::inet) {
    store_be16(&packet[4], 0);
    store_be16(&packet[10], 0);
    const size_t quote = l.l4 + kIcmpHeader;
    if (mask.made_here && is_error(l, packet.data()) && packet.size() >= quote + kIpv4Header) {
      store_be16(&packet[quote + 4], 0);
      store_be16(&packet[quote + 10], 0);
    }
  }
  const size_t header = static_cast<size_t>(packet.empty() ? 0 : packet[0] & 15) * 4;
  if (mask.options && l.af == Af::inet && header > kIpv4Header && header <= packet.size()) {
    std::fill(packet.begin() + kIpv4Header, packet.begin() + static_cast<ptrdiff_t>(header), uint8_t{0});
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

std::vector<uint8_t> with_recorded_quote_checksum(std::vector<uint8_t> own, const std::vector<uint8_t>& recorded) {
  const Layout l = layout(own.data(), own.size());
  if (l.af != Af::inet || l.l4 == 0 || own.size() != recorded.size() || !is_error(l, own.data())) return own;
  const size_t quote = l.l4 + kIcmpHeader;
  if (quote + kIpv4Header > own.size()) return own;
  const size_t header = static_cast<size_t>(own[quote] & 15) * 4;
  if (quote + header > own.size() || checksum(&own[quote], header) != 0) return own;
  if (load_be16(&own[quote + 10]) == load_be16(&recorded[quote + 10])) return own;
  const uint16_t stale = load_raw<uint16_t>(&recorded[quote + 10]);
  store_raw(&own[l.l4 + 2], checksum_adjust(load_raw<uint16_t>(&own[l.l4 + 2]), &own[quote + 10], &stale, 2));
  store_raw(&own[quote + 10], stale);
  return own;
}

bool has_stack_options(const std::vector<uint8_t>& packet) {
  const Layout l = layout(packet.data(), packet.size());
  const size_t header = static_cast<size_t>(packet.empty() ? 0 : packet[0] & 15) * 4;
  constexpr uint8_t kRecordRoute = 7, kTimestamp = 68;
  return l.af == Af::inet && header > kIpv4Header && packet.size() > kIpv4Header &&
         (packet[kIpv4Header] == kRecordRoute || packet[kIpv4Header] == kTimestamp);
}

bool stack_takes(const std::vector<uint8_t>& packet) {
  constexpr uint8_t kRouterAlert6 = 5, kTimestamp = 68, kLooseRoute = 131, kStrictRoute = 137;
  if (packet.size() > kIpv6Header + 8 && packet[0] >> 4 == 6)
    return (packet[6] == kProtoHopByHop && packet[kIpv6Header + 2] == kRouterAlert6) ||
           (packet[6] == kProtoIcmp6 && packet[kIpv6Header] == kIcmp6Redirect);
  if (packet.size() <= kIpv4Header || packet[0] >> 4 != 4 || (packet[0] & 15) <= 5) return false;
  const uint8_t option = packet[kIpv4Header];
  return option == kTimestamp || option == kLooseRoute || option == kStrictRoute;
}

bool has_fragment_header(const std::vector<uint8_t>& packet) {
  return layout(packet.data(), packet.size()).fragment_header != 0;
}

std::optional<uint8_t> tcp_flags_of(const std::vector<uint8_t>& packet) {
  const Layout l = layout(packet.data(), packet.size());
  if (l.proto != kProtoTcp || l.l4 == 0 || l.l4 + kTcpHeader > packet.size()) return std::nullopt;
  return packet[l.l4 + 13];
}

bool is_icmp_error(const std::vector<uint8_t>& packet) {
  const Layout l = layout(packet.data(), packet.size());
  return l.l4 != 0 && is_error(l, packet.data());
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
