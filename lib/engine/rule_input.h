// What the rules are asked about a packet. For the filter itself and for those who explain it.
#pragma once

#include "lib/engine/packet.h"
#include "lib/filter/evaluate.h"

namespace twinwall {

[[nodiscard]] RuleInput rule_input(const Packet& p, Direction dir, InterfaceId interface);

}  // namespace twinwall
