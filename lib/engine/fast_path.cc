// The way of nearly all packets, in one piece: both hooks of an established connection and out.
//
// The long way learns where a connection's packets go (note_way) and links the states of its two hooks; a packet that
// finds both and is ordinary for them needs neither the second look-up nor the route's. It is counted, tracked,
// translated and synchronised as the long way would do it. Whatever is out of the ordinary takes the long way, nothing
// changed.
#include "lib/engine/engine_impl.h"
#include "lib/engine/finish_link.h"
#include "lib/net/headers.h"
#include "lib/state/ordinary.h"

namespace twinwall {

namespace {

constexpr uint16_t kUncommon = kStateActions | kStateRate | kStateAfTo | kStateScrubTcp;

bool common(const State& s, uint8_t worker) {
  return s.in_use && s.owner == worker && (s.flags & kUncommon) == 0 && (s.log & kLogAll) == 0;
}

// The key under which the out hook would look for what has the key `in` behind the in hook.
bool mirrored(const FlowKey& out, const FlowKey& in) {
  return out.addr[0] == in.addr[1] && out.addr[1] == in.addr[0] && out.port[0] == in.port[1] &&
         out.port[1] == in.port[0] && out.af == in.af && out.proto == in.proto;
}

const FlowKey& stack_of(const State& s) { return s.translated ? s.stack : s.wire; }

}  // namespace

// Another snapshot may have other routes: what was learnt of the old one no longer counts.
void Engine::Impl::new_ways() {
  if (++way_epoch != 0) return;
  // After 65536 reloads the numbers begin again, and nobody may have one from then.
  table.walk(options.worker, 0, table.capacity(), [](State& s) { s.way = 0; });
  way_epoch = 1;
}

void Engine::Impl::note_way(const Packet& p, State& in_state, NextHopIndex hop) const {
  if (hop > 0xffff || p.proto != in_state.wire.proto) return;
  in_state.way = uint32_t{way_epoch} << 16 | hop;
}

bool Engine::Impl::fast_path(Packet& p, State& s) {
  if (s.way >> 16 != way_epoch || !common(s, options.worker)) return false;
  if (p.ip_options || p.ttl <= 1 || (p.frame[0] & 1) != 0) return false;
  if (s.link == kNoState) return false;
  State& o = table.state(s.link);
  const NextHop& hop = snapshot->next_hops[s.way & 0xffff];
  const InterfaceInfo& out = snapshot->interface(hop.interface);
  if (!common(o, options.worker) || o.link != table.index_of(s) || p.l3_length > out.mtu) return false;
  if (o.interface != kNoInterface && o.interface != out.id) return false;
  if (!mirrored(stack_of(o), stack_of(s))) return false;

  const bool forward = s.direction == Direction::in, forward_out = o.direction == Direction::out;
  if (p.proto == kProtoTcp) {
    if (!tcp_ordinary(p.tcp_flags) || !tcp_ordinary(s) || !tcp_ordinary(o)) return false;
    const uint8_t* const t = p.transport();
    TcpSegment segment;
    segment.seq = load_be32(t + 4);
    segment.ack = load_be32(t + 8);
    segment.win = load_be16(t + 14);
    segment.payload = p.payload;
    if (!tcp_ordinary_fits(s, forward, segment) || !tcp_ordinary_fits(o, forward_out, segment)) return false;
    tcp_ordinary_take(s, forward, segment, now_s);
    tcp_ordinary_take(o, forward_out, segment, now_s);
  } else if (p.proto == kProtoUdp) {
    if (!udp_ordinary(s, forward) || !udp_ordinary(o, forward_out)) return false;
    s.last_update = o.last_update = now_s;
  } else {
    return false;
  }
  account(p, s, Direction::in, p.in);
  if (s.translated) rewrite(p, endpoints_of(s.stack, Direction::in, initiator_slot_of(s.direction)));
  decrement_ttl(p);
  account(p, o, Direction::out, out.id);
  if (o.translated) rewrite(p, endpoints_of(o.wire, Direction::out, initiator_slot_of(o.direction)));
  emit_whole(p, s.way & 0xffff);
  counters.fast.add();
  return true;
}

void Engine::Impl::emit_whole(Packet& p, uint32_t hop_index) {
  const NextHop& hop = snapshot->next_hops[hop_index];
  const InterfaceInfo& out = snapshot->interface(hop.interface);
  const Mac* mac = nullptr;
  if (hop.kind == HopKind::gateway) {
    HopMac& known = hop_macs[hop_index % hop_macs.size()];
    const uint64_t bit = uint64_t{1} << (hop_index % hop_macs.size());
    if ((macs_known & bit) == 0 || known.hop != hop_index) {
      known = {hop_index, view.neighbors != nullptr ? view.neighbors->find(out.id, hop.gateway) : nullptr};
      macs_known |= bit;
    }
    mac = known.mac;
    p.next_hop = hop.gateway;
  } else {
    p.next_hop = {p.af, p.dst};
    mac = view.neighbors != nullptr ? view.neighbors->find(out.id, p.next_hop) : nullptr;
  }
  finish_link(p, out, mac);
  (p.fate == Fate::forward ? counters.forwarded : counters.punted).add();
}

}  // namespace twinwall
