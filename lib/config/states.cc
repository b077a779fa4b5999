// keep state and its options (pf.conf(5) "STATEFUL FILTERING", "STATEFUL TRACKING OPTIONS").
#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/timeouts.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr Word<StateMode> kModes[] = {{"keep", StateMode::keep},
                                      {"none", StateMode::none},
                                      {"modulate", StateMode::modulate},
                                      {"synproxy", StateMode::synproxy}};

void read_mode(Context& c, const Node& n, StateSpec& s) { assign(s.mode, read_word(c, n, "mode", kModes)); }

void read_state_timeouts(Context& c, const Node& n, StateSpec& s) {
  read_timeout_mapping(c, n, [&](TimeoutClass k, const Node& key, uint32_t value) {
    if (k == TimeoutClass::interval || k == TimeoutClass::frag)
      c.error(key, fmt::format("'{}' is not a timeout of states: set it under 'options'", key.text));
    else
      s.timeouts[static_cast<size_t>(k)] = value;
  });
}

void read_limit(Context& c, const Node& n, std::string_view what, uint32_t& out) {
  assign_number(c, n, what, 1, UINT32_MAX, out);
}

constexpr Word<SourceTrack> kTracks[] = {{"rule", SourceTrack::rule}, {"global", SourceTrack::global}};
constexpr Word<OverloadFlush> kFlushes[] = {
    {"none", OverloadFlush::none}, {"rule", OverloadFlush::rule}, {"global", OverloadFlush::global}};

void read_overload_table(Context& c, const Node& n, StateSpec& s) {
  const auto text = read_text(c, n, "table");
  if (!text) return;
  const auto table = text->starts_with('<') ? table_reference(c, n, *text) : table_by_name(c, n, *text);
  if (table == nullptr) return;
  if (table->constant) c.error(n, fmt::format("table '{}' is 'const': nothing can be added to it", table->name()));
  table->overload = true;
  s.limits.overload = table;
}

constexpr Key<StateSpec> kOverloadKeys[] = {
    {"table", read_overload_table, true},
    {"flush",
     [](Context& c, const Node& n, StateSpec& s) { assign(s.limits.flush, read_word(c, n, "flush", kFlushes)); }},
};

constexpr Key<StateSpec> kStateKeys[] = {
    {"mode", read_mode},
    {"sloppy", [](Context& c, const Node& n, StateSpec& s) { assign(s.sloppy, read_bool(c, n, "sloppy")); }},
    {"no-sync", [](Context& c, const Node& n, StateSpec& s) { assign(s.no_sync, read_bool(c, n, "no-sync")); }},
    {"if-bound", [](Context& c, const Node& n, StateSpec& s) { s.if_bound = read_bool(c, n, "if-bound"); }},
    {"timeouts", read_state_timeouts},
    {"max", [](Context& c, const Node& n, StateSpec& s) { read_limit(c, n, "max", s.limits.max); }},
    {"source-track",
     [](Context& c, const Node& n, StateSpec& s) { s.source_track = read_word(c, n, "source-track", kTracks); }},
    {"max-src-nodes",
     [](Context& c, const Node& n, StateSpec& s) { read_limit(c, n, "max-src-nodes", s.limits.max_src_nodes); }},
    {"max-src-states",
     [](Context& c, const Node& n, StateSpec& s) { read_limit(c, n, "max-src-states", s.limits.max_src_states); }},
    {"max-src-conn",
     [](Context& c, const Node& n, StateSpec& s) { read_limit(c, n, "max-src-conn", s.limits.max_src_conn); }},
    {"max-src-conn-rate",
     [](Context& c, const Node& n, StateSpec& s) { read_rate(c, n, "max-src-conn-rate", s.limits.max_src_conn_rate); }},
    {"overload",
     [](Context& c, const Node& n, StateSpec& s) {
       if (n.is_mapping())
         read_mapping(c, n, "'overload'", kOverloadKeys, s);
       else
         read_overload_table(c, n, s);
     }},
    {"pflow"},
};

bool has_limits(const StateLimits& l) {
  return l.max != 0 || l.max_src_nodes != 0 || l.max_src_states != 0 || l.max_src_conn != 0 ||
         l.max_src_conn_rate.n != 0 || l.overload != nullptr;
}

}  // namespace

void read_state(Context& c, const Node& node, std::string_view what, StateSpec& state) {
  if (!node.is_mapping()) {
    if (read_text(c, node, what)) read_mode(c, node, state);
    return;
  }
  read_mapping(c, node, fmt::format("'{}'", what), kStateKeys, state);
  bool has_timeouts = false;
  for (const uint32_t seconds : state.timeouts) has_timeouts = has_timeouts || seconds != 0;
  if (state.mode == StateMode::none && (state.sloppy || state.no_sync || state.if_bound || has_timeouts ||
                                        state.source_track || has_limits(state.limits)))
    c.error(node, "'mode: none' makes no state: remove the other options of the state");
  if (const std::string problem = settle_state(state); !problem.empty()) c.error(node, problem);
  const uint32_t start = state.timeouts[static_cast<size_t>(TimeoutClass::adaptive_start)];
  const uint32_t end = state.timeouts[static_cast<size_t>(TimeoutClass::adaptive_end)];
  if ((start != 0 || end != 0) && start >= end)
    c.error(node, "adaptive timeouts of a rule need adaptive.start and a larger adaptive.end");
}

// Connections and the number of sources are counted by the rule; what only bounds a source's states is counted for all
// rules together unless the rule says otherwise.
std::string settle_state(StateSpec& state) {
  StateLimits& l = state.limits;
  const bool by_rule = l.max_src_nodes != 0 || l.max_src_conn != 0 || l.max_src_conn_rate.n != 0;
  if (by_rule && state.source_track == SourceTrack::global)
    return "'source-track global' does not go with max-src-nodes, max-src-conn or max-src-conn-rate: they are counted "
           "by "
           "the rule";
  if (by_rule)
    l.track = SourceTrack::rule;
  else if (state.source_track)
    l.track = *state.source_track;
  else if (l.max_src_states != 0)
    l.track = SourceTrack::global;
  if (l.overload != nullptr && l.max_src_conn == 0 && l.max_src_conn_rate.n == 0)
    return "'overload' needs max-src-conn or max-src-conn-rate: only connections beyond them fill its table";
  if (state.sloppy && (state.mode == StateMode::modulate || state.mode == StateMode::synproxy))
    return "'sloppy' does not look at sequence numbers, 'modulate' and 'synproxy' change them: remove the one or the "
           "other";
  return {};
}

}  // namespace twinwall::config
