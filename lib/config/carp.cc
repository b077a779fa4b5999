#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/secret.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

// The nodes would disagree unnoticed.
constexpr SecretLength kCarpKeyLength{1, 19, "the BSDs would cut it silently"};
constexpr size_t kMaxShares = 32;  // as carp(4)

constexpr Word<Balancing> kBalancing[] = {{"none", Balancing::none},
                                          {"ip", Balancing::ip},
                                          {"ip-stealth", Balancing::ip_stealth},
                                          {"ip-unicast", Balancing::ip_unicast}};

struct Group {
  CarpGroup value;
  const Node* vhid = nullptr;
  const Node* advskew = nullptr;
  const Node* nodes = nullptr;
  const Node* key = nullptr;
  const Node* withheld = nullptr;  // the key is to be asked for
};

// The virtual address is not in use elsewhere on this node.
void check_virtual_address(Context& c, const Node& item, const Group& g, const Prefix& prefix) {
  const IpAddress address = prefix.address();
  const auto clash = [&](const std::string& owner) {
    c.error(item,
            fmt::format("{} is already an address of {}: a virtual address is used once", to_string(address), owner));
  };
  for (const Interface& i : c.config.interfaces)
    for (const Prefix& p : i.addresses)
      if (p.address() == address) clash(fmt::format("interface '{}'", i.name));
  for (const CarpGroup& other : c.config.carp.groups)
    for (const Prefix& p : other.addresses)
      if (p.address() == address) clash(fmt::format("vhid {}", other.vhid));
  for (const Prefix& p : g.value.addresses)
    if (p.address() == address) clash("this group");
}

void read_virtual_addresses(Context& c, const Node& n, Group& g) {
  for_each_item(c, n, "addresses", [&](const Node& item) {
    const auto prefix = read_interface_address(c, item, "addresses");
    if (!prefix) return;
    check_virtual_address(c, item, g, *prefix);
    g.value.addresses.push_back(*prefix);
  });
}

constexpr Key<CarpNode> kNodeKeys[] = {
    {"vhid", [](Context& c, const Node& n, CarpNode& node) { assign_number(c, n, "vhid", 1, 255, node.vhid); }, true},
    {"advskew", [](Context& c, const Node& n, CarpNode& node) { assign_number(c, n, "advskew", 0, 254, node.advskew); },
     true},
};

void read_nodes(Context& c, const Node& n, Group& g) {
  g.nodes = &n;
  if (!n.is_sequence()) {
    c.error(n, "'nodes' needs a list such as [{vhid: 1, advskew: 0}, {vhid: 2, advskew: 100}]");
    return;
  }
  for (const Node& item : n.items) {
    CarpNode node;
    read_mapping(c, item, "a node of 'nodes'", kNodeKeys, node);
    const auto same = [&](const CarpNode& other) { return other.vhid == node.vhid && node.vhid != 0; };
    if (std::any_of(g.value.nodes.begin(), g.value.nodes.end(), same))
      c.error(item, fmt::format("vhid {} stands twice in 'nodes': give each node its own", node.vhid));
    else
      g.value.nodes.push_back(node);
  }
  if (n.items.size() < 2 || n.items.size() > kMaxShares)
    c.error(n, fmt::format("'nodes' has {} {}: name 2 to {}, one for each share of the load", n.items.size(),
                           n.items.size() == 1 ? "entry" : "entries", kMaxShares));
  auto& nodes = g.value.nodes;
  std::sort(nodes.begin(), nodes.end(), [](const CarpNode& a, const CarpNode& b) { return a.vhid < b.vhid; });
  if (nodes.empty()) return;
  g.value.vhid = nodes.front().vhid;
  g.value.advskew = nodes.front().advskew;
}

constexpr Key<Group> kGroupKeys[] = {
    {"vhid",
     [](Context& c, const Node& n, Group& g) {
       g.vhid = &n;
       assign_number(c, n, "vhid", 1, 255, g.value.vhid);
     }},
    {"interface", [](Context& c, const Node& n, Group& g) { g.value.interface = interface_by_name(c, n, "interface"); },
     true},
    {"addresses", read_virtual_addresses, true},
    {"advbase", [](Context& c, const Node& n, Group& g) { assign_number(c, n, "advbase", 1, 254, g.value.advbase); }},
    {"advskew",
     [](Context& c, const Node& n, Group& g) {
       g.advskew = &n;
       assign_number(c, n, "advskew", 0, 254, g.value.advskew);
     }},
    {"key",
     [](Context& c, const Node& n, Group& g) {
       g.key = &n;
       if (is_withheld(n))
         g.withheld = &n;
       else
         assign(g.value.key, read_secret(c, n, kCarpKeyLength));
     }},
    {"peer",
     [](Context& c, const Node& n, Group& g) {
       if (n.is_scalar() && n.text == "multicast") return;
       g.value.peer = read_address(c, n, "peer");
     }},
    {"nodes", read_nodes},
};

