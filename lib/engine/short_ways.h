// What the short ways of packets count, and how they leave. Private to lib/engine.
#pragma once

#include <cstring>

#include "lib/engine/engine_impl.h"
#include "lib/engine/hosts.h"
#include "lib/engine/rewrite.h"
#include "lib/net/headers.h"

namespace twinwall {

inline void Engine::Impl::tally(RuleSlot rule, Direction dir, InterfaceId interface, Af af, uint32_t length) {
  const unsigned d = dir == Direction::in ? 0 : 1;
  if (!rule_tally[d].add(rule, length)) {
    settle_rule_tally(d);
    rule_tally[d] = {rule, 1, length};
  }
  const uint32_t hook = uint32_t{interface} << 1 | (af == Af::inet ? 0 : 1);
  if (!hook_tally[d].add(hook, length)) {
    settle_hook_tally(d);
    hook_tally[d] = {hook, 1, length};
  }
}

inline void Engine::Impl::account(State& s, Direction dir, InterfaceId interface, Af af, uint32_t length) {
  s.count(dir == s.direction ? 0 : 1, length);
  tally(s.rule, dir, interface, af, length);
  if (s.match_set != 0) count_matches(s, dir, length);
  if (options.sync) touched(s, pfsync::SyncEvent::packet, false);
}

// Of a gateway it was asked for once for the burst.
inline const Mac* Engine::Impl::next_mac(const WayOut& way, Af af, const Address& destination) const {
  if (way.gateway) [[likely]]
    return way.mac;
  return view.neighbors != nullptr ? view.neighbors->find(way.interface, {af, destination}) : nullptr;
}

inline void Engine::Impl::put_on_way(Packet& p, const Ordinary& seen, const WayOut& way) {
  if (seen.af == Af::inet) [[likely]]
    return put_on_way_v4(p, seen.l3_length, way);
  --p.frame[kEthernetHeader + 7];
  leave(p, seen.l3_length, way);
  way.put_header(p.frame, false);
}

inline void Engine::Impl::put_on_way_v4(Packet& p, uint32_t l3_length, const WayOut& way) {
  decrement_v4_ttl(p.frame + kEthernetHeader);
  leave(p, l3_length, way);
  way.put_header(p.frame, true);
}

inline void Engine::Impl::leave(Packet& p, uint32_t l3_length, const WayOut& way) {
  p.out = way.interface;
  p.fate = Fate::forward;
  p.length = static_cast<uint32_t>(kEthernetHeader) + l3_length;  // padding of the frame it came in is gone
}

inline void Engine::Impl::send_ordinary(Packet& p, const Ordinary& seen, const WayOut& way, const Mac* mac) {
  put_on_way(p, seen, way);
  ++fast_tally;
  if (way.resolved) [[likely]]
    return;
  if (mac != nullptr) {
    std::memcpy(p.frame, mac->bytes.data(), sizeof(Mac));
    return;
  }
  ++unresolved_tally;
  leave_unresolved(p, seen, way);
}

// Of what is filtered on neither side.
inline bool Engine::Impl::plain_step(Packet& p, const Ordinary& seen, const FlowKey& key, NextHopIndex hop) {
  const WayOut& way = way_out(hop);
  if (!way.skip || seen.ttl(p.frame) <= 1 || seen.l3_length > way.mtu) return false;
  if (!between_hosts(seen.af, key.addr[0], key.addr[1])) return false;
  send_ordinary(p, seen, way, way.resolved ? nullptr : next_mac(way, seen.af, key.addr[1]));
  return true;
}

}  // namespace twinwall
