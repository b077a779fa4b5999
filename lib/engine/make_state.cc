// States made by packets and by peers, removed, and handed back to the pool.
#include <algorithm>
#include <optional>

#include "lib/engine/engine_impl.h"
#include "lib/engine/state_record.h"
#include "lib/net/headers.h"
#include "lib/pfsync/import.h"
#include "lib/state/tcp_track.h"

namespace twinwall {

namespace {

// A TCP state whose both ends are done gives way to a new connection with its key.
bool finished_tcp(const State& s) {
  return s.wire.proto == kProtoTcp && s.src.level >= kTcpFinWait2 && s.dst.level >= kTcpFinWait2;
}

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

}  // namespace

const Rule* Engine::Impl::find_rule(const State& s) const {
  if (s.rule_number < snapshot->rules.rules.size()) {
    const Rule& r = snapshot->rules.rules[s.rule_number];
    if (r.slot == s.rule) return &r;
  }
  return snapshot->rules.find(s.rule);  // a reload has moved it
}

const Rule& Engine::Impl::rule_of(const State& s) const {
  const Rule* const rule = find_rule(s);
  return rule != nullptr ? *rule : snapshot->rules.default_rule;
}

uint32_t Engine::Impl::deadline_of(const State& s) const {
  const RuleCounters& rc = counters.rules[s.rule];
  const Rule* const rule = find_rule(s);
  return s.last_update + scaled_timeout(s.timeout, snapshot->timeouts, rule != nullptr ? &rule->timeouts : nullptr,
                                        table.states(), rc.states.get());
}

bool Engine::Impl::insert(State& s) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    const InsertResult r = table.insert(s);
    if (r.outcome == InsertOutcome::ok) return true;
    // A race lost to a state that is still on its way in names nobody.
    if (attempt != 0 || r.outcome != InsertOutcome::exists || r.existing == nullptr) return false;
    if (r.existing->owner != options.worker || !finished_tcp(*r.existing)) return false;
    remove_state(*r.existing, true);
  }
  return false;
}

HookResult Engine::Impl::make_state(Packet& p, Direction dir, InterfaceId interface, const Decision& decision,
                                    const FlowKey& key, const Translation5& to) {
  const Rule& rule = *decision.rule;
  const StateIndex index = table.allocate(options.worker);
  if (index == kNoState) return HookResult::drop(DropReason::memory);
  State& s = table.state(index);
  std::optional<unsigned> id_slot;
  if (is_echo(p)) id_slot = (dir == Direction::in) == icmp_flow(p).reply ? 1u : 0u;  // the requester's
  const FlowKey other = translated_key(key, to, dir, id_slot);
  s.translated = !(other == key);
  s.wire = dir == Direction::in ? key : other;
  s.stack = dir == Direction::in ? other : key;
  s.direction = dir;
  s.owner = options.worker;
  s.rule = rule.slot;
  s.rule_number = rule.number;
  s.log = static_cast<uint8_t>((decision.log ? 1 : 0) | (decision.log_all ? 2 : 0));
  s.flags = static_cast<uint16_t>((rule.allow_opts ? kStateAllowOpts : 0) | (rule.sloppy ? kStateSloppy : 0) |
                                  (rule.no_sync ? kStateNoSync : 0));
  s.interface = rule.if_bound || !snapshot->floating ? interface : kNoInterface;
  s.created_on = interface;
  s.creator = options.hostid;
  s.id = next_id++;
  s.creation = now_s;
  s.last_update = now_s;
  start_tracking(s, p);
  s.packets[0] = 1;
  s.bytes[0] = p.l3_length;
  if (!insert(s)) {
    if (p.proto == kProtoTcp) counters.half_open.sub();
    table.discard(options.worker, s);
    return HookResult::drop(DropReason::state_insert);
  }
  RuleCounters& rc = counters.rules[rule.slot];
  rc.states.add();
  rc.creations.add();
  rc.packets[dir == Direction::in ? 0 : 1].add();
  rc.bytes[dir == Direction::in ? 0 : 1].add(p.l3_length);
  if (decision.match_count != 0) note_matches(s, decision, dir, p.l3_length);
  wheel.insert(index, deadline_of(s));
  if (options.sync) touched(s, pfsync::SyncEvent::created, true);
  if (s.translated) rewrite(p, endpoints_of(other, dir, initiator_slot_of(dir)));
  return HookResult::pass(&s);
}

