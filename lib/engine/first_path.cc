// The way of a connection's first packets at a hook that knows nothing of it, where the rules that match say no more
// than pass or block: what hook.cc and make_state.cc would come to, without filling in the packet.
//
// Everything that could go another way is asked before anything changes: then the packet takes the long way from this
// hook on. A packet may take the short one at the first hook and the long one at the other.
#include "lib/engine/engine_impl.h"
#include "lib/engine/fast_parts.h"
#include "lib/engine/hosts.h"
#include "lib/engine/short_ways.h"
#include "lib/net/headers.h"
#include "lib/state/pseudo_track.h"

namespace twinwall {

namespace {

constexpr size_t at(TimeoutClass c) { return static_cast<size_t>(c); }

}  // namespace

void Engine::Impl::fill_input(const Lane& lane, RuleInput& in) const {
  const Packet& p = *lane.packet;
  const Ordinary& seen = lane.seen;
  in.direction = Direction::in;
  in.interface = in.received_on = p.in;
  in.af = seen.af;
  in.proto = seen.proto;
  in.tcp_flags = seen.tcp_flags;
  in.sport = bswap(lane.key.port[0]);
  in.dport = bswap(lane.key.port[1]);
  in.src = lane.key.addr[0];
  in.dst = lane.key.addr[1];
  in.tos = seen.tos(p.frame);
  in.environment = &environment;
}

// The rule that holds, if it is a simple one. Null: nothing has been counted.
const Rule* Engine::Impl::simple_rule(const RuleInput& in) {
  constexpr size_t kMostLooks = 16;
  std::array<RuleSlot, kMostLooks> looked_at;
  size_t looks = 0;
  const auto note = [&](const Rule& rule) {
    if (looks < kMostLooks) looked_at[looks] = rule.slot;
    ++looks;
  };
  const Rule* const rule = options.classifier && snapshot->classifier != nullptr
                               ? snapshot->classifier->decide_simply(snapshot->rules, in, note)
                               : decide_simply(snapshot->rules, in, note);
  if (rule == nullptr || rule->verdict == Verdict::more || looks > kMostLooks) return nullptr;
  if (rule->timeouts[at(TimeoutClass::adaptive_start)] != 0) return nullptr;  // its states are counted
  for (size_t i = 0; i < looks; ++i) counters.rules[looked_at[i]].evaluations.add();
  return rule;
}

// A state with this key, which nobody had a moment ago. Null: nothing has changed.
State* Engine::Impl::open_state(const Lane& lane, Direction dir, InterfaceId interface, const Rule& rule,
                                const FlowKey& key, uint64_t hash) {
  const StateIndex index = table.try_allocate(options.worker);
  if (index == kNoState) return nullptr;
  const Ordinary& seen = lane.seen;
  State& s = table.state(index);
  s.wire = s.stack = key;
  s.direction = dir;
  s.rule = rule.slot;
  s.rule_number = rule.position;
  s.flags = static_cast<uint16_t>((rule.allow_opts ? kStateAllowOpts : 0) | (rule.sloppy ? kStateSloppy : 0) |
                                  (rule.no_sync ? kStateNoSync : 0));
  s.interface = rule.if_bound || !snapshot->floating ? interface : kNoInterface;
  s.created_on = interface;
  s.creator = options.hostid;
  s.id = next_id++;
  const bool tcp = seen.proto == kProtoTcp;
  if (tcp)
    tcp_start(s, segment_of(lane.packet->frame + seen.l4, seen.tcp_flags, seen.payload), now_s);
  else
    pseudo_start(s, now_s);
  s.count(0, seen.l3_length);
  if (table.insert_absent(s, hash).outcome != InsertOutcome::ok) [[unlikely]] {
    table.discard(options.worker, s);
    return nullptr;
  }
  if (tcp) note_half_open(true);
  RuleCounters& rc = counters.rules[rule.slot];
  rc.states.add();
  rc.creations.add();
  wheel.insert(index, deadline_of(s, &rule));
  if (options.sync) touched(s, pfsync::SyncEvent::created, true);
  return &s;
}

// The in hook of a packet of which no state is known. False: it takes the long way.
bool Engine::Impl::open_in(Lane& lane) {
  Packet& p = *lane.packet;
  const Ordinary& seen = lane.seen;
  if (seen.proto == kProtoTcp && snapshot->syncookies != config::Syncookies::never) return false;
  // Packets before it may have made one.
  if (table.has_mixed_states() || table.key_in_use(lane.key, lane.hash)) return false;
  if (table.workers() != 1 && table.key_in_use(lane.key.mirrored())) return false;  // it may be another worker's
  RuleInput& input = inputs[static_cast<size_t>(&lane - lanes.data())];
  fill_input(lane, input);
  const Rule* const rule = simple_rule(input);
  if (rule == nullptr) return false;
  switch (rule->verdict) {
    case Verdict::drops: {
      counters.rules[rule->slot].count(Direction::in, seen.l3_length);
      auto& blocked = counters.interfaces[p.in].hook[0][seen.af == Af::inet ? 0 : 1][1];
      blocked.packets.add();
      blocked.bytes.add(seen.l3_length);
      drop(p, DropReason::match);
      lane.active = false;
      return true;
    }
    case Verdict::keeps:
      lane.in_state = open_state(lane, Direction::in, p.in, *rule, lane.key, lane.hash);
      if (lane.in_state == nullptr) return false;
      break;
    case Verdict::passes: break;
    case Verdict::more: return false;
  }
  tally(rule->slot, Direction::in, p.in, seen.af, seen.l3_length);
  return true;
}

// From there to the wire. False: the long way, from the route on.
bool Engine::Impl::open_out(Lane& lane) {
  Packet& p = *lane.packet;
  const Ordinary& seen = lane.seen;
  const WayOut& way = way_out(lane.hop);
  if (!way.onward) return false;
  if (way.skip) return plain_path(p, seen, lane.key, lane.hop);
  if (seen.ttl(p.frame) <= 1 || seen.l3_length > way.mtu) return false;
  const Address& dst = lane.key.addr[1];
  if (!between_hosts(seen.af, lane.key.addr[0], dst)) return false;
  if (options.sync && options.defer) return false;
  const Mac* const mac = next_mac(way, seen.af, dst);
  const FlowKey key = lane.key.mirrored();
  if (table.key_in_use(key, lane.out_hash)) return false;
  RuleInput& input = inputs[static_cast<size_t>(&lane - lanes.data())];
  input.direction = Direction::out;
  input.interface = way.interface;
  const Rule* const rule = simple_rule(input);
  if (rule == nullptr) return false;
  if (rule->verdict == Verdict::drops) {
    counters.rules[rule->slot].count(Direction::out, seen.l3_length);
    auto& blocked = counters.interfaces[way.interface].hook[1][seen.af == Af::inet ? 0 : 1][1];
    blocked.packets.add();
    blocked.bytes.add(seen.l3_length);
    table.counters(options.worker).searches.add();
    drop(p, DropReason::match);
    return true;
  }
  if (rule->verdict == Verdict::keeps) {
    State* const s = open_state(lane, Direction::out, way.interface, *rule, key, lane.out_hash);
    if (s == nullptr) return false;
    if (State* const in = lane.in_state; in != nullptr && in->in_use) {
      pair(*in, *s);
      if (lane.hop <= 0xffff && !(snapshot->counts_entries && counts_entries(*in)))
        in->way = uint32_t{way_epoch} << 16 | lane.hop;
    }
  }
  table.counters(options.worker).searches.add();
  tally(rule->slot, Direction::out, way.interface, seen.af, seen.l3_length);
  put_on_way(p, seen, way);
  ++first_tally;
  if (way.resolved) [[likely]]
    return true;
  if (mac != nullptr) {
    std::memcpy(p.frame, mac->bytes.data(), sizeof(Mac));
    return true;
  }
  ++unresolved_tally;
  leave_unresolved(p, seen, way);
  return true;
}

}  // namespace twinwall
