// What an event does to the sending queue of one state, and when what is queued must go out.
//
// A state waits in at most one queue (SyncQueue, lib/state/state.h). Pure: (queue, event, counters, now) in, (queue,
// counter, flush?) out. Times are seconds of the same clock as State::last_update. Source: pfsync(4) "maxupd", and the
// queueing of OpenBSD 7.4 and FreeBSD 13.
#pragma once

#include <cstdint>
#include <optional>

#include "lib/base/time.h"
#include "lib/pfsync/actions.h"
#include "lib/state/state.h"

namespace twinwall::pfsync {

enum class SyncEvent : uint8_t {
  created,              // by a packet here
  imported,             // from a peer, no acknowledgement wanted
  imported_ack_wanted,  // from a peer that holds a packet back until it is acknowledged
  packet,               // a packet matched the state here
  requested,            // a peer asked for the whole state
  removed,              // here; not on a peer's word, and not of a state that is not synchronised
};

inline constexpr uint8_t kDefaultMaxUpdates = 128;
inline constexpr uint32_t kPeerRecencySeconds = 2;
inline constexpr Duration kFlushInterval = 1s;

struct QueueInput {
  SyncQueue queue = SyncQueue::none;
  uint8_t updates = 0;  // touches since it was queued (State::sync_updates)
  bool tcp = false;     // only TCP counts touches
  uint8_t max_updates = kDefaultMaxUpdates;
  uint32_t now = 0;
  uint32_t peer_update = 0;  // State::sync_peer_update; 0: the peer never spoke of it
};

struct QueueStep {
  SyncQueue queue = SyncQueue::none;
  uint8_t updates = 0;
  bool flush = false;  // send everything queued at once
  friend bool operator==(const QueueStep&, const QueueStep&) = default;
};

[[nodiscard]] QueueStep queue_step(System system, SyncEvent event, const QueueInput& in);

// The timer of one packet in the making: runs from its first item.
class FlushTimer {
 public:
  void item_queued(Time now) {
    if (!deadline_) deadline_ = now + kFlushInterval;
  }
  void flushed() { deadline_.reset(); }
  [[nodiscard]] std::optional<Time> deadline() const { return deadline_; }
  [[nodiscard]] bool due(Time now) const { return deadline_ && *deadline_ <= now; }

 private:
  std::optional<Time> deadline_;
};

}  // namespace twinwall::pfsync
