// States made by packets and by peers, removed, and handed back to the pool.
#include <algorithm>
#include <optional>

#include "lib/engine/engine_impl.h"
#include "lib/engine/state_record.h"
#include "lib/net/headers.h"
#include "lib/pfsync/import.h"
#include "lib/pfsync/merge.h"
#include "lib/state/tcp_track.h"

namespace twinwall {

namespace {

// `id_slot`: where an echo's id is kept, none of any other packet.
FlowKey translated_key(FlowKey key, const Translation5& to, Direction dir, std::optional<unsigned> id_slot) {
  const unsigned s = dir == Direction::in ? 0 : 1;  // the initiator's slot
  key.addr[s] = to.src;
  key.addr[1 - s] = to.dst;
  if (key.proto == kProtoTcp || key.proto == kProtoUdp) {
    key.port[s] = to.sport;
    key.port[1 - s] = to.dport;
  } else if (id_slot) {
    key.port[*id_slot] = to.icmp_id;
  }
  return key;
}

bool peers_outranks(const State& coming, const State& held) {
  const auto rival = [](const State& s) {
    return pfsync::Rival{{s.id, s.creator}, s.last_update, {pfsync::position(s.src), pfsync::position(s.dst)}};
  };
  return pfsync::outranks(coming.wire.proto, rival(coming), rival(held));
}

}  // namespace

const Rule* Engine::Impl::find_rule(RuleSlot slot, uint32_t number) const {
  if (number < snapshot->rules.rules.size()) {
    const Rule& r = snapshot->rules.rules[number];
    if (r.slot == slot) return &r;
  }
  return snapshot->rules.find(slot);  // a reload has moved it
}

const Rule& Engine::Impl::rule_of(const State& s) const {
  const Rule* const rule = find_rule(s);
  return rule != nullptr ? *rule : snapshot->rules.default_rule;
}

uint32_t Engine::Impl::deadline_of(const State& s, const Rule* rule) const {
  // Only rules with adaptive timeouts of their own ask; theirs are counted over all workers.
  const bool own = rule != nullptr && rule->timeouts[static_cast<size_t>(TimeoutClass::adaptive_start)] != 0;
  const bool adaptive = own || snapshot->timeouts[static_cast<size_t>(TimeoutClass::adaptive_end)] != 0;
  if (const auto c = static_cast<size_t>(s.timeout); !adaptive && c < kTimeoutClasses) {
    const uint32_t rules_own = rule != nullptr ? rule->timeouts[c] : 0;
    return s.last_update + (rules_own != 0 ? rules_own : snapshot->timeouts[c]);
  }
  return s.last_update + scaled_timeout(s.timeout, snapshot->timeouts, rule != nullptr ? &rule->timeouts : nullptr,
                                        adaptive && !own ? table.states() : 0, own ? sources.states_of(s.rule) : 0);
}

uint32_t Engine::Impl::whole_timeout(TimeoutClass timeout, const Rule* rule) const {
  return scaled_timeout(timeout, snapshot->timeouts, rule != nullptr ? &rule->timeouts : nullptr, 0, 0);
}

bool Engine::Impl::insert(State& s, bool (*displaces)(const State& coming, const State& held)) {
  constexpr int kAttempts = 3;  // each of the two keys may be somebody's
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const InsertResult r = table.insert(s);
    if (r.outcome == InsertOutcome::ok) return true;
    // A race lost to a state that is still on its way in names nobody.
    if (r.outcome != InsertOutcome::exists || r.existing == nullptr) return false;
    State& other = *r.existing;
    if (other.owner != options.worker) return false;
    part(other);
    const bool finished = finished_tcp(other);
    if (!finished && (displaces == nullptr || !displaces(s, other))) return false;
    if (!finished) counters.rivals_displaced.add();
    // The peer does not hold what is displaced: it holds the one that comes.
    remove_state(other, finished);
  }
  return false;
}

// The next hop of a connection under a rule with a routing option.
bool Engine::Impl::choose_route(const Rule& rule, const Packet& p, IpAddress& route) {
  PoolSearch search;
  route.af = p.af;
  if (!map_address(rule, rule.route.pool, SourcePurpose::route, p.af, p.src, p.dst, search, route.addr)) return false;
  if (rule.route.pool.type == PoolType::least_states) {
    pending.pools[2] = &rule;
    pending.any = true;
  }
  return true;
}

