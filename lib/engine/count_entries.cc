// Packets by entry of the tables with `counters` that a rule names (OpenBSD's pf_counters_inc() and
// pfr_update_stats()).
//
// Only the long way counts them: rules that name such a table have no short way for first packets, and their states
// do not learn the fast one. Without such a table nobody asks.
#include "lib/engine/engine_impl.h"

namespace twinwall {

namespace {

EntryCounts::Fate fate_of(Action action) {
  if (action == Action::match) return EntryCounts::match;
  return action == Action::pass ? EntryCounts::pass : EntryCounts::block;
}

}  // namespace

void Engine::Impl::count_entries(const Rule& rule, Af af, const Address& src, const Address& dst, Direction dir,
                                 uint32_t length) {
  const auto count = [&](const AddressMatch& m, const Address& a) {
    if (m.kind != AddressKind::table || !m.table->counters) return;
    m.table->count(options.worker, af, a, m.negate, dir == Direction::out, fate_of(rule.action), length);
  };
  count(rule.from.address, src);
  count(rule.to.address, dst);
}

// Whichever way a packet goes, its connection's first one decides which entry that is, as behind its translation.
void Engine::Impl::count_entries(const State& s, Direction dir, uint32_t length) {
  const FlowKey& key = s.direction == Direction::in && s.translated ? s.stack : s.wire;
  const unsigned i = initiator_slot_of(s.direction);
  const auto count = [&](RuleSlot slot) {
    const Rule* const rule = snapshot->rules.find(slot);
    if (rule != nullptr && rule->counts_entries && rule->action != Action::anchor)
      count_entries(*rule, key.af, key.addr[i], key.addr[1 - i], dir, length);
  };
  count(s.rule);
  if (s.match_set == 0) return;
  for (const RuleSlot slot : match_sets.slots(s.match_set)) count(slot);
}

bool Engine::Impl::counts_entries(const State& s) const {
  const auto counts = [this](RuleSlot slot) {
    const Rule* const rule = snapshot->rules.find(slot);
    return rule != nullptr && rule->counts_entries;
  };
  if (counts(s.rule)) return true;
  return s.match_set != 0 && std::ranges::any_of(match_sets.slots(s.match_set), counts);
}

}  // namespace twinwall
