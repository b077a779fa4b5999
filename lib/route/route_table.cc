#include "lib/route/route_table.h"

#include <algorithm>

namespace twinwall {

PlainRouteTable::PlainRouteTable(std::span<const RouteEntry> entries) : entries_(entries.begin(), entries.end()) {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const RouteEntry& a, const RouteEntry& b) { return a.prefix.length > b.prefix.length; });
}

NextHopIndex PlainRouteTable::find(Af af, const Address& address) const {
  const auto hit = std::find_if(entries_.begin(), entries_.end(),
                                [&](const RouteEntry& e) { return e.prefix.af == af && e.prefix.contains(address); });
  return hit == entries_.end() ? kNoNextHop : hit->next_hop;
}

void PlainRouteTable::lookup(Af af, std::span<const Address* const> addresses, NextHopIndex* hops) const {
  for (size_t i = 0; i < addresses.size(); ++i) hops[i] = find(af, *addresses[i]);
}

void PlainRouteTable::lookup_v4(std::span<const uint32_t> addresses, NextHopIndex* hops) const {
  for (size_t i = 0; i < addresses.size(); ++i) hops[i] = find(Af::inet, Address::v4(addresses[i]));
}

std::unique_ptr<const RouteTable> make_plain_routes(std::span<const RouteEntry> entries) {
  return std::make_unique<PlainRouteTable>(entries);
}

}  // namespace twinwall
