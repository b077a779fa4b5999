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

static_assert(offsetof(Packet, fate) == offsetof(Packet, in) + 2 &&
              offsetof(Packet, reason) == offsetof(Packet, in) + 3 &&
              offsetof(Packet, punt) == offsetof(Packet, in) + 4 &&
              offsetof(Packet, handoff_to) == offsetof(Packet, in) + 5 &&
              offsetof(Packet, out) == offsetof(Packet, in) + 6);

inline Engine::Impl::Run& Engine::Impl::run_of(uint32_t course, InterfaceId in) {
  Run& run = runs[course % runs.size()];
  const uint32_t key = course | uint32_t{in} << 16;
  if (run.key == key) [[likely]]
    return run;
  return begin_run(run, key);
}

// touch_twins() is to be called behind the burst: what it needs is fetched meanwhile.
inline void Engine::Impl::touch_later(TwinLine& lead, bool tcp) {
  touched_leads[touched_count++] = {&lead, tcp};
  const State& s = table.state_of(lead);
  prefetch_line_to_write(&s);
  prefetch_line_to_write(&s.id);
}

template <Engine::Impl::Twins kTwins>
inline bool Engine::Impl::twin_step(Packet& p, const Ordinary& seen, uint32_t marks, const TwinLine& line,
                                    TwinLine& lead) {
  constexpr bool kAny = kTwins == Twins::any;
  const unsigned sender = kAny && &lead != &line ? 1 : 0;
  const bool v4 = !kAny || seen.af == Af::inet;
  Run& run = run_of(marks >> 16, p.in);
  uint8_t* const frame = p.frame;
  const size_t ttl_at = kEthernetHeader + (v4 ? 8 : 7);
  const uint32_t length = seen.l3_length;
  if (frame[ttl_at] <= 1 || length > run.way.mtu) [[unlikely]]
    return false;
  uint8_t* const l4 = frame + (v4 ? kEthernetHeader + kIpv4Header : kEthernetHeader + kIpv6Header);  // see Ordinary
  if (seen.proto == kProtoTcp) [[likely]] {
    if (!tcp_ordinary(seen.tcp_flags) || !tcp_ordinary_step(lead, sender, l4, seen.payload)) [[unlikely]]
      return false;
  }
  lead.last_update = now_s;
  if (lead.moving.bytes[sender] + length < length) [[unlikely]]
    settle_counts(lead);
  lead.moving.bytes[sender] += length;
  if (sender != 0) ++lead.moving.answers;
  const bool touches = static_cast<uint8_t>(++lead.moving.packets) == lead.moving.touch_at;
  ++run.packets;
  run.bytes += length;
  if (touches) [[unlikely]]
    if (options.sync) touch_later(lead, seen.proto == kProtoTcp);
  const bool translates = kTwins == Twins::translated || (kAny && (marks >> 8 & kTwinTranslates) != 0);
  if (translates) {
    const State& s = table.state_of(line);
    if (v4)
      send_as(frame + kEthernetHeader, seen.proto, s.sent_as);
    else
      rewrite_v6(p, seen, s, &table.state(s.link));
  }
  if (!v4) [[unlikely]]
    --frame[ttl_at];
  else if (!translates)
    decrement_v4_ttl(frame + kEthernetHeader);
  p.length = static_cast<uint32_t>(kEthernetHeader) + length;  // padding of the frame it came in is gone
  store_raw(reinterpret_cast<uint8_t*>(&p.in), run.disposition);
  run.way.put_header(frame, v4);
  if (!run.way.resolved) [[unlikely]] {
    const uint8_t* const h = frame + kEthernetHeader;
    leave_twin(p, seen, run,
               translates ? stack_of(table.state_of(line)).addr[1]
               : v4       ? Address::v4_wire(h + 16)
                          : Address::v6_wire(h + 24));
  }
  return true;
}

}  // namespace twinwall
