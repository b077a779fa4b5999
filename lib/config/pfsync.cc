#include "lib/config/keys.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

struct Link {
  Pfsync value;
  const Node* interface = nullptr;
  const Node* peer = nullptr;
};

constexpr Word<SyncDialect> kDialects[] = {{"openbsd", SyncDialect::openbsd},
                                           {"freebsd-13", SyncDialect::freebsd13},
                                           {"freebsd-14", SyncDialect::freebsd14},
                                           {"freebsd-15", SyncDialect::freebsd15}};

constexpr Key<Link> kPfsyncKeys[] = {
    {"interface",
     [](Context& c, const Node& n, Link& l) {
       l.interface = &n;
       l.value.interface = interface_by_name(c, n, "interface");
     },
     true},
    {"peer",
     [](Context& c, const Node& n, Link& l) {
       if (n.is_scalar() && n.text == "multicast") return;
       l.peer = &n;
       l.value.peer = read_address(c, n, "peer");
     }},
    {"max-updates",
     [](Context& c, const Node& n, Link& l) { assign_number(c, n, "max-updates", 1, 255, l.value.max_updates); }},
    {"dialect",
     [](Context& c, const Node& n, Link& l) { assign(l.value.dialect, read_word(c, n, "dialect", kDialects)); }},
    {"defer", nullptr, false, "false"},
    {"key"},
};

void check_peer(Context& c, const Link& l) {
  const IpAddress& peer = *l.value.peer;
  if (peer.af != Af::inet) {
    c.error(*l.peer,
            fmt::format("'peer' is {}: pfsync over IPv6 is not available in this version, use IPv4", to_string(peer)));
    return;
  }
  if (l.value.interface == kNoInterface) return;
  const Interface& i = c.config.interface(l.value.interface);
  bool on_link = false;
  for (const Prefix& p : i.addresses) {
    if (p.address() == peer)
      c.error(*l.peer, fmt::format("'peer' {} is this node's own address: write the other node's", to_string(peer)));
    on_link = on_link || (p.af == peer.af && p.contains(peer.addr));
  }
  if (!on_link && !i.addresses.empty())
    c.error(*l.peer,
            fmt::format("'peer' {} is in no network of '{}': the nodes must share one", to_string(peer), i.name));
}

}  // namespace

std::string_view to_string(SyncDialect d) {
  for (const auto& word : kDialects)
    if (word.value == d) return word.name;
  return {};
}

void read_pfsync(Context& c, const Node& node) {
  if (node.is_null()) return;
  Link l;
  l.value.at = c.position(node);
  read_mapping(c, node, "'pfsync'", kPfsyncKeys, l);
  if (l.value.interface != kNoInterface) {
    const Interface& i = c.config.interface(l.value.interface);
    bool has_v4 = false;
    for (const Prefix& p : i.addresses) has_v4 = has_v4 || p.af == Af::inet;
    if (!has_v4)
      c.error(*l.interface, fmt::format("interface '{}' has no IPv4 address: pfsync needs one to send from", i.name));
  }
  if (l.value.peer) check_peer(c, l);
  c.config.pfsync = l.value;
}

}  // namespace twinwall::config
