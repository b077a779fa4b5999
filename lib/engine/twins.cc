// The two states of a forwarded connection as one (lib/state/state.h says how it is kept).
//
// Only ordinary packets of connections that live keep twins together, so that nothing but windows, the time and
// counters moves meanwhile; every other event parts them, and the next ordinary packet may join them again.
#include <algorithm>

#include "lib/engine/engine_impl.h"
#include "lib/engine/fast_parts.h"
#include "lib/engine/state_record.h"
#include "lib/engine/twin_path.h"

namespace twinwall {

namespace {

constexpr uint8_t kMost = 0xff;
constexpr size_t kEnds = 2 * sizeof(Peer);
static_assert(offsetof(State, dst) == offsetof(State, src) + sizeof(Peer));

// Whether the same packets will change both in the same way, and nothing but numbers. Both are fit for the fast path.
bool alike(const State& a, const State& b) {
  const bool udp_settled =
      a.timeout == TimeoutClass::udp_multiple && a.src.level == kMultiple && a.dst.level == kMultiple;
  return (udp_settled || (tcp_ordinary(a) && tcp_shifts_known(a))) && a.timeout == b.timeout &&
         std::memcmp(&a.src, &b.src, kEnds) == 0 && ((a.flags ^ b.flags) & (kStateNoSync | kStateSloppy)) == 0 &&
         ((a.log | b.log) & kInspected) == 0 && (a.direction == Direction::in) == (b.direction == Direction::out);
}

// Of a state that leads or follows: as TwinLine has it.
unsigned sender_at(const State& s) { return s.direction == Direction::in ? 0 : 1; }

}  // namespace

// What is let in by the one and out by the other.
Course Engine::Impl::course_of(const State& in, const State& out) {
  return {in.way, in.rule, out.rule, in.match_set, out.match_set, out.interface, in.wire.af};
}

void Engine::Impl::join(State& leader, State& follower) {
  if (!alike(leader, follower)) return;
  const uint16_t there = courses.acquire(course_of(leader, follower));
  const uint16_t back = courses.acquire(course_of(follower, leader));
  if (there == 0 || back == 0) [[unlikely]] {
    courses.release(there);
    courses.release(back);
    counters.courses_exhausted.add();
    return;
  }
  TwinLine& lead = table.line(leader);
  lead.moving.turned = static_cast<uint8_t>(sender_at(leader));
  const bool scaled = (leader.src.wscale & leader.dst.wscale & kWindowScaleKnown) != 0;
  for (const unsigned end : {0u, 1u}) {
    const Peer& p = end == lead.moving.turned ? leader.src : leader.dst;
    lead.moving.seqlo[end] = p.seqlo;
    lead.moving.seqhi[end] = p.seqhi;
    lead.moving.max_win[end] = p.max_win;
    lead.moving.shift[end] = scaled ? p.wscale & kWindowScaleMask : uint8_t{0};
    lead.moving.bytes[end] = 0;
  }
  lead.last_update = leader.last_update;
  lead.moving.packets = lead.moving.answers = 0;
  lead.moving.set_quiet(0);
  TwinLine& follow = table.line(follower);
  follow.lead = table.index_of(leader);
  follow.told = {.id = follower.id,
                 .creator = follower.creator,
                 .rule_number = follower.rule_number,
                 .leaders_rule_number = leader.rule_number,
                 .flags = follower.flags,
                 .mss = {leader.src.mss, leader.dst.mss},
                 .wscale = {leader.src.wscale, leader.dst.wscale},
                 .level = leader.src.level,
                 .by_itself = follower.sync_queue != SyncQueue::none,
                 .as_it_is = follower.told == told_levels(follower.src.level, follower.dst.level)};

  const bool v4 = leader.wire.af == Af::inet;
  const bool translated = leader.translated || follower.translated;
  if (v4 && translated) {
    const auto sent_as = [](const State& in, const State& out) {
      return changed(ends_v4(in.wire, 0), ends_v4(out.translated ? out.wire : in.stack, out.translated ? 1 : 0));
    };
    const State::SentAs of_leader = sent_as(leader, follower), of_follower = sent_as(follower, leader);
    leader.sent_as = of_leader;
    follower.sent_as = of_follower;
  }
  const unsigned kind = (translated ? kTwinTranslates : 0u) | (v4 ? 0u : kTwinLongKey);
  const auto put = [&](TwinLine& line, const State& s, unsigned part_of_two, uint16_t course) {
    const uint32_t marks = TwinLine::mark(options.worker, part_of_two | kind, course);
    if (v4)
      line.put_key(s.wire.addr[0].words()[0] | s.wire.addr[1].words()[0] << 32, load_raw<uint64_t>(&s.wire.port),
                   marks);
    else
      line.put_key(0, 0, marks);
  };
  put(lead, leader, kTwinLeads, there);
  put(follow, follower, kTwinFollows, back);

  if ((follower.log & kPeerSpoke) != 0) {  // whatever is said of either is said of the connection
    leader.log |= kPeerSpoke;
    leader.sync_peer_update = std::max(leader.sync_peer_update, follower.sync_peer_update);
  }
  leader.log |= kTwinLeader;
  follower.log |= kTwinFollower;
}

void Engine::Impl::settle_counts(TwinLine& lead) {
  State& leader = table.state_of(lead);
  TwinLine::Moving& m = lead.moving;
  for (State* const s : {&leader, &table.state(leader.link)})
    for (const unsigned slot : {0u, 1u}) s->count_more(slot, m.packets_of(slot ^ m.turned), m.bytes[slot ^ m.turned]);
  const uint8_t quiet = m.quiet();
  m.packets = m.answers = m.bytes[0] = m.bytes[1] = 0;
  m.set_quiet(quiet);
}

void Engine::Impl::part_twins(State& s) {
  State& other = table.state(s.link);
  State& leader = (s.log & kTwinLeader) != 0 ? s : other;
  State& follower = &leader == &s ? other : s;
  TwinLine& lead = table.line(leader);
  TwinLine& follow = table.line(follower);
  settle_counts(lead);
  for (State* const state : {&leader, &follower}) {
    for (const unsigned end : {0u, 1u}) {
      Peer& p = end == lead.moving.turned ? state->src : state->dst;
      p.seqlo = lead.moving.seqlo[end];
      p.seqhi = lead.moving.seqhi[end];
      p.max_win = lead.moving.max_win[end];
    }
    state->last_update = lead.last_update;
    state->log &= static_cast<uint8_t>(~(kTwinLeader | kTwinFollower));
  }
  if ((lead.marked() >> 8 & kTwinTranslates) != 0) leader.anchor = follower.anchor = {};
  leader.sync_updates -= std::min(leader.sync_updates, lead.moving.quiet());  // of those that were allowed for
  if (leader.sync_hasty) take_hasty_back(leader);
  queue_follower(leader, follower);
  if (follower.sync_queue == leader.sync_queue) follower.sync_updates = leader.sync_updates;
  for (TwinLine* const line : {&lead, &follow}) {
    const auto course = static_cast<uint16_t>(line->marked() >> 16);
    if (courses.release(course)) {  // its number may soon be another's
      Run& run = runs[course % runs.size()];
      if (static_cast<uint16_t>(run.key) == course) run = {};
    }
    line->put_key(0, 0, 0);
  }
}

bool Engine::Impl::linked_path(Packet& p, const Ordinary& seen, State& s) {
  TwinLine& line = table.line(s);
  const uint32_t marks = line.marked();
  if (is_own_twin(marks))
    return twin_step<Twins::any>(p, seen, marks, line, (marks >> 8 & kTwinLeads) != 0 ? line : table.line(line.lead));
  return s.owner == options.worker && fast_path(p, seen, s);
}

// A run of the same number may be under way: what it has counted is settled.
[[gnu::noinline]] Engine::Impl::Run& Engine::Impl::begin_run(Run& run, uint32_t key) {
  settle_run(run);
  run = {};
  run.key = key;
  run.course = courses.at(static_cast<uint16_t>(key));
  if (run.course.way >> 16 != way_epoch) return run;
  const WayOut& way = way_out(run.course.way & 0xffff);
  if (!way.onward || (run.course.bound != kNoInterface && run.course.bound != way.interface)) return run;
  run.way = way;
  Packet sent;
  sent.in = static_cast<InterfaceId>(key >> 16);
  sent.fate = Fate::forward;
  sent.out = way.interface;
  run.disposition = load_raw<uint64_t>(&sent.in);
  return run;
}

void Engine::Impl::settle_run(Run& run) {
  if (run.packets == 0) return;
  const auto in = static_cast<InterfaceId>(run.key >> 16);
  const unsigned family = run.course.af == Af::inet ? 0 : 1;
  RuleCounters &by_in = counters.rules[run.course.in_rule], &by_out = counters.rules[run.course.out_rule];
  by_in.packets[0].add(run.packets);
  by_in.bytes[0].add(run.bytes);
  by_out.packets[1].add(run.packets);
  by_out.bytes[1].add(run.bytes);
  auto &in_hook = counters.interfaces[in].hook[0][family][0],
       &out_hook = counters.interfaces[run.way.interface].hook[1][family][0];
  in_hook.packets.add(run.packets);
  in_hook.bytes.add(run.bytes);
  out_hook.packets.add(run.packets);
  out_hook.bytes.add(run.bytes);
  const auto count = [&](uint16_t set, unsigned direction) {
    for (const RuleSlot slot : match_sets.slots(set)) {
      counters.rules[slot].packets[direction].add(run.packets);
      counters.rules[slot].bytes[direction].add(run.bytes);
    }
  };
  if (run.course.in_matches != 0) count(run.course.in_matches, 0);
  if (run.course.out_matches != 0) count(run.course.out_matches, 1);
  counters.fast.add(run.packets);
  counters.forwarded.add(run.packets - run.unresolved);
  run.packets = run.unresolved = 0;
  run.bytes = 0;
}

void Engine::Impl::settle_runs() {
  for (Run& run : runs)
    if (run.packets != 0) settle_run(run);
}

// The packet is complete but for the MAC address: of a neighbour, each has its own.
[[gnu::noinline]] void Engine::Impl::leave_twin(Packet& p, const Ordinary& seen, Run& run, const Address& destination) {
  if (const Mac* const mac = next_mac(run.way, seen.af, destination); mac != nullptr) {
    std::memcpy(p.frame, mac->bytes.data(), sizeof(Mac));
    return;
  }
  ++run.unresolved;
  leave_unresolved(p, seen, run.way);
}

// A packet of theirs has changed what peers know, and what was allowed for without a look is used up. Where the leader
// waits to be told it waits for both, unless the follower does by itself: so that one need not be looked at.
void Engine::Impl::touch_twins(TwinLine& line, bool tcp) {
  const auto since = static_cast<uint8_t>(line.moving.packets - line.moving.touch_at);  // in the same burst
  line.moving.set_quiet(0);
  State& lead = table.state_of(line);
  if ((lead.flags & kStateNoSync) != 0) return line.moving.set_quiet(kMost);
  touch_leader(lead, tcp);
  line.moving.set_quiet(static_cast<uint8_t>(line.moving.quiet() - std::min(line.moving.quiet(), since)));
}

void Engine::Impl::touch_leader(State& lead, bool tcp) {
  const bool spoke = (lead.log & kPeerSpoke) != 0;
  if (!spoke && tcp && lead.waits_for_both && lead.sync_updates + 1 >= options.max_updates && make_hasty(lead)) return;
  if (!spoke && !lead.waits_for_both)  // it may be in a queue already, and the follower not
    lead.waits_for_both = lead.sync_queue == SyncQueue::none || !table.line(lead.link).told.by_itself;
  touched(lead, pfsync::SyncEvent::packet, false);
  if (spoke || lead.sync_urgent) {
    if (spoke || table.line(lead.link).told.by_itself)
      touched(table.state(lead.link), pfsync::SyncEvent::packet, lead.sync_urgent);
  }
  if ((lead.log & kPeerSpoke) != 0) return;
  allow(lead, tcp);
}

void Engine::Impl::allow(State& lead, bool tcp) {
  TwinLine::Moving& m = table.line(lead).moving;
  if (tcp && lead.sync_queue == SyncQueue::upd_c && !lead.sync_urgent && !lead.sync_hasty) {  // each counts
    const auto quiet = static_cast<uint8_t>(std::max(0, options.max_updates - 1 - lead.sync_updates));
    m.set_quiet(quiet);
    lead.sync_updates += quiet;
  } else {  // it goes out anyway: until then there is nothing to do
    m.set_quiet(kMost);
    lead.sync_updates = 0;
  }
}

}  // namespace twinwall
