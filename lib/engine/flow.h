// Which connection a packet belongs to: PF's positional key, and for ICMP the pseudo-connection of a query and its
// answer.
#pragma once

#include "lib/engine/icmp_quote.h"
#include "lib/engine/packet.h"
#include "lib/net/headers.h"
#include "lib/state/flow_key.h"

namespace twinwall {

// How an ICMP message takes part in a pseudo-connection: the requester's slot holds the id, the responder's the type of
// the request (network order both).
struct IcmpFlow {
  uint16_t virtual_type = 0;  // of the request
  uint16_t id = 0;            // network order
  bool reply = false;         // an answer to a query: matches only against the direction of its state
  bool one_way = false;       // no query with an answer: the own type, one direction only
};
[[nodiscard]] IcmpFlow icmp_flow(Af af, uint8_t type, uint16_t id);
// Neighbour discovery is keyed by its target; needs the message behind the header.
[[nodiscard]] IcmpFlow icmp_flow(const Packet& p);

[[nodiscard]] constexpr bool keyed_by_ports(uint8_t proto) {
  return proto == kProtoTcp || proto == kProtoUdp || proto == kProtoSctp;
}
[[nodiscard]] FlowKey other_flow_key(const Packet& p, Direction dir);  // of the other protocols

// The key of a whole packet crossing a hook in direction `dir`. That of SCTP has its ports, which only states have that
// a rule with ports made (`without_ports`).
[[nodiscard]] inline FlowKey flow_key(const Packet& p, Direction dir) {
  if (!keyed_by_ports(p.proto)) return other_flow_key(p, dir);
  return dir == Direction::in ? FlowKey::of(p.src, p.dst, p.sport, p.dport, p.af, p.proto)
                              : FlowKey::of(p.dst, p.src, p.dport, p.sport, p.af, p.proto);
}

// PF's key of SCTP: an address pair is one connection, whatever its ports.
[[nodiscard]] FlowKey without_ports(FlowKey key);

// The key of the packet that an ICMP error quotes: it travelled the other way, which puts its ends in the slots of the
// error's own direction.
[[nodiscard]] FlowKey quoted_key(Af af, const Quote& quote, Direction error_dir);

// The slot of the initiator of a state of direction `dir`.
[[nodiscard]] constexpr unsigned initiator_slot_of(Direction dir) { return dir == Direction::out ? 1 : 0; }

}  // namespace twinwall
