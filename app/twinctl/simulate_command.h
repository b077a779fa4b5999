// Random histories of a pair, one a seed (control/simulation/trial.h).
#pragma once

#include <cstdint>

namespace twinwall::ctl {

struct SimulateOptions {
  uint64_t from = 1, seeds = 1000;
  double hours = 1;    // virtual, of each
  bool story = false;  // print everything that happens
};

// Prints every seed whose history broke a promise, and a summary. 0: none did, 1: one did.
[[nodiscard]] int simulate(const SimulateOptions& options);

}  // namespace twinwall::ctl
