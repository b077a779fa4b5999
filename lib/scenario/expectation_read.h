// What a step expects, from YAML. Private to the reader of scenarios.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>

#include "lib/config/context.h"
#include "lib/scenario/scenario.h"

namespace twinwall::scenario {

// The packet under `packet`, with every other key of the mapping, but those in `besides` and, with `dotted`, those with
// a dot, as one more field of it.
[[nodiscard]] std::optional<PacketSpec> read_packet(config::Context& c, const config::Node& mapping,
                                                    std::initializer_list<std::string_view> besides,
                                                    bool dotted = false);

// `pair`: of two nodes, so "a.states", "a.carp" and `within` mean something.
[[nodiscard]] Expectation read_expectation(config::Context& c, const config::Node& node, bool pair);

}  // namespace twinwall::scenario