void Engine::Impl::note_matches(State& s, const Decision& decision, Direction dir, uint32_t length) {
  std::array<RuleSlot, kMaxMatchRules> slots;
  for (size_t i = 0; i < decision.match_count; ++i) slots[i] = decision.matches[i]->slot;
  s.match_set = match_sets.acquire({slots.data(), decision.match_count});
  for (const RuleSlot slot : match_sets.slots(s.match_set)) {
    counters.rules[slot].states.add();
    counters.rules[slot].creations.add();
  }
  count_matches(s, dir, length);
}

void Engine::Impl::remove_state(State& s, bool announce) {
  if (!s.in_use) return;
  const bool known_to_peers = s.sync_queue != SyncQueue::ins;
  unqueue(s);
  if (announce && options.sync && (s.flags & kStateNoSync) == 0 && known_to_peers) queue_removal(s);
  wheel.remove(table.index_of(s));
  if (counts_half_open(s)) counters.half_open.sub();
  counters.rules[s.rule].states.sub();
  if (s.match_set != 0) {
    for (const RuleSlot slot : match_sets.slots(s.match_set)) counters.rules[slot].states.sub();
    match_sets.release(s.match_set);
  }
  table.remove(s);
  table.release(options.worker, s);
}

void Engine::Impl::to_record(const State& s, pfsync::StateRecord& record) const {
  fill_record(s, snapshot->interfaces, now_s, deadline_of(s) - s.last_update, record);
  record.rule = rule_of(s).number;
}

State* Engine::Impl::import_record(const pfsync::StateRecord& record) {
  pfsync::ImportContext context;
  context.now = now_s;
  context.timeouts = &snapshot->timeouts;
  const pfsync::Import in = pfsync::import_state(context, record);
  // Between two families (af-to) nothing is translated here.
  if (in.result != pfsync::ImportResult::store || in.wire.af != in.stack.af) {
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
  const StateIndex index = table.allocate(options.worker);
  if (index == kNoState) {
    counters.import_refused.add();
    return nullptr;
  }
  State& s = table.state(index);
  const bool tcp = record.proto == kProtoTcp;
  s.wire = in.wire;
  s.stack = in.stack;
  s.translated = in.two_keys;
  s.direction = static_cast<Direction>(record.direction);
  s.owner = options.worker;
  s.interface = s.created_on = bound;
  s.flags = in.flags;
  s.log = record.log;
  s.id = record.id;
  s.creator = record.creator;
  s.creation = static_cast<uint32_t>(std::max<int64_t>(in.creation, 0));
  s.last_update = static_cast<uint32_t>(std::clamp<int64_t>(in.last_activity, 0, now_s));
  s.timeout = in.timeout;
  s.max_mss = record.max_mss;
  s.imported = true;
  s.sync_peer_update = now_s;
  apply_peer(record.src, tcp, s.src);
  apply_peer(record.dst, tcp, s.dst);
  s.rule = kDefaultRuleSlot;
  s.rule_number = kNoRuleNumber;
  if (!insert(s)) {
    table.discard(options.worker, s);
    counters.import_refused.add();
    return nullptr;
  }
  counters.rules[s.rule].states.add();
  counters.imported.add();
  wheel.insert(index, deadline_of(s));
  if (options.sync && in.acknowledge) touched(s, pfsync::SyncEvent::imported_ack_wanted, true);
  return &s;
}

}  // namespace twinwall
