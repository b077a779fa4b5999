// Runs a scenario with two nodes (docs/scenarios.md): real nodes on simulated links, on a virtual clock.
//
// Before the first step every node is started and the network comes to rest. Never throws; everything that goes wrong
// is in the report.
#pragma once

#include <string>

#include "lib/scenario/runner.h"

namespace twinwall::simulation {

[[nodiscard]] scenario::RunResult run_pair(const scenario::Scenario& scenario);

// A scenario of either kind, from its file.
[[nodiscard]] scenario::RunResult run_file(const std::string& path);

}  // namespace twinwall::simulation
