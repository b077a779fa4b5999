#include <map>

#include "lib/config/keys.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxRoutes = 100000;

struct RouteText {
  Route route;
  const Node* to = nullptr;
  const Node* via = nullptr;
  const Node* interface = nullptr;
  bool bad = false;
};

void read_to(Context& c, const Node& n, RouteText& r) {
  r.to = &n;
  const auto text = read_text(c, n, "to");
  const auto prefix = text ? parse_prefix(*text) : std::nullopt;
  r.bad = !prefix;
  if (!text) return;
  if (!prefix) {
    c.error(n, fmt::format("'to' is '{}': write a network such as 0.0.0.0/0, 10.1.0.0/16 or 2001:db8::/32", *text));
    return;
  }
  r.route.to = *prefix;
  r.route.to.addr = prefix->network();
  if (r.route.to.addr != prefix->addr)
    c.error(n, fmt::format("{} has bits set behind its prefix length: write {}", *text, to_string(r.route.to)));
}

constexpr Key<RouteText> kStaticRouteKeys[] = {
    {"to", read_to, true},
    {"via",
     [](Context& c, const Node& n, RouteText& r) {
       r.via = &n;
       r.route.via = read_address(c, n, "via");
       if (!r.route.via) r.bad = true;
     }},
    {"interface",
     [](Context& c, const Node& n, RouteText& r) {
       r.interface = &n;
       r.route.interface = interface_by_name(c, n, "interface");
       if (r.route.interface == kNoInterface) r.bad = true;
     }},
    {"blackhole",
     [](Context& c, const Node& n, RouteText& r) { assign(r.route.blackhole, read_bool(c, n, "blackhole")); }},
};

// The interface whose network holds the address, by the longest prefix; none: 0.
InterfaceId on_link_interface(const Config& config, const IpAddress& address) {
  InterfaceId best = kNoInterface;
  int best_length = -1;
  const auto consider = [&](const Prefix& p, InterfaceId id) {
    if (p.af != address.af || !p.contains(address.addr) || p.length <= best_length) return;
    best = id;
    best_length = p.length;
  };
  for (const Interface& i : config.interfaces)
    for (const Prefix& p : i.addresses) consider(p, i.id);
  for (const CarpGroup& g : config.carp.groups)
    if (g.interface != kNoInterface)
      for (const Prefix& p : g.addresses) consider(p, g.interface);
  return best;
}

const Interface* owner_of(const Config& config, const IpAddress& address) {
  for (const Interface& i : config.interfaces)
    for (const Prefix& p : i.addresses)
      if (p.address() == address) return &i;
  for (const CarpGroup& g : config.carp.groups)
    for (const Prefix& p : g.addresses)
      if (p.address() == address && g.interface != kNoInterface) return &config.interface(g.interface);
  return nullptr;
}

void check_via(Context& c, RouteText& r) {
  const IpAddress& via = *r.route.via;
  if (r.to != nullptr && r.route.to.af != via.af) {
    c.error(*r.via, fmt::format("'via' {} is not of the family of 'to' {}: use one of the same family", to_string(via),
                                to_string(r.route.to)));
    return;
  }
  if (const Interface* own = owner_of(c.config, via)) {
    c.error(*r.via, fmt::format("'via' {} is this node's own address on '{}': write the neighbour's", to_string(via),
                                own->name));
    return;
  }
  if (via.af == Af::inet6 && is_link_local(via.af, via.addr)) {
    if (r.interface == nullptr)
      c.error(*r.via, fmt::format("'via' {} is link-local: add the key 'interface'", to_string(via)));
    return;
  }
  const InterfaceId found = on_link_interface(c.config, via);
  if (found == kNoInterface)
    c.error(*r.via,
            fmt::format("'via' {} is in no network of an interface: use a neighbour's address", to_string(via)));
  else if (r.interface != nullptr && found != r.route.interface)
    c.error(*r.interface, fmt::format("'via' {} is in a network of '{}': name that interface or leave it out",
                                      to_string(via), c.config.interface(found).name));
  else
    r.route.interface = found;
}

// `seen` holds the line of each destination so far.
void read_route(Context& c, const Node& node, std::map<std::string, int>& seen) {
  RouteText r;
  const size_t before = c.errors();
  read_mapping(c, node, "a route", kStaticRouteKeys, r);
  if (!node.is_mapping() || r.bad) return;
  r.route.at = c.position(node);
  if (r.route.blackhole && (r.via != nullptr || r.interface != nullptr))
    c.error(r.via != nullptr ? *r.via : *r.interface, "a blackhole has no next hop: remove 'via' and 'interface'");
  else if (!r.route.blackhole && !r.route.via)
    c.error(node, "a route needs 'via' (a neighbour's address) or 'blackhole: true'");
  else if (r.route.via)
    check_via(c, r);
  if (r.to != nullptr) {
    const auto [first, is_new] = seen.emplace(to_string(r.route.to), r.route.at.line);
    if (!is_new)
      c.error(*r.to, fmt::format("there is already a route to {} in line {}: remove one", first->first, first->second));
  }
  if (c.errors() == before) c.config.routes.push_back(r.route);
}

}  // namespace

void read_routes(Context& c, const Node& node) {
  if (node.is_null()) return;
  if (!node.is_sequence()) {
    c.error(node, "'routes' needs a list of routes");
    return;
  }
  if (node.items.size() > kMaxRoutes) {
    c.error(node, fmt::format("there are {} routes: at most {} are possible", node.items.size(), kMaxRoutes));
    return;
  }
  std::map<std::string, int> seen;
  for (const Node& item : node.items) read_route(c, item, seen);
}

}  // namespace twinwall::config
