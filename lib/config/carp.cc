#include "lib/config/keys.h"
#include "lib/config/secret.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

// The nodes would disagree unnoticed.
constexpr SecretLength kCarpKeyLength{1, 19, "the BSDs would cut it silently"};

struct Group {
  CarpGroup value;
  const Node* vhid = nullptr;
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

constexpr Key<Group> kGroupKeys[] = {
    {"vhid",
     [](Context& c, const Node& n, Group& g) {
       g.vhid = &n;
       assign_number(c, n, "vhid", 1, 255, g.value.vhid);
     },
     true},
    {"interface", [](Context& c, const Node& n, Group& g) { g.value.interface = interface_by_name(c, n, "interface"); },
     true},
    {"addresses", read_virtual_addresses, true},
    {"advbase", [](Context& c, const Node& n, Group& g) { assign_number(c, n, "advbase", 1, 254, g.value.advbase); }},
    {"advskew", [](Context& c, const Node& n, Group& g) { assign_number(c, n, "advskew", 0, 254, g.value.advskew); }},
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
    {"nodes"},
};

void read_group(Context& c, const Node& node) {
  Group g;
  g.value.at = c.position(node);
  read_mapping(c, node, "a CARP group", kGroupKeys, g);
  if (!node.is_mapping()) return;
  for (const CarpGroup& other : c.config.carp.groups)
    if (g.vhid != nullptr && g.value.vhid != 0 && g.value.interface != kNoInterface && other.vhid == g.value.vhid &&
        other.interface == g.value.interface)
      c.error(*g.vhid,
              fmt::format("vhid {} is already used on '{}' in line {}: give each group of an interface its own",
                          other.vhid, c.config.interface(other.interface).name, other.at.line));
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
    {"balancing", nullptr, false, "none"},
    {"bfd", read_bfd},
};

}  // namespace

void read_carp(Context& c, const Node& node) {
  if (node.is_null()) return;
  read_mapping(c, node, "'carp'", kCarpKeys, c.config.carp);
  check_bfd(c, node);
}

}  // namespace twinwall::config
