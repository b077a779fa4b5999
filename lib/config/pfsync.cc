#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/config/secret.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

// Every frame takes so long as there are peers, and each is kept in step by itself: a few, not a network.
constexpr size_t kMaxPeers = 8;
constexpr size_t kMaxPeerName = 15;                                         // what the wire has room for
constexpr SecretLength kSyncKeyLength{16, 64, "longer ones gain nothing"};  // one block of SHA-256
constexpr const char* kGroupV4 = "224.0.0.240";
constexpr const char* kGroupV6 = "ff12::f0";  // FreeBSD's; OpenBSD sends over IPv4 alone

struct Link {
  Pfsync value;
  const Node* interface = nullptr;
  const Node* peer = nullptr;
  std::vector<const Node*> peers;  // as in value.peers
  const Node* map = nullptr;
  const Node* key = nullptr;
};

constexpr Word<SyncDialect> kDialects[] = {{"openbsd", SyncDialect::openbsd},
                                           {"freebsd-13", SyncDialect::freebsd13},
                                           {"freebsd-14", SyncDialect::freebsd14},
                                           {"freebsd-15", SyncDialect::freebsd15}};

bool has_family(const Interface& i, Af af) {
  return std::ranges::any_of(i.addresses, [af](const Prefix& p) { return p.af == af; });
}

void read_peers(Context& c, const Node& n, Link& l) {
  l.peer = &n;
  if (n.is_scalar() && n.text == "multicast") return;
  for_each_item(c, n, "peer", [&](const Node& item) {
    std::optional<IpAddress> address = item.is_scalar() ? parse_ip(item.text) : std::nullopt;
    if (!address || !is_multicast(address->af, address->addr)) address = read_address(c, item, "peer");
    if (!address) return;
    l.value.peers.push_back(*address);
    l.peers.push_back(&item);
  });
}

void read_peer_name(Context& c, const Node& key, const Node& value, Link& l) {
  const InterfaceId ours = interface_by_name(c, value, "interface-map");
  if (key.text.empty() || key.text.size() > kMaxPeerName || key.text == "all") {
    c.error(key, fmt::format("'{}' cannot be the name of a peer's interface: use 1 to {} characters, not 'all'",
                             key.text, kMaxPeerName));
    return;
  }
  if (ours == kNoInterface) return;
  for (const auto& other : l.value.names)
    if (other.ours == ours)
      c.error(key, fmt::format("'{}' and '{}' both stand for '{}': give each interface one name at the peer",
                               other.theirs, key.text, value.text));
  l.value.names.push_back({key.text, ours});
}

void read_interface_map(Context& c, const Node& n, Link& l) {
  l.map = &n;
  if (n.broken) return;
  if (!n.is_mapping()) {
    c.error(n, "'interface-map' needs a mapping: the peer's name of an interface, and ours");
    return;
  }
  for (size_t i = 0; i < n.keys.size(); ++i) read_peer_name(c, n.keys[i], n.items[i], l);
}

constexpr Key<Link> kPfsyncKeys[] = {
    {"interface",
     [](Context& c, const Node& n, Link& l) {
       l.interface = &n;
       l.value.interface = interface_by_name(c, n, "interface");
     },
     true},
    {"peer", read_peers},
    {"interface-map", read_interface_map},
    {"max-updates",
     [](Context& c, const Node& n, Link& l) { assign_number(c, n, "max-updates", 1, 255, l.value.max_updates); }},
    {"dialect",
     [](Context& c, const Node& n, Link& l) { assign(l.value.dialect, read_word(c, n, "dialect", kDialects)); }},
    {"defer", [](Context& c, const Node& n, Link& l) { assign(l.value.defer, read_bool(c, n, "defer")); }},
    {"strict-windows",
     [](Context& c, const Node& n, Link& l) { assign(l.value.strict_windows, read_bool(c, n, "strict-windows")); }},
    {"key",
     [](Context& c, const Node& n, Link& l) {
       l.key = &n;
       if (!is_withheld(n)) assign(l.value.key, read_secret(c, n, kSyncKeyLength));
     }},
};