HookResult Engine::Impl::make_state(Packet& p, Direction dir, InterfaceId interface, const Decision& decision,
                                    const FlowKey& flow, const Translation5& to) {
  const Rule& rule = *decision.rule;
  // What is allowed one port of SCTP must not open the others.
  const FlowKey key = p.proto == kProtoSctp && !rule.names_ports() ? without_ports(flow) : flow;
  IpAddress route;
  if (rule.route.kind != RouteKind::none && !choose_route(rule, p, route)) {
    pending.at_once = true;
    return HookResult::drop(DropReason::no_route);
  }
  const StateIndex index = table.allocate(options.worker);
  if (index == kNoState) {
    pending.at_once = true;
    return HookResult::drop(DropReason::memory);
  }
  State& s = table.state(index);
  std::optional<unsigned> id_slot;
  const bool icmp = p.proto == kProtoIcmp || p.proto == kProtoIcmp6;
  if (icmp && is_echo(p)) id_slot = (dir == Direction::in) == icmp_flow(p).reply ? 1u : 0u;  // the requester's
  FlowKey other;
  if (rule.af_to == Af::none) {
    other = translated_key(key, to, dir, id_slot);
  } else if (af_to_key(rule, p, other)) {
    s.flags = kStateAfTo;
  } else {
    table.discard(options.worker, s);
    pending.at_once = true;
    return HookResult::drop(DropReason::translate);
  }
  s.translated = !(other == key);
  s.wire = dir == Direction::in ? key : other;
  s.stack = dir == Direction::in ? other : key;
  s.direction = dir;
  s.owner = options.worker;
  s.rule = rule.slot;
  s.rule_number = rule.position;
  s.log = static_cast<uint8_t>((decision.log ? kLogFirst : 0) | (decision.log_all ? kLogAll : 0));
  s.flags = static_cast<uint16_t>(s.flags | (rule.allow_opts ? kStateAllowOpts : 0) | (rule.sloppy ? kStateSloppy : 0) |
                                  (rule.no_sync ? kStateNoSync : 0));
  // The answers of an af-to state come in elsewhere, so it is bound to no interface.
  const bool bound = (rule.if_bound || !snapshot->floating) && rule.af_to == Af::none;
  s.interface = bound ? interface : kNoInterface;
  s.created_on = interface;
  s.creator = options.hostid;
  s.id = next_id++;
  s.creation = now_s;
  s.last_update = now_s;
  if (p.tag != 0 || decision.actions.any()) keep_actions(s, decision.actions, p.tag);
  if (rule.route.kind != RouteKind::none) {
    StateRest& rest = rest_of(s);
    rest.route_kind = static_cast<uint8_t>(rule.route.kind);
    rest.route = route;
    note_actions(s);
  }
  if (rule.max_pkt_rate.n != 0) s.flags |= kStateRate;
  start_tracking(s, p);
  const bool opens = p.proto == kProtoTcp && (p.tcp_flags & (kTcpSyn | kTcpAck)) == kTcpSyn;
  // Its SYN goes nowhere, so it is not counted.
  const bool proxied = opens && rule.state == StateMode::synproxy && dir == Direction::in;
  const bool rule_scrubs_tcp = p.proto == kProtoTcp && decision.actions.reassemble_tcp;
  if (!proxied) {
    s.count(0, p.l3_length);
  }
  if (!insert(s)) {
    if (p.proto == kProtoTcp) note_half_open(false);
    table.discard(options.worker, s);
    pending.at_once = true;
    return HookResult::drop(DropReason::state_insert);
  }
  RuleCounters& rc = counters.rules[rule.slot];
  rc.states.add();
  rc.creations.add();
  if (decision.match_count != 0 || rule.anchor != kNoRuleNumber) note_matches(s, decision);
  if (!proxied) {
    rc.packets[dir == Direction::in ? 0 : 1].add();
    rc.bytes[dir == Direction::in ? 0 : 1].add(p.l3_length);
    if (s.match_set != 0) count_matches(s, dir, p.l3_length);
    if (snapshot->counts_entries) [[unlikely]]
      count_entries(s, dir, p.l3_length);
  }
  if (pending.any) attach_pending(s);
  wheel.insert(index, deadline_of(s, &rule));
  if (options.sync) touched(s, pfsync::SyncEvent::created, true);
  if (!proxied && (dir == Direction::out || rule.af_to != Af::none)) want_acknowledgement(p, s);
  if (rule_scrubs_tcp) {
    s.flags |= kStateScrubTcp;
    begin_scrub(s, p, true);
    (void)scrub_tcp(s, p, true, false);
  }
  if (rule.inspect != nullptr) begin_inspection(s, rule);
  if (proxied) {
    const HookResult r = begin_proxy(s, p, segment_of(p).mss);
    if (!p.from_cookie) return r;
    counters.drops[static_cast<size_t>(r.reason)].add();  // the client was greeted once more
  }
  if ((s.log & kInspected) != 0 && !inspect_packet(p, s, dir, interface)) [[unlikely]]
    return HookResult::drop(DropReason::inspect);
  if (opens && rule.state == StateMode::modulate) begin_modulation(s, p);
  const bool crosses = (s.flags & kStateAfTo) != 0;
  if (s.translated && !crosses) rewrite(p, endpoints_of(other, dir, initiator_slot_of(dir)));
  if ((s.flags & kStateActions) != 0) apply_state_actions(p, s, dir);
  if (crosses) {
    if (const DropReason bad = cross(p, s); bad != kParsed) return HookResult::drop(bad);
  }
  return HookResult::pass(&s);
}

