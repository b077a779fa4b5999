// States of protocols without connections: who has spoken, and for how long the answer may take.
//
// UDP and all other protocols but TCP and ICMP have levels per end (PseudoLevel); ICMP queries only have a timeout.
// Changes the State it is given; only its owner may call. Time in whole seconds. Source: pf.conf(5) "set timeout",
// pf(4).
#pragma once

#include <cstdint>

#include "lib/state/state.h"

namespace twinwall {

// Fills peers, timeout class and times of a state whose keys are set. Not for TCP.
void pseudo_start(State& state, uint32_t now_s);

// A later packet of the flow. True when a level changed.
bool pseudo_track(State& state, bool forward, uint32_t now_s);

}  // namespace twinwall
