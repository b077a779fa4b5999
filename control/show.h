// What the API shows, as JSON: views of the node in PF's words.
//
// Pure readers, called in the control thread where they take a Node. Secrets never appear. Field names are an interface
// that tools rely on (docs/configuration.md).
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/node.h"

namespace twinwall {

using Json = nlohmann::json;

[[nodiscard]] Json show_info(const Node& node, Time now);
[[nodiscard]] Json show_interfaces(const Node& node);
[[nodiscard]] Json show_rules(const Node& node);
[[nodiscard]] Json show_carp(const Node& node, Time now);
[[nodiscard]] Json show_bfd(const Node& node, Time now);
[[nodiscard]] Json show_pfsync(const Node& node);
[[nodiscard]] Json show_routes(const Node& node);
[[nodiscard]] Json show_neighbors(const Node& node, Time now);
[[nodiscard]] Json show_timeouts(const Node& node);
[[nodiscard]] Json show_limits(const Node& node);
[[nodiscard]] Json show_sources(const Node& node, Time now);
[[nodiscard]] Json show_labels(const Node& node);
[[nodiscard]] Json show_signatures(const Node& node);
// Connections that are looked into at present.
[[nodiscard]] uint64_t inspected_now(const Node& node);
[[nodiscard]] Json show_workers(const Node& node);

// One view by its name; null for an unknown one. "states" is not among them: it takes the workers' answers.
[[nodiscard]] Json show(const Node& node, std::string_view what, Time now);
[[nodiscard]] std::span<const std::string_view> view_names();

// What the rows of states tell of their rules; taken in the control thread.
struct RuleName {
  uint32_t number = 0;
  std::string label;
};
using RuleNames = std::map<RuleSlot, RuleName>;
[[nodiscard]] RuleNames rule_names(const Node& node);
// For any thread: many rows take longer than the control thread may be away from the elections.
[[nodiscard]] Json show_states(const RuleNames& rules, const StateAnswer& answer);

// The name of an item kind, as in the views and metrics: "ins", "upd_c" ….
[[nodiscard]] std::string_view sync_item_name(size_t kind);

// "ESTABLISHED", "MULTIPLE", … of one end of a state.
[[nodiscard]] std::string level_name(uint8_t proto, uint8_t level);

[[nodiscard]] Json to_json(const std::vector<config::Diagnostic>& diagnostics);

// Words of a query: src, dst, proto, port, rule, label, interface, id. Several filters when a label belongs to several
// rules, none when to no rule.
using Words = std::vector<std::pair<std::string, std::string>>;
struct FilterResult {
  std::vector<StateFilter> filters;
  std::string error;  // not empty: what is wrong with which word
};
[[nodiscard]] FilterResult state_filters(const Node& node, const Words& words);

}  // namespace twinwall
