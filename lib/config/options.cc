// options: PF's `set` (pf.conf(5) "OPTIONS").
#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/timeouts.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

struct OptionsReading {
  Options options;
  inspect::Inspection* inspection = nullptr;
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

constexpr Key<OptionsReading> kLimitKeys[] = {
    {"states",
     [](Context& c, const Node& n, OptionsReading& r) {
       r.states_given = true;
       assign_number(c, n, "states", 100, 100'000'000, r.options.limit_states);
     }},
    {"fragments",
     [](Context& c, const Node& n, OptionsReading& r) {
       assign_number(c, n, "fragments", 16, 10'000'000, r.options.limit_fragments);
     }},
    {"source-nodes",
     [](Context& c, const Node& n, OptionsReading& r) {
       assign_number(c, n, "source-nodes", 1, 100'000'000, r.options.limit_source_nodes);
     }},
    {"table-entries",
     [](Context& c, const Node& n, OptionsReading& r) {
       assign_number(c, n, "table-entries", 1, 10'000'000, r.options.limit_table_entries);
     }},
    {"tables"},
    {"anchors"},
};

constexpr Key<OptionsReading> kReassembleKeys[] = {
    {"enabled",
     [](Context& c, const Node& n, OptionsReading& r) { assign(r.options.reassemble, read_bool(c, n, "enabled")); }},
    {"no-df", [](Context& c, const Node& n,
                 OptionsReading& r) { assign(r.options.reassemble_no_df, read_bool(c, n, "no-df")); }},
};

void read_skip(Context& c, const Node& n, OptionsReading& r) {
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

// "25%".
void read_percent(Context& c, const Node& n, std::string_view what, uint8_t& out) {
  const auto text = read_text(c, n, what);
  if (!text) return;
  const auto value =
      text->ends_with('%') ? parse_number(std::string_view(*text).substr(0, text->size() - 1)) : std::nullopt;
  if (value && *value <= 100)
    out = static_cast<uint8_t>(*value);
  else
    c.error(n, fmt::format("'{}' is '{}': write a percentage of the state limit, such as 25%", what, *text));
}

constexpr Key<OptionsReading> kAdaptiveKeys[] = {
    {"start",
     [](Context& c, const Node& n, OptionsReading& r) { read_percent(c, n, "start", r.options.syncookies_start); }},
    {"end", [](Context& c, const Node& n, OptionsReading& r) { read_percent(c, n, "end", r.options.syncookies_end); }},
};

constexpr Key<OptionsReading> kSyncookieKeys[] = {
    {"adaptive",
     [](Context& c, const Node& n, OptionsReading& r) {
       r.options.syncookies = Syncookies::adaptive;
       read_mapping(c, n, "'adaptive'", kAdaptiveKeys, r);
       // Only one of them written: the other keeps its distance, as PF's end is half of the start.
       if (n.is_mapping() && n.find("end") == nullptr) r.options.syncookies_end = r.options.syncookies_start / 2;
       if (r.options.syncookies_end > r.options.syncookies_start)
         c.error(n,
                 fmt::format("the end of {}% is above the start of {}%: syncookies end when fewer connections are half "
                             "open",
                             r.options.syncookies_end, r.options.syncookies_start));
     },
     true},
};

constexpr Word<Syncookies> kSyncookies[] = {
    {"never", Syncookies::never}, {"always", Syncookies::always}, {"adaptive", Syncookies::adaptive}};

void read_syncookies(Context& c, const Node& n, OptionsReading& r) {
  if (n.is_mapping())
    read_mapping(c, n, "'syncookies'", kSyncookieKeys, r);
  else
    assign(r.options.syncookies, read_word(c, n, "syncookies", kSyncookies));
}

constexpr Word<bool> kAtBound[] = {{"pass", true}, {"drop", false}};

void read_bytes(Context& c, const Node& n, std::string_view what, uint64_t low, uint64_t high, uint32_t& out) {
  if (const auto bytes = read_size(c, n, what, low, high)) out = static_cast<uint32_t>(*bytes);
}

constexpr Key<inspect::Inspection> kInspectionKeys[] = {
    {"bytes", [](Context& c, const Node& n,
                 inspect::Inspection& i) { read_bytes(c, n, "bytes", 1024, 65536, i.settings.bytes); }},
    {"out-of-order",
     [](Context& c, const Node& n, inspect::Inspection& i) {
       read_bytes(c, n, "out-of-order", 0, 65536, i.settings.out_of_order);
     }},
    {"at-bound",
     [](Context& c, const Node& n, inspect::Inspection& i) {
       assign(i.settings.pass_at_bound, read_word(c, n, "at-bound", kAtBound));
     }},
    {"connections",
     [](Context& c, const Node& n, inspect::Inspection& i) {
       assign_number(c, n, "connections", 16, 1'000'000, i.reserve.connections);
     }},
    {"stream-state",
     [](Context& c, const Node& n, inspect::Inspection& i) {
       read_bytes(c, n, "stream-state", 256, 1 << 20, i.reserve.stream_bytes);
     }},
    {"buffer", [](Context& c, const Node& n,
                  inspect::Inspection& i) { read_bytes(c, n, "buffer", 64 << 10, 128 << 20, i.reserve.buffer_bytes); }},
};

constexpr Key<OptionsReading> kOptionKeys[] = {
    {"state-policy",
     [](Context& c, const Node& n, OptionsReading& r) {
       assign(r.options.state_policy, read_word(c, n, "state-policy", kStatePolicies));
     }},
    {"block-policy",
     [](Context& c, const Node& n, OptionsReading& r) {
       assign(r.options.block_policy, read_word(c, n, "block-policy", kBlockPolicies));
     }},
    {"optimization",
     [](Context& c, const Node& n, OptionsReading& r) {
       assign(r.options.optimization, read_word(c, n, "optimization", kOptimizations));
     }},
    {"skip", read_skip},
    {"limits", [](Context& c, const Node& n, OptionsReading& r) { read_mapping(c, n, "'limits'", kLimitKeys, r); }},
    {"timeouts",
     [](Context& c, const Node& n, OptionsReading& r) {
       r.timeouts = &n;
       if (c.describer != nullptr) read_timeout_mapping(c, n, [](TimeoutClass, const Node&, uint32_t) {});
     }},
    {"reassemble",
     [](Context& c, const Node& n, OptionsReading& r) { read_mapping(c, n, "'reassemble'", kReassembleKeys, r); }},
    {"syncookies", read_syncookies},
    {"inspection", [](Context& c, const Node& n,
                      OptionsReading& r) { read_mapping(c, n, "'inspection'", kInspectionKeys, *r.inspection); }},
    {"state-defaults",
     [](Context& c, const Node& n, OptionsReading& r) { read_state(c, n, "state-defaults", r.defaults->state); }},
    {"hostid",
     [](Context& c, const Node& n, OptionsReading& r) {
       if (const auto id = read_number(c, n, "hostid", 1, UINT32_MAX)) r.options.hostid = static_cast<uint32_t>(*id);
     }},
};

void settle_timeouts(Context& c, OptionsReading& r) {
  Timeouts& t = r.options.timeouts;
  const auto slot = [&t](TimeoutClass k) -> uint32_t& { return t[static_cast<size_t>(k)]; };
  t = profile_timeouts(r.options.optimization);
  if (r.states_given) {
    slot(TimeoutClass::adaptive_start) = r.options.limit_states / 10 * 6;
    slot(TimeoutClass::adaptive_end) = r.options.limit_states / 10 * 12;
  }
  if (r.timeouts == nullptr) return;
  read_timeout_mapping(c, *r.timeouts, [&](TimeoutClass k, const Node&, uint32_t value) { slot(k) = value; });
  const uint32_t start = slot(TimeoutClass::adaptive_start), end = slot(TimeoutClass::adaptive_end);
  if (start >= end && end != 0)
    c.error(*r.timeouts,
            fmt::format("adaptive.start is {} and adaptive.end {}: the end must be larger, or both 0", start, end));
}

}  // namespace

void read_options(Context& c, const Node& node, RuleDefaults& defaults) {
  OptionsReading r;
  r.options = c.config.options;
  r.defaults = &defaults;
  r.inspection = &c.config.inspection;
  if (!node.is_null()) read_mapping(c, node, "'options'", kOptionKeys, r);
  settle_timeouts(c, r);
  r.options.default_no_sync = defaults.state.no_sync;
  defaults.state_policy = r.options.state_policy;
  defaults.block_policy = r.options.block_policy;
  c.config.options = r.options;
}

}  // namespace twinwall::config
