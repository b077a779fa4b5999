// The two states of a forwarded connection as one (lib/state/state.h says how it is kept).
//
// Only ordinary packets of connections that live keep twins together, so that nothing but windows, the time and
// counters moves meanwhile; every other event parts them, and the next ordinary packet may join them again.
#include <algorithm>

#include "lib/engine/engine_impl.h"
#include "lib/engine/fast_parts.h"
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

void set_counts(State& s, unsigned slot, uint64_t packets, uint64_t bytes) {
  s.packets_low[slot] = static_cast<uint32_t>(packets);
  s.packets_high[slot] = static_cast<uint32_t>(packets >> 32);
  s.bytes_low[slot] = static_cast<uint32_t>(bytes);
  s.bytes_high[slot] = static_cast<uint32_t>(bytes >> 32);
}

}  // namespace

void Engine::Impl::join(State& leader, State& follower) const {
  if (!alike(leader, follower)) return;
  for (const unsigned slot : {0u, 1u})
    set_counts(follower, slot, follower.packets(slot) - leader.packets(slot),
               follower.bytes(slot) - leader.bytes(slot));
  bool needed = follower.translated || follower.match_set != 0 || follower.interface != kNoInterface;
  if (follower.translated && !leader.translated && follower.wire.af == Af::inet && follower.interface == kNoInterface) {
    leader.sent_as = ends_v4(follower.wire, 1);
    leader.sent_as.match_set = follower.match_set;
    needed = false;
  }
  leader.link_rule = follower.rule;
  if ((follower.log & kPeerSpoke) != 0) {  // whatever is said of either is said of the connection
    leader.log |= kPeerSpoke;
    leader.sync_peer_update = std::max(leader.sync_peer_update, follower.sync_peer_update);
  }
  leader.log = static_cast<uint8_t>(leader.log | kTwinLeader | (needed ? kLinkNeeded : 0));
  follower.log |= kTwinFollower;
}

void Engine::Impl::part_twins(State& s) {
  State& other = table.state(s.link);
  State& leader = (s.log & kTwinLeader) != 0 ? s : other;
  State& follower = &leader == &s ? other : s;
  leader.sync_updates -= std::min(leader.sync_updates, leader.src.quiet);  // of those that were allowed for
  leader.src.quiet = 0;
  std::memcpy(&follower.src, &leader.src, kEnds);
  follower.last_update = leader.last_update;
  if (leader.sync_hasty) take_hasty_back(leader);
  queue_follower(leader, follower);
  if (follower.sync_queue == leader.sync_queue) follower.sync_updates = leader.sync_updates;
  for (const unsigned slot : {0u, 1u})
    set_counts(follower, slot, follower.packets(slot) + leader.packets(slot),
               follower.bytes(slot) + leader.bytes(slot));
  constexpr auto kNone = static_cast<uint8_t>(~(kTwinLeader | kTwinFollower | kLinkNeeded));
  leader.anchor = {};
  leader.log &= kNone;
  follower.log &= kNone;
}

bool Engine::Impl::linked_path(Packet& p, const Ordinary& seen, State& s) {
  if ((s.log & (kTwinLeader | kTwinFollower)) == 0) return fast_path(p, seen, s);
  if (s.owner != options.worker) return false;
  const bool leads = (s.log & kTwinLeader) != 0;
  if (leads_translated(s)) return twin_step<Twins::translated>(p, seen, s, s, nullptr);
  State& other = table.state(s.link);
  return twin_step<Twins::linked>(p, seen, s, leads ? s : other,
                                  leads && (s.log & kLinkNeeded) == 0 ? nullptr : &other);
}

// A run of the same number may be under way: what it has counted is settled.
[[gnu::noinline]] Engine::Impl::Run& Engine::Impl::begin_run(Run& run, uint64_t way_rule, uint64_t rest,
                                                             uint32_t matches) {
  const auto number = static_cast<unsigned>(&run - runs.data());
  if ((runs_used >> number & 1) != 0) settle_run(run);
  runs_used |= 1u << number;
  run = {};
  run.way_rule = way_rule;
  run.rest = rest;
  run.matches = matches;
  if (static_cast<uint16_t>(way_rule >> 16) != way_epoch) return run;
  const WayOut& way = way_out(way_rule & 0xffff);
  if (!way.onward) return run;
  run.way = way;
  Packet sent;
  sent.in = static_cast<InterfaceId>(rest >> 32);
  sent.fate = Fate::forward;
  sent.out = way.interface;
  run.disposition = load_raw<uint64_t>(&sent.in);
  run.ttl_at = kEthernetHeader + (static_cast<uint8_t>(rest >> 48) == static_cast<uint8_t>(Af::inet) ? 8 : 7);
  return run;
}

