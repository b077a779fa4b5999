// synproxy state: the handshake is completed with the client first, then repeated with the server (pf.conf(5) "SYN
// PROXY"). What the filter says to the server passes the rules of the way out as any packet, unless it has crossed to
// another family by af-to; what it says to the client does not.
#include <algorithm>

#include "lib/engine/engine_impl.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr uint16_t kDefaultMss = 512;
constexpr uint16_t kMinMss = 64;

uint16_t window_of(const Packet& p) { return std::max<uint16_t>(load_be16(p.transport() + 14), 1); }

TcpReply reply_to(const Endpoints& from, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window) {
  return {from.dst, from.src, from.dport, from.sport, seq, ack, flags, window, 64};
}
TcpReply segment(const Endpoints& to, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window) {
  return {to.src, to.dst, to.sport, to.dport, seq, ack, flags, window, 64};
}

bool crosses(const State& s) { return (s.flags & kStateAfTo) != 0; }

// As the client's packets look on either side of the filter.
Endpoints client_side(const State& s) { return endpoints_of(s.wire, Direction::in, 0); }
// An af-to state's stack key is that of the server's answers.
Endpoints server_side(const State& s) { return endpoints_of(s.stack, crosses(s) ? Direction::out : Direction::in, 0); }

}  // namespace

// What both ways can carry, and the client takes. PF's default for a SYN with options but without this one; without any
// option it takes the least.
uint16_t Engine::Impl::proxy_mss(const Packet& p, const State& s, uint16_t offered) const {
  const bool has_options = (p.transport()[12] >> 4) * 4u > kTcpHeader;
  if (offered == 0 && has_options) offered = kDefaultMss;
  const IpAddress server = crosses(s) ? IpAddress{s.stack.af, s.stack.addr[0]} : IpAddress{p.af, p.dst};
  for (const IpAddress& a : {IpAddress{p.af, p.src}, server}) {
    const auto headers = static_cast<uint16_t>((a.af == Af::inet ? kIpv4Header : kIpv6Header) + kTcpHeader);
    const NextHop& hop = snapshot->next_hops[lookup(a.af, a.addr)];
    if (hop.kind != HopKind::connected && hop.kind != HopKind::gateway) continue;
    const uint16_t mtu = snapshot->interface(hop.interface).mtu;
    offered = std::min<uint16_t>(offered, std::max<uint16_t>(static_cast<uint16_t>(mtu - headers), kDefaultMss));
  }
  return std::max(offered, kMinMss);
}

void Engine::Impl::greet_client(const State& s, InterfaceId in) {
  TcpReply r = reply_to(client_side(s), s.src.seqhi, s.src.seqlo + 1, kTcpSyn | kTcpAck, 0);
  r.mss = s.src.mss;
  send_tcp(s.wire.af, r, in, false);
}

void Engine::Impl::greet_server(const State& s, InterfaceId in) {
  TcpReply r = segment(server_side(s), s.dst.seqhi, 0, kTcpSyn, 0);
  r.mss = s.src.mss;
  send_tcp(s.stack.af, r, in, !crosses(s));
}

HookResult Engine::Impl::begin_proxy(State& s, const Packet& p, uint16_t offered_mss) {
  s.src.level = kTcpProxySrc;
  note_half_open(false);
  s.src.seqhi = draw_iss(s.wire);
  s.src.mss = proxy_mss(p, s, offered_mss);
  greet_client(s, p.in);
  return HookResult::drop(DropReason::synproxy);
}

HookResult Engine::Impl::proxy(Packet& p, State& s, Direction dir) {
  const uint8_t* const t = p.transport();
  const uint32_t seq = load_be32(t + 4), ack = load_be32(t + 8);
  const HookResult consumed = HookResult::drop(DropReason::synproxy);
  const bool from_client = crosses(s) ? p.af == s.wire.af : dir == s.direction;
  if (s.src.level == kTcpProxySrc) {
    if (!from_client) return consumed;
    if ((p.tcp_flags & kTcpSyn) != 0) {
      if (seq == s.src.seqlo) greet_client(s, p.in);
      return consumed;
    }
    const bool finished =
        (p.tcp_flags & (kTcpAck | kTcpRst | kTcpFin)) == kTcpAck && ack == s.src.seqhi + 1 && seq == s.src.seqlo + 1;
    if (!finished) return consumed;
    if (connection_established(s)) return HookResult::drop(DropReason::src_limit);
    s.src.level = kTcpProxyDst;
  }
  return from_client ? proxy_client(p, s) : proxy_server(p, s);
}

// The client has finished its handshake: the server is asked until it answers.
HookResult Engine::Impl::proxy_client(const Packet& p, State& s) {
  const uint8_t* const t = p.transport();
  const bool fits = (p.tcp_flags & (kTcpSyn | kTcpAck)) == kTcpAck && load_be32(t + 8) == s.src.seqhi + 1 &&
                    load_be32(t + 4) == s.src.seqlo + 1;
  if (fits) {
    s.src.max_win = window_of(p);
    if (s.dst.seqhi == 1) s.dst.seqhi = random_secret();
    greet_server(s, p.in);
  }
  return HookResult::drop(DropReason::synproxy);
}

// The server has answered: from here on numbers are translated between the two handshakes.
HookResult Engine::Impl::proxy_server(const Packet& p, State& s) {
  const uint8_t* const t = p.transport();
  constexpr uint8_t kSynAck = kTcpSyn | kTcpAck;
  if ((p.tcp_flags & kSynAck) != kSynAck || load_be32(t + 8) != s.dst.seqhi + 1)
    return HookResult::drop(DropReason::synproxy);
  s.dst.max_win = window_of(p);
  s.dst.seqlo = load_be32(t + 4);
  const InterfaceId client = s.created_on;
  send_tcp(s.stack.af, segment(server_side(s), s.dst.seqhi + 1, s.dst.seqlo + 1, kTcpAck, s.src.max_win), client,
           !crosses(s));
  send_tcp(s.wire.af, reply_to(client_side(s), s.src.seqhi + 1, s.src.seqlo + 1, kTcpAck, s.dst.max_win), p.in, false);
  s.src.seqdiff = s.dst.seqhi - s.src.seqlo;
  s.dst.seqdiff = s.src.seqhi - s.dst.seqlo;
  s.src.seqhi = s.src.seqlo + s.dst.max_win;
  s.dst.seqhi = s.dst.seqlo + s.src.max_win;
  s.src.wscale = s.dst.wscale = 0;
  s.src.level = s.dst.level = kTcpEstablished;
  if (options.sync) touched(s, pfsync::SyncEvent::packet, true);
  return HookResult::drop(DropReason::synproxy);
}

// The client believes in a connection that the server never answered.
void Engine::Impl::abandon_proxy(const State& s) {
  send_tcp(s.wire.af, reply_to(client_side(s), s.src.seqhi, s.src.seqlo + 1, kTcpRst | kTcpAck, 0), kNoInterface,
           false);
}

}  // namespace twinwall
