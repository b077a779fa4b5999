#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr uint32_t kMaxTimeout = 31'536'000;  // a year

struct Reading {
  Options options;
  RuleDefaults* defaults = nullptr;
  const Node* timeouts = nullptr;
  bool states_given = false;
  bool adaptive_start_given = false, adaptive_end_given = false;
};

constexpr Word<StatePolicy> kStatePolicies[] = {{"floating", StatePolicy::floating},
                                                {"if-bound", StatePolicy::if_bound}};
constexpr Word<BlockReply> kBlockPolicies[] = {{"drop", BlockReply::drop}, {"return", BlockReply::return_any}};
constexpr Word<Optimization> kOptimizations[] = {{"normal", Optimization::normal},
                                                 {"aggressive", Optimization::aggressive},
                                                 {"conservative", Optimization::conservative},
                                                 {"high-latency", Optimization::high_latency},
                                                 {"satellite", Optimization::satellite}};

constexpr Key<Reading> kLimitKeys[] = {
    {"states",
     [](Context& c, const Node& n, Reading& r) {
       r.states_given = true;
       assign_number(c, n, "states", 100, 100'000'000, r.options.limit_states);
     }},
    {"fragments", [](Context& c, const Node& n,
                     Reading& r) { assign_number(c, n, "fragments", 16, 10'000'000, r.options.limit_fragments); }},
    {"source-nodes"},
    {"table-entries"},
    {"tables"},
    {"anchors"},
};

constexpr Key<Reading> kReassembleKeys[] = {
    {"enabled",
     [](Context& c, const Node& n, Reading& r) { assign(r.options.reassemble, read_bool(c, n, "enabled")); }},
    {"no-df",
     [](Context& c, const Node& n, Reading& r) { assign(r.options.reassemble_no_df, read_bool(c, n, "no-df")); }},
};

void read_skip(Context& c, const Node& n, Reading& r) {
  for_each_item(c, n, "skip", [&](const Node& item) {
    if (item.is_scalar() && item.text.starts_with('!')) {
      c.error(item, fmt::format("'skip' cannot negate: list the interfaces instead of '{}'", item.text));
      return;
    }
    const auto group = c.groups.find(item.text);
    if (group != c.groups.end() && c.config.find_interface(item.text) == nullptr)
      r.options.skip |= group->second;
    else if (const InterfaceId id = interface_by_name(c, item, "skip"); id != kNoInterface)
      r.options.skip.set(id);
  });
}

constexpr Key<Reading> kKeys[] = {
    {"state-policy",
     [](Context& c, const Node& n, Reading& r) {
       assign(r.options.state_policy, read_word(c, n, "state-policy", kStatePolicies));
     }},
    {"block-policy",
     [](Context& c, const Node& n, Reading& r) {
       assign(r.options.block_policy, read_word(c, n, "block-policy", kBlockPolicies));
     }},
    {"optimization",
     [](Context& c, const Node& n, Reading& r) {
       assign(r.options.optimization, read_word(c, n, "optimization", kOptimizations));
     }},
    {"skip", read_skip},
    {"limits", [](Context& c, const Node& n, Reading& r) { read_mapping(c, n, "'limits'", kLimitKeys, r); }},
    {"timeouts", [](Context&, const Node& n, Reading& r) { r.timeouts = &n; }},
    {"reassemble",
     [](Context& c, const Node& n, Reading& r) { read_mapping(c, n, "'reassemble'", kReassembleKeys, r); }},
    {"syncookies", nullptr, false, "never"},
    {"state-defaults",
     [](Context& c, const Node& n, Reading& r) { read_state(c, n, "state-defaults", r.defaults->state); }},
    {"hostid",
     [](Context& c, const Node& n, Reading& r) {
       if (const auto id = read_number(c, n, "hostid", 1, UINT32_MAX)) r.options.hostid = static_cast<uint32_t>(*id);
     }},
};

// The class's value, or nothing after reporting.
std::optional<uint32_t> read_timeout(Context& c, const Node& node, const std::string& name, TimeoutClass k) {
  if (k == TimeoutClass::adaptive_start || k == TimeoutClass::adaptive_end) {
    const auto n = read_number(c, node, name, 0, UINT32_MAX);
    return n ? std::optional(static_cast<uint32_t>(*n)) : std::nullopt;
  }
  return read_seconds(c, node, name, k == TimeoutClass::interval ? 1 : 0, kMaxTimeout);
}

// Calls `each(class, key node, seconds)`.
template <class F>
void read_timeout_mapping(Context& c, const Node& node, F each) {
  if (node.broken || node.is_null()) return;
  if (!node.is_mapping()) {
    c.error(node, "'timeouts' needs a mapping of names to seconds");
    return;
  }
  std::vector<std::string_view> names;
  for (size_t k = 0; k < kTimeoutClasses; ++k) names.push_back(timeout_name(static_cast<TimeoutClass>(k)));
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const Node& key = node.keys[i];
    const auto found = timeout_by_name(key.text);
    if (!found) {
      std::string hint = did_you_mean(key.text, names);
      if (hint.empty()) hint = ": write " + word_list(names);
      c.error(key, fmt::format("unknown timeout '{}'{}", key.text, hint));
    } else if (const auto value = read_timeout(c, node.items[i], key.text, *found)) {
      each(*found, key, *value);
    }
  }
}

