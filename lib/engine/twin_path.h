// The way of nearly all packets: of a connection whose two states are kept as one (lib/state/state.h). As fast_path(),
// but what cannot change while they are twins was asked when they met, and what the packets of a burst share is looked
// up once for them. Private to lib/engine.
#pragma once

#include <bit>

#include "lib/base/prefetch.h"
#include "lib/engine/engine_impl.h"
#include "lib/engine/fast_parts.h"
#include "lib/engine/short_ways.h"

namespace twinwall {

namespace twin {

// What a state says of itself from `direction` on, in one word.
[[gnu::always_inline]] inline uint64_t marks(const State& s) { return load_raw<uint64_t>(&s.direction); }

constexpr unsigned shift_of(size_t offset) { return static_cast<unsigned>(offset - offsetof(State, direction)) * 8; }
inline constexpr unsigned kOwner = shift_of(offsetof(State, owner)), kLog = shift_of(offsetof(State, log));
inline constexpr unsigned kMatchSet = shift_of(offsetof(State, match_set));
inline constexpr uint64_t kTranslated = uint64_t{2} << (kLog + 8);  // State::translated
static_assert(kMatchSet == 48 && offsetof(State, rule) == offsetof(State, way) + 4);
inline constexpr uint64_t kAsked = uint64_t{0xff} << kOwner |
                                   uint64_t{kTwinLeader | kTwinFollower | kLinkNeeded | kLinkTranslated} << kLog |
                                   kTranslated | uint64_t{0xffff} << kMatchSet;
inline constexpr uint64_t kCarries = uint64_t{kLinkTranslated} << kLog;

[[nodiscard]] inline uint64_t alone(uint8_t worker) {
  return uint64_t{worker} << kOwner | uint64_t{kTwinLeader} << kLog;
}

}  // namespace twin

// A leader of this worker's whose packets need nothing of the other state and of its own third line.
inline bool Engine::Impl::leads_alone(const State& s) const { return (twin::marks(s) & twin::kAsked) == alone; }

// The same, but for what it carries of the other state (State::sent_as) and its own `match` rules.
inline bool Engine::Impl::leads_translated(const State& s) const {
  constexpr uint64_t kAsked = twin::kAsked & ~(uint64_t{0xffff} << twin::kMatchSet);
  return (twin::marks(s) & kAsked) == (alone | twin::kCarries);
}

static_assert(offsetof(Packet, fate) == offsetof(Packet, in) + 2 &&
              offsetof(Packet, reason) == offsetof(Packet, in) + 3 &&
              offsetof(Packet, punt) == offsetof(Packet, in) + 4 &&
              offsetof(Packet, handoff_to) == offsetof(Packet, in) + 5 &&
              offsetof(Packet, out) == offsetof(Packet, in) + 6);

template <bool kMatches>
inline Engine::Impl::Run& Engine::Impl::run_of(const State& s, RuleSlot out_rule, InterfaceId in, const Ordinary& seen,
                                               uint32_t matches) {
  const auto way_rule = load_raw<uint64_t>(&s.way);
  const uint64_t rest = uint64_t{out_rule} | uint64_t{in} << 32 | uint64_t{load_raw<uint16_t>(&seen)} << 48;
  static_assert(std::has_single_bit(sizeof(Run)));
  constexpr unsigned kAway = std::countr_zero(sizeof(Run));
  const auto offset = (way_rule ^ rest) * 0x9e3779b97f4a7c15ull >> (64 - kRunBits - kAway) & ~(sizeof(Run) - 1);
  char* const first = reinterpret_cast<char*>(&runs[kMatches ? size_t{1} << kRunBits : 0]);
  Run& run = *reinterpret_cast<Run*>(first + offset);
  if (((run.way_rule ^ way_rule) | (run.rest ^ rest)) == 0 && (!kMatches || run.matches == matches)) [[likely]]
    return run;
  return begin_run(run, way_rule, rest, matches);
}

// touch_twins(), or that it is to be called behind the burst: what it needs is fetched meanwhile.
inline void Engine::Impl::count_or_touch(State& lead, bool tcp) {
  if (lead.src.quiet != 0) [[likely]] {
    --lead.src.quiet;
    return;
  }
  touched_leads[touched_count++] = {&lead, tcp};
  prefetch_line_to_write(&lead.creator);
}

template <Engine::Impl::Twins kTwins>
inline bool Engine::Impl::twin_step(Packet& p, const Ordinary& seen, State& s, State& lead, const State* out) {
  constexpr bool kLinked = kTwins == Twins::linked, kTranslated = kTwins == Twins::translated;
  const bool leads = !kLinked || &lead == &s;
  constexpr bool kMatches = kTwins != Twins::alone;
  uint32_t matches = 0;
  if constexpr (kLinked) matches = s.match_set | (out != nullptr ? uint32_t{out->match_set} << 16 : uint32_t{0});
  if constexpr (kTranslated) matches = s.match_set | uint32_t{s.sent_as.match_set} << 16;
  Run& run = run_of<kMatches>(s, leads ? s.link_rule : lead.rule, p.in, seen, matches);
  uint8_t* const frame = p.frame;
  if (frame[run.ttl_at] <= 1 || seen.l3_length > run.way.mtu) [[unlikely]]
    return false;
  if (kLinked && out != nullptr && out->interface != kNoInterface && out->interface != run.way.interface) return false;

  // Of the two ends, and of what counts for them, the sender's.
  static_assert(static_cast<unsigned>(Direction::in) >> 1 == 0 && static_cast<unsigned>(Direction::out) >> 1 == 1);
  const unsigned slot = static_cast<unsigned>(lead.direction) >> 1 ^ (leads ? 0u : 1u);
  if (seen.proto == kProtoTcp) [[likely]] {
    if (!tcp_ordinary(seen.tcp_flags) || !tcp_ordinary_step(lead, slot, frame + seen.l4, seen.payload, now_s))
        [[unlikely]]
      return false;
  } else {
    lead.last_update = now_s;
  }
  const uint32_t length = seen.l3_length;
  lead.count(slot, length);
  ++run.packets;
  run.bytes += length;
  if (options.sync) count_or_touch(lead, seen.proto == kProtoTcp);
  if constexpr (kLinked) {
    if (s.translated || (out != nullptr && out->translated)) rewrite_ordinary(p, seen, s, out);
  }
  if constexpr (kTranslated)
    rewrite_v4(frame + kEthernetHeader, frame + seen.l4, seen.proto, s.sent_as.src, s.sent_as.dst, s.sent_as.ports);
  const bool v4 = seen.af == Af::inet;
  if (v4) [[likely]]
    decrement_v4_ttl(frame + kEthernetHeader);
  else
    --frame[run.ttl_at];
  p.length = static_cast<uint32_t>(kEthernetHeader) + length;  // padding of the frame it came in is gone
  store_raw(reinterpret_cast<uint8_t*>(&p.in), run.disposition);
  run.way.put_header(frame, v4);
  if (!run.way.resolved) [[unlikely]]
    leave_twin(p, seen, run, stack_of(s));
  return true;
}

}  // namespace twinwall
