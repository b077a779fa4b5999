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
  bool skip = false;
  bool icmp = true;
  bool has_v4 = false, has_v6 = false;
  Address v4, v6;      // the first address of each family: the source of what the node itself sends here
  Address link_local;  // fe80::/64 from the MAC (RFC 4291 appendix A)
};

struct Snapshot {
  uint64_t generation = 0;
  std::vector<InterfaceInfo> interfaces;  // [id - 1]
  std::vector<NextHop> next_hops;         // [0] is "no route"
  std::unique_ptr<const RouteTable> routes;
  Ruleset rules;
  Timeouts timeouts = kDefaultTimeouts;
  bool floating = true;  // state-policy
  bool reassemble = true;
  bool reassemble_no_df = false;
  bool bfd = false;  // BFD to own addresses is for the control core
  uint32_t state_limit = 0;
  config::Syncookies syncookies = config::Syncookies::never;
  uint64_t syncookies_start = 0, syncookies_end = 0;  // half-open connections
  uint32_t source_node_limit = 10000;
  inspect::Settings inspection;
  // One a worker, fit for every pattern of the rules; each is used by its worker alone.
  std::vector<std::unique_ptr<inspect::Scratch>> scratches;
  std::vector<uint32_t> adaptive_rules;  // positions of the rules with adaptive timeouts of their own

  [[nodiscard]] const InterfaceInfo& interface(InterfaceId id) const { return interfaces[id - 1u]; }
};

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
};

// On which interface this node is MASTER of which vhid.
struct CarpRoles {
  std::vector<std::bitset<256>> master;  // [interface id - 1][vhid]
  [[nodiscard]] bool is_master(InterfaceId interface, uint8_t vhid) const {
    return interface != kNoInterface && interface <= master.size() && master[interface - 1u][vhid];
  }
};

struct View {
  const Snapshot* snapshot = nullptr;
  const NeighborTable* neighbors = nullptr;
  const CarpRoles* carp = nullptr;
};

// Where the routes send an address.
[[nodiscard]] const NextHop& next_hop(const Snapshot& snapshot, Af af, const Address& address);
// What rules ask of the routes: whether any leads to an address, and whether the way back to a source does not leave
// where its packet came in. Link-local senders are on the link that they are heard on.
[[nodiscard]] bool has_route(const Snapshot& snapshot, Af af, const Address& address);
[[nodiscard]] bool urpf_failed(const Snapshot& snapshot, Af af, const Address& source, InterfaceId in);

}  // namespace twinwall
