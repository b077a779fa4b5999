// What rules change in packets beyond translation: pf.conf(5) "scrub" and "set tos".
//
// Bytes are rewritten in place, checksums by difference. Safe for any parsed packet; options are walked within the
// header's own bounds.
#pragma once

#include "lib/engine/packet.h"
#include "lib/filter/rule.h"

namespace twinwall {

// In PF's order: max-mss, no-df, min-ttl, set tos, random-id. `random_id` is the new IPv4 identification, drawn by the
// caller.
void apply_actions(Packet& p, const PacketActions& actions, uint16_t random_id);

}  // namespace twinwall
