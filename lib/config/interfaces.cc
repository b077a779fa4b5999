#include <algorithm>

#include "lib/config/interface_ports.h"
#include "lib/config/keys.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxNameLength = 15;  // what packet logs and the pfsync wire have room for
constexpr uint16_t kSmallestIpv6Mtu = 1280;
constexpr std::string_view kReservedNames[] = {"any", "all", "self", "none", "multicast", "no-route", "urpf-failed"};

void read_groups(Context& c, const Node& n, Interface& i) {
  for_each_item(c, n, "groups", [&](const Node& item) {
    const auto name = read_text(c, item, "groups");
    if (!name) return;
    if (!is_name(*name) || name->size() > kMaxNameLength)
      c.error(item,
              fmt::format("'{}' cannot name a group: use 1 to 15 letters, digits, '-' and '_', a letter first", *name));
    else
      c.groups[*name].set(i.id);
    i.groups.push_back(*name);
  });
}

// Two interfaces cannot both lead to the same hosts.
void warn_of_overlap(Context& c, const Node& item, const Prefix& prefix) {
  if (c.options == nullptr || !c.options->advise || is_link_local(prefix.af, prefix.addr)) return;
  for (const Interface& other : c.config.interfaces)
    for (const Prefix& p : other.addresses) {
      if (p.af != prefix.af || p.address() == prefix.address()) continue;
      const Prefix& wide = p.length < prefix.length ? p : prefix;
      const Prefix& narrow = p.length < prefix.length ? prefix : p;
      if (wide.contains(narrow.addr))
        c.warning(item, fmt::format("{}/{} overlaps {}/{} of '{}': of the hosts in both only one interface's can be "
                                    "reached",
                                    to_string(prefix.address()), prefix.length, to_string(p.address()), p.length,
                                    other.name));
    }
}

void read_addresses(Context& c, const Node& n, Interface& i) {
  for_each_item(c, n, "addresses", [&](const Node& item) {
    const auto prefix = read_interface_address(c, item, "addresses");
    if (!prefix) return;
    const auto is_same = [&](const Prefix& p) { return p.address() == prefix->address(); };
    if (std::any_of(i.addresses.begin(), i.addresses.end(), is_same))
      c.error(item, fmt::format("{} stands twice: remove one", to_string(prefix->address())));
    for (const Interface& other : c.config.interfaces)  // link-local addresses are told apart by their interface
      if (!is_link_local(prefix->af, prefix->addr) &&
          std::any_of(other.addresses.begin(), other.addresses.end(), is_same))
        c.error(item, fmt::format("{} is already an address of '{}': an address belongs to one interface",
                                  to_string(prefix->address()), other.name));
    warn_of_overlap(c, item, *prefix);
    i.addresses.push_back(*prefix);
  });
}

constexpr Key<Interface> kInterfaceKeys[] = {
    {"port", read_port},
    {"queues",
     [](Context& c, const Node& n, Interface& i) {
       static constexpr Word<unsigned> kWords[] = {{"auto", 0}};
       if (c.describer != nullptr) (void)read_word(c, n, "queues", kWords);
       if (n.is_scalar() && n.text == "auto") return;
       assign_number(c, n, "queues", 1, 64, i.queues);
     }},
    {"mtu", [](Context& c, const Node& n, Interface& i) { assign_number(c, n, "mtu", 576, 9216, i.mtu); }},
    {"addresses", read_addresses},
    {"groups", read_groups},
    {"icmp", [](Context& c, const Node& n, Interface& i) { assign(i.icmp, read_bool(c, n, "icmp")); }},
    {"parent",
     [](Context& c, const Node& n, Interface& i) {
       i.port_kind = PortKind::vlan;
       (void)read_text(c, n, "parent");  // found when all interfaces are known
     }},
    {"vlan", [](Context& c, const Node& n, Interface& i) { assign_number(c, n, "vlan", 1, 4094, i.vlan); }},
    {"bond", read_bond},
};

void check_name(Context& c, const Node& key) {
  for (const std::string_view reserved : kReservedNames)
    if (key.text == reserved)
      c.error(key, fmt::format("'{}' has a meaning in rules: name the interface otherwise", reserved));
  if (!is_name(key.text) || key.text.size() > kMaxNameLength)
    c.error(key, fmt::format("'{}' cannot name an interface: use 1 to 15 letters, digits, '-' and '_', a letter first",
                             key.text));
}

void check_interface(Context& c, const Node& key, const Node& node, const Interface& i) {
  if (!node.is_mapping()) return;
  check_ports(c, key, node, i);
  if (i.mtu < kSmallestIpv6Mtu)
    for (const Prefix& p : i.addresses)
      if (p.af == Af::inet6) {
        c.error(*node.find("mtu"), fmt::format("'mtu' is {}: an interface with IPv6 addresses needs at least {}", i.mtu,
                                               kSmallestIpv6Mtu));
        break;
      }
}

// The parents of VLANs, wherever they stand in the file.
void find_parents(Context& c, const Node& node) {
  for (size_t k = 0; k < node.items.size(); ++k) {
    const Node* parent = node.items[k].find("parent");
    if (parent == nullptr || !parent->is_scalar()) continue;
    Interface& i = c.config.interfaces[k];
    i.parent = interface_by_name(c, *parent, "parent");
    if (i.parent == kNoInterface) continue;
    const Interface& p = c.config.interface(i.parent);
    if (p.port_kind == PortKind::vlan) {
      c.error(*parent, fmt::format("'{}' is a VLAN itself: name the interface with the port", p.name));
      i.parent = kNoInterface;
      continue;
    }
    if (node.items[k].find("mtu") == nullptr) i.mtu = p.mtu;
    if (i.mtu > p.mtu)
      c.error(*node.items[k].find("mtu"),
              fmt::format("'mtu' is {}, and {} that of its parent '{}': the parent's must be "
                          "as large",
                          i.mtu, p.mtu, p.name));
    for (size_t other = 0; other < k; ++other)
      if (c.config.interfaces[other].parent == i.parent && c.config.interfaces[other].vlan == i.vlan && i.vlan != 0)
        c.error(*parent, fmt::format("VLAN {} of '{}' is already '{}': a tag belongs to one interface", i.vlan, p.name,
                                     c.config.interfaces[other].name));
  }
}

