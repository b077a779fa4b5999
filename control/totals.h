// Sums of PF's counters over all workers, and what `flush counters` takes as their zero: the counters themselves only
// ever grow, as /metrics needs them.
//
// Owned by the control core's thread; adding up reads counters of one writer each.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/dataplane.h"

namespace twinwall {

struct Totals {
  struct Pair {
    uint64_t packets = 0, bytes = 0;
  };
  struct Hooks {
    Pair hook[2][2][2];  // as InterfaceCounters::hook
  };
  std::array<uint64_t, kDropReasons> drops{};
  std::array<uint64_t, kLimitCounters> limits{};
  std::vector<Hooks> interfaces;  // [id]; [0] is unused
};

// Of interfaces 1 … `interfaces`.
[[nodiscard]] Totals add_up(const Dataplane& dataplane, unsigned workers, size_t interfaces);

// What has been counted since `base`.
[[nodiscard]] Totals since(const Totals& now, const Totals& base);

}  // namespace twinwall
