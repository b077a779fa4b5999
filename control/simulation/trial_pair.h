// The pair of a trial: its configuration, drawn from the seed.
#pragma once

#include <string>

#include "lib/base/random.h"
#include "lib/config/schema.h"

namespace twinwall::simulation {

// Interfaces in order.
inline constexpr InterfaceId kOutsidePort = 1, kInsidePort = 2, kSyncPort = 3;
inline constexpr uint8_t kOutsideVhid = 1, kInsideVhid = 2;

struct PairSetup {
  bool preempt = true, bfd = false, key = false, multicast = false, nat = false, defer = false;
  uint8_t advbase = 1;
  uint8_t advskew[2] = {0, 100};
  uint8_t demotion_interface_down = 240;
};

[[nodiscard]] PairSetup draw_setup(Random& random);
[[nodiscard]] std::string to_string(const PairSetup& setup);
// Of node 0 or 1. Texts are read once a process; a trial copies what was read.
[[nodiscard]] config::LoadResult load_setup(const PairSetup& setup, unsigned node);

}  // namespace twinwall::simulation
