// From the in hook to the wire: routes, local delivery, the out hook, link layer, and the answers the node makes
// itself.
#include "lib/engine/engine_impl.h"
#include "lib/engine/finish_link.h"
#include "lib/engine/hosts.h"
#include "lib/frag/refragment.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr uint32_t kErrorsPerSecond = 100;
constexpr size_t kReplyCapacity = 1500;

// A datagram that was put together again goes out in pieces no larger than those it came in.
size_t sent_size(const Packet& p) {
  if (p.refragment == 0 || p.af != Af::inet6) return p.l3_length;
  return Ipv6Splitter(Bytes(p.ip(), p.l3_length), p.refragment, 0).longest();
}

bool dont_fragment(const Packet& p) { return p.af == Af::inet6 || (load_be16(p.ip() + 6) & kIpv4DontFragment) != 0; }

}  // namespace

NextHopIndex Engine::Impl::lookup(Af af, const Address& address) const {
  const Address* one = &address;
  NextHopIndex hop = kNoNextHop;
  snapshot->routes->lookup(af, {&one, 1}, &hop);
  return hop;
}

bool Engine::Impl::has_route(Af af, const Address& address) const {
  return twinwall::has_route(*snapshot, af, address);
}

bool Engine::Impl::urpf_failed(Af af, const Address& source, InterfaceId in) const {
  return twinwall::urpf_failed(*snapshot, af, source, in);
}

// Where an answer to what came in on `in` goes. A link-local sender is on that link, whatever the routes say.
NextHop Engine::Impl::way_back(Af af, const Address& to, InterfaceId in) const {
  if (af != Af::inet6 || !is_link_local(af, to)) return snapshot->next_hops[lookup(af, to)];
  if (in == kNoInterface) return {};
  return NextHop{HopKind::connected, in, {}, 0};
}

void Engine::Impl::drop(Packet& p, DropReason reason) {
  p.fate = Fate::drop;
  p.reason = reason;
  counters.drops[static_cast<size_t>(reason)].add();
}

bool Engine::Impl::error_allowed(Af af) {
  Bucket& b = error_bucket[af == Af::inet ? 0 : 1];
  if (b.second != now_s) b = {now_s, 0};
  if (b.sent >= kErrorsPerSecond) {
    counters.icmp_limited.add();
    return false;
  }
  ++b.sent;
  return true;
}

void Engine::Impl::pair(State& a, State& b) {
  const StateIndex ia = table.index_of(a), ib = table.index_of(b);
  if ((a.link == ib && b.link == ia) || ia == ib) [[likely]]
    return;
  if (a.link != kNoState) unpair(a);
  if (b.link != kNoState) unpair(b);
  a.link = ib;
  b.link = ia;
  if (snapshot->counts_entries) a.way = b.way = 0;  // the other's rule may be one that counts by entry
}

void Engine::Impl::unpair(State& s) {
  if (s.link == kNoState) return;
  part(s);
  table.state(s.link).link = kNoState;
  s.link = kNoState;
}

