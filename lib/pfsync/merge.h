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

}  // namespace twinwall::pfsync
