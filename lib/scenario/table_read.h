// The `table` keys of a scenario: what is done with tables, and what they must hold.
#pragma once

#include "lib/config/context.h"
#include "lib/config/yaml_reader.h"
#include "lib/scenario/scenario.h"

namespace twinwall::scenario {

// {add: {NAME: [ADDRESS…]}, delete: …, replace: …, flush: NAME, expire: {NAME: 60s}}
[[nodiscard]] TableStep read_table_step(config::Context& c, const config::Node& n);
// {NAME: [ADDRESS…]} or {NAME: COUNT}
void read_expected_tables(config::Context& c, const config::Node& n, Expectation& e);

// "90s", "1500ms", "5m", "2h", "1d"; a bare number counts seconds.
[[nodiscard]] std::optional<Duration> parse_duration(std::string_view text);

}  // namespace twinwall::scenario