void Engine::Impl::forward(Packet& p, NextHopIndex hop_index, State* in_state) {
  NextHop routed;
  const NextHop* way = &snapshot->next_hops[hop_index];
  bool by_table = true;  // PF itself answers what it routes: those errors pass unfiltered
  if (p.route_kind != RouteKind::none) [[unlikely]] {
    if (p.route_kind == RouteKind::dup_to) {
      duplicate(p, true);
    } else if (resolve_route(p, routed)) {
      way = &routed;
      by_table = false;
    } else {
      send_icmp_error(p, kIcmpUnreachable, 1, kIcmp6Unreachable, 0, 0, false);
      return drop(p, DropReason::no_route);
    }
    p.route_kind = RouteKind::none;
  }
  const NextHop& hop = *way;
  switch (hop.kind) {
    case HopKind::none:
      send_icmp_error(p, kIcmpUnreachable, 0, kIcmp6Unreachable, 0, 0, true);
      return drop(p, DropReason::no_route);
    case HopKind::blackhole: return drop(p, DropReason::blackhole);
    case HopKind::broadcast: return drop(p, DropReason::bad_address);
    case HopKind::local: return deliver_local(p, hop);
    case HopKind::connected:
    case HopKind::gateway: break;
  }
  if (!forwardable(p.af, p.src, p.dst)) return drop(p, DropReason::bad_address);
  if (p.ttl <= 1) {
    send_icmp_error(p, kIcmpTimeExceeded, 0, kIcmp6TimeExceeded, 0, 0, by_table);
    return drop(p, DropReason::ttl_exceeded);
  }
  const InterfaceInfo& out = snapshot->interface(hop.interface);
  if (out.skip) p.refragment = 0;  // as with PF, what is not filtered on its way out is not cut again
  // From a skipped interface: this hook is the first to see the fragments.
  if (p.is_fragment && snapshot->reassemble && !out.skip) return take_fragment(p);
  if (sent_size(p) > out.mtu && dont_fragment(p)) {
    send_icmp_error(p, kIcmpUnreachable, 4, kIcmp6TooBig, 0, out.mtu, by_table);
    return drop(p, DropReason::too_big);
  }
  decrement_ttl(p);
  if (!out.skip && !p.af_changed) {
    // Neighbour discovery that has passed a router is no longer what RFC 4861 allows.
    if (p.proto == kProtoIcmp6 && !p.is_fragment && p.icmp_type >= kIcmp6RouterSolicit && p.icmp_type <= kIcmp6Redirect)
      return drop(p, DropReason::normalize);
    if (p.proto == kProtoTcp && !p.is_fragment && snapshot->interface(p.in).skip) {
      if (const DropReason bad = normalise_tcp(p); bad != kParsed) return drop(p, bad);
    }
    const Address before = p.dst;
    const HookResult r = filter(p, Direction::out, hop.interface, in_state != nullptr ? in_state->link : kNoState);
    count_hook(p, Direction::out, hop.interface, r.fate == Fate::pending);
    // The in hook has already worked on this packet, so it cannot start again at another worker.
    if (r.fate == Fate::handoff) return drop(p, DropReason::owner);
    if (r.fate == Fate::drop) return drop(p, r.reason);
    if (in_state != nullptr && r.state != nullptr && in_state->in_use) pair(*in_state, *r.state);
    if (p.route_kind != RouteKind::none && leave_by_route(p)) return;
    if (p.dst != before) {
      const NextHop& again = snapshot->next_hops[lookup(p.af, p.dst)];
      if (again.kind != HopKind::connected && again.kind != HopKind::gateway) return drop(p, DropReason::no_route);
      return emit(p, again);
    }
    if (by_table && in_state != nullptr && r.state != nullptr && in_state->in_use) note_way(p, *in_state, hop_index);
  }
  // What most packets are is sent as on the fast path: the burst knows the way.
  if (by_table && p.l3_length <= out.mtu && p.refragment == 0 && p.awaited == 0 && out.vlan == 0 &&
      hop.kind == HopKind::gateway && p.l3 == kEthernetHeader) {
    const WayOut& sent = way_out(hop_index);
    if (sent.mac != nullptr) return emit_known(p, sent);
  }
  emit(p, hop);
}

// emit() of a whole packet to a gateway whose address is known.
void Engine::Impl::emit_known(Packet& p, const WayOut& way_to) {
  p.next_hop = snapshot->next_hops[way_to.hop].gateway;
  p.out = way_to.interface;
  p.length = static_cast<uint32_t>(p.l3) + p.l3_length;
  way_to.put_header(p.frame, p.af == Af::inet);
  p.fate = Fate::forward;
  counters.forwarded.add();
}

