// Telling the peers: which state waits in which queue, and when it is due.
//
// PF lets up to a second pass before anything is sent. Twinwall keeps that for updates that only move windows, but
// sends births, deaths and changes of level within milliseconds: a node may die at any moment, and a connection that
// its peer has never heard of dies with it.
#include <algorithm>

#include "lib/engine/engine_impl.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr Duration kUrgentDelay = 5ms;
constexpr Duration kLazyDelay = 1s;

}  // namespace

void Engine::Impl::append(SyncList& list, State& s, bool is_urgent) {
  const StateIndex index = table.index_of(s);
  s.sync_next = kNoState;
  s.sync_prev = list.tail;
  s.sync_urgent = is_urgent;
  if (list.tail != kNoState)
    table.state(list.tail).sync_next = index;
  else
    list.head = index;
  list.tail = index;
  if (list.size++ == 0) list.due = now + (is_urgent ? kUrgentDelay : kLazyDelay);
}

// The first one's `sync_prev` means nothing: so taking it away needs no look at the one behind it, which may be far.
void Engine::Impl::unlink(SyncList& list, State& s) {
  const bool first = list.head == table.index_of(s), last = s.sync_next == kNoState;
  if (first)
    list.head = s.sync_next;
  else
    table.state(s.sync_prev).sync_next = s.sync_next;
  if (last)
    list.tail = first ? kNoState : s.sync_prev;
  else if (!first)
    table.state(s.sync_next).sync_prev = s.sync_prev;
  s.sync_next = s.sync_prev = kNoState;
  if (--list.size == 0) {
    list.due = Time::max();
    list.draining = false;
  }
}

void Engine::Impl::unqueue(State& s) {
  if (s.sync_queue == SyncQueue::none) return;
  unlink(s.sync_urgent ? urgent_list : lazy_list, s);
  s.sync_queue = SyncQueue::none;
}

void Engine::Impl::touched(State& s, pfsync::SyncEvent event, bool is_urgent) {
  if ((s.flags & kStateNoSync) != 0) return;
  pfsync::QueueInput in;
  in.queue = s.sync_queue;
  in.updates = s.sync_updates;
  in.tcp = s.wire.proto == kProtoTcp;
  in.max_updates = options.max_updates;
  in.now = now_s;
  if ((s.log & kPeerSpoke) != 0) {
    in.peer_update = s.sync_peer_update;
    if (now_s - s.sync_peer_update >= pfsync::kPeerRecencySeconds) s.log &= static_cast<uint8_t>(~kPeerSpoke);
  }
  const pfsync::QueueStep step = pfsync::queue_step(pfsync::System::openbsd74, event, in);
  s.sync_updates = step.updates;
  if (step.queue == SyncQueue::none) return unqueue(s);
  const bool hurry = is_urgent || step.flush || step.queue == SyncQueue::ins;
  if (s.sync_queue == SyncQueue::none) {
    s.sync_queue = step.queue;
    append(hurry ? urgent_list : lazy_list, s, hurry);
    if (event == pfsync::SyncEvent::imported_ack_wanted) urgent_list.due = now;  // a packet waits for it
    return;
  }
  s.sync_queue = step.queue;
  if (hurry && !s.sync_urgent) {
    unlink(lazy_list, s);
    append(urgent_list, s, true);
  }
}

void Engine::Impl::queue_removal(const State& s) {
  if (removal_count == removals.size()) {
    counters.deletes_lost.add();
    return;
  }
  pfsync::StateId& slot = removals[(removal_head + removal_count) % removals.size()];
  slot.id = s.id;
  slot.creator = s.creator;
  if (removal_count++ == 0) removals_due = now + kUrgentDelay;
}

void Engine::Impl::tell(State& s, SyncQueue action) {
  delta.action = action;
  if (action == SyncQueue::ins_ack) {
    delta.record.id = s.id;
    delta.record.creator = s.creator;
    return;
  }
  if (action == SyncQueue::upd_c)
    to_update(s, delta.record);
  else
    to_record(s, delta.record, true);
  note_told(s);
  if (action == SyncQueue::ins) s.flags &= static_cast<uint16_t>(~kStateAckWanted);  // asked for once
}

bool Engine::Impl::pop(SyncList& list) {
  if (list.twin != kNoState) return pop_twin(list);
  if (list.size == 0 || now < list.due) return false;
  if (!list.draining) {  // what is queued while this goes out waits for its own time
    list.draining = true;
    list.to_drain = list.size;
  }
  State& s = table.state(list.head);
  const bool was_lazy = !s.sync_urgent;
  if (was_lazy && !lazy_flush && lazy_left-- == 0) {
    lazy_left = 0;
    return false;
  }
  if (s.sync_next != kNoState) {
    table.prefetch_told(s.sync_next);
    prefetch_line_to_write(&table.line(s.sync_next));
  }
  if (s.waits_for_both) {
    s.waits_for_both = false;
    list.twin = s.link;
    list.twin_waits = was_lazy && !lazy_flush;
    table.prefetch_told(s.link);
  }
  tell(s, s.sync_queue);
  unlink(list, s);
  s.sync_queue = SyncQueue::none;
  s.sync_updates = 0;
  if ((s.log & kTwinLeader) != 0) table.line(s).quiet = 0;
  if (--list.to_drain == 0 || list.size == 0) {
    list.draining = false;
    list.due = list.size == 0 ? Time::max() : now + (was_lazy ? kLazyDelay : kUrgentDelay);
    if (was_lazy) lazy_flush = false;
  }
  return true;
}

