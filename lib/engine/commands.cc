// Words of the peers and of the operator, carried out by the worker that owns the states.
#include <algorithm>

#include "lib/engine/engine_impl.h"
#include "lib/engine/state_record.h"
#include "lib/net/headers.h"
#include "lib/pfsync/import.h"
#include "lib/pfsync/merge.h"
#include "lib/pfsync/slices.h"

namespace twinwall {

namespace {

// States looked at in one call of a walk, so that traffic never waits long for one.
constexpr StateIndex kWalkStep = 256;
// A peer's word on a state counts as its last one after so many seconds without another.
constexpr uint32_t kPeerWordSettled = 2;

pfsync::EndPositions positions(const State& s) { return {pfsync::position(s.src), pfsync::position(s.dst)}; }

}  // namespace

// An update of a state held here, by pfsync's rules: each end is taken unless what is held is newer.
void Engine::Impl::merge(State& s, const pfsync::PeerRecord& src, const pfsync::PeerRecord& dst, uint8_t timeout) {
  part(s);
  if (s.timeout == TimeoutClass::purge) return;  // an overload has ended it; the peer hears of that with its removal
  const pfsync::EndPositions update{pfsync::position(src), pfsync::position(dst)};
  const bool tcp = s.wire.proto == kProtoTcp;
  const pfsync::Merge m = pfsync::merge_update(pfsync::System::openbsd74, s.wire.proto, positions(s), update);
  const auto take = [&](const pfsync::PeerRecord& from, Peer& to) { apply_peer(from, tcp && snapshot->reanchor, to); };
  const bool half_open = counts_half_open(s);
  if (m.take_src) take(src, s.src);
  if (m.take_dst) take(dst, s.dst);
  if (half_open && !counts_half_open(s)) note_half_open(false);
  if (!half_open && counts_half_open(s)) note_half_open(true);
  if (m.refresh) {
    s.last_update = now_s;
    if (timeout < kTimeoutClasses) s.timeout = static_cast<TimeoutClass>(timeout);
    note_timeout(s);
  }
  s.sync_peer_update = now_s;
  s.log |= kPeerSpoke;
  counters.updates_merged.add();
  note_told(s);
  if (m.answer) {
    counters.updates_stale.add();
    touched(s, pfsync::SyncEvent::packet, true);
  }
}

// A shorter timeout class has to be seen before the old deadline; the wheel itself only looks when that is due.
void Engine::Impl::note_timeout(State& s) {
  const StateIndex index = table.index_of(s);
  wheel.remove(index);
  wheel.insert(index, deadline_of(s));
}

// A connection that has just begun. Where the looking into it stands will be told; should the peer die before, it is
// looked into from where it is here.
void Engine::Impl::take_new(const pfsync::StateRecord& record) {
  State* const s = import_record(record);
  if (s == nullptr || inspect_untold.empty()) return;
  const inspect::Policy* const policy = policy_of(*s);
  const bool inspected = s->wire.proto == kProtoTcp || s->wire.proto == kProtoUdp;
  if (policy != nullptr && inspected && !open_inspection(*s, *policy)) inspect_count(InspectCounter::taken_refused);
}

void Engine::Impl::tell_whole(State& s) {
  touched(s, pfsync::SyncEvent::requested, true);
  if ((s.log & kInspected) != 0) note_inspection(s);
}

bool Engine::Impl::matches(const State& s, const StateFilter& f) const {
  if (f.has_id && (s.id != f.id || (f.creator != 0 && s.creator != f.creator))) return false;
  if (f.slice_count != 0) {
    const uint16_t* const end = f.slices + std::min<size_t>(f.slice_count, std::size(f.slices));
    if (std::find(f.slices, end, pfsync::slice_of(s.id, s.creator)) == end) return false;
  }
  if (f.has_rule && s.rule != f.rule) return false;
  if (f.af != Af::none && s.wire.af != f.af) return false;
  if (f.proto != 0 && s.wire.proto != f.proto) return false;
  if (f.interface != kNoInterface && s.created_on != f.interface) return false;
  const unsigned i = initiator_slot_of(s.direction);
  const auto either_side = [&](const Prefix& prefix, unsigned slot) {
    return prefix.af == s.wire.af && (prefix.contains(s.wire.addr[slot]) || prefix.contains(s.stack.addr[slot]));
  };
  if (f.has_src && !either_side(f.src, i)) return false;
  if (f.has_dst && !either_side(f.dst, 1 - i)) return false;
  if (f.port != 0) {
    const uint16_t port = bswap(f.port);
    const bool any =
        s.wire.port[0] == port || s.wire.port[1] == port || s.stack.port[0] == port || s.stack.port[1] == port;
    if (!any) return false;
  }
  return true;
}

// A forwarded packet's state at the out hook knows that of the in hook only by a hint.
InterfaceId Engine::Impl::received_on(const State& s) const {
  if (s.direction == Direction::in) return s.created_on;
  const State* const in = s.link != kNoState ? table.owned(s.link, options.worker) : nullptr;
  const auto same_end = [&](unsigned a, unsigned b) {
    return in->stack.addr[a] == s.stack.addr[b] && in->stack.port[a] == s.stack.port[b];
  };
  const bool linked = in != nullptr && in->direction == Direction::in && in->stack.proto == s.stack.proto &&
                      same_end(0, 1) && same_end(1, 0);
  return linked ? in->created_on : kNoInterface;
}

bool Engine::Impl::walk_step(Walk& w, ReplyFn reply, void* context) {
  const bool kill = w.command.kind == Command::Kind::kill_states || w.command.kind == Command::Kind::clear;
  if (w.pending_reply) {
    if (!reply(context, w.reply)) return true;
    w.pending_reply = false;
  }
  const StateIndex end = std::min<StateIndex>(w.next + kWalkStep, table.capacity());
  for (; w.next < end; ++w.next) {
    State* const owned = table.owned(w.next, options.worker);
    if (owned == nullptr) continue;
    State& s = *owned;
    if (w.command.kind == Command::Kind::clear) {
      if (s.creator != w.command.clear.creator) continue;
      const std::string_view name(w.command.clear.ifname.data(),
                                  strnlen(w.command.clear.ifname.data(), w.command.clear.ifname.size()));
      if (!name.empty()) {
        const bool same = s.interface != kNoInterface && snapshot->interface(s.interface).name == name;
        if (!same) continue;
      }
      remove_state(s, false);
      ++w.count;
      continue;
    }
    if (w.command.kind == Command::Kind::tell_inspections) {
      if ((s.log & kInspected) != 0) note_inspection(s);
      continue;
    }
    if (!matches(s, w.command.filter)) continue;
    part(s);
    ++w.count;
    if (kill) {
      remove_state(s, true);
      counters.killed.add();
      continue;
    }
    Reply& r = w.reply;
    r = {};
    r.kind = Reply::Kind::state;
    r.worker = options.worker;
    r.cookie = w.command.cookie;
    to_record(s, r.record, w.command.for_peer);
    r.rule_number = r.record.rule;
    r.rule = s.rule;
    r.created_on = s.created_on;
    r.received_on = received_on(s);
    if ((s.flags & kStateRest) != 0) r.tag = table.rest(s).tag;
    r.imported = s.imported;
    r.told = s.told;
    r.of_peer = s.sync_peer_update != 0 && s.last_update <= s.sync_peer_update &&
                now_s - s.sync_peer_update >= kPeerWordSettled;
    r.peer_word = s.sync_peer_update;
    r.sync_queue = s.sync_queue;
    if (!reply(context, r)) {
      ++w.next;
      w.pending_reply = true;
      return true;
    }
  }
  if (w.next < table.capacity()) return true;
  Reply done;
  done.kind = Reply::Kind::done;
  done.worker = options.worker;
  done.cookie = w.command.cookie;
  done.count = w.count;
  if (!reply(context, done)) return true;
  w.active = false;
  return false;
}

// One of the walks a call, in turn: however many are under way, a worker is not away for longer.
bool Engine::Impl::continue_commands(ReplyFn reply, void* context) {
  for (size_t i = 0; i < walks.size(); ++i) {
    Walk& w = walks[walk_turn++ % walks.size()];
    if (!w.active) continue;
    (void)walk_step(w, reply, context);
    break;
  }
  return std::any_of(walks.begin(), walks.end(), [](const Walk& w) { return w.active; });
}

void Engine::Impl::execute(const Command& c, ReplyFn reply, void* context) {
  switch (c.kind) {
    case Command::Kind::import_state:
      if (table.find_by_id(c.record.id, c.record.creator) != nullptr)
        counters.import_refused.add();
      else
        take_new(c.record);
      return;
    case Command::Kind::update_state: {
      State* s = table.find_by_id(c.record.id, c.record.creator);
      if (s == nullptr)
        import_record(c.record);
      else if (s->owner == options.worker)
        merge(*s, c.record.src, c.record.dst, c.record.timeout);
      return;
    }
    case Command::Kind::update_compressed: {
      State* s = table.find_by_id(c.update.id, c.update.creator);
      if (s == nullptr) {
        if (!c.report_unknown) return;
        Reply r;
        r.kind = Reply::Kind::unknown_state;
        r.worker = options.worker;
        r.record.id = c.update.id;
        r.record.creator = c.update.creator;
        (void)reply(context, r);  // a lost request costs nothing: the next update of the state asks again
      } else if (s->owner == options.worker) {
        merge(*s, c.update.src, c.update.dst, c.update.timeout);
      }
      return;
    }
    case Command::Kind::delete_state: {
      State* s = table.find_by_id(c.id.id, c.id.creator);
      if (s != nullptr && s->owner == options.worker) remove_state(*s, false);
      return;
    }
    case Command::Kind::acknowledge: return acknowledged(c.id);
    case Command::Kind::kill_state: {
      State* s = table.find_by_id(c.id.id, c.id.creator);
      if (s == nullptr || s->owner != options.worker) return;
      remove_state(*s, true);
      counters.killed.add();
      return;
    }
    case Command::Kind::send_state: {
      State* s = table.find_by_id(c.id.id, c.id.creator);
      if (s != nullptr && s->owner == options.worker) tell_whole(*s);
      return;
    }
    case Command::Kind::tell_again: {
      State* s = table.find_by_id(c.id.id, c.id.creator);
      if (s != nullptr) {
        if (s->owner == options.worker) tell_whole(*s);
        return;
      }
      if (!c.report_unknown) return;
      Reply r;
      r.kind = Reply::Kind::gone_state;
      r.worker = options.worker;
      r.record.id = c.id.id;
      r.record.creator = c.id.creator;
      (void)reply(context, r);  // the digests find what is lost here
      return;
    }
    case Command::Kind::clear:
    case Command::Kind::export_states:
    case Command::Kind::tell_inspections:
    case Command::Kind::kill_states: {
      for (Walk& w : walks) {
        if (w.active) continue;
        w = {};
        w.active = true;
        w.command = c;
        return;
      }
      Reply busy;  // every walk is taken: nothing was done
      busy.kind = Reply::Kind::done;
      busy.worker = options.worker;
      busy.cookie = c.cookie;
      busy.refused = true;
      (void)reply(context, busy);
      return;
    }
  }
}

}  // namespace twinwall
