// Runs a scenario through the real engine, offline, on a virtual clock (docs/scenarios.md).
//
// One Node a scenario, made from its configuration; the same scenario gives the same outcome every time. Reads the
// files that the scenario names (configurations, captures). Never throws; everything that goes wrong is in the report.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "lib/scenario/scenario.h"

namespace twinwall::scenario {

// A rule of one of the scenario's configurations.
struct RuleUse {
  std::string configuration;  // its file; "scenario.yaml:7" where it stands in the scenario itself
  std::string place, text;    // "2.0", PF's notation
  uint64_t identity = 0;
  bool used = false;  // it decided a packet or, a `match` rule, met one
};

struct RunResult {
  bool passed = false;
  std::string name;            // what the scenario says of itself, or its file when it could not be read
  std::string shown;           // what `show` steps printed, and warnings about its configurations
  std::string report;          // of every step that did not hold; empty when passed
  std::vector<RuleUse> rules;  // of all its configurations
};

[[nodiscard]] RunResult run_scenario(const Scenario& scenario);

// From a file; a result that says what is wrong with it.
[[nodiscard]] std::variant<Scenario, RunResult> load_scenario(const std::string& path);

// The whole way from a file, of a scenario with one node.
[[nodiscard]] RunResult run_scenario_file(const std::string& path);

}  // namespace twinwall::scenario
