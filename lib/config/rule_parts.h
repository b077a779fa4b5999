// The parts of a rule that have a grammar of their own. Each reports what it cannot read.
//
// Private to lib/config's reader of YAML.
#pragma once

#include "lib/config/rule_spec.h"
#include "lib/config/values.h"

namespace twinwall::config {

inline constexpr Word<Af> kFamilies[] = {{"inet", Af::inet}, {"inet6", Af::inet6}};

// hosts.cc: an address, network, range, table or interface's addresses; a list of them. Also counts negated elements.
void read_hosts(Context& c, const Node& node, std::string_view what, EndpointSpec& out);

// ports.cc
void read_ports(Context& c, const Node& node, EndpointSpec& out);
void read_protocols(Context& c, const Node& node, RuleSpec& rule);

// states.cc
void read_state(Context& c, const Node& node, std::string_view what, StateSpec& state);

// replies.cc
void read_reply(Context& c, const Node& node, ReplySpec& reply);

// pools.cc: an address, network, interface, table, or a list of them; `what` is the key's name.
void read_targets(Context& c, const Node& node, std::string_view what, PoolSpec& out);
// The keys of a pool beside its addresses.
void read_pool_type(Context& c, const Node& node, PoolSpec& out);
void read_pool_key(Context& c, const Node& node, PoolSpec& out);
// What the parts of a pool demand of each other.
void settle_pool(Context& c, const PoolSpec& pool, std::string_view what);

// translation.cc
void read_nat_to(Context& c, const Node& node, RuleSpec& rule);
void read_rdr_to(Context& c, const Node& node, RuleSpec& rule);
void read_binat_to(Context& c, const Node& node, RuleSpec& rule);

// routing.cc: af-to, route-to, reply-to, dup-to
void read_af_to(Context& c, const Node& node, RuleSpec& rule);
void read_route(Context& c, const Node& node, RouteKind kind, RuleSpec& rule);

// translation.cc: the `from` of af-to, which takes what nat-to takes
void read_af_to_from(Context& c, const Node& node, TranslationSpec& out);

// conditions.cc: what a packet is asked beside addresses, ports and protocol
void read_tos(Context& c, const Node& node, RuleSpec& rule);
void read_probability(Context& c, const Node& node, RuleSpec& rule);
void read_max_pkt_rate(Context& c, const Node& node, RuleSpec& rule);
// "100/10": so many in so many seconds.
void read_rate(Context& c, const Node& node, std::string_view what, RateLimit& out);
// An interface, a group, "!name" or `any`.
[[nodiscard]] std::optional<InterfaceSpec> read_interface_spec(Context& c, const Node& node, std::string_view what);

// labels.cc
void read_label(Context& c, const Node& node, RuleSpec& rule);
void read_tag_name(Context& c, const Node& node, std::string_view what, std::string& out);
void read_tagged(Context& c, const Node& node, RuleSpec& rule);

// anchors.cc: what an anchor rule calls; `around` is the path of the anchor it stands in. Defines the anchor whose
// rules stand inside.
void read_anchor_rule(Context& c, RuleSpec& rule, const std::string& around);

// rules.cc: the rules of one anchor, or of the main ruleset ("").
void read_rule_list(Context& c, const Node& node, const RuleDefaults& defaults, const std::string& anchor);

// actions.cc: scrub, set
void read_scrub(Context& c, const Node& node, RuleSpec& rule);
void read_set(Context& c, const Node& node, RuleSpec& rule);

// signatures.cc: what is looked for in the rule's connections
void read_inspect(Context& c, const Node& node, RuleSpec& rule);

// tables.cc: the table a text in angle brackets names, null after reporting that there is none.
[[nodiscard]] std::shared_ptr<Table> table_reference(Context& c, const Node& node, std::string_view text);
// The same for a bare name.
[[nodiscard]] std::shared_ptr<Table> table_by_name(Context& c, const Node& node, std::string_view name);

}  // namespace twinwall::config
