// Room for what the peer tells when the table is full.
//
// Under a flood the tables of both nodes are full of connections that are being opened or are over. A standby that came
// back, or whose copies outlive the peer's, would have no room for the connections that are in use, and lose them in a
// takeover. So of a full table the last part is for those, and what is opening or over makes way for them. Nothing of
// it is announced: the peer may still want what was given up here.
#include <algorithm>

#include "lib/engine/engine_impl.h"

namespace twinwall {

namespace {

// Data may flow in both directions: the class of its timeout says so.
bool in_use_by_both(TimeoutClass c) {
  return c == TimeoutClass::tcp_established || c == TimeoutClass::udp_multiple || c == TimeoutClass::other_multiple;
}

constexpr uint32_t kMostReserved = 256;  // states
constexpr uint32_t kShareReserved = 64;  // … and no more than this part of the table

// An import is one of many between two looks at the queues.
constexpr uint32_t kLookedAt = 64;
constexpr unsigned kEndedAtOnce = 4;

}  // namespace

bool Engine::Impl::has_room_for(TimeoutClass coming) {
  const uint32_t reserved = std::min(kMostReserved, table.capacity() / kShareReserved);
  if (reserved == 0 || table.states() + reserved < table.capacity()) return true;
  if (!in_use_by_both(coming)) return false;
  unsigned ended = 0;
  room_cursor = table.walk(options.worker, room_cursor, kLookedAt, [&](State& s) {
    if (ended == kEndedAtOnce || in_use_by_both(s.timeout)) return;
    ++ended;
    counters.import_evicted.add();
    remove_state(s, false);
  });
  if (room_cursor >= table.capacity()) room_cursor = 0;
  return true;
}

}  // namespace twinwall
