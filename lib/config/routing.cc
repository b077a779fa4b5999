// af-to, and the routing options route-to, reply-to and dup-to (pf.conf(5) "TRANSLATION", "ROUTING").
#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr Key<RuleSpec> kAfToKeys[] = {
    {"family", [](Context& c, const Node& n, RuleSpec& r) { assign(r.af_to, read_word(c, n, "family", kFamilies)); },
     true},
    {"from", [](Context& c, const Node& n, RuleSpec& r) { read_af_to_from(c, n, r.af_to_from); }, true},
    {"to",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.af_to_to.at = &n;
       read_targets(c, n, "to", r.af_to_to);
       settle_pool(c, r.af_to_to, "to");
     }},
};

struct RouteReading {
  std::string_view what;
  PoolSpec pool;
  InterfaceId interface = kNoInterface;
  const Node* interface_at = nullptr;
};

constexpr Key<RouteReading> kRouteKeys[] = {
    {"address", [](Context& c, const Node& n, RouteReading& r) { read_targets(c, n, r.what, r.pool); }, true},
    {"interface",
     [](Context& c, const Node& n, RouteReading& r) {
       r.interface_at = &n;
       r.interface = interface_by_name(c, n, "interface");
     }},
    {"pool", [](Context& c, const Node& n, RouteReading& r) { read_pool_type(c, n, r.pool); }},
    {"sticky", [](Context& c, const Node& n, RouteReading& r) { assign(r.pool.sticky, read_bool(c, n, "sticky")); }},
    {"key", [](Context& c, const Node& n, RouteReading& r) { read_pool_key(c, n, r.pool); }},
};

bool is_on_link(const Context& c, InterfaceId id, const Prefix& p) {
  const auto holds = [&p](const Prefix& network) {
    return network.af == p.af && network.length <= p.length &&
           Prefix{p.af, p.addr, network.length}.network() == network.network();
  };
  const auto& own = c.config.interface(id).addresses;
  if (std::any_of(own.begin(), own.end(), holds)) return true;
  return std::any_of(c.config.carp.groups.begin(), c.config.carp.groups.end(), [&](const CarpGroup& g) {
    return g.interface == id && std::any_of(g.addresses.begin(), g.addresses.end(), holds);
  });
}

// The next hop decides where a packet leaves; a named interface is what the file's author believes.
void check_route_interface(Context& c, const RouteReading& r) {
  if (r.interface == kNoInterface) return;
  const std::string& name = c.config.interface(r.interface).name;
  if (r.pool.table != nullptr) {
    c.error(*r.interface_at, "the addresses of a table decide themselves where packets leave: remove 'interface'");
    return;
  }
  for (const PoolEntry& e : r.pool.entries)
    if (!is_on_link(c, r.interface, e.prefix)) {
      c.error(*r.interface_at, fmt::format("'{}' is in no network of interface '{}': correct the one or the other",
                                           e.prefix.length == address_bits(e.prefix.af) ? to_string(e.prefix.address())
                                                                                        : to_string(e.prefix),
                                           name));
      return;
    }
}

}  // namespace

void read_af_to(Context& c, const Node& node, RuleSpec& rule) {
  rule.af_to_at = &node;
  read_mapping(c, node, "'af-to'", kAfToKeys, rule);
}

void read_route(Context& c, const Node& node, RouteKind kind, RuleSpec& rule) {
  static constexpr std::string_view kNames[] = {"", "route-to", "dup-to", "reply-to"};
  RouteReading r;
  r.what = kNames[static_cast<size_t>(kind)];
  if (rule.route != RouteKind::none && c.describer == nullptr) {
    c.error(node, fmt::format("'{}' and '{}' exclude each other: remove one", kNames[static_cast<size_t>(rule.route)],
                              r.what));
    return;
  }
  r.pool.at = &node;
  if (node.is_mapping())
    read_mapping(c, node, fmt::format("'{}'", r.what), kRouteKeys, r);
  else
    read_targets(c, node, r.what, r.pool);
  settle_pool(c, r.pool, r.what);
  check_route_interface(c, r);
  rule.route = kind;
  rule.route_pool = std::move(r.pool);
}

}  // namespace twinwall::config