void Engine::Impl::settle_run(const Run& run) {
  if (run.packets == 0) return;
  const auto in_rule = static_cast<RuleSlot>(run.way_rule >> 32), out_rule = static_cast<RuleSlot>(run.rest);
  const auto in = static_cast<InterfaceId>(run.rest >> 32);
  const unsigned family = static_cast<uint8_t>(run.rest >> 48) == static_cast<uint8_t>(Af::inet) ? 0 : 1;
  RuleCounters &by_in = counters.rules[in_rule], &by_out = counters.rules[out_rule];
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
  const auto count = [&](uint32_t set, unsigned direction) {
    for (const RuleSlot slot : match_sets.slots(static_cast<uint16_t>(set))) {
      counters.rules[slot].packets[direction].add(run.packets);
      counters.rules[slot].bytes[direction].add(run.bytes);
    }
  };
  if (run.matches != 0) {
    count(run.matches & 0xffff, 0);
    count(run.matches >> 16, 1);
  }
  counters.fast.add(run.packets);
  counters.forwarded.add(run.packets - run.unresolved);
}

// Behind a burst: none of it is known to the next, whose View may be another.
void Engine::Impl::settle_runs() {
  for (; runs_used != 0; runs_used &= runs_used - 1) {
    Run& run = runs[static_cast<unsigned>(std::countr_zero(runs_used))];
    settle_run(run);
    run.way_rule = run.rest = 0;
    run.way.mtu = 0;
    run.packets = run.unresolved = 0;
    run.bytes = 0;
  }
}

// The packet is complete but for the MAC address: of a neighbour, each has its own.
[[gnu::noinline]] void Engine::Impl::leave_twin(Packet& p, const Ordinary& seen, Run& run, const FlowKey& key) {
  if (const Mac* const mac = next_mac(run.way, seen.af, key.addr[1]); mac != nullptr) {
    std::memcpy(p.frame, mac->bytes.data(), sizeof(Mac));
    return;
  }
  ++run.unresolved;
  leave_unresolved(p, seen, run.way);
}

// A packet of theirs has changed what peers know, and what was allowed for without a look is used up. Where the leader
// waits to be told it waits for both, unless the follower does by itself: so that one need not be looked at.
void Engine::Impl::touch_twins(State& lead, bool tcp) {
  if (lead.src.quiet != 0) {  // another packet of the burst has been here
    --lead.src.quiet;
    return;
  }
  if ((lead.flags & kStateNoSync) != 0) {
    lead.src.quiet = kMost;
    return;
  }
  const bool spoke = (lead.log & kPeerSpoke) != 0;
  if (!spoke && tcp && lead.waits_for_both && lead.sync_updates + 1 >= options.max_updates && make_hasty(lead)) return;
  if (!spoke && lead.sync_queue == SyncQueue::none) lead.waits_for_both = true;
  touched(lead, pfsync::SyncEvent::packet, false);
  if (spoke || lead.sync_urgent) {
    State& follower = table.state(lead.link);
    if (spoke || follower.sync_queue != SyncQueue::none) touched(follower, pfsync::SyncEvent::packet, lead.sync_urgent);
  }
  if ((lead.log & kPeerSpoke) != 0) return;
  allow(lead, tcp);
}

void Engine::Impl::allow(State& lead, bool tcp) const {
  if (tcp && lead.sync_queue == SyncQueue::upd_c && !lead.sync_urgent && !lead.sync_hasty) {  // each counts
    lead.src.quiet = static_cast<uint8_t>(std::max(0, options.max_updates - 1 - lead.sync_updates));
    lead.sync_updates += lead.src.quiet;
  } else {  // it goes out anyway: until then there is nothing to do
    lead.src.quiet = kMost;
    lead.sync_updates = 0;
  }
}

}  // namespace twinwall