StateRest& Engine::Impl::rest_of(State& s) {
  StateRest& rest = table.rest(s);
  if ((s.flags & kStateRest) == 0) rest = StateRest{};
  s.flags |= kStateRest;
  return rest;
}

void Engine::Impl::keep_actions(State& s, const PacketActions& a, TagId tag) {
  if (tag != 0) rest_of(s).tag = tag;
  if (a.set_prio >= 0) {
    StateRest& rest = rest_of(s);
    rest.set_prio = a.set_prio;
    rest.set_prio_lowdelay = a.set_prio_lowdelay;
    s.flags |= kStateSetPrio;
  }
  s.min_ttl = a.min_ttl;
  s.max_mss = a.max_mss;
  s.flags = static_cast<uint16_t>(s.flags | (a.no_df ? kStateNoDf : 0) | (a.random_id ? kStateRandomId : 0) |
                                  (a.set_tos >= 0 ? kStateSetTos : 0));
  if (a.set_tos >= 0) s.set_tos = static_cast<uint8_t>(a.set_tos);
  note_actions(s);
}

// So that one test on a packet's way tells whether there is anything to do.
void Engine::Impl::note_actions(State& s) const {
  const bool rest = (s.flags & kStateSetPrio) != 0 ||
                    ((s.flags & kStateRest) != 0 && (table.rest(s).tag != 0 || table.rest(s).route_kind != 0));
  if (rest || s.min_ttl != 0 || s.max_mss != 0 || (s.flags & (kStateNoDf | kStateRandomId | kStateSetTos)) != 0)
    s.flags |= kStateActions;
}

void Engine::Impl::note_matches(State& s, const Decision& decision) {
  std::array<RuleSlot, MatchSets::kMaxSlots> slots;
  size_t n = 0;
  for (const Rule* match : decision.matched()) slots[n++] = match->slot;
  // The anchor rule around the deciding one counts it as its own.
  const uint32_t anchor = decision.rule->anchor;
  if (anchor != kNoRuleNumber) slots[n++] = snapshot->rules.rules[anchor].slot;
  s.match_set = match_sets.acquire({slots.data(), n});
  for (const RuleSlot slot : match_sets.slots(s.match_set)) {
    counters.rules[slot].states.add();
    counters.rules[slot].creations.add();
  }
}

void Engine::Impl::remove_state(State& s, bool announce) {
  if (!s.in_use) return;
  part(s);
  if (s.wire.proto == kProtoTcp && s.src.level == kTcpProxyDst && !s.imported) abandon_proxy(s);
  const bool known_to_peers = s.sync_queue != SyncQueue::ins;
  unqueue(s);
  forget_told(s);
  if (announce && options.sync && (s.flags & kStateNoSync) == 0 && known_to_peers) queue_removal(s);
  wheel.remove(table.index_of(s));
  if (counts_half_open(s)) note_half_open(false);
  counters.rules[s.rule].states.sub();
  end_inspection(s);
  if ((s.flags & kStateRest) != 0) release_places(s);
  if (s.match_set != 0) {
    for (const RuleSlot slot : match_sets.slots(s.match_set)) counters.rules[slot].states.sub();
    match_sets.release(s.match_set);
  }
  unpair(s);
  table.remove(s);
  table.release(options.worker, s);
}

// Left of a life that is not over: none would be all of it.
void Engine::Impl::keep_alive(const State& s, pfsync::StateRecord& record) {
  if (record.expire == 0 && s.timeout != TimeoutClass::purge) record.expire = 1;
}

void Engine::Impl::to_update(const State& s, pfsync::StateRecord& record) const {
  fill_update(s, now_s, whole_timeout(s.timeout, find_rule(s)), record, lead_of(s));
  keep_alive(s, record);
}