void check_groups(Context& c, const Node& node) {
  for (size_t k = 0; k < node.items.size(); ++k) {
    const Node* groups = node.items[k].find("groups");
    if (groups == nullptr) continue;
    for_each_item(c, *groups, "groups", [&](const Node& item) {
      if (c.config.find_interface(item.text) != nullptr)
        c.error(item, fmt::format("'{}' is the name of an interface: name the group otherwise", item.text));
      for (const std::string_view reserved : kReservedNames)
        if (item.text == reserved)
          c.error(item, fmt::format("'{}' has a meaning in rules: name the group otherwise", reserved));
    });
  }
}

}  // namespace

void read_interfaces(Context& c, const Node& node) {
  if (node.is_null() || (node.is_mapping() && node.keys.empty())) {
    c.error(node, "'interfaces' is empty: a firewall needs at least one interface");
    return;
  }
  if (!node.is_mapping()) {
    c.error(node, "'interfaces' needs a mapping of names to interfaces");
    return;
  }
  if (node.keys.size() >= kMaxInterfaces) {
    c.error(node,
            fmt::format("there are {} interfaces: at most {} are possible", node.keys.size(), kMaxInterfaces - 1));
    return;
  }
  for (size_t k = 0; k < node.keys.size(); ++k) {
    const Node& key = node.keys[k];
    Interface i;
    i.id = static_cast<InterfaceId>(k + 1);
    i.name = key.text;
    i.at = c.position(key);
    check_name(c, key);
    read_mapping(c, node.items[k], fmt::format("interface '{}'", i.name), kInterfaceKeys, i);
    check_interface(c, key, node.items[k], i);
    c.config.interfaces.push_back(std::move(i));
  }
  find_parents(c, node);
  check_groups(c, node);
}

std::vector<std::string_view> interface_names(const Context& c) {
  std::vector<std::string_view> names;
  for (const Interface& i : c.config.interfaces) names.push_back(i.name);
  return names;
}

InterfaceId interface_by_name(Context& c, const Node& at, std::string_view what) {
  const auto name = read_text(c, at, what);
  if (!name) return kNoInterface;
  if (const Interface* i = c.config.find_interface(*name)) return i->id;
  const auto names = interface_names(c);
  std::string hint = did_you_mean(*name, names);
  if (hint.empty()) hint = names.empty() ? ": define it under 'interfaces'" : ": write " + word_list(names);
  c.error(at, fmt::format("there is no interface '{}'{}", *name, hint));
  return kNoInterface;
}

std::string not_a_host_address(const Prefix& p) {
  if (p.addr.is_zero()) return "the unspecified address";
  if (is_multicast(p.af, p.addr)) return "a multicast address";
  if (p.af == Af::inet && p.addr.bytes[0] == 127) return "a loopback address";
  if (p.af == Af::inet && p.addr.v4_host() == 0xffffffff) return "the broadcast address";
  if (p.af == Af::inet6 && p.addr.bytes == std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
    return "a loopback address";
  if (p.length + 1u >= address_bits(p.af)) return {};
  if (p.addr == p.network()) return "the address of the network itself";
  if (p.af == Af::inet && p.addr == p.broadcast()) return "the network's broadcast address";
  return {};
}

std::optional<IpAddress> read_address(Context& c, const Node& node, std::string_view what) {
  const auto text = read_text(c, node, what);
  if (!text) return std::nullopt;
  const auto ip = parse_ip(*text);
  if (!ip) {
    const bool prefix = parse_prefix(*text).has_value();
    c.error(node,
            prefix ? fmt::format("'{}' is '{}': write the address without a prefix length", what, *text)
                   : fmt::format("'{}' is '{}': write an IPv4 or IPv6 address (names are not resolved)", what, *text));
    return std::nullopt;
  }
  const std::string why = not_a_host_address({ip->af, ip->addr, static_cast<uint8_t>(address_bits(ip->af))});
  if (why.empty()) return ip;
  c.error(node, fmt::format("'{}' is {}, {}: write the address of a host", what, *text, why));
  return std::nullopt;
}

std::optional<Prefix> read_interface_address(Context& c, const Node& node, std::string_view what) {
  const auto text = read_text(c, node, what);
  if (!text) return std::nullopt;
  const auto prefix = parse_prefix(*text);
  if (!prefix) {
    c.error(node, fmt::format("'{}' is not an address: write it with its prefix length, such as 192.0.2.1/24 or "
                              "2001:db8::1/64",
                              *text));
    return std::nullopt;
  }
  if (text->find('/') == std::string::npos) {
    c.error(node, fmt::format("'{}' has no prefix length: write {}/{} for the usual one", *text, *text,
                              prefix->af == Af::inet ? 24 : 64));
    return std::nullopt;
  }
  if (prefix->length == 0) {
    c.error(node, fmt::format("{} has the prefix length 0: write that of its network", *text));
    return std::nullopt;
  }
  const std::string why = not_a_host_address(*prefix);
  if (why.empty()) return prefix;
  c.error(node, fmt::format("{} is {}: write the address of a host in it", *text, why));
  return std::nullopt;
}

}  // namespace twinwall::config
