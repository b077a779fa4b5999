// What a rule and a source may have: max, source-track, max-src-…, overload (pf.conf(5) "STATEFUL TRACKING OPTIONS"),
// and the source nodes behind sticky-address.
#include "lib/engine/engine_impl.h"
#include "lib/engine/reasons.h"

namespace twinwall {

namespace {

constexpr size_t at(SourcePurpose p) { return static_cast<size_t>(p); }
constexpr size_t at(LimitCounter c) { return static_cast<size_t>(c); }

bool own_adaptive(const Rule& r) { return r.timeouts[static_cast<size_t>(TimeoutClass::adaptive_start)] != 0; }

// `which`: 0 nat-to or the source part of af-to, 1 rdr-to, 2 a routing option.
void count_in_pool(const State& s, const StateRest& rest, const Rule& rule, unsigned which, bool begins) {
  if (which == 2) return count_pool_state(rule.route.pool, rest.route.af, rest.route.addr, begins);
  const FlowKey& after = s.direction == Direction::in ? s.stack : s.wire;
  // The stack key of an af-to state is that of answers coming in.
  const unsigned initiator = (s.flags & kStateAfTo) != 0 ? 1 : initiator_slot_of(s.direction);
  count_pool_state((which == 0 ? rule.nat_to : rule.rdr_to).pool, after.af,
                   after.addr[which == 0 ? initiator : 1 - initiator], begins);
}

}  // namespace

// PF's order: first the source, then the rule.
bool Engine::Impl::take_places(const Packet& p, const Rule& rule, DropReason& reason) {
  const StateLimits& l = rule.limits;
  if (l.track != SourceTrack::none) {
    const RuleSlot of = l.track == SourceTrack::rule ? rule.slot : kDefaultRuleSlot;
    const SourceResult r = sources.acquire({of, SourcePurpose::track, p.af, p.src}, rule.slot,
                                           {l.max_src_nodes, l.max_src_states, l.max_src_conn_rate}, nullptr, now_s);
    if (r.node == kNoSourceNode) {
      if (r.outcome == SourceOutcome::max_states) counters.limits[at(LimitCounter::src_states)].add();
      if (r.outcome == SourceOutcome::max_nodes) counters.limits[at(LimitCounter::src_nodes)].add();
      reason = DropReason::src_limit;
      return false;
    }
    pending.nodes[at(SourcePurpose::track)] = r.node;
    pending.rules[at(SourcePurpose::track)] = &rule;
    pending.any = true;
  }
  if (l.max != 0 || own_adaptive(rule)) {
    if (!sources.add_state(rule.slot, l.max)) {
      counters.limits[at(LimitCounter::states)].add();
      reason = DropReason::state_limit;
      return false;
    }
    pending.counted = &rule;
    pending.any = true;
  }
  return true;
}

void Engine::Impl::release_pending() {
  for (size_t i = 0; i < kSourcePurposes; ++i)
    if (pending.nodes[i] != kNoSourceNode) sources.release(pending.nodes[i], false, now_s, pending.at_once, now_s);
  if (pending.counted != nullptr) sources.sub_state(pending.counted->slot);
  pending = {};
}

void Engine::Impl::attach_pending(State& s) {
  StateRest& rest = rest_of(s);
  for (size_t i = 0; i < kSourcePurposes; ++i) rest.source_nodes[i] = pending.nodes[i];
  rest.counted_by_rule = pending.counted != nullptr;
  for (unsigned i = 0; i < 3; ++i) {
    const Rule* const r = pending.pools[i];
    if (r == nullptr) continue;
    rest.pool_rules[i] = r->slot;
    count_in_pool(s, rest, *r, i, true);
  }
  pending = {};
}

uint32_t Engine::Impl::source_expiry(const State& s) const {
  constexpr auto kTrack = static_cast<size_t>(TimeoutClass::src_track);
  const Rule* const rule = find_rule(s);
  const uint32_t own = rule != nullptr ? rule->timeouts[kTrack] : 0;
  return now_s + (own != 0 ? own : snapshot->timeouts[kTrack]);
}

void Engine::Impl::release_places(State& s) {
  StateRest& rest = table.rest(s);
  for (size_t i = 0; i < kSourcePurposes; ++i) {
    if (rest.source_nodes[i] == kNoSourceNode) continue;
    const bool connected = i == at(SourcePurpose::track) && s.tcp_est;
    sources.release(rest.source_nodes[i], connected, source_expiry(s), false, now_s);
    rest.source_nodes[i] = kNoSourceNode;
  }
  if (rest.counted_by_rule) sources.sub_state(s.rule);
  rest.counted_by_rule = false;
  for (unsigned i = 0; i < 3; ++i) {
    if (rest.pool_rules[i] == kDefaultRuleSlot) continue;
    if (const Rule* r = snapshot->rules.find(rest.pool_rules[i])) count_in_pool(s, rest, *r, i, false);
    rest.pool_rules[i] = kDefaultRuleSlot;
  }
}

bool Engine::Impl::connection_established(State& s) {
  if ((s.flags & kStateRest) == 0 || s.tcp_est) return false;
  const SourceNodeIndex node = table.rest(s).source_nodes[at(SourcePurpose::track)];
  if (node == kNoSourceNode) return false;
  const SourceTable::Connected c = sources.connect(node, now_s);
  s.tcp_est = true;
  const Rule* const rule = find_rule(s);
  if (rule == nullptr) return false;
  const StateLimits& l = rule->limits;
  const bool too_many = l.max_src_conn != 0 && c.connections > l.max_src_conn;
  const bool too_fast = l.max_src_conn_rate.n != 0 && c.too_fast;
  if (too_many) counters.limits[at(LimitCounter::src_conn)].add();
  if (too_fast) counters.limits[at(LimitCounter::src_conn_rate)].add();
  if (!too_many && !too_fast) return false;
  if (l.overload != nullptr) {
    counters.limits[at(LimitCounter::overload_table)].add();
    HostSet* const hosts = l.overload->hosts();
    if (hosts == nullptr || hosts->add(c.source.af, c.source.addr, now_s) == HostSet::Added::full)
      counters.overload_lost.add();
    if (l.flush != OverloadFlush::none) {
      counters.limits[at(LimitCounter::overload_flush)].add();
      sources.post_flush(
          {c.source.af, c.source.addr, initiator_slot_of(s.direction), l.flush == OverloadFlush::global, s.rule});
    }
  }
  kill(s);
  return true;
}

void Engine::Impl::kill_one(State& s) {
  if (s.timeout == TimeoutClass::purge) return;
  part(s);
  if (counts_half_open(s)) note_half_open(false);
  s.src.level = s.dst.level = 0;
  s.timeout = TimeoutClass::purge;
  const StateIndex index = table.index_of(s);
  wheel.remove(index);
  wheel.insert(index, now_s + 1);
}

void Engine::Impl::kill(State& s) {
  kill_one(s);
  State* const other = s.link != kNoState ? table.owned(s.link, options.worker) : nullptr;
  if (other != nullptr && other->in_use && other->link == table.index_of(s)) kill_one(*other);
}

}  // namespace twinwall
