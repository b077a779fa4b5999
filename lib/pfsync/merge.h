// Which half of a peer's update is newer than what is held: the rules of pfsync for known states.
//
// Source and destination end are judged apart. Sequence numbers are compared modulo 2^32; exactly half the space apart
// counts as not after. Pure. Source: the update handlers of OpenBSD 7.4 and FreeBSD 13 (equal to OpenBSD up to 7.3).
#pragma once

#include <cstdint>

#include "lib/pfsync/actions.h"
#include "lib/pfsync/record.h"
#include "lib/state/state.h"

namespace twinwall::pfsync {

// What is compared of one end.
struct PeerPosition {
  uint8_t level = 0;
  uint32_t seqlo = 0;
};
[[nodiscard]] inline PeerPosition position(const Peer& p) { return {p.level, p.seqlo}; }
[[nodiscard]] inline PeerPosition position(const PeerRecord& p) { return {p.level, p.seqlo}; }

struct EndPositions {
  PeerPosition src, dst;
};

struct Merge {
  bool take_src = false;
  bool take_dst = false;
  int stale = 0;         // ends on which we are ahead
  bool refresh = false;  // take the update's timeout class, and last activity is now
  bool answer = false;   // queue an update of our own: the peer is behind
};

[[nodiscard]] Merge merge_update(System system, uint8_t proto, const EndPositions& local, const EndPositions& update);

// Two states with the same key and different names: both nodes made one of the same connection while they could not
// hear each other. A BSD refuses the other's for good, and then one end of the pair never follows what the other
// forwards.
struct Rival {
  StateId name;
  int64_t last_activity = 0;  // seconds of the caller's clock
  EndPositions at;
};
// Whether the peer's state takes the place of the one that is held. Of TCP the one that has come further; else the one
// that was used last; and when that cannot be told the one of the greater name, so that both nodes choose the same.
// Never one that is behind at either end, nor for a handshake that is answered by proxy here.
[[nodiscard]] bool outranks(uint8_t proto, const Rival& coming, const Rival& held);

}  // namespace twinwall::pfsync