void Engine::Impl::deliver_local(Packet& p, const NextHop& hop) {
  if (hop.vhid != 0 && (view.carp == nullptr || !view.carp->holds(hop.interface, hop.vhid)))
    return drop(p, DropReason::carp_backup);
  const bool request = (p.proto == kProtoIcmp && p.icmp_type == kIcmpEchoRequest) ||
                       (p.proto == kProtoIcmp6 && p.icmp_type == kIcmp6EchoRequest);
  if (!request || p.is_fragment || !snapshot->interface(hop.interface).icmp) return drop(p, DropReason::not_local);
  if (!names_a_host(p.af, p.src)) return drop(p, DropReason::bad_address);
  make_echo_reply(p);
  counters.echo_replies.add();
  const NextHop back = way_back(p.af, p.dst, p.in);
  if (back.kind != HopKind::connected && back.kind != HopKind::gateway) return drop(p, DropReason::no_route);
  if (!snapshot->interface(back.interface).skip) {
    const HookResult r = filter(p, Direction::out, back.interface, kNoState);
    count_hook(p, Direction::out, back.interface, r.fate == Fate::pending);
    if (r.fate == Fate::handoff) return drop(p, DropReason::owner);
    if (r.fate == Fate::drop) return drop(p, r.reason);
    if (p.route_kind != RouteKind::none && leave_by_route(p)) return;
  }
  emit(p, back);
}

void Engine::Impl::emit(Packet& p, const NextHop& hop) {
  const InterfaceInfo& out = snapshot->interface(hop.interface);
  const IpAddress next = hop.kind == HopKind::gateway ? hop.gateway : IpAddress{p.af, p.dst};
  const bool split4 = p.af == Af::inet && p.l3_length > out.mtu;
  const bool split6 = p.af == Af::inet6 && p.refragment != 0;
  // Only where translation on the way out has led to another interface than was looked at before, or for an answer.
  if (sent_size(p) > out.mtu && dont_fragment(p)) return drop(p, DropReason::too_big);
  if (!split4 && !split6) {
    p.next_hop = next;
    finish_link(p, out, view.neighbors != nullptr ? view.neighbors->find(out.id, next) : nullptr);
    (p.fate == Fate::forward ? counters.forwarded : counters.punted).add();
    if (p.fate == Fate::forward) defer(p);
    return;
  }
  const Bytes whole(p.ip(), p.l3_length);
  if (split4) {
    Ipv4Splitter splitter(whole, out.mtu);
    return emit_pieces(p, splitter, out, next);
  }
  Ipv6Splitter splitter(whole, p.refragment, random.next32());
  emit_pieces(p, splitter, out, next);
}

template <class Splitter>
void Engine::Impl::emit_pieces(Packet& p, Splitter& splitter, const InterfaceInfo& out, const IpAddress& next) {
  if (!splitter.ready()) return drop(p, DropReason::too_big);
  for (size_t length = splitter.next_length(); length != 0; length = splitter.next_length()) {
    Packet* q = host.allocate(static_cast<uint32_t>(kEthernetHeader + length));
    if (q == nullptr) return drop(p, DropReason::no_buffer);
    if (splitter.next(MutableBytes(q->frame + kEthernetHeader, length)) != length) {
      drop(*q, DropReason::too_big);
      host.submit(q);
      return drop(p, DropReason::too_big);
    }
    q->af = p.af;
    q->l3 = kEthernetHeader;
    q->l3_length = static_cast<uint32_t>(length);
    q->next_hop = next;
    finish_link(*q, out, view.neighbors != nullptr ? view.neighbors->find(out.id, next) : nullptr);
    (q->fate == Fate::forward ? counters.forwarded : counters.punted).add();
    host.submit(q);
  }
  p.fate = Fate::held;
}

// For packets made here: not addressed through a burst, so each finds its own way. `p` holds a complete IP packet.
void Engine::Impl::send_generated(Packet& p, bool filtered) {
  if (parse_ip(p) != kParsed) {
    drop(p, DropReason::bad_header);
    return host.submit(&p);
  }
  const NextHop hop = way_back(p.af, p.dst, p.in);
  if (hop.kind != HopKind::connected && hop.kind != HopKind::gateway) {
    drop(p, DropReason::no_route);
    return host.submit(&p);
  }
  if (filtered && !snapshot->interface(hop.interface).skip) {
    const HookResult r = filter(p, Direction::out, hop.interface, kNoState);
    count_hook(p, Direction::out, hop.interface, r.fate == Fate::pending);
    if (r.fate != Fate::pending) {
      drop(p, r.fate == Fate::handoff ? DropReason::owner : r.reason);
      return host.submit(&p);
    }
    if (p.route_kind != RouteKind::none && leave_by_route(p)) return host.submit(&p);
  }
  emit(p, hop);
  counters.icmp_sent.add();
  host.submit(&p);
}

