// One random history of a pair, from its seed: the configuration, the network, the connections, everything that breaks
// and is mended; and whether what must hold held (judge.h).
//
// The seed is all that a history depends on: the same seed and length give the same history, event by event.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "control/simulation/judge.h"
#include "control/simulation/traffic.h"

namespace twinwall::simulation {

struct TrialOptions {
  uint64_t seed = 0;
  Duration length = std::chrono::hours(1);  // virtual
  // Called for everything that happens, with the time since the beginning; for a person who reads one history.
  std::function<void(Duration, const std::string&)> story;
};

struct TrialResult {
  std::optional<Violation> violation;
  std::string setup;  // what kind of pair it was, in one line
  std::string error;  // not empty: the trial could not be made
  Duration ran{};
  uint64_t events = 0;
  Judge::Counters judged;
  Traffic::Counters traffic;
};

[[nodiscard]] TrialResult run_trial(const TrialOptions& options);

}  // namespace twinwall::simulation
