// route-to, reply-to and dup-to: next hops that rules choose instead of the routing table (pf.conf(5) "ROUTING").
#include "lib/engine/engine_impl.h"

namespace twinwall {

bool Engine::Impl::resolve_route(const Packet& p, NextHop& hop) const {
  if (p.route.af != p.af) return false;
  hop = snapshot->next_hops[lookup(p.route.af, p.route.addr)];
  if (hop.kind == HopKind::gateway) return true;  // the next hop itself lies behind a router
  if (hop.kind != HopKind::connected) return false;
  hop.kind = HopKind::gateway;
  hop.gateway = p.route;
  return true;
}

void Engine::Impl::duplicate(const Packet& p, bool forwarded) {
  NextHop hop;
  if (!resolve_route(p, hop)) return;
  const uint32_t length = static_cast<uint32_t>(p.l3) + p.l3_length;
  Packet* q = host.allocate(length);
  if (q == nullptr) {
    counters.drops[static_cast<size_t>(DropReason::no_buffer)].add();
    return;
  }
  std::memcpy(q->frame, p.frame, length);
  q->length = length;
  q->in = p.in;
  q->af = p.af;
  q->l3 = p.l3;
  if (parse_ip(*q) != kParsed || (forwarded && q->ttl <= 1)) {
    drop(*q, DropReason::ttl_exceeded);
  } else {
    if (forwarded) decrement_ttl(*q);
    emit(*q, hop);
  }
  host.submit(q);
}

bool Engine::Impl::leave_by_route(Packet& p) {
  if (p.route_kind == RouteKind::dup_to) {
    duplicate(p, false);
    p.route_kind = RouteKind::none;
    return false;
  }
  NextHop hop;
  if (resolve_route(p, hop))
    emit(p, hop);
  else
    drop(p, DropReason::no_route);
  p.route_kind = RouteKind::none;
  return true;
}

}  // namespace twinwall
