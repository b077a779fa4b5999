// The two states of a forwarded connection as one (lib/state/state.h says how it is kept).
//
// Only ordinary packets of connections that live keep twins together, so that nothing but windows, the time and
// counters moves meanwhile; every other event parts them, and the next ordinary packet may join them again.
#include "lib/engine/engine_impl.h"
#include "lib/engine/fast_parts.h"

namespace twinwall {

namespace {

constexpr size_t kEnds = 2 * sizeof(Peer);
static_assert(offsetof(State, dst) == offsetof(State, src) + sizeof(Peer));

// Whether the same packets will change both in the same way, and nothing but numbers. Both are fit for the fast path.
bool alike(const State& a, const State& b) {
  const bool udp_settled =
      a.timeout == TimeoutClass::udp_multiple && a.src.level == kMultiple && a.dst.level == kMultiple;
  return (udp_settled || tcp_ordinary(a)) && a.timeout == b.timeout && std::memcmp(&a.src, &b.src, kEnds) == 0 &&
         ((a.flags ^ b.flags) & (kStateNoSync | kStateSloppy)) == 0 && ((a.log | b.log) & kInspected) == 0 &&
         (a.direction == Direction::in) == (b.direction == Direction::out);
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
  const bool needed = follower.translated || follower.match_set != 0 || follower.interface != kNoInterface;
  leader.link_rule = follower.rule;
  leader.log = static_cast<uint8_t>(leader.log | kTwinLeader | (needed ? kLinkNeeded : 0));
  follower.log |= kTwinFollower;
}

void Engine::Impl::part_twins(State& s) const {
  State& other = table.state(s.link);
  State& leader = (s.log & kTwinLeader) != 0 ? s : other;
  State& follower = &leader == &s ? other : s;
  std::memcpy(&follower.src, &leader.src, kEnds);
  follower.last_update = leader.last_update;
  for (const unsigned slot : {0u, 1u})
    set_counts(follower, slot, follower.packets(slot) + leader.packets(slot),
               follower.bytes(slot) + leader.bytes(slot));
  constexpr auto kNone = static_cast<uint8_t>(~(kTwinLeader | kTwinFollower | kLinkNeeded));
  leader.log &= kNone;
  follower.log &= kNone;
}

// As fast_path(), with one state for both hooks. What cannot change while they are twins was asked when they met.
__attribute__((flatten)) bool Engine::Impl::twin_path(Packet& p, const Ordinary& seen, State& s) {
  const bool leads = (s.log & kTwinLeader) != 0;
  State& lead = leads ? s : table.state(s.link);
  const State* const out = leads ? ((s.log & kLinkNeeded) != 0 ? &table.state(s.link) : nullptr) : &lead;
  const WayOut& way = way_out(s.way & 0xffff);
  if (seen.ttl(p.frame) <= 1 || seen.l3_length > way.mtu) return false;
  if (out != nullptr && out->interface != kNoInterface && out->interface != way.interface) return false;
  const Mac* const mac = next_mac(way, seen.af, stack_of(s).addr[1]);

  const bool forward = lead.direction == (leads ? Direction::in : Direction::out);
  if (seen.proto == kProtoTcp) {
    if (!tcp_ordinary(seen.tcp_flags) || !tcp_ordinary_step(lead, forward, ordinary_segment(p, seen), now_s))
      return false;
  } else {
    lead.last_update = now_s;
  }
  lead.count(forward ? 0 : 1, seen.l3_length);
  tally(s.rule, Direction::in, p.in, seen.af, seen.l3_length);
  tally(leads ? s.link_rule : lead.rule, Direction::out, way.interface, seen.af, seen.l3_length);
  if (s.match_set != 0) count_matches(s, Direction::in, seen.l3_length);
  if (out != nullptr && out->match_set != 0) count_matches(*out, Direction::out, seen.l3_length);
  if (options.sync && (lead.flags & kStateNoSync) == 0) touch_twins(lead, seen.proto == kProtoTcp);
  send_translated(p, seen, s, out, way, mac);
  return true;
}

// What touched() would do for both, without a look at the second line of either while they wait in their queues.
void Engine::Impl::touch_twins(State& lead, bool tcp) {
  const bool waits = lead.sync_queue == SyncQueue::ins || (lead.sync_queue == SyncQueue::upd_c && !tcp);
  if ((lead.log & kPeerSpoke) == 0) {
    if (waits) return;
    if (lead.sync_queue == SyncQueue::upd_c && lead.sync_updates + 1 < options.max_updates) {
      ++lead.sync_updates;
      return;
    }
  }
  touched(lead, pfsync::SyncEvent::packet, false);
  touched(table.state(lead.link), pfsync::SyncEvent::packet, lead.sync_urgent);
}

}  // namespace twinwall