void Engine::Impl::send_icmp_error(const Packet& about, uint8_t type4, uint8_t code4, uint8_t type6, uint8_t code6,
                                   uint32_t parameter, bool filtered) {
  if (!may_send_error(about) || !names_a_host(about.af, about.src)) return;
  // From the address that the packet was sent to if it is ours, else from the interface that faces the sender.
  const NextHop& to = snapshot->next_hops[lookup(about.af, about.dst)];
  const NextHop back = way_back(about.af, about.src, about.in);
  Address source;
  if (to.kind == HopKind::local) {
    source = about.dst;
  } else if (back.kind == HopKind::connected || back.kind == HopKind::gateway) {
    const InterfaceInfo& i = snapshot->interface(back.interface);
    if (about.af == Af::inet ? !i.has_v4 : !i.has_v6) return;
    source = about.af == Af::inet ? i.v4 : i.v6;
  } else {
    return;
  }
  if (!error_allowed(about.af)) return;
  Packet* q = host.allocate(kEthernetHeader + kReplyCapacity);
  if (q == nullptr) {
    counters.drops[static_cast<size_t>(DropReason::no_buffer)].add();
    return;
  }
  const MutableBytes out(q->frame + kEthernetHeader, kReplyCapacity);
  const size_t n = build_icmp_error(out, about, source, about.af == Af::inet ? type4 : type6,
                                    about.af == Af::inet ? code4 : code6, parameter, next_ip_id++);
  q->in = about.in;
  q->af = about.af;
  q->l3 = kEthernetHeader;
  q->length = static_cast<uint32_t>(kEthernetHeader + n);
  if (n == 0) {
    q->fate = Fate::held;
    return host.submit(q);
  }
  send_generated(*q, filtered);
}

void Engine::Impl::send_tcp(Af af, const TcpReply& reply, InterfaceId in, bool filtered) {
  Packet* q = host.allocate(kEthernetHeader + 128);
  if (q == nullptr) {
    counters.drops[static_cast<size_t>(DropReason::no_buffer)].add();
    return;
  }
  const size_t n = build_tcp(MutableBytes(q->frame + kEthernetHeader, 128), af, reply, next_ip_id++);
  q->af = af;
  q->l3 = kEthernetHeader;
  q->length = static_cast<uint32_t>(kEthernetHeader + n);
  q->in = in;
  send_generated(*q, filtered);
}

void Engine::Impl::answer_block(const Packet& p, const Rule& rule) {
  if (rule.reply == BlockReply::drop || p.is_fragment) return;
  const bool tcp = p.proto == kProtoTcp;
  if (tcp && rule.reply != BlockReply::return_icmp) {
    if ((p.tcp_flags & kTcpRst) != 0) return;
    // Nobody resets what was sent to many, or claims to come from them (RFC 9293 section 3.9.2.3).
    if (!may_send_error(p) || !names_a_host(p.af, p.src) || !names_a_host(p.af, p.dst)) return;
    if (!tcp_checksum_ok(p)) {
      counters.drops[static_cast<size_t>(DropReason::proto_cksum)].add();
      return;
    }
    Packet* q = host.allocate(kEthernetHeader + 128);
    if (q == nullptr) {
      counters.drops[static_cast<size_t>(DropReason::no_buffer)].add();
      return;
    }
    // PF's "return-rst (ttl N)" is of IPv4 only.
    const uint8_t ttl = p.af == Af::inet ? rule.reply_ttl : uint8_t{0};
    const size_t n = build_reset(MutableBytes(q->frame + kEthernetHeader, 128), p, ttl, next_ip_id++);
    q->in = p.in;
    q->af = p.af;
    q->l3 = kEthernetHeader;
    q->length = static_cast<uint32_t>(kEthernetHeader + n);
    return send_generated(*q, false);
  }
  if (rule.reply == BlockReply::return_rst) return;
  send_icmp_error(p, rule.reply_icmp_type, rule.reply_icmp_code, rule.reply_icmp6_type, rule.reply_icmp6_code, 0,
                  false);
}

}  // namespace twinwall