void settle_timeouts(Context& c, Reading& r) {
  Timeouts& t = r.options.timeouts;
  const auto slot = [&t](TimeoutClass k) -> uint32_t& { return t[static_cast<size_t>(k)]; };
  t = profile_timeouts(r.options.optimization);
  if (r.states_given) {
    slot(TimeoutClass::adaptive_start) = r.options.limit_states / 10 * 6;
    slot(TimeoutClass::adaptive_end) = r.options.limit_states / 10 * 12;
  }
  if (r.timeouts == nullptr) return;
  read_timeout_mapping(c, *r.timeouts, [&](TimeoutClass k, const Node& key, uint32_t value) {
    if (k == TimeoutClass::src_track && value != 0) {
      c.error(key, not_available("src.track"));
      return;
    }
    slot(k) = value;
  });
  const uint32_t start = slot(TimeoutClass::adaptive_start), end = slot(TimeoutClass::adaptive_end);
  if (start >= end && end != 0)
    c.error(*r.timeouts,
            fmt::format("adaptive.start is {} and adaptive.end {}: the end must be larger, or both 0", start, end));
}

constexpr Word<StateMode> kModes[] = {{"keep", StateMode::keep},
                                      {"none", StateMode::none},
                                      {"modulate", StateMode::modulate},
                                      {"synproxy", StateMode::synproxy}};

void read_mode(Context& c, const Node& n, StateSpec& s) {
  const auto mode = read_word(c, n, "mode", kModes);
  if (!mode) return;
  if (*mode == StateMode::modulate || *mode == StateMode::synproxy)
    c.error(n, fmt::format("'{}' is not available in this version: use keep or none", n.text));
  else
    s.mode = *mode;
}

void read_state_timeouts(Context& c, const Node& n, StateSpec& s) {
  read_timeout_mapping(c, n, [&](TimeoutClass k, const Node& key, uint32_t value) {
    if (k == TimeoutClass::interval || k == TimeoutClass::frag || k == TimeoutClass::src_track ||
        k == TimeoutClass::ts_diff)
      c.error(key, fmt::format("'{}' is not a timeout of states: set it under 'options'", key.text));
    else
      s.timeouts[static_cast<size_t>(k)] = value;
  });
}

constexpr Key<StateSpec> kStateKeys[] = {
    {"mode", read_mode},
    {"sloppy", [](Context& c, const Node& n, StateSpec& s) { assign(s.sloppy, read_bool(c, n, "sloppy")); }},
    {"no-sync", [](Context& c, const Node& n, StateSpec& s) { assign(s.no_sync, read_bool(c, n, "no-sync")); }},
    {"if-bound", [](Context& c, const Node& n, StateSpec& s) { s.if_bound = read_bool(c, n, "if-bound"); }},
    {"timeouts", read_state_timeouts},
    {"max"},
    {"source-track"},
    {"max-src-nodes"},
    {"max-src-states"},
    {"max-src-conn"},
    {"max-src-conn-rate"},
    {"overload"},
    {"pflow"},
};

}  // namespace

void read_state(Context& c, const Node& node, std::string_view what, StateSpec& state) {
  if (!node.is_mapping()) {
    if (read_text(c, node, what)) read_mode(c, node, state);
    return;
  }
  read_mapping(c, node, fmt::format("'{}'", what), kStateKeys, state);
  bool has_timeouts = false;
  for (const uint32_t seconds : state.timeouts) has_timeouts = has_timeouts || seconds != 0;
  if (state.mode == StateMode::none && (state.sloppy || state.no_sync || state.if_bound || has_timeouts))
    c.error(node, "'mode: none' makes no state: remove the other options of the state");
  const uint32_t start = state.timeouts[static_cast<size_t>(TimeoutClass::adaptive_start)];
  const uint32_t end = state.timeouts[static_cast<size_t>(TimeoutClass::adaptive_end)];
  if ((start != 0 || end != 0) && start >= end)
    c.error(node, "adaptive timeouts of a rule need adaptive.start and a larger adaptive.end");
}

void read_options(Context& c, const Node& node, RuleDefaults& defaults) {
  Reading r;
  r.options = c.config.options;
  r.defaults = &defaults;
  if (!node.is_null()) read_mapping(c, node, "'options'", kKeys, r);
  settle_timeouts(c, r);
  r.options.default_no_sync = defaults.state.no_sync;
  defaults.state_policy = r.options.state_policy;
  defaults.block_policy = r.options.block_policy;
  c.config.options = r.options;
}

}  // namespace twinwall::config