void check_peer(Context& c, const Node& at, const IpAddress& peer, const Interface& i) {
  bool on_link = is_link_local(peer.af, peer.addr) && peer.af == Af::inet6;
  bool family_here = on_link;
  for (const Prefix& p : i.addresses) {
    if (p.address() == peer)
      c.error(at, fmt::format("'peer' {} is this node's own address: write the other node's", to_string(peer)));
    family_here = family_here || p.af == peer.af;
    on_link = on_link || (p.af == peer.af && p.contains(peer.addr));
  }
  if (!family_here)
    c.error(at, fmt::format("interface '{}' has no {} address to send to 'peer' {} from", i.name, family_name(peer.af),
                            to_string(peer)));
  else if (!on_link)
    c.error(at, fmt::format("'peer' {} is in no network of '{}': the nodes must share one", to_string(peer), i.name));
}

void check_peers(Context& c, const Link& l) {
  const auto& peers = l.value.peers;
  if (peers.size() > kMaxPeers)
    c.error(*l.peer,
            fmt::format("{} peers: at most {} can be told one by one, use multicast", peers.size(), kMaxPeers));
  const Interface* i = l.value.interface != kNoInterface ? &c.config.interface(l.value.interface) : nullptr;
  if (i != nullptr && i->port_kind == PortKind::vlan)
    c.error(*l.interface, fmt::format("'{}' is a VLAN: states are told over an interface with a port, best a cable of "
                                      "their own",
                                      i->name));
  for (size_t n = 0; n < peers.size(); ++n) {
    const IpAddress& peer = peers[n];
    const Node& at = *l.peers[n];
    if (std::find(peers.begin(), peers.begin() + static_cast<long>(n), peer) != peers.begin() + static_cast<long>(n))
      c.error(at, fmt::format("'peer' {} is there twice: name each peer once", to_string(peer)));
    if (peer.af != peers[0].af)
      c.error(at, fmt::format("'peer' {} is of another family than {}: use one for all", to_string(peer),
                              to_string(peers[0])));
    if (is_multicast(peer.af, peer.addr)) {
      if (peers.size() > 1)
        c.error(at, fmt::format("'peer' {} is a group: name it alone, or the peers one by one", to_string(peer)));
      if (i != nullptr && peer.af == Af::inet && !has_family(*i, Af::inet))
        c.error(at,
                fmt::format("interface '{}' has no IPv4 address to send to 'peer' {} from", i->name, to_string(peer)));
    } else if (i != nullptr) {
      check_peer(c, at, peer, *i);
    }
  }
}

// An interface of ours that keeps its name must not have the name that another one has at the peer.
void check_peer_names(Context& c, const Link& l) {
  for (const auto& name : l.value.names) {
    const Interface* same = c.config.find_interface(name.theirs);
    if (same == nullptr || same->id == name.ours) continue;
    bool mapped = false;
    for (const auto& other : l.value.names) mapped = mapped || other.ours == same->id;
    if (!mapped)
      c.error(*l.map,
              fmt::format("'{}' is the peer's name of '{}', and an interface here that has no other name at the "
                          "peer: give '{}' one too",
                          name.theirs, c.config.interface(name.ours).name, name.theirs));
  }
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
  if (l.key != nullptr && is_withheld(*l.key)) l.value.key = withheld_secret(c, *l.key, "pfsync.key");
  check_peers(c, l);
  if (l.map != nullptr) check_peer_names(c, l);
  if (l.value.peers.empty() && l.value.interface != kNoInterface) {
    // The group: IPv4's, unless the interface has IPv6 alone.
    const Interface& i = c.config.interface(l.value.interface);
    const bool v4 = has_family(i, Af::inet) || i.addresses.empty();
    l.value.peers.push_back(*parse_ip(v4 ? kGroupV4 : kGroupV6));
  }
  if (l.key != nullptr && l.value.multicast())
    c.error(*l.key,
            "'key' needs the peers by address: each node proves to each that it is alive; write them under 'peer'");
  c.config.pfsync = l.value;
}

}  // namespace twinwall::config