// The follower of the leader that went last, which is as much work again: its turn may be the next one.
bool Engine::Impl::pop_twin(SyncList& list) {
  State& s = table.state(list.twin);
  const bool by_itself = s.sync_queue != SyncQueue::none;
  if (!by_itself && list.twin_waits && lazy_left-- == 0) {
    lazy_left = 0;
    return false;
  }
  list.twin = kNoState;
  if (by_itself) return pop(list);
  tell(s, SyncQueue::upd_c);
  return true;
}

// False: there is no room, or it is urgent already.
bool Engine::Impl::make_hasty(State& lead) {
  if (hasty_count == hasty.size() || lead.sync_urgent || lead.sync_hasty) return false;
  hasty[(hasty_head + hasty_count++) % hasty.size()] = table.index_of(lead);
  lead.sync_hasty = true;
  table.prefetch_told(table.index_of(lead));
  table.prefetch_told(lead.link);
  allow(lead, true);
  return true;
}

bool Engine::Impl::pop_hasty() {
  while (hasty_left != 0 && hasty_count != 0) {
    --hasty_left;
    State& s = table.state(hasty[hasty_head]);
    hasty_head = (hasty_head + 1) % hasty.size();
    --hasty_count;
    s.sync_hasty = false;
    if (s.sync_queue != SyncQueue::upd_c || s.sync_urgent) continue;  // told meanwhile, or about to be
    urgent_list.twin = s.link;
    urgent_list.twin_waits = false;
    tell(s, SyncQueue::upd_c);
    s.sync_updates = 0;
    allow(s, true);
    if (uint8_t& quiet = table.line(s).quiet; quiet != UINT8_MAX) ++quiet;  // the first would only have been queued
    return true;
  }
  return false;
}

// It is no leader any more, and goes by itself.
void Engine::Impl::take_hasty_back(State& lead) {
  lead.sync_hasty = false;
  const StateIndex index = table.index_of(lead);
  size_t kept = 0;
  for (size_t i = 0; i < hasty_count; ++i) {
    const StateIndex at = hasty[(hasty_head + i) % hasty.size()];
    if (at != index) hasty[(hasty_head + kept++) % hasty.size()] = at;
  }
  hasty_count = kept;
  if (lead.sync_queue != SyncQueue::upd_c || lead.sync_urgent) return;
  unlink(lazy_list, lead);
  append(urgent_list, lead, true);
}

void Engine::Impl::queue_follower(State& leader, State& follower) {
  const StateIndex index = table.index_of(follower);
  bool waits = leader.waits_for_both;
  leader.waits_for_both = false;
  for (SyncList* const list : {&urgent_list, &lazy_list}) {
    if (list->twin != index) continue;
    list->twin = kNoState;
    waits = true;
  }
  if (!waits || follower.sync_queue != SyncQueue::none) return;
  const bool hurry = leader.sync_queue != SyncQueue::none && leader.sync_urgent;
  follower.sync_queue = SyncQueue::upd_c;
  append(hurry ? urgent_list : lazy_list, follower, hurry);
}

bool Engine::Impl::next_delta() {
  bool got = pop(urgent_list) || pop_hasty() || pop(lazy_list);
  if (!got && removal_count != 0 && now >= removals_due) {
    delta.action = SyncQueue::del_c;
    delta.record.id = removals[removal_head].id;
    delta.record.creator = removals[removal_head].creator;
    removal_head = (removal_head + 1) % removals.size();
    if (--removal_count == 0) removals_due = Time::max();
    got = true;
  }
  if (got) counters.sync_queued.add();
  return got;
}

// The ring is full. The delta goes back to where it came from, to be read afresh later.
void Engine::Impl::return_delta(const Delta& refused) {
  counters.sync_overflow.add();
  if (refused.action == SyncQueue::del_c) {
    if (removal_count == removals.size()) {
      counters.deletes_lost.add();
      return;
    }
    removal_head = (removal_head + removals.size() - 1) % removals.size();
    removals[removal_head] = {refused.record.id, refused.record.creator};
    if (removal_count++ == 0) removals_due = now;
    return;
  }
  State* s = table.find_by_id(refused.record.id, refused.record.creator);
  if (s == nullptr || s->owner != options.worker || s->sync_queue != SyncQueue::none) return;
  s->sync_queue = refused.action;
  append(urgent_list, *s, true);
}

void Engine::Impl::flush_deltas() {
  if (urgent_list.size != 0) urgent_list.due = now;
  lazy_list.twin_waits = false;
  if (lazy_list.size != 0) {
    lazy_list.due = now;
    lazy_flush = true;
  }
  if (removal_count != 0) removals_due = now;
  if (untold_count != 0) untold_due = now;
}

bool Engine::Impl::urgent_due(Time t) const {
  const bool in_turn = lazy_flush || (lazy_list.twin != kNoState && !lazy_list.twin_waits);
  return t >= urgent_list.due || t >= removals_due || urgent_list.twin != kNoState || hasty_count != 0 || in_turn;
}

bool Engine::Impl::deltas_due(Time t) const {
  return urgent_due(t) || t >= lazy_list.due || lazy_list.twin != kNoState;
}

Time Engine::Impl::next_sync_deadline() const {
  if (deltas_due(now)) return now;
  return std::min({urgent_list.due, lazy_list.due, removals_due, untold_due});
}

}  // namespace twinwall
