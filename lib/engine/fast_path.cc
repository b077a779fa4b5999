// The way of nearly all packets, in one piece: both hooks of an established connection and out.
//
// The long way learns where a connection's packets go (note_way) and links the states of its two hooks; a packet that
// finds both and is ordinary for them needs neither the second look-up nor the route's. It is counted, tracked,
// translated and synchronised as the long way would do it. Whatever is out of the ordinary takes the long way, nothing
// changed.
#include "lib/engine/engine_impl.h"
#include "lib/engine/fast_parts.h"
#include "lib/engine/hosts.h"
#include "lib/engine/short_ways.h"
#include "lib/net/headers.h"
#include "lib/state/ordinary.h"

namespace twinwall {

namespace {

constexpr uint16_t kUncommon = kStateActions | kStateRate | kStateAfTo | kStateScrubTcp;

bool common(const State& s, uint8_t worker) {
  return s.in_use && s.owner == worker && (s.flags & kUncommon) == 0 && (s.log & (kLogAll | kInspected)) == 0;
}

// The key under which the out hook would look for what has the key `in` behind the in hook.
bool mirrored(const FlowKey& out, const FlowKey& in) {
  return out.addr[0] == in.addr[1] && out.addr[1] == in.addr[0] && out.port[0] == in.port[1] &&
         out.port[1] == in.port[0] && out.af == in.af && out.proto == in.proto;
}

}  // namespace

// Of a connection that is looked at, a packet that there is nothing to be seen in: one of a direction that has said
// enough, or an empty one of the other, whose acknowledgements nobody waits for.
bool Engine::Impl::unseen(const State& s, const Ordinary& seen, bool forward) const {
  if ((s.log & kInspected) == 0 || !s.in_use || s.owner != options.worker || (s.flags & kUncommon) != 0 ||
      (s.log & kLogAll) != 0)
    return false;
  const uint8_t marks = table.rest(s).inspect;
  if ((marks & kInspectBlocked) != 0) return false;
  if ((marks & (forward ? kInspectForward : kInspectBackward)) == 0) return true;
  return seen.proto == kProtoTcp && seen.payload == 0 && (marks & (forward ? kInspectBackward : kInspectForward)) == 0;
}

// Between bursts: what the last ones found of ways no longer holds.
void Engine::Impl::forget_ways() {
  ways_known = 0;
  for (Run& run : runs) run = {};
}

// Another snapshot may have other routes: what was learnt of the old one no longer counts.
void Engine::Impl::new_ways() {
  forget_ways();
  if (++way_epoch != 0) return;
  // After 65536 reloads the numbers begin again, and nobody may have one from then.
  table.walk(options.worker, 0, table.capacity(), [this](State& s) {
    part(s);
    s.way = 0;
  });
  way_epoch = 1;
}

void Engine::Impl::note_way(const Packet& p, State& in_state, NextHopIndex hop) const {
  if (hop > 0xffff || p.proto != in_state.wire.proto) return;
  if (snapshot->counts_entries) [[unlikely]] {
    in_state.way = 0;
    if (counts_entries(in_state) || (in_state.link != kNoState && counts_entries(table.state(in_state.link)))) return;
  }
  in_state.way = uint32_t{way_epoch} << 16 | hop;
}

void Engine::Impl::settle_rule_tally(unsigned direction) {
  Tally& t = rule_tally[direction];
  if (t.packets == 0) return;
  RuleCounters& c = counters.rules[t.key];
  c.packets[direction].add(t.packets);
  c.bytes[direction].add(t.bytes);
  t = {t.key, 0, 0};
}

void Engine::Impl::settle_hook_tally(unsigned direction) {
  Tally& t = hook_tally[direction];
  if (t.packets == 0) return;
  auto& pair = counters.interfaces[t.key >> 1].hook[direction][t.key & 1][0];
  pair.packets.add(t.packets);
  pair.bytes.add(t.bytes);
  t = {t.key, 0, 0};
}

void Engine::Impl::settle_tallies() {
  for (const unsigned direction : {0u, 1u}) {
    settle_rule_tally(direction);
    settle_hook_tally(direction);
  }
  counters.fast.add(fast_tally);
  counters.first.add(first_tally);
  counters.forwarded.add(fast_tally + first_tally - unresolved_tally);
  fast_tally = first_tally = unresolved_tally = 0;
}

const Engine::Impl::WayOut& Engine::Impl::find_way(uint32_t hop_index) {
  WayOut& way = ways[hop_index % ways.size()];
  const NextHop& hop = snapshot->next_hops[hop_index];
  ways_known |= uint64_t{1} << (hop_index % ways.size());
  way = {};
  way.hop = hop_index;
  if (hop.kind != HopKind::gateway && hop.kind != HopKind::connected) return way;
  const InterfaceInfo& out = snapshot->interface(hop.interface);
  // Nothing fits through to a VLAN here: the long way puts the tag on.
  const uint32_t mtu = out.vlan != 0 ? 0u : out.mtu;
  way.interface = out.id;
  way.mtu = mtu;
  way.gateway = hop.kind == HopKind::gateway;
  way.onward = true;
  way.skip = out.skip;
  if (way.gateway && view.neighbors != nullptr) way.mac = view.neighbors->find(out.id, hop.gateway);
  way.resolved = way.mac != nullptr;
  const auto word = [](const Mac& mac) {
    uint64_t w = 0;
    std::memcpy(&w, mac.bytes.data(), sizeof mac);
    return w;
  };
  way.header[0] = (way.resolved ? word(*way.mac) : 0) | word(out.mac) << 48;
  way.header[1] = word(out.mac) | uint64_t{bswap(kEtherTypeIpv4)} << 48;
  return way;
}

// Without its next hop's address the frame is left to the control core.
void Engine::Impl::leave_unresolved(Packet& p, const Ordinary& seen, const WayOut& way) {
  fill_ordinary(p, seen);
  const NextHop& hop = snapshot->next_hops[way.hop];
  p.next_hop = hop.kind == HopKind::gateway ? hop.gateway : IpAddress{seen.af, p.dst};
  std::memset(p.frame, 0, 6);
  p.fate = Fate::punt;
  p.punt = Punt::unresolved;
  counters.punted.add();
}

void Engine::Impl::rewrite_v6(Packet& p, const Ordinary& seen, const State& s, const State* o) {
  fill_ordinary(p, seen);
  if (s.translated) rewrite(p, endpoints_of(s.stack, Direction::in, initiator_slot_of(s.direction)));
  if (o != nullptr && o->translated) rewrite(p, endpoints_of(o->wire, Direction::out, initiator_slot_of(o->direction)));
}

void Engine::Impl::rewrite_ordinary(Packet& p, const Ordinary& seen, const State& s, const State* o) {
  if (seen.af != Af::inet) return rewrite_v6(p, seen, s, o);
  const bool out = o != nullptr && o->translated;
  const State::SentAs ends = ends_v4(out ? o->wire : s.stack, out ? 1 : 0);
  rewrite_v4(p.frame + kEthernetHeader, p.frame + seen.l4, seen.proto, ends.src, ends.dst, ends.ports);
}

bool Engine::Impl::plain_path(Packet& p, const Ordinary& seen, const FlowKey& key, NextHopIndex hop) {
  return plain_step(p, seen, key, hop);
}

bool Engine::Impl::fast_path(Packet& p, const Ordinary& seen, State& s) {
  const bool forward = s.direction == Direction::in;
  if (s.way >> 16 != way_epoch || s.link == kNoState) return false;
  if (!common(s, options.worker) && !unseen(s, seen, forward)) [[unlikely]]
    return false;
  State& o = table.state(s.link);
  const WayOut& way = way_out(s.way & 0xffff);
  if (seen.ttl(p.frame) <= 1 || seen.l3_length > way.mtu) return false;
  const bool forward_out = o.direction == Direction::out;
  if (!common(o, options.worker) && !unseen(o, seen, forward_out)) [[unlikely]]
    return false;
  if (o.link != table.index_of(s)) return false;
  if (o.interface != kNoInterface && o.interface != way.interface) return false;
  if (!mirrored(stack_of(o), stack_of(s))) return false;
  const Mac* const mac = next_mac(way, seen.af, stack_of(s).addr[1]);

  if (seen.proto == kProtoTcp) {
    if (!tcp_ordinary(seen.tcp_flags) || !tcp_ordinary(s) || !tcp_ordinary(o)) return false;
    const TcpSegment segment = ordinary_segment(p, seen);
    if (!tcp_ordinary_fits(s, forward, segment) || !tcp_ordinary_fits(o, forward_out, segment)) return false;
    tcp_ordinary_take(s, forward, segment, now_s);
    tcp_ordinary_take(o, forward_out, segment, now_s);
  } else {
    if (!udp_ordinary(s, forward) || !udp_ordinary(o, forward_out)) return false;
    s.last_update = o.last_update = now_s;
  }
  account(s, Direction::in, p.in, seen.af, seen.l3_length);
  account(o, Direction::out, way.interface, seen.af, seen.l3_length);
  send_translated(p, seen, s, &o, way, mac);
  join(s, o);
  return true;
}

}  // namespace twinwall