void Engine::Impl::to_record(const State& s, pfsync::StateRecord& record, bool for_peer) const {
  constexpr uint8_t kSyncSourceNode = 0x04;  // it is tracked or has a sticky address
  const uint32_t left = for_peer ? whole_timeout(s.timeout, find_rule(s)) : deadline_of(s) - s.last_update;
  fill_record(s, snapshot->interfaces, now_s, left, record, lead_of(s));
  if (for_peer) keep_alive(s, record);
  if ((s.flags & kStateRest) != 0) {
    const StateRest& rest = table.rest(s);
    record.rt = rest.route_kind;
    record.rt_addr = rest.route.addr;
    const InterfaceId by = rest.route_interface;
    if (by != kNoInterface && by <= snapshot->interfaces.size())
      record.freebsd.rt_ifname = pfsync::make_name(snapshot->interfaces[by - 1u].name);
    for (const SourceNodeIndex n : rest.source_nodes)
      if (n != kNoSourceNode) record.sync_flags |= kSyncSourceNode;
  }
  const Rule& rule = rule_of(s);
  record.rule = rule.number;
  record.nat_rule = rule.slot == kDefaultRuleSlot ? kNoRuleNumber : rule_content(rule);
  if (rule.anchor != kNoRuleNumber) {
    record.anchor = rule.number;
    record.rule = snapshot->rules.rules[rule.anchor].number;
  }
}

State* Engine::Impl::import_record(const pfsync::StateRecord& record) {
  pfsync::ImportContext context;
  context.now = now_s;
  const Rule* const rule = record.nat_rule != kNoRuleNumber ? snapshot->rule_that_says(record.nat_rule) : nullptr;
  Timeouts timeouts = snapshot->timeouts;
  if (rule != nullptr)
    for (size_t i = 0; i < timeouts.size(); ++i)
      if (rule->timeouts[i] != 0) timeouts[i] = rule->timeouts[i];
  context.timeouts = &timeouts;
  const pfsync::Import in = pfsync::import_state(context, record);
  if (in.result != pfsync::ImportResult::store) {
    counters.import_refused.add();
    return nullptr;
  }
  InterfaceId bound = kNoInterface;
  if (record.interface_name() != "all") {
    for (const auto& i : snapshot->interfaces)
      if (i.name == record.interface_name()) bound = i.id;
    if (bound == kNoInterface) {  // an interface that this node has not got: the state could never match
      counters.import_refused.add();
      return nullptr;
    }
  }
  const StateIndex index = has_room_for(in.timeout) ? table.allocate(options.worker) : kNoState;
  if (index == kNoState) {
    counters.import_refused.add();
    return nullptr;
  }
  State& s = table.state(index);
  s.wire = in.wire;
  s.stack = in.stack;
  s.translated = in.two_keys;
  s.direction = static_cast<Direction>(record.direction);
  s.owner = options.worker;
  s.interface = s.created_on = bound;
  s.flags = static_cast<uint16_t>(in.flags | (in.wire.af != in.stack.af ? kStateAfTo : 0));
  s.log = record.log & kLogWireBits;
  s.id = record.id;
  s.creator = record.creator;
  s.creation = static_cast<uint32_t>(std::max<int64_t>(in.creation, 0));
  s.last_update = static_cast<uint32_t>(std::clamp<int64_t>(in.last_activity, 0, now_s));
  s.timeout = in.timeout;
  s.max_mss = record.max_mss;
  s.min_ttl = record.min_ttl;
  s.set_tos = record.set_tos;
  if (record.rt != 0 && record.rt <= static_cast<uint8_t>(RouteKind::reply_to) && !record.rt_addr.is_zero()) {
    StateRest& rest = rest_of(s);
    rest.route_kind = record.rt;
    rest.route = {in.stack.af, record.rt_addr};
  }
  note_actions(s);
  s.imported = true;
  s.sync_peer_update = now_s;
  s.log |= kPeerSpoke;
  const bool reanchor = record.proto == kProtoTcp && snapshot->reanchor;
  apply_peer(record.src, reanchor, s.src);
  apply_peer(record.dst, reanchor, s.dst);
  s.rule = rule != nullptr ? rule->slot : kDefaultRuleSlot;
  s.rule_number = rule != nullptr ? rule->position : kNoRuleNumber;
  if (!insert(s, peers_outranks)) {
    table.discard(options.worker, s);
    counters.import_refused.add();
    return nullptr;
  }
  counters.rules[s.rule].states.add();
  counters.imported.add();
  if (rule == nullptr) counters.imported_unbound.add();
  note_told(s);
  wheel.insert(index, deadline_of(s));
  if (options.sync && in.acknowledge) touched(s, pfsync::SyncEvent::imported_ack_wanted, true);
  return &s;
}

}  // namespace twinwall
