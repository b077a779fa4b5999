// One frame on its way through the engine: where its bytes are, what was found in them, and what became of it.
//
// The bytes belong to whoever made the Packet (an mbuf in the dataplane, plain memory in the scenario runner); the
// engine rewrites them in place. Always contiguous.
#pragma once

#include <cstdint>

#include "lib/engine/reasons.h"
#include "lib/filter/rule.h"
#include "lib/net/address.h"

namespace twinwall {

enum class Fate : uint8_t {
  pending,
  forward,   // send `frame` on interface `out`: complete, link-layer header included
  drop,      // `reason` says why; already counted
  punt,      // to the control core, `punt` says what for
  deferred,  // kept by the engine with its buffer, and given back through EngineHost::submit()
  held,      // taken up by the engine (a fragment, an answered request): nothing is to be done with it
  handoff,   // to worker `handoff_to`, which owns its state; untouched so far
};

enum class Punt : uint8_t {
  arp,
  neighbor_discovery,  // ICMPv6 133..137 for this node
  carp,
  pfsync,
  bfd,
  unresolved,  // a frame to forward, whose next hop (`out`, `next_hop`) has no link-layer address yet
};

inline constexpr uint8_t kDefaultPrio = 3;

struct Packet {
  uint8_t* frame = nullptr;  // the Ethernet header
  uint32_t length = 0;       // of the frame
  uint32_t headroom = 0;     // bytes usable before `frame`
  uint32_t tailroom = 0;     // bytes usable behind frame + length
  void* owner = nullptr;     // the buffer's owner, for its maker only
  InterfaceId in = kNoInterface;

  Fate fate = Fate::pending;
  DropReason reason = DropReason::match;
  Punt punt = Punt::arp;
  uint8_t handoff_to = 0;
  InterfaceId out = kNoInterface;
  IpAddress next_hop;  // of a forwarded or unresolved frame

  // Filled by parse(); offsets from `frame`.
  Af af = Af::none;
  uint8_t proto = 0;  // final protocol
  uint8_t tcp_flags = 0;
  uint8_t tos = 0;  // without the ECN bits
  uint8_t ttl = 0;
  bool is_fragment = false;  // not reassembled; l4 is meaningful only in a first fragment
  bool first_fragment = false;
  bool more_fragments = false;
  bool ip_options = false;  // options or extension headers that a rule must allow
  uint16_t l3 = 0;
  uint16_t l4 = 0;
  uint32_t l3_length = 0;  // the IP packet's own length; the frame may be padded
  uint32_t l4_length = 0;  // from l4 to the end of the IP packet
  uint32_t payload = 0;    // TCP: bytes behind the header
  Address src, dst;
  uint16_t sport = 0, dport = 0;  // network order; TCP, UDP and SCTP
  int16_t icmp_type = -1, icmp_code = -1;
  uint16_t icmp_id = 0;         // network order
  TagId tag = 0;                // set by rules, carried from hook to hook
  uint8_t prio = kDefaultPrio;  // 0 … 7
  bool from_cookie = false;     // a SYN made again from a cookie that came back
  bool own_reset = false;       // inspection has made it one: no tracker has anything to say about it
  bool af_changed = false;      // by af-to: it is not filtered again
  // What the state that passed it last says about its way; `route` is the next hop then.
  RouteKind route_kind = RouteKind::none;
  IpAddress route;
  uint64_t awaited = 0;     // id of the state that the peer is to acknowledge before it goes; 0: none
  uint16_t refragment = 0;  // IPv6: largest fragment payload it arrived in; 0: it came whole

  [[nodiscard]] uint8_t* ip() { return frame + l3; }
  [[nodiscard]] const uint8_t* ip() const { return frame + l3; }
  [[nodiscard]] uint8_t* transport() { return frame + l4; }
  [[nodiscard]] const uint8_t* transport() const { return frame + l4; }
};

}  // namespace twinwall
