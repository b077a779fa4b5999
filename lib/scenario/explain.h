// Why a packet fares as it does: the state or the rule that meets it at each hook. For people who read a report.
//
// Changes nothing. A rule's translation at the in hook is followed to the out hook; a `match` rule's is not.
#pragma once

#include <string>
#include <vector>

#include "lib/scenario/node.h"

namespace twinwall::scenario {

// One line a hook.
[[nodiscard]] std::vector<std::string> explain(Node& node, InterfaceId interface, const std::vector<uint8_t>& frame);

// "rule 3: block drop in all"
[[nodiscard]] std::string describe_rule(const Rule& rule);

}  // namespace twinwall::scenario