// One vhid, or several in `nodes`.
void check_nodes(Context& c, const Node& node, const Group& g) {
  if (g.nodes == nullptr) {
    if (g.vhid == nullptr) c.error(node, "a CARP group needs the key 'vhid' (or 'nodes', to share the load)");
    return;
  }
  if (g.vhid != nullptr) c.error(*g.vhid, "a group with 'nodes' has its vhids there: remove 'vhid'");
  if (g.advskew != nullptr) c.error(*g.advskew, "each of the 'nodes' has an advskew of its own: remove this one");
}

void read_group(Context& c, const Node& node) {
  Group g;
  g.value.at = c.position(node);
  read_mapping(c, node, "a CARP group", kGroupKeys, g);
  if (!node.is_mapping()) return;
  check_nodes(c, node, g);
  for (const CarpGroup& other : c.config.carp.groups)
    for (const uint8_t vhid : other.vhids())
      if (g.value.interface != kNoInterface && other.interface == g.value.interface && vhid != 0 && g.value.has(vhid))
        c.error(g.vhid != nullptr ? *g.vhid : node,
                fmt::format("vhid {} is already used on '{}' in line {}: give each group of an interface its own", vhid,
                            c.config.interface(other.interface).name, other.at.line));
  if (g.withheld != nullptr && g.value.interface != kNoInterface)
    g.value.key = withheld_secret(
        c, *g.withheld, fmt::format("carp.groups.{}/{}.key", c.config.interface(g.value.interface).name, g.value.vhid));
  if (g.key == nullptr)
    c.warning(node, "this CARP group has no key: anybody on its network can take its addresses over");
  c.config.carp.groups.push_back(std::move(g.value));
}

constexpr Key<Carp> kDemotionKeys[] = {
    {"interface-down", [](Context& c, const Node& n,
                          Carp& carp) { assign_number(c, n, "interface-down", 0, 255, carp.demotion_interface_down); }},
    {"bulk-sync",
     [](Context& c, const Node& n, Carp& carp) { assign_number(c, n, "bulk-sync", 0, 255, carp.demotion_bulk_sync); }},
    {"send-errors", [](Context& c, const Node& n,
                       Carp& carp) { assign_number(c, n, "send-errors", 0, 255, carp.demotion_send_errors); }},
};

constexpr Key<Carp> kCarpKeys[] = {
    {"preempt", [](Context& c, const Node& n, Carp& carp) { assign(carp.preempt, read_bool(c, n, "preempt")); }},
    {"demotion", [](Context& c, const Node& n, Carp& carp) { read_mapping(c, n, "'demotion'", kDemotionKeys, carp); }},
    {"groups",
     [](Context& c, const Node& n, Carp&) {
       if (!n.is_sequence()) {
         c.error(n, "'groups' needs a list of CARP groups");
         return;
       }
       for (const Node& item : n.items) read_group(c, item);
     }},
    {"balancing",
     [](Context& c, const Node& n, Carp& carp) { assign(carp.balancing, read_word(c, n, "balancing", kBalancing)); }},
    {"bfd", read_bfd},
};

// The mode is the section's, whether it stands before the groups or behind them.
void share_load(Context& c, const Node& node) {
  Carp& carp = c.config.carp;
  for (CarpGroup& g : carp.groups)
    if (!g.nodes.empty()) g.balancing = carp.balancing;
  bool any = false;
  if (const Node* groups = node.find("groups"))
    for (const Node& group : groups->items) {
      const Node* nodes = group.find("nodes");
      if (nodes == nullptr) continue;
      any = true;
      if (carp.balancing == Balancing::none)
        c.error(*nodes,
                "nothing says how the 'nodes' share the load: set 'balancing' in 'carp' to ip, ip-stealth or "
                "ip-unicast");
    }
  if (!any && carp.balancing != Balancing::none)
    c.warning(*node.find("balancing"), "no CARP group has 'nodes', so no load is shared: name them in a group");
}

}  // namespace

std::string_view to_string(Balancing b) {
  for (const auto& word : kBalancing)
    if (word.value == b) return word.name;
  return "none";
}

void read_carp(Context& c, const Node& node) {
  if (node.is_null()) return;
  read_mapping(c, node, "'carp'", kCarpKeys, c.config.carp);
  share_load(c, node);
  check_bfd(c, node);
}

}  // namespace twinwall::config
