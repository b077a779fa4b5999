// The workers' route table: DPDK's FIB, one look-up table per family, built whole and never changed.
//
// One memory access for an IPv4 destination in most cases. Costs 16 MB (IPv4; 32 MB with more than 127 next hops) and
// 32 MB (IPv6) of EAL memory, whatever the number of routes, so a family without routes has no table.
// Threads: lookup() from any; made and freed by the control core. Errors: null when memory does not suffice.
#pragma once

#include <memory>
#include <span>

#include "lib/route/route_table.h"

struct rte_fib;
struct rte_fib6;

namespace twinwall {

class FibRouteTable final : public RouteTable {
 public:
  // Of equal prefixes the first one counts, as in PlainRouteTable.
  [[nodiscard]] static std::unique_ptr<const FibRouteTable> make(std::span<const RouteEntry> entries);
  ~FibRouteTable() override;
  FibRouteTable(const FibRouteTable&) = delete;
  FibRouteTable& operator=(const FibRouteTable&) = delete;

  void lookup(Af af, std::span<const Address* const> addresses, NextHopIndex* hops) const override;
  void lookup_v4(std::span<const uint32_t> addresses, NextHopIndex* hops) const override;

  // EAL memory for `tables` tables of both families.
  [[nodiscard]] static uint64_t memory(unsigned tables);

 private:
  FibRouteTable() = default;
  rte_fib* v4_ = nullptr;
  rte_fib6* v6_ = nullptr;
};

// FibRouteTable, or the plain table (slower, same answers) with a warning in the log when memory does not suffice.
[[nodiscard]] std::unique_ptr<const RouteTable> make_fib_routes(std::span<const RouteEntry> entries);

}  // namespace twinwall
