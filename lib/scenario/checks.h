// Whether what came of a step is what was expected of it. Private to the runner.
#pragma once

#include <string>
#include <vector>

#include "lib/scenario/node.h"
#include "lib/scenario/scenario.h"

namespace twinwall::scenario {

// One line a difference; empty when everything expected holds. Variables are bound as packets fit.
[[nodiscard]] std::vector<std::string> check_expectation(const Expectation& expected, const Outcome& outcome,
                                                         Node& node, Bindings& bindings);

// Frames whose lengths or checksums are wrong, one line each. Those expected to be broken are not named.
[[nodiscard]] std::vector<std::string> check_frames(const Outcome& outcome, const Expectation* expected);

// What came of a step, one line a packet, reason or log record; "nothing" alone.
[[nodiscard]] std::vector<std::string> describe(const Outcome& outcome, const Node& node);
[[nodiscard]] std::vector<std::string> describe(const Expectation& expected);

// Seconds until the state would go without traffic.
[[nodiscard]] uint64_t seconds_left(const State& state, Node& node);

// The rule numbers that a number or a label means; empty when there is none.
[[nodiscard]] std::vector<const Rule*> rules_named(const std::string& name, const Node& node);

}  // namespace twinwall::scenario
