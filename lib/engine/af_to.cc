// af-to: connections between IPv4 and IPv6 (pf.conf(5) "af-to"; RFC 7915, RFC 6146).
//
// Such a state is made on the way in only. Its wire key is the initiator's packet, its stack key the answer's, each as
// it comes in; what it has translated is not filtered again. Headers are written in front of the transport header,
// which stays where it is.
#include "lib/engine/engine_impl.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/net/nat64.h"

namespace twinwall {

namespace {

constexpr uint8_t kMaxHopLimit = 64;
constexpr uint32_t kIpv6MinMtu = 1280;
constexpr uint16_t kFragmentPayload = 1232;  // of an IPv6 fragment that fits into every link

constexpr size_t header_length(Af af) { return af == Af::inet ? kIpv4Header : kIpv6Header; }
constexpr Af other(Af af) { return af == Af::inet ? Af::inet6 : Af::inet; }

uint8_t protocol_of(Af af, uint8_t proto) {
  if (proto == kProtoIcmp || proto == kProtoIcmp6) return af == Af::inet ? kProtoIcmp : kProtoIcmp6;
  return proto;
}

// What the filter has seen as a payload would be read as an extension header.
bool names_extension(uint8_t proto) {
  return proto == kProtoHopByHop || proto == kProtoRouting || proto == kProtoFragment || proto == kProtoDestOpts;
}

struct NewHeader {
  Af af = Af::none;
  Address src, dst;
  uint8_t proto = 0, ttl = 0, tos = 0;
  uint32_t payload = 0;
  bool dont_fragment = true;
  uint16_t id = 0;
};

void write_header(uint8_t* h, const NewHeader& n) {
  if (n.af == Af::inet) {
    h[0] = 0x45;
    h[1] = n.tos;
    store_be16(h + 2, static_cast<uint16_t>(kIpv4Header + n.payload));
    store_be16(h + 4, n.id);
    store_be16(h + 6, n.dont_fragment ? kIpv4DontFragment : uint16_t{0});
    h[8] = n.ttl;
    h[9] = n.proto;
    store_be16(h + 10, 0);
    std::memcpy(h + 12, n.src.bytes.data(), 4);
    std::memcpy(h + 16, n.dst.bytes.data(), 4);
    store_raw(h + 10, checksum(h, kIpv4Header));
    return;
  }
  store_be16(h, static_cast<uint16_t>(0x6000 | n.tos << 4));
  store_be16(h + 2, 0);
  store_be16(h + 4, static_cast<uint16_t>(n.payload));
  h[6] = n.proto;
  h[7] = n.ttl;
  std::memcpy(h + 8, n.src.bytes.data(), 16);
  std::memcpy(h + 24, n.dst.bytes.data(), 16);
}

// The field's value after what it covers changed from a sum to another: a wrong checksum stays wrong.
uint16_t adjusted(uint16_t field, uint64_t before, uint64_t after) {
  const auto gone = static_cast<uint16_t>(~checksum_fold(before));
  return static_cast<uint16_t>(~checksum_fold(static_cast<uint16_t>(~field) + uint64_t{gone} + checksum_fold(after)));
}

uint64_t address_sum(Af af, const Address& src, const Address& dst) {
  const size_t n = address_length(af);
  return checksum_add(checksum_add(0, src.bytes.data(), n), dst.bytes.data(), n);
}

// TCP and UDP: ports, and the checksum over them and the addresses.
void change_ports(Packet& p, Af to, const Endpoints& e) {
  uint8_t* const t = p.transport();
  uint8_t* const field = t + (p.proto == kProtoTcp ? 16 : 6);
  const uint64_t before = address_sum(p.af, p.src, p.dst) + p.sport + p.dport;
  const uint64_t after = address_sum(to, e.src, e.dst) + e.sport + e.dport;
  store_raw(t, e.sport);
  store_raw(t + 2, e.dport);
  const auto old = load_raw<uint16_t>(field);
  uint16_t sum = adjusted(old, before, after);
  if (p.proto == kProtoUdp && old == 0) {
    if (to == Af::inet) return;
    // IPv6 knows no UDP without a checksum (RFC 8200 section 8.1).
    sum = l4_checksum(to, e.src.bytes.data(), e.dst.bytes.data(), kProtoUdp, t, p.l4_length);
  }
  if (p.proto == kProtoUdp && sum == 0) sum = 0xffff;
  store_raw(field, sum);
}

// Echo: type, id and the pseudo-header that only ICMPv6 has.
bool change_echo(Packet& p, Af to, const Endpoints& e) {
  const auto type = echo_type(to, static_cast<uint8_t>(p.icmp_type));
  if (!type) return false;
  uint8_t* const t = p.transport();
  uint64_t before = load_raw<uint16_t>(t) + uint64_t{load_raw<uint16_t>(t + 4)};
  t[0] = *type;
  store_raw(t + 4, e.icmp_id);
  uint64_t after = load_raw<uint16_t>(t) + uint64_t{load_raw<uint16_t>(t + 4)};
  if (to == Af::inet)
    before += pseudo_header_sum(Af::inet6, p.src.bytes.data(), p.dst.bytes.data(), kProtoIcmp6, p.l4_length);
  else
    after += pseudo_header_sum(Af::inet6, e.src.bytes.data(), e.dst.bytes.data(), kProtoIcmp6, p.l4_length);
  store_raw(t + 2, adjusted(load_raw<uint16_t>(t + 2), before, after));
  p.icmp_type = *type;
  p.icmp_id = e.icmp_id;
  return true;
}

bool checksum_right(const Packet& p) {
  if (p.af == Af::inet) return checksum(p.transport(), p.l4_length) == 0;
  return l4_checksum(p.af, p.src.bytes.data(), p.dst.bytes.data(), kProtoIcmp6, p.transport(), p.l4_length) == 0;
}

// The frame begins `header` bytes and an Ethernet header before `transport` from here on. False: there is no room.
bool restart(Packet& p, uint8_t* transport, Af af, uint32_t l4_length) {
  uint8_t* const frame = transport - header_length(af) - kEthernetHeader;
  const std::ptrdiff_t moved = p.frame - frame;
  if (moved > static_cast<std::ptrdiff_t>(p.headroom)) return false;
  std::memmove(frame, p.frame, kEthernetHeader);
  p.headroom = static_cast<uint32_t>(static_cast<std::ptrdiff_t>(p.headroom) - moved);
  p.frame = frame;
  p.l3 = kEthernetHeader;
  p.l4 = static_cast<uint16_t>(kEthernetHeader + header_length(af));
  p.l4_length = l4_length;
  p.l3_length = static_cast<uint32_t>(header_length(af)) + l4_length;
  p.length = static_cast<uint32_t>(kEthernetHeader) + p.l3_length;
  p.ip_options = false;
  return true;
}

}  // namespace

// What a packet of the connection carries on the other side.
Endpoints Engine::Impl::crossed_endpoints(const Packet& p, const State& s) {
  const bool forward = p.af == s.wire.af;
  const FlowKey& k = forward ? s.stack : s.wire;
  return {k.addr[1], k.addr[0], k.port[1], k.port[0], forward ? k.port[1] : k.port[0]};
}

// Too late for its hop limit, too large, or without a way: its sender is told in its own family.
DropReason Engine::Impl::may_cross(const Packet& p, const Endpoints& e) {
  if (p.ttl <= 1) {
    send_icmp_error(p, kIcmpTimeExceeded, 0, kIcmp6TimeExceeded, 0, 0, false);
    return DropReason::ttl_exceeded;
  }
  const Af to = other(p.af);
  const NextHop& hop = snapshot->next_hops[lookup(to, e.dst)];
  if (hop.kind == HopKind::none) {
    send_icmp_error(p, kIcmpUnreachable, 0, kIcmp6Unreachable, 0, 0, false);
    return DropReason::no_route;
  }
  if (hop.kind != HopKind::connected && hop.kind != HopKind::gateway) return kParsed;
  const uint32_t mtu = snapshot->interface(hop.interface).mtu;
  const bool may_split = p.af == Af::inet6 ? p.refragment != 0 : (load_be16(p.ip() + 6) & kIpv4DontFragment) == 0;
  if (header_length(to) + p.l4_length <= mtu || may_split) return kParsed;
  const uint32_t told = p.af == Af::inet6 ? std::max(mtu + 20, kIpv6MinMtu) : mtu - 20;
  send_icmp_error(p, kIcmpUnreachable, 4, kIcmp6TooBig, 0, told, false);
  return DropReason::too_big;
}

DropReason Engine::Impl::cross(Packet& p, const State& s) {
  const Af to = other(p.af);
  const Endpoints e = crossed_endpoints(p, s);
  if (const DropReason bad = may_cross(p, e); bad != kParsed) return bad;
  if (p.proto == kProtoTcp || p.proto == kProtoUdp)
    change_ports(p, to, e);
  else if ((p.proto == kProtoIcmp || p.proto == kProtoIcmp6) && !change_echo(p, to, e))
    return DropReason::translate;

  NewHeader n;
  n.af = to;
  n.src = e.src;
  n.dst = e.dst;
  n.proto = protocol_of(to, p.proto);
  n.ttl = to == Af::inet6 ? std::min(p.ttl, kMaxHopLimit) : p.ttl;
  n.tos = p.tos;
  n.payload = p.l4_length;
  n.id = static_cast<uint16_t>(random.next32());
  n.dont_fragment = p.refragment == 0;
  // What may be split stays so: a fragment header says it in IPv6 (RFC 7915 section 4).
  const bool may_split = p.af == Af::inet && (load_be16(p.ip() + 6) & kIpv4DontFragment) == 0;
  if (!restart(p, p.transport(), to, p.l4_length)) return DropReason::no_buffer;
  write_header(p.ip(), n);
  p.af = to;
  p.src = n.src;
  p.dst = n.dst;
  p.proto = n.proto;
  p.ttl = n.ttl;
  if (p.proto == kProtoTcp || p.proto == kProtoUdp) {
    p.sport = e.sport;
    p.dport = e.dport;
  }
  const bool splits = to == Af::inet6 && may_split && p.l3_length > kIpv6MinMtu;
  p.refragment = splits ? kFragmentPayload : uint16_t{0};
  p.af_changed = true;
  return kParsed;
}

DropReason Engine::Impl::cross_error(Packet& p, Quote& q, const State& s) {
  const Af to = other(p.af);
  const Endpoints e = crossed_endpoints(p, s);
  if (const DropReason bad = may_cross(p, e); bad != kParsed) return bad;
  // Its checksum is made anew, which must not make a damaged message whole.
  if (!checksum_right(p)) return DropReason::proto_cksum;
  const IcmpHeader old{static_cast<uint8_t>(p.icmp_type), static_cast<uint8_t>(p.icmp_code),
                       load_be32(p.transport() + 4)};
  const auto told = to == Af::inet6 ? icmp_error_to_v6(old) : icmp_error_to_v4(old);
  if (!told) return DropReason::translate;

  NewHeader quoted;
  quoted.af = to;
  quoted.src = e.dst;  // it travelled the other way
  quoted.dst = e.src;
  quoted.proto = protocol_of(to, q.proto);
  quoted.ttl = p.af == Af::inet ? q.ip[8] : q.ip[7];
  quoted.id = static_cast<uint16_t>(random.next32());
  const auto headers = static_cast<uint32_t>(q.l4 - q.ip);
  const uint32_t whole = p.af == Af::inet ? load_be16(q.ip + 2) : load_be16(q.ip + 4) + uint32_t{kIpv6Header};
  quoted.payload = whole > headers ? whole - headers : 0;
  if (q.proto == kProtoTcp || q.proto == kProtoUdp) {
    store_raw(q.l4, e.dport);
    store_raw(q.l4 + 2, e.sport);
  } else if (q.proto == kProtoIcmp || q.proto == kProtoIcmp6) {
    const auto type = echo_type(to, q.icmp_type);
    if (!type) return DropReason::translate;
    q.l4[0] = *type;
    store_raw(q.l4 + 4, e.icmp_id);
  }
  NewHeader n;
  n.af = to;
  n.src = e.src;
  n.dst = e.dst;
  n.proto = protocol_of(to, p.proto);
  n.ttl = to == Af::inet6 ? std::min(p.ttl, kMaxHopLimit) : p.ttl;
  n.tos = p.tos;
  n.id = static_cast<uint16_t>(random.next32());
  const size_t most = to == Af::inet6 ? kIpv6MinMtu - kIpv6Header : 65535 - kIpv4Header;
  n.payload = static_cast<uint32_t>(std::min(kIcmpHeader + header_length(to) + q.l4_available, most));

  uint8_t* const quote = q.l4 - header_length(to);
  if (!restart(p, quote - kIcmpHeader, to, n.payload)) return DropReason::no_buffer;
  write_header(quote, quoted);
  uint8_t* const t = p.transport();
  t[0] = told->type;
  t[1] = told->code;
  store_be16(t + 2, 0);
  store_be32(t + 4, told->parameter);
  write_header(p.ip(), n);
  store_raw(t + 2, to == Af::inet ? checksum(t, n.payload)
                                  : l4_checksum(to, n.src.bytes.data(), n.dst.bytes.data(), kProtoIcmp6, t, n.payload));
  p.af = to;
  p.src = n.src;
  p.dst = n.dst;
  p.proto = n.proto;
  p.ttl = n.ttl;
  p.icmp_type = told->type;
  p.icmp_code = told->code;
  p.refragment = 0;
  p.af_changed = true;
  return kParsed;
}

// The key under which the answers to a new connection come in; false when there is no address or port for it.
bool Engine::Impl::af_to_key(const Rule& rule, const Packet& p, FlowKey& stack) {
  const Af to = rule.af_to;
  if (to == Af::inet6 && names_extension(p.proto)) return false;
  Packet q = p;  // as it leaves: what the choice of a port asks about
  q.af = to;
  q.proto = protocol_of(to, p.proto);
  if (p.proto == kProtoIcmp || p.proto == kProtoIcmp6) {
    const auto type = echo_type(to, static_cast<uint8_t>(p.icmp_type));
    if (!type || (*type != kIcmpEchoRequest && *type != kIcmp6EchoRequest)) return false;
    q.icmp_type = *type;
  }
  Translation5 t{p.src, p.dst, p.sport, p.dport, p.icmp_id};
  if (!af_to_destination(rule, p, t.dst)) return false;
  if (!translate(rule, rule, true, false, q, Direction::out, t)) return false;
  stack = FlowKey{};
  stack.af = to;
  stack.proto = q.proto;
  stack.addr[0] = t.dst;
  stack.addr[1] = t.src;
  if (q.proto == kProtoTcp || q.proto == kProtoUdp || (q.proto == kProtoSctp && rule.names_ports())) {
    stack.port[0] = t.dport;
    stack.port[1] = t.sport;
  } else if (is_echo(q)) {
    stack.port[0] = bswap(static_cast<uint16_t>(q.icmp_type));
    stack.port[1] = t.icmp_id;
  }
  return true;
}

bool Engine::Impl::af_to_destination(const Rule& rule, const Packet& p, Address& dst) {
  const Pool& pool = rule.af_to_to.empty() ? rule.nat_to.pool : rule.af_to_to;
  if (rule.af_to == Af::inet6) {
    if (pool.entries.empty()) return false;
    const Prefix& prefix = pool.entries[0].prefix;
    const unsigned length = rule.af_to_to.empty() ? std::min<unsigned>(prefix.length, 96) : prefix.length;
    const auto v6 = embed_v4(prefix.addr, length, p.dst);
    if (v6) dst = *v6;
    return v6.has_value();
  }
  if (!rule.af_to_to.empty()) {
    if (pool.entries.empty()) return false;
    const Prefix& prefix = pool.entries[0].prefix;
    const uint32_t mask = prefix.length == 0 ? 0 : ~uint32_t{0} << (32 - prefix.length);
    dst = Address::v4((load_be32(prefix.addr.bytes.data()) & mask) | (load_be32(p.dst.bytes.data() + 12) & ~mask));
    return true;
  }
  const AddressMatch& to = rule.to.address;
  unsigned length = to.kind == AddressKind::prefix && !to.negate ? to.prefix.length : 96;
  if (length < 32) length = 96;
  const auto v4 = extract_v4(p.dst, length);
  if (v4) dst = *v4;
  return v4.has_value();
}

}  // namespace twinwall
