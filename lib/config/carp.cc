#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/config/keys.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxKeyBytes = 19;  // the BSDs silently cut a longer one, so the nodes would disagree unnoticed

struct Group {
  CarpGroup value;
  const Node* vhid = nullptr;
  const Node* key = nullptr;
};

void set_key(Context& c, const Node& n, Group& g, std::string bytes) {
  if (bytes.empty())
    c.error(n, "the key is empty: give it 1 to 19 bytes");
  else if (bytes.size() > kMaxKeyBytes)
    c.error(n, fmt::format("the key has {} bytes: at most {} are used, the BSDs would cut it silently", bytes.size(),
                           kMaxKeyBytes));
  else
    g.value.key.assign(bytes.begin(), bytes.end());
}

// Reads a secret whose mode lets nobody but its owner read it. Returns what is wrong, or nothing.
std::string read_secret(const std::string& path, std::string& out) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fmt::format("cannot be read: {}", std::strerror(errno));
  std::string problem;
  struct stat st {};
  char buffer[256];
  if (fstat(fd, &st) != 0) {
    problem = std::strerror(errno);
  } else if (!S_ISREG(st.st_mode)) {
    problem = "is not a regular file";
  } else if ((st.st_mode & 077) != 0) {
    problem = fmt::format("can be read by others (mode {:04o}): chmod 600 it", st.st_mode & 07777);
  } else {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0) problem = fmt::format("cannot be read: {}", std::strerror(errno));
    if (n > 0) out.assign(buffer, static_cast<size_t>(n));
  }
  close(fd);
  if (out.ends_with('\n')) out.pop_back();
  if (out.ends_with('\r')) out.pop_back();
  return problem;
}

void read_key_file(Context& c, const Node& n, Group& g) {
  const auto path = read_text(c, n, "file");
  if (!path) return;
  std::string bytes;
  const std::string problem = read_secret(c.resolve_path(n, *path), bytes);
  if (problem.empty())
    set_key(c, n, g, std::move(bytes));
  else
    c.error(n, fmt::format("key file '{}' {}", *path, problem));
}

void read_key_hex(Context& c, const Node& n, Group& g) {
  const auto text = read_text(c, n, "hex");
  if (!text) return;
  std::string bytes;
  bool good = text->size() % 2 == 0;
  for (size_t i = 0; good && i < text->size(); i += 2) {
    const auto byte = parse_number("0x" + text->substr(i, 2));
    good = byte.has_value();
    if (good) bytes += static_cast<char>(*byte);
  }
  if (good)
    set_key(c, n, g, std::move(bytes));
  else
    c.error(n, "'hex' needs two hexadecimal digits for every byte");
}

constexpr Key<Group> kKeyForms[] = {{"file", read_key_file}, {"hex", read_key_hex}};

void read_key(Context& c, const Node& n, Group& g) {
  g.key = &n;
  if (!n.is_mapping()) {
    if (const auto text = read_text(c, n, "key")) set_key(c, n, g, *text);
    return;
  }
  if (n.keys.size() != 1) {
    c.error(n, "'key' takes a text, {file: PATH} or {hex: DIGITS}");
    return;
  }
  read_mapping(c, n, "'key'", kKeyForms, g);
}

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
    {"key", read_key},
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
    {"bfd"},
};

}  // namespace

void read_carp(Context& c, const Node& node) {
  if (!node.is_null()) read_mapping(c, node, "'carp'", kCarpKeys, c.config.carp);
}

}  // namespace twinwall::config
