// Where a packet goes: longest prefix match to a next hop.
//
// The interface takes bursts, so that its one indirect call is paid once a burst. Immutable once built.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lib/filter/rule.h"
#include "lib/net/address.h"

namespace twinwall {

using NextHopIndex = uint32_t;
inline constexpr NextHopIndex kNoNextHop = 0;

enum class HopKind : uint8_t {
  none,       // no route
  connected,  // on link: the next hop is the destination itself
  gateway,
  local,      // one of this node's own addresses, or a virtual one (then vhid is set)
  broadcast,  // the broadcast address of a connected network, or its network address
  blackhole,
};

struct NextHop {
  HopKind kind = HopKind::none;
  InterfaceId interface = kNoInterface;
  IpAddress gateway;
  uint8_t vhid = 0;  // local: the CARP group that the address belongs to
};

struct RouteEntry {
  Prefix prefix;
  NextHopIndex next_hop = kNoNextHop;
};

class RouteTable {
 public:
  virtual ~RouteTable() = default;
  // For each i: hops[i] is the next hop of addresses[i] (of family af), kNoNextHop without a route.
  virtual void lookup(Af af, std::span<const Address* const> addresses, NextHopIndex* hops) const = 0;
  // The same of IPv4 addresses in host order.
  virtual void lookup_v4(std::span<const uint32_t> addresses, NextHopIndex* hops) const = 0;
};

// Sorted prefixes tried from the longest: obviously right, and fast enough for a handful of routes. Used off the
// dataplane, and as the yardstick for the fast tables.
class PlainRouteTable final : public RouteTable {
 public:
  explicit PlainRouteTable(std::span<const RouteEntry> entries);
  void lookup(Af af, std::span<const Address* const> addresses, NextHopIndex* hops) const override;
  void lookup_v4(std::span<const uint32_t> addresses, NextHopIndex* hops) const override;

 private:
  [[nodiscard]] NextHopIndex find(Af af, const Address& address) const;
  std::vector<RouteEntry> entries_;  // longest first
};
[[nodiscard]] std::unique_ptr<const RouteTable> make_plain_routes(std::span<const RouteEntry> entries);

}  // namespace twinwall
