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
// Leaders that have had many packets are told some together: each by itself costs more than what it says.
constexpr size_t kHastyBatch = 8;
constexpr Duration kHastyDelay = 1ms;

}  // namespace

void Engine::Impl::append(SyncList& list, State& s, bool is_urgent) {
  const StateIndex index = table.index_of(s);
  s.sync_next = kNoState;
  s.sync_prev = list.tail;
  s.sync_urgent = is_urgent;
  if ((s.log & kTwinFollower) != 0) table.line(s).told.by_itself = true;
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
  if ((s.log & kTwinFollower) != 0) table.line(s).told.by_itself = false;
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
  delta.of_two = false;
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
  if (action != SyncQueue::ins) return;
  s.flags &= static_cast<uint16_t>(~kStateAckWanted);  // asked for once
  if ((s.log & kTwinFollower) != 0) table.line(s).told.flags = s.flags;
}

// As to_update() does, but from the lines of the two.
void Engine::Impl::tell_twins(State& lead, bool both) {
  const TwinLine& line = table.line(lead);
  TwinLine& follower = table.line(lead.link);
  const TwinLine::Told& told = follower.told;
  const auto expire = [&](RuleSlot slot, uint32_t number) {
    const uint32_t end = line.last_update + whole_timeout(lead.timeout, find_rule(slot, number));
    return static_cast<int32_t>(end - now_s) > 0 ? end - now_s : 1;  // none left would be all of it
  };
  delta.action = SyncQueue::upd_c;
  pfsync::StateRecord& r = delta.record;
  r.id = lead.id;
  r.creator = lead.creator;
  r.timeout = static_cast<uint8_t>(lead.timeout);
  r.state_flags = lead.flags & kStateWireFlags;
  r.expire = expire(lead.rule, told.leaders_rule_number);
  const TwinLine::Moving& m = line.moving;
  for (const unsigned end : {0u, 1u}) {
    pfsync::PeerRecord& p = end == m.turned ? r.src : r.dst;
    p = {};
    p.seqlo = m.seqlo[end];
    p.seqhi = m.seqhi[end];
    p.max_win = m.max_win[end];
    p.mss = told.mss[end ^ m.turned];
    p.level = told.level;
    p.wscale = told.wscale[end ^ m.turned];
  }
  note_told(lead, told.level, told.level);
  delta.of_two = both && !told.by_itself;
  if (!delta.of_two) return;
  delta.other.id = {told.id, told.creator};
  const RuleSlot rule = courses.at(static_cast<uint16_t>(line.marked() >> 16)).out_rule;
  delta.other.expire = rule == lead.rule ? r.expire : expire(rule, told.rule_number);
  delta.other.state_flags = told.flags & kStateWireFlags;
  counters.sync_queued.add();
  if (told.as_it_is) [[likely]]
    return;
  note_told(table.state(lead.link), told.level, told.level);
  follower.told.as_it_is = true;
}

// What telling it will ask for, and that of the one behind it whose first and last line this asks for.
void Engine::Impl::prefetch_told(const State& next) const {
  if ((next.log & kTwinLeader) != 0)
    prefetch_line_to_write(&table.line(next.link));
  else
    prefetch_line_to_write(&next.src);
  if (next.sync_next == kNoState) return;
  const State& second = table.state(next.sync_next);
  prefetch_line_to_write(&second);
  prefetch_line_to_write(&second.id);
  prefetch_line_to_write(&table.line(next.sync_next));
}

bool Engine::Impl::pop(SyncList& list) {
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
  if (s.sync_next != kNoState) prefetch_told(table.state(s.sync_next));
  const SyncQueue action = s.sync_queue;
  const bool both = s.waits_for_both;
  if (both && action != SyncQueue::upd_c) [[unlikely]]
    queue_follower(s, table.state(s.link));
  s.waits_for_both = false;
  unlink(list, s);
  if (action == SyncQueue::upd_c && (s.log & kTwinLeader) != 0)
    tell_twins(s, both);
  else
    tell(s, action);
  s.sync_queue = SyncQueue::none;
  s.sync_updates = 0;
  if ((s.log & kTwinLeader) != 0) table.line(s).moving.set_quiet(0);
  if ((s.log & kTwinFollower) != 0) {  // the next packet sees to it that this one goes along with the leader
    State& lead = table.state(s.link);
    TwinLine::Moving& m = table.line(lead).moving;
    lead.sync_updates -= std::min(lead.sync_updates, m.quiet());
    m.set_quiet(0);
  }
  if (--list.to_drain == 0 || list.size == 0) {
    list.draining = false;
    list.due = list.size == 0 ? Time::max() : now + (was_lazy ? kLazyDelay : kUrgentDelay);
    if (was_lazy) lazy_flush = false;
  }
  return true;
}

// False: there is no room, or it is urgent already.
bool Engine::Impl::make_hasty(State& lead) {
  if (hasty_count == hasty.size() || lead.sync_urgent || lead.sync_hasty) return false;
  if (hasty_count == 0) hasty_due = now + kHastyDelay;
  hasty[(hasty_head + hasty_count++) % hasty.size()] = table.index_of(lead);
  lead.sync_hasty = true;
  prefetch_line_to_write(&table.line(lead.link));
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
    tell_twins(s, true);
    s.sync_updates = 0;
    allow(s, true);
    TwinLine::Moving& m = table.line(s).moving;
    if (m.quiet() != UINT8_MAX) ++m.touch_at;  // the first would only have been queued
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
  if (!leader.waits_for_both) return;
  leader.waits_for_both = false;
  if (follower.sync_queue != SyncQueue::none) return;
  const bool hurry = leader.sync_queue != SyncQueue::none && leader.sync_urgent;
  follower.sync_queue = SyncQueue::upd_c;
  append(hurry ? urgent_list : lazy_list, follower, hurry);
}

bool Engine::Impl::next_delta() {
  bool got = pop(urgent_list) || pop_hasty() || pop(lazy_list);
  if (!got && removal_count != 0 && now >= removals_due) {
    delta.action = SyncQueue::del_c;
    delta.of_two = false;
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
  if (s == nullptr || s->owner != options.worker) return;
  if (s->sync_queue != SyncQueue::none) {  // one of many packets; else it goes with its list
    if (refused.action == SyncQueue::upd_c && (s->log & kTwinLeader) != 0) (void)make_hasty(*s);
    return;
  }
  s->sync_queue = refused.action;
  s->waits_for_both = refused.of_two;
  append(urgent_list, *s, true);
}

void Engine::Impl::flush_deltas() {
  for (SyncList* const list : {&urgent_list, &lazy_list}) {
    if (list->size == 0) continue;
    list->due = now;
    if (list->draining) list->to_drain = list->size;
  }
  lazy_flush = lazy_list.size != 0;
  hasty_due = now;
  if (removal_count != 0) removals_due = now;
  if (untold_count != 0) untold_due = now;
}

bool Engine::Impl::hasty_waits(Time t) const {
  return hasty_count >= kHastyBatch || (hasty_count != 0 && t >= hasty_due);
}

bool Engine::Impl::urgent_due(Time t) const {
  return t >= urgent_list.due || t >= removals_due || lazy_flush || hasty_waits(t);
}

bool Engine::Impl::deltas_due(Time t) const { return urgent_due(t) || t >= lazy_list.due; }

Time Engine::Impl::next_sync_deadline() const {
  if (deltas_due(now)) return now;
  const Time batch_due = hasty_count != 0 ? hasty_due : Time::max();
  return std::min({urgent_list.due, lazy_list.due, removals_due, untold_due, batch_due});
}

}  // namespace twinwall
