// What the rules are asked about a packet. For the filter itself and for those who explain it.
#pragma once

#include "lib/engine/packet.h"
#include "lib/engine/snapshot.h"
#include "lib/filter/evaluate.h"

namespace twinwall {

[[nodiscard]] RuleInput rule_input(const Packet& p, Direction dir, InterfaceId interface);

// The snapshot's answers for whoever only looks: nothing is claimed or counted. Good as long as the snapshot lives.
[[nodiscard]] RuleEnvironment looking_at(const Snapshot& snapshot);

}  // namespace twinwall
