#include "lib/config/interface_ports.h"

#include <algorithm>
#include <cctype>

#include "lib/config/keys.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxKernelName = 15;
constexpr size_t kFewestMembers = 2, kMostMembers = 8;

constexpr Word<BondMode> kBondModes[] = {
    {"lacp", BondMode::lacp}, {"active-backup", BondMode::active_backup}, {"balance", BondMode::balance}};

bool is_hex(std::string_view text, size_t at, size_t count) {
  for (size_t i = at; i < at + count; ++i)
    if (i >= text.size() || std::isxdigit(static_cast<unsigned char>(text[i])) == 0) return false;
  return true;
}

// "0000:03:00.0", the domain may be left out.
bool is_pci_address(std::string_view text) {
  if (text.size() == 12 && is_hex(text, 0, 4) && text[4] == ':') text.remove_prefix(5);
  return text.size() == 7 && is_hex(text, 0, 2) && text[2] == ':' && is_hex(text, 3, 2) && text[5] == '.' &&
         text[6] >= '0' && text[6] <= '7';
}

bool is_kernel_name(std::string_view text) {
  if (text.empty() || text.size() > kMaxKernelName || text == "." || text == "..") return false;
  for (const char ch : text)
    if (ch == '/' || ch == ':' || std::isspace(static_cast<unsigned char>(ch)) != 0) return false;
  return true;
}

struct Device {
  PortKind kind = PortKind::kernel;
  std::string name;
};

// `what` is the key. A name that is wrong is reported and comes out all the same, so that what else is wrong with it
// can be told, too; nothing when not even the kind is clear.
std::optional<Device> read_device(Context& c, const Node& n, std::string_view what) {
  const auto text = read_text(c, n, what);
  if (!text) return std::nullopt;
  Device d;
  const size_t colon = text->find(':');
  const std::string kind = text->substr(0, colon);
  d.name = colon == std::string::npos ? "" : text->substr(colon + 1);
  if (kind == "kernel" || kind == "tap") {
    d.kind = kind == "kernel" ? PortKind::kernel : PortKind::tap;
    if (!is_kernel_name(d.name))
      c.error(
          n, fmt::format("'{}' is '{}': after '{}:' write an interface name of 1 to 15 characters", what, *text, kind));
  } else if (kind == "vdev") {
    d.kind = PortKind::vdev;
    if (d.name.empty()) c.error(n, fmt::format("'{}' is 'vdev:': write the device's DPDK arguments behind it", what));
  } else if (is_pci_address(*text)) {
    d.kind = PortKind::pci;
    d.name = text->size() == 7 ? "0000:" + *text : *text;
    for (char& ch : d.name) ch = static_cast<char>(std::tolower(static_cast<unsigned char>(ch)));
  } else {
    c.error(n, fmt::format("'{}' is '{}': write a PCI address such as 0000:03:00.0, {}tap:IFNAME or vdev:ARGUMENTS",
                           what, *text, what == "port" ? "kernel:IFNAME, " : ""));
    return std::nullopt;
  }
  return d;
}

// Two virtual devices of one name are one to DPDK, whatever their arguments.
std::string_view device_name(PortKind kind, std::string_view port) {
  return kind == PortKind::vdev ? port.substr(0, port.find(',')) : port;
}

bool same_device(const Device& d, PortKind kind, const std::string& port) {
  return !d.name.empty() && kind == d.kind && device_name(d.kind, d.name) == device_name(kind, port);
}

// The interface among those read so far that has the device.
const Interface* user_of(const Context& c, const Device& d) {
  for (const Interface& other : c.config.interfaces) {
    if (same_device(d, other.port_kind, other.port)) return &other;
    for (const BondMember& m : other.bond.members)
      if (same_device(d, m.kind, m.port)) return &other;
  }
  return nullptr;
}

void read_member(Context& c, const Node& n, Bond& bond) {
  const auto device = read_device(c, n, "ports");
  if (!device) return;
  if (device->kind == PortKind::kernel) {
    c.error(n, fmt::format("'{}' cannot be in a bond, whose ports DPDK opens: write vdev:net_af_packet{},iface={}",
                           n.text, bond.members.size(), device->name));
  } else if (std::any_of(bond.members.begin(), bond.members.end(),
                         [&](const BondMember& m) { return same_device(*device, m.kind, m.port); })) {
    c.error(n, fmt::format("'{}' is in the bond already: name each port once", n.text));
  } else if (const Interface* user = user_of(c, *device)) {
    c.error(n, fmt::format("port '{}' is already used by interface '{}': give each its own", n.text, user->name));
  }
  bond.members.push_back({device->kind, device->name});
}

void read_members(Context& c, const Node& n, Bond& bond) {
  size_t count = 0;
  for_each_item(c, n, "ports", [&](const Node& item) {
    ++count;
    read_member(c, item, bond);
  });
  if (count == 1 || count > kMostMembers)
    c.error(n, fmt::format("a bond has {} to {} ports, and 'ports' names {}", kFewestMembers, kMostMembers, count));
}

constexpr Key<Bond> kBondKeys[] = {
    {"mode", [](Context& c, const Node& n, Bond& b) { assign(b.mode, read_word(c, n, "mode", kBondModes)); }, true},
    {"ports", read_members, true},
};

}  // namespace

std::string_view to_string(BondMode m) { return kBondModes[static_cast<size_t>(m)].name; }

std::string port_text(PortKind kind, const std::string& port) {
  switch (kind) {
    case PortKind::kernel: return "kernel:" + port;
    case PortKind::tap: return "tap:" + port;
    case PortKind::vdev: return "vdev:" + port;
    default: return port;
  }
}

void read_port(Context& c, const Node& n, Interface& i) {
  const auto device = read_device(c, n, "port");
  if (!device) return;
  i.port_at = c.position(n);
  i.port_kind = device->kind;
  i.port = device->name;
}

void read_bond(Context& c, const Node& n, Interface& i) {
  i.port_at = c.position(n);
  i.port_kind = PortKind::bond;
  read_mapping(c, n, "'bond'", kBondKeys, i.bond);
}

void check_ports(Context& c, const Node& key, const Node& node, const Interface& i) {
  const Node* port = node.find("port");
  const Node* parent = node.find("parent");
  const Node* vlan = node.find("vlan");
  const Node* bond = node.find("bond");
  if (port == nullptr && parent == nullptr && vlan == nullptr && bond == nullptr)
    c.error(key, fmt::format("interface '{}' needs the key 'port': a PCI address, kernel:IFNAME, tap:IFNAME or "
                             "vdev:ARGUMENTS (or 'bond', several of them)",
                             i.name));
  if (bond != nullptr) {
    for (const char* other : {"port", "parent", "vlan"})
      if (const Node* there = node.find(other))
        c.error(*there, fmt::format("'{}' beside 'bond': an interface has one of them, remove the other", other));
    return;
  }
  if (parent != nullptr && vlan == nullptr) c.error(*parent, "a VLAN needs its number too: add 'vlan: 1' to 4094");
  if (vlan != nullptr && parent == nullptr)
    c.error(*vlan, "'vlan' needs 'parent', the interface whose frames carry the tag");
  for (const char* of_ports : {"port", "queues"})
    if (parent != nullptr && node.find(of_ports) != nullptr)
      c.error(*node.find(of_ports), fmt::format("a VLAN has no '{}' of its own: remove it", of_ports));
  if (port != nullptr && !i.port.empty())
    if (const Interface* user = user_of(c, {i.port_kind, i.port}))
      c.error(*port,
              fmt::format("port '{}' is already used by interface '{}': give each its own", port->text, user->name));
}

}  // namespace twinwall::config
