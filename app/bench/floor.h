// What a packet with a state costs on this machine if nothing is done but what cannot be left out: one look at the
// headers, one line of an index, one line of a state, a key that fits, counters, a deadline, the TTL, the checksum and
// the Ethernet header. No rules, windows, second hook or peer; nothing is asked that could go wrong. Rows are told
// beside it, so that what a machine allows and what a program makes of it can be told apart.
#pragma once

#include <cstddef>
#include <cstdint>

#include "app/bench/calm.h"
#include "app/bench/rule_rows.h"

namespace twinwall::bench {

// Ticks a packet, for packets of `connections` states drawn at random. Throws std::runtime_error without memory.
[[nodiscard]] Spread measure_floor(uint32_t connections, unsigned repeats, size_t bursts, Calm& calm);

}  // namespace twinwall::bench
