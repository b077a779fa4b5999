// What the workers read and never change: the compiled configuration, the neighbours, the CARP roles.
//
// Each is immutable once published behind an atomic pointer; the dataplane frees the old one when every worker has
// passed a quiescent point. A worker takes one View per burst, so a burst never sees half of a change.
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/config/schema.h"
#include "lib/filter/classifier.h"
#include "lib/filter/rule.h"
#include "lib/net/address.h"
#include "lib/route/route_table.h"
#include "lib/state/timeouts.h"

namespace twinwall {

struct InterfaceInfo {
  InterfaceId id = kNoInterface;
  std::string name;
  Mac mac;
  uint16_t mtu = 1500;
  uint16_t vlan = 0;  // what is sent here carries this tag; 0: none
  bool skip = false;
  bool icmp = true;
  bool has_v4 = false, has_v6 = false;
  Address v4, v6;      // the first address of each family: the source of what the node itself sends here
  Address link_local;  // fe80::/64 from the MAC (RFC 4291 appendix A)
};

// The interface that takes the frames with a tag.
struct VlanPort {
  InterfaceId parent = kNoInterface;
  uint16_t vlan = 0;
  InterfaceId id = kNoInterface;
};

struct Snapshot {
  uint64_t generation = 0;
  std::vector<InterfaceInfo> interfaces;  // [id - 1]
  std::vector<VlanPort> vlans;            // by parent and tag
  std::vector<NextHop> next_hops;         // [0] is "no route"
  std::unique_ptr<const RouteTable> routes;
  Ruleset rules;
  // The rules by what they say, in order of that: where a twinwall peer's states belong (see rule_content()).
  struct ByContent {
    uint32_t content = 0;
    uint32_t position = 0;
  };
  std::vector<ByContent> by_content;
  // The rule that says this; null when there is none, or more than one looks like it.
  [[nodiscard]] const Rule* rule_that_says(uint32_t content) const;
  std::unique_ptr<const Classifier> classifier;  // of `rules`; null: they are tried one by one
  Timeouts timeouts = kDefaultTimeouts;
  bool floating = true;  // state-policy
  bool reanchor = true;  // imported windows; see lib/state/tcp_reanchor.h
  bool reassemble = true;
  bool reassemble_no_df = false;
  bool counts_entries = false;  // a rule names a table that counts by entry
  bool bfd = false;             // BFD to own addresses is for the control core
  uint32_t state_limit = 0;
  config::Syncookies syncookies = config::Syncookies::never;
  uint64_t syncookies_start = 0, syncookies_end = 0;  // half-open connections
  uint32_t source_node_limit = 10000;
  inspect::Settings inspection;
  // One a worker, fit for every pattern of the rules; each is used by its worker alone.
  std::vector<std::unique_ptr<inspect::Scratch>> scratches;
  std::vector<uint32_t> adaptive_rules;  // positions of the rules with adaptive timeouts of their own

  [[nodiscard]] const InterfaceInfo& interface(InterfaceId id) const { return interfaces[id - 1u]; }
  // kNoInterface: nobody takes the tag.
  [[nodiscard]] InterfaceId vlan_port(InterfaceId parent, uint16_t vlan) const;
};

// What a rule says, in the four bytes that pfsync has room for and no BSD reads; never kNoRuleNumber.
[[nodiscard]] inline uint32_t rule_content(const Rule& r) {
  const auto content = static_cast<uint32_t>(r.identity ^ r.identity >> 32);
  return content == kNoRuleNumber ? 0 : content;
}

// Makes a snapshot of a checked configuration. `macs[id - 1]` are the ports' addresses. `make_routes` turns the route
// entries into a table (rte_fib in the daemon, the plain table elsewhere).
using RouteTableFactory = std::unique_ptr<const RouteTable> (*)(std::span<const RouteEntry> entries);
[[nodiscard]] std::shared_ptr<Snapshot> make_snapshot(const config::Config& config, std::span<const Mac> macs,
                                                      RouteTableFactory make_routes);

[[nodiscard]] Address link_local_of(const Mac& mac);

// (interface, address) → link-layer address. Built by the control core, read by workers.
class NeighborTable {
 public:
  struct Entry {
    InterfaceId interface = kNoInterface;
    IpAddress address;
    Mac mac;
  };
  explicit NeighborTable(std::span<const Entry> entries);
  // No two have the same.
  [[nodiscard]] uint64_t number() const { return number_; }

