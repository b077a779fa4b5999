// Where the looking into a connection stands, told to a peer that may have to go on with it.
//
// A connection that was looked at waits here for a few milliseconds, so that a burst is told once, and what is told is
// what holds then. Nothing of it is done for a packet but to note the state. Not before the peer knows the state; again
// when what was said of the state was lost; and all of it when a peer has got the whole table.
#include <algorithm>

#include "lib/engine/engine_impl.h"

namespace twinwall {

namespace {

constexpr Duration kTellDelay = 5ms;
constexpr Duration kTellRetry = 1ms;
// What is told in a slice of time, of one worker; beyond it waits for the next.
constexpr Duration kTellSlice = 100ms;
constexpr uint32_t kTellBytes = 512u << 10;

}  // namespace

void Engine::Impl::note_inspection(State& s) {
  if (inspect_untold.empty() || (s.flags & kStateNoSync) != 0) return;
  StateRest& rest = table.rest(s);
  if (rest.inspect_untold) return;
  if (untold_count == inspect_untold.size()) {
    inspect_count(InspectCounter::told_lost);
    return;
  }
  rest.inspect_untold = true;
  inspect_untold[(untold_head + untold_count) % inspect_untold.size()] = table.index_of(s);
  if (untold_count++ == 0) untold_due = std::max(untold_due_at_least, now + kTellDelay);
}

void Engine::Impl::put_inspection(const State& s, InspectionWord& out) {
  out.id = {s.id, s.creator};
  out.length = InspectionWord::kHead;
  std::fill_n(out.bytes.begin(), InspectionWord::kHead, uint8_t{0});
  const StateRest& rest = table.rest(s);
  if ((rest.inspect & kInspectBlocked) != 0) {
    out.bytes[0] = InspectionWord::blocked;
    return;
  }
  const inspect::Policy* const policy = (s.log & kInspected) != 0 ? policy_of(s) : nullptr;
  if (policy == nullptr) {
    out.bytes[0] = InspectionWord::free;
    return;
  }
  if (!inspector.current(rest.inspection, snapshot->generation))
    inspector.renew(rest.inspection, *policy, snapshot->generation);
  bool cut = false;
  const size_t n =
      inspector.save(rest.inspection, *policy, MutableBytes(out.bytes).subspan(InspectionWord::kHead), cut);
  if (cut) inspect_count(InspectCounter::told_cut);
  out.bytes[0] = n != 0 ? InspectionWord::looked_at : InspectionWord::unknown;
  out.length = static_cast<uint16_t>(InspectionWord::kHead + n);
}

bool Engine::Impl::next_inspection(InspectionWord& out) {
  if (snapshot == nullptr) return false;
  while (untold_count != 0 && now >= untold_due) {
    if (now - tell_slice >= kTellSlice) {
      tell_slice = now;
      told_in_slice = 0;
    }
    if (told_in_slice >= kTellBytes) {
      untold_due = untold_due_at_least = tell_slice + kTellSlice;
      inspect_count(InspectCounter::told_later);
      return false;
    }
    const StateIndex index = inspect_untold[untold_head];
    untold_head = (untold_head + 1) % inspect_untold.size();
    if (--untold_count == 0) untold_due = Time::max();
    State* const s = table.owned(index, options.worker);
    if (s == nullptr || (s->flags & kStateRest) == 0 || !table.rest(*s).inspect_untold) continue;
    table.rest(*s).inspect_untold = false;
    if (s->sync_queue == SyncQueue::ins) {  // the peer has to know the state first
      note_inspection(*s);
      untold_due = now + kTellRetry;
      return false;
    }
    put_inspection(*s, out);
    if (out.bytes[0] == InspectionWord::unknown) continue;
    told_in_slice += out.length;
    inspect_count(InspectCounter::told);
    return true;
  }
  return false;
}

// The ring is full: it is told later, as it is then.
void Engine::Impl::return_inspection(const InspectionWord& word) {
  State* const s = table.find_by_id(word.id.id, word.id.creator);
  if (s == nullptr || s->owner != options.worker || (s->flags & kStateRest) == 0) return;
  note_inspection(*s);
  untold_due = now + kTellRetry;
}

void Engine::Impl::take_inspection(const InspectionWord& word) {
  State* const found = table.find_by_id(word.id.id, word.id.creator);
  if (found == nullptr && options.worker == 0) inspect_count(InspectCounter::taken_refused);
  if (found == nullptr || found->owner != options.worker) return;
  State& s = *found;
  const inspect::Policy* const policy = policy_of(s);
  const bool known = word.length >= InspectionWord::kHead && word.length <= word.bytes.size();
  if (policy == nullptr || !known || (s.wire.proto != kProtoTcp && s.wire.proto != kProtoUdp))
    return inspect_count(InspectCounter::taken_refused);
  part(s);
  const bool blocked = (s.log & kInspected) != 0 && (table.rest(s).inspect & kInspectBlocked) != 0;
  if (blocked) return;
  switch (word.bytes[0]) {
    case InspectionWord::free: end_inspection(s); return inspect_count(InspectCounter::taken);
    case InspectionWord::blocked: return block_connection(s, InspectCounter::taken);
    case InspectionWord::looked_at: break;
    default: return inspect_count(InspectCounter::taken_refused);
  }
  const bool fresh = (s.log & kInspected) == 0;
  if (fresh && !open_inspection(s, *policy)) return inspect_count(InspectCounter::taken_refused);
  StateRest& rest = rest_of(s);
  if (!inspector.current(rest.inspection, snapshot->generation))
    inspector.renew(rest.inspection, *policy, snapshot->generation);
  const Bytes saved = Bytes(word.bytes).subspan(InspectionWord::kHead, word.length - InspectionWord::kHead);
  switch (inspector.take_over(rest.inspection, *policy, snapshot->inspection, saved)) {
    case inspect::Inspector::Resumed::whole: inspect_count(InspectCounter::taken); break;
    case inspect::Inspector::Resumed::afresh: inspect_count(InspectCounter::taken_afresh); break;
    case inspect::Inspector::Resumed::old: break;
    case inspect::Inspector::Resumed::malformed:
      inspect_count(InspectCounter::taken_refused);
      if (fresh) end_inspection(s);
      return;
  }
  const unsigned open = inspector.open_directions(rest.inspection);
  rest.inspect =
      static_cast<uint8_t>(((open & 1u) != 0 ? kInspectForward : 0) | ((open & 2u) != 0 ? kInspectBackward : 0));
  if (open == 0) end_inspection(s);
}

}  // namespace twinwall
