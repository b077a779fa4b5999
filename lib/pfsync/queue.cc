#include "lib/pfsync/queue.h"

namespace twinwall::pfsync {
namespace {

// Whether a touch of a state in this queue counts towards max_updates.
bool counts_touches(System system, SyncQueue queue) {
  if (queue == SyncQueue::upd_c || queue == SyncQueue::upd) return true;
  return queue == SyncQueue::ins && system != System::openbsd74;
}

QueueStep on_packet(System system, const QueueInput& in) {
  QueueStep out{in.queue, in.updates, false};
  if (in.queue == SyncQueue::del_c) return out;
  if (in.queue == SyncQueue::none || in.queue == SyncQueue::ins_ack) {
    out = {SyncQueue::upd_c, 0, false};
  } else if (in.tcp && counts_touches(system, in.queue)) {
    if (out.updates != UINT8_MAX) ++out.updates;
    out.flush = out.updates >= in.max_updates;
  }
  // Both nodes see this connection: tell the other fast.
  if (in.peer_update != 0 && in.now - in.peer_update < kPeerRecencySeconds) out.flush = true;
  return out;
}

QueueStep on_request(System system, const QueueInput& in) {
  const bool always = dialect_of(system) == Dialect::openbsd;
  switch (in.queue) {
    case SyncQueue::none:
    case SyncQueue::upd_c:
    case SyncQueue::ins_ack: return {SyncQueue::upd, 0, true};
    case SyncQueue::ins:
    case SyncQueue::upd:
    case SyncQueue::del_c: break;
  }
  return {in.queue, in.updates, always};
}

}  // namespace

QueueStep queue_step(System system, SyncEvent event, const QueueInput& in) {
  const QueueStep unchanged{in.queue, in.updates, false};
  switch (event) {
    case SyncEvent::created: return in.queue == SyncQueue::none ? QueueStep{SyncQueue::ins, 0, false} : unchanged;
    case SyncEvent::imported: return unchanged;
    case SyncEvent::imported_ack_wanted:
      return in.queue == SyncQueue::none ? QueueStep{SyncQueue::ins_ack, 0, true} : unchanged;
    case SyncEvent::packet: return on_packet(system, in);
    case SyncEvent::requested: return on_request(system, in);
    case SyncEvent::removed:
      if (in.queue == SyncQueue::del_c) return unchanged;
      return {in.queue == SyncQueue::ins ? SyncQueue::none : SyncQueue::del_c, 0, false};
  }
  return unchanged;
}

}  // namespace twinwall::pfsync
