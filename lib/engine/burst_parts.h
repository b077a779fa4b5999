// What is kept of a burst while it goes through its stages (burst.cc). Private to lib/engine.
#pragma once

#include <cstdint>

#include "lib/engine/courses.h"
#include "lib/engine/packet.h"
#include "lib/engine/parse_ordinary.h"
#include "lib/net/headers.h"
#include "lib/route/route_table.h"
#include "lib/state/state.h"
#include "lib/state/twin_line.h"

namespace twinwall::burst {

// One of its packets.
struct Lane {
  Packet* packet = nullptr;
  TwinLine* line = nullptr;  // a guess; of those that are looked up
  State* state = nullptr;    // of those that did not go by their line alone
  uint64_t hash = 0;
  Ordinary seen;
  bool active = false;  // still on its way
  bool looked_up = false;
  bool ordinary = false;  // the packet is not filled in: `seen` and `key` say what it is
  bool absent = false;    // no state can have its key
  FlowKey key;            // of IPv4 that is looked up: written when somebody asks (Engine::Impl::complete_key)
  // In one piece.
  [[gnu::always_inline]] void mark(bool is_active, bool is_looked_up, bool is_ordinary) {
    const uint32_t marks = uint32_t{is_active} | uint32_t{is_looked_up} << 8 | uint32_t{is_ordinary} << 16;
    store_raw(reinterpret_cast<uint8_t*>(&active), marks);
  }
  // Of those that the in hook has left:
  uint64_t out_hash = 0;  // of the mirrored key, where the out hook will look for it first
  State* in_state = nullptr;
  NextHopIndex hop = kNoNextHop;
};

// Of a burst: nothing is filtered as it comes in or for anybody to look at but stage_out(); `eights`: moreover all of
// it was looked at in eights, and the lanes have no keys (add_keys() makes them) but their destinations.
enum class Plain : uint8_t { no, mixed, eights };

// Of those that can go the whole way at once (stage_short()).
struct Short {
  uint64_t long_way = 0;  // the states of connections that did not go, as bits
  bool left = false, linked = false, translated = false;
  bool whole = false;  // states had to be looked at
};

// What is asked of the interface that packets came in on.
struct WayIn {
  InterfaceId id = kNoInterface;
  bool skip = false;  // nothing is filtered there
  bool bfd = false;   // BFD to own addresses is for the control core
  uint64_t mac = 0;   // a MAC address that is this node's there, in the low six bytes as they are in memory
};

// Where packets with this next hop go, and what their Ethernet header is then.
struct WayOut {
  uint32_t hop = 0;
  InterfaceId interface = kNoInterface;
  uint32_t mtu = 0;
  bool gateway = false;
  bool onward = false;       // to a gateway or a neighbour; without it nothing else here counts
  bool skip = false;         // nothing is filtered there; only of a way onward
  bool resolved = false;     // `mac` is known
  const Mac* mac = nullptr;  // of a gateway
  // Of the Ethernet header of an IPv4 packet the first eight bytes and those from the sixth on. All zeros where the
  // MAC address belongs that is not known.
  uint64_t header[2] = {0, 0};
  void put_header(uint8_t* frame, bool v4) const {
    store_raw(frame, header[0]);
    store_raw(frame + 6, header[1]);
    if (!v4) [[unlikely]]
      store_be16(frame + 12, kEtherTypeIpv6);
  }
};

// What the packets of a burst count alike, kept back until another counts elsewhere or the burst is over.
struct Tally {
  uint32_t key = 0;  // of whatever is counted
  uint32_t packets = 0;
  uint64_t bytes = 0;
  // True: the tally was another's and must be settled before this one is in it.
  [[nodiscard, gnu::always_inline]] bool add(uint32_t k, uint32_t length) {
    if (k != key) [[unlikely]]
      return false;
    ++packets;
    bytes += length;
    return true;
  }
};

// What the packets of a burst share that have the same course and came in by the same interface, and count together.
struct alignas(128) Run {
  uint32_t key = 0;  // number of the course | interface << 16
  uint32_t packets = 0;
  uint32_t unresolved = 0;  // of them those that were not sent on, for want of a MAC address
  uint64_t bytes = 0;
  Course course;
  uint64_t disposition = 0;  // Packet::in and all that follows, up to its fate and `out`
  WayOut way;                // an MTU of 0: no such packet goes this way
};

// How much a packet of twins needs beside the leader's line.
enum class Twins : uint8_t {
  alone,       // nothing: IPv4 that the leader lets in
  translated,  // what the leader's state says that it is sent as
  any,         // whatever it is
};

// A leader that is to be told, behind the burst.
struct TouchedLead {
  TwinLine* line;
  bool tcp;
};

}  // namespace twinwall::burst
