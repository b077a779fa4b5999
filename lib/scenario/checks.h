// Whether what came of a step is what was expected of it. For runners of scenarios.
#pragma once

#include <string>
#include <vector>

#include "lib/scenario/node.h"
#include "lib/scenario/scenario.h"
#include "lib/scenario/subject.h"

namespace twinwall::scenario {

// One line a difference; empty when everything expected holds. Variables are bound as packets fit.
[[nodiscard]] std::vector<std::string> check_expectation(const Expectation& expected, const Outcome& outcome,
                                                         Subject& node, Bindings& bindings);

// Frames whose lengths or checksums are wrong, one line each. Those expected to be broken are not named.
[[nodiscard]] std::vector<std::string> check_frames(const Outcome& outcome, const Expectation* expected);

// What came of a step, one line a packet, reason or log record; "nothing" alone.
[[nodiscard]] std::vector<std::string> describe(const Outcome& outcome, const Subject& node);
[[nodiscard]] std::vector<std::string> describe(const Expectation& expected);

// Seconds until the state would go without traffic.
[[nodiscard]] uint64_t seconds_left(const State& state, Subject& node);

// The rule numbers that a number or a label means; empty when there is none.
[[nodiscard]] std::vector<const Rule*> rules_named(const std::string& name, const Subject& node);

}  // namespace twinwall::scenario
