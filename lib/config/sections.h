// The sections of a configuration, each read into its part of the typed values. Called in this order by the loader,
// because the later ones refer to what the earlier ones define. Problems go to the context.
#pragma once

#include <string_view>

#include "lib/config/context.h"
#include "lib/config/node.h"

namespace twinwall::config {

void read_system(Context& c, const Node& node);
void read_interfaces(Context& c, const Node& node);
void read_carp(Context& c, const Node& node);
// The key 'bfd' of 'carp', and what of it must fit the groups once they were read.
void read_bfd(Context& c, const Node& node, Carp& carp);
void check_bfd(Context& c, const Node& carp);
void read_routes(Context& c, const Node& node);
void read_pfsync(Context& c, const Node& node);
struct RuleDefaults;
void read_options(Context& c, const Node& node, RuleDefaults& defaults);
void read_tables(Context& c, const Node& node);
// Once the options are known, before the rules.
void read_signatures(Context& c, const Node& node);
void check_signatures(Context& c, const Node& signatures);  // behind the rules
// Once the options are known: the tables' entries together.
void check_table_entries(Context& c, const Node& tables);
void read_anchors(Context& c, const Node& node, const RuleDefaults& defaults);
// Before anything is read: what was loaded into anchors stands below 'anchors', as if the file said so.
void put_loaded_anchors(Context& c, Node& root);
void read_rules(Context& c, const Node& node, const RuleDefaults& defaults);
// Once the anchors and rules are read: every anchor that is called exists.
void check_anchor_calls(Context& c);

// The interface a text names; 0 after reporting that there is none. `what` is the key's name.
[[nodiscard]] InterfaceId interface_by_name(Context& c, const Node& at, std::string_view what);
// Names of interfaces, for suggestions.
[[nodiscard]] std::vector<std::string_view> interface_names(const Context& c);

// Why an address cannot belong to a host in this prefix; empty when it can. `own`: with the prefix length of a network.
[[nodiscard]] std::string not_a_host_address(const Prefix& prefix);
// An address of one host, without a prefix length.
[[nodiscard]] std::optional<IpAddress> read_address(Context& c, const Node& node, std::string_view what);
// An address with the prefix length of its network, fit for an interface.
[[nodiscard]] std::optional<Prefix> read_interface_address(Context& c, const Node& node, std::string_view what);

}  // namespace twinwall::config