  // Null when unknown. Marks the entry as used, so that the control core refreshes only what somebody needs.
  [[nodiscard]] const Mac* find(InterfaceId interface, const IpAddress& address) const;
  // True when a worker has asked for it since this table was published.
  [[nodiscard]] bool used(InterfaceId interface, const IpAddress& address) const;

 private:
  struct Slot {
    Entry entry;
    mutable std::atomic<bool> used{false};
  };
  [[nodiscard]] const Slot* slot(InterfaceId interface, const IpAddress& address) const;
  std::unique_ptr<Slot[]> slots_;
  size_t mask_ = 0;
  uint64_t number_;
};

// A group whose frames reach every node, each of which takes its share (lib/carp/balance.h).
struct CarpSharing {
  InterfaceId interface = kNoInterface;
  uint8_t leader = 0;  // the lowest vhid: that of the group's addresses in the routes
  uint8_t nodes = 0;
  Mac mac;
  uint32_t masters = 0;  // bit i: this node is MASTER of the i-th vhid
  friend bool operator==(const CarpSharing&, const CarpSharing&) = default;
};

// On which interface this node is MASTER of which vhid.
struct CarpRoles {
  std::vector<std::bitset<256>> master;  // [interface id - 1][vhid]
  std::vector<CarpSharing> sharing;      // few, nearly always none
  [[nodiscard]] bool is_master(InterfaceId interface, uint8_t vhid) const {
    return interface != kNoInterface && interface <= master.size() && master[interface - 1u][vhid];
  }
  // Null: the MAC address is not a shared one there.
  [[nodiscard]] const CarpSharing* shared(InterfaceId interface, const Mac& mac) const {
    for (const CarpSharing& s : sharing)
      if (s.interface == interface && s.mac == mac) return &s;
    return nullptr;
  }
  // Whether what reached this node is its own to answer, of an address of the group with (or led by) this vhid. Of a
  // shared group the share was decided before.
  [[nodiscard]] bool holds(InterfaceId interface, uint8_t vhid) const {
    for (const CarpSharing& s : sharing)
      if (s.interface == interface && s.leader == vhid) return s.masters != 0;
    return is_master(interface, vhid);
  }
  // One vhid of a group.
  void set(const config::CarpGroup& group, uint8_t vhid, bool is_master);
  friend bool operator==(const CarpRoles&, const CarpRoles&) = default;
};

struct View {
  const Snapshot* snapshot = nullptr;
  const NeighborTable* neighbors = nullptr;
  const CarpRoles* carp = nullptr;
};

// What the snapshot's rules say of a packet; see evaluate_visiting(). `compiled`: with its classifier if it has one.
template <class OnMatch, class OnVisit, class OnLog>
[[nodiscard]] Decision decide(const Snapshot& snapshot, bool compiled, RuleInput& input, OnMatch&& on_match,
                              OnVisit&& on_visit, OnLog&& on_log) noexcept {
  if (compiled && snapshot.classifier != nullptr) [[likely]]
    return snapshot.classifier->decide(snapshot.rules, input, on_match, on_visit, on_log);
  return evaluate_visiting(snapshot.rules, input, on_match, on_visit, on_log);
}

// Where the routes send an address.
[[nodiscard]] const NextHop& next_hop(const Snapshot& snapshot, Af af, const Address& address);
// What rules ask of the routes: whether any leads to an address, and whether the way back to a source does not leave
// where its packet came in. Link-local senders are on the link that they are heard on.
[[nodiscard]] bool has_route(const Snapshot& snapshot, Af af, const Address& address);
[[nodiscard]] bool urpf_failed(const Snapshot& snapshot, Af af, const Address& source, InterfaceId in);

}  // namespace twinwall
