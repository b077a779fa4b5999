#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/secret.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxBfdPeers = 16;
constexpr SecretLength kBfdKeyLength{1, 20, "BFD has no room for more"};
constexpr uint64_t kFastestMs = 10, kSlowestMs = 10'000;

struct BfdSection {
  Bfd value;
  const Node* peers = nullptr;
};

// The interface whose network the address is in; reports why it can be none.
InterfaceId interface_of(Context& c, const Node& n, const IpAddress& peer) {
  const std::string text = to_string(peer);
  if (is_link_local(peer.af, peer.addr) && peer.af == Af::inet6) {
    c.error(n, fmt::format("'peers' has {}, which does not tell the link it is on: write a global address of the other "
                           "node",
                           text));
    return kNoInterface;
  }
  InterfaceId found = kNoInterface;
  for (const Interface& i : c.config.interfaces)
    for (const Prefix& p : i.addresses) {
      if (p.address() == peer) {
        c.error(n,
                fmt::format("'peers' has {}, this node's own address on '{}': write the other node's", text, i.name));
        return kNoInterface;
      }
      if (p.af == peer.af && p.contains(peer.addr) && found == kNoInterface) found = i.id;
    }
  if (found == kNoInterface)
    c.error(n, fmt::format("'peers' has {}, which is in no network of an interface: write addresses of the other node "
                           "on links that both nodes are on",
                           text));
  return found;
}

void read_bfd_peers(Context& c, const Node& n, BfdSection& s) {
  s.peers = &n;
  for_each_item(c, n, "peers", [&](const Node& item) {
    const auto peer = read_address(c, item, "peers");
    if (!peer) return;
    const auto same = [&](const BfdPeer& p) { return p.address == *peer; };
    if (std::any_of(s.value.peers.begin(), s.value.peers.end(), same)) {
      c.error(item, fmt::format("{} stands twice: remove one", to_string(*peer)));
      return;
    }
    const InterfaceId interface = interface_of(c, item, *peer);
    if (interface != kNoInterface) s.value.peers.push_back({*peer, interface});
  });
  if (s.value.peers.size() > kMaxBfdPeers)
    c.error(n, fmt::format("there are {} peers: at most {} are possible", s.value.peers.size(), kMaxBfdPeers));
}

void read_bfd_interval(Context& c, const Node& n, BfdSection& s) {
  const auto interval = read_milliseconds(c, n, "interval");
  if (!interval) return;
  if (*interval < kFastestMs || *interval > kSlowestMs)
    c.error(n,
            fmt::format("'interval' is '{}': write {}ms to {}s, such as 50ms", n.text, kFastestMs, kSlowestMs / 1000));
  else
    s.value.interval = std::chrono::milliseconds(*interval);
}

constexpr Word<bool> kBfdAuthTypes[] = {{"keyed-sha1", false}, {"meticulous-keyed-sha1", true}};

constexpr Key<BfdAuth> kBfdAuthKeys[] = {
    {"type",
     [](Context& c, const Node& n, BfdAuth& a) { assign(a.meticulous, read_word(c, n, "type", kBfdAuthTypes)); }},
    {"key-id", [](Context& c, const Node& n, BfdAuth& a) { assign_number(c, n, "key-id", 0, 255, a.key_id); }},
    {"key",
     [](Context& c, const Node& n, BfdAuth& a) {
       if (is_withheld(n))
         a.key = withheld_secret(c, n, "carp.bfd.auth.key");
       else
         assign(a.key, read_secret(c, n, kBfdKeyLength));
     },
     true},
};

constexpr Key<BfdSection> kBfdKeys[] = {
    {"peers", read_bfd_peers, true},
    {"interval", read_bfd_interval},
    {"multiplier",
     [](Context& c, const Node& n, BfdSection& s) { assign_number(c, n, "multiplier", 1, 255, s.value.multiplier); }},
    {"auth",
     [](Context& c, const Node& n, BfdSection& s) {
       BfdAuth auth;
       read_mapping(c, n, "'auth'", kBfdAuthKeys, auth);
       s.value.auth = std::move(auth);
     }},
};

}  // namespace

void read_bfd(Context& c, const Node& node, Carp& carp) {
  BfdSection s;
  const size_t errors = c.errors();
  read_mapping(c, node, "'bfd'", kBfdKeys, s);
  if (s.value.peers.size() == 1 && c.errors() == errors)
    c.warning(*s.peers,
              "'peers' has one address only: the failure of this one link is taken for that of the node; give "
              "an address on each link that both nodes are on");
  carp.bfd = std::move(s.value);
}

// The virtual addresses are known once the whole section was read.
void check_bfd(Context& c, const Node& carp) {
  const Node* const bfd = carp.find("bfd");
  const Node* const peers = bfd != nullptr && bfd->is_mapping() ? bfd->find("peers") : nullptr;
  if (peers == nullptr || !c.config.carp.bfd) return;
  for (const BfdPeer& peer : c.config.carp.bfd->peers)
    for (const CarpGroup& g : c.config.carp.groups)
      for (const Prefix& p : g.addresses)
        if (p.address() == peer.address)
          c.error(*peers,
                  fmt::format("'peers' has {}, a virtual address: write an address that is the other node's own",
                              to_string(peer.address)));
}

}  // namespace twinwall::config
