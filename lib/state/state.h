// One state: a connection as one hook of the filter sees it.
//
// Owner: exactly one worker changes the body; others may read the keys, id, creator and owner while they hold a QSBR
// guard, because those never change between insert and removal.
// Layout follows use: the first two lines are what a packet touches that is tracked, the third is for translation, the
// fourth for insertion, expiry and synchronisation.
//
// Twins. Of a forwarded connection nearly every packet does the same to both its states, so while they are alike one of
// them leads, and a line beside it (lib/state/twin_line.h) is kept up for both; what moves in the states themselves
// waits. Whoever wants to see or change either state parts them first; see lib/engine/twins.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/filter/rule.h"
#include "lib/state/flow_key.h"
#include "lib/state/timeouts.h"

namespace twinwall {

// Levels of a peer, numbered as PF and the pfsync wire do.
enum TcpLevel : uint8_t {
  kTcpClosed = 0,
  kTcpListen = 1,
  kTcpSynSent = 2,
  kTcpSynReceived = 3,
  kTcpEstablished = 4,
  kTcpCloseWait = 5,
  kTcpFinWait1 = 6,
  kTcpClosing = 7,
  kTcpLastAck = 8,
  kTcpFinWait2 = 9,
  kTcpTimeWait = 10,
  kTcpProxySrc = 11,
  kTcpProxyDst = 12,
};
enum PseudoLevel : uint8_t { kNoTraffic = 0, kSingle = 1, kMultiple = 2 };

inline constexpr uint8_t kWindowScaleKnown = 0x80;
inline constexpr uint8_t kWindowScaleMask = 0x0f;

// What is known of one end. `src` of a state is the initiator, whatever the direction.
struct Peer {
  uint32_t seqlo = 0;    // highest sequence number sent + 1
  uint32_t seqhi = 0;    // highest it may send: what the other acknowledged + its window
  uint32_t seqdiff = 0;  // sequence number modulation
  uint16_t max_win = 0;  // largest window it announced, unscaled
  uint16_t mss = 0;
  uint8_t level = 0;
  uint8_t wscale = 0;  // kWindowScaleKnown | shift
  // Set to 1 by whoever copies this end from a pfsync peer: its numbers may be a second old. Further bits belong to
  // lib/state/tcp_reanchor.h, which clears it once the end is known again; 0: numbers are our own.
  uint8_t reanchor = 0;
  uint8_t unused = 0;
};
static_assert(sizeof(Peer) == 20);

enum StateFlag : uint16_t {  // low bits numbered as on the pfsync wire
  kStateAllowOpts = 0x0001,
  kStateSloppy = 0x0002,
  kStateNoSync = 0x0008,
  kStateAckWanted = 0x0010,
  kStateNoDf = 0x0020,
  kStateSetTos = 0x0040,
  kStateRandomId = 0x0080,
  kStateScrubTcp = 0x0100,  // reassemble tcp
  kStateSetPrio = 0x0200,
  // From here on our own, never on the wire.
  kStateActions = 0x1000,  // packets are changed: no-df, min-ttl, max-mss, random-id, set tos, prio; or tagged
  kStateRest = 0x2000,     // its StateRest holds something
  kStateRate = 0x4000,     // the rule's max-pkt-rate counts its packets
  kStateAfTo = 0x8000,     // its keys are of different families
};
inline constexpr uint16_t kStateWireFlags = 0x0fff;

// State::log: the low bits as on the pfsync wire.
enum LogBit : uint8_t {
  kLogFirst = 1,
  kLogAll = 2,
  kLogWireBits = 3,
  // From here on our own.
  kInspected = 4,  // what its packets carry is looked at: StateRest::inspect says of which
  kTwinLeader = 16,
  kTwinFollower = 32,
  kPeerSpoke = 128,  // of it a moment ago: `sync_peer_update` counts
};

// What `reassemble tcp` keeps of one end (pf.conf(5) "reassemble tcp").
struct ScrubRecord {
  uint64_t last_packet_us = 0;
  uint32_t ts_offset = 0;  // added to its timestamps
  uint32_t tsval = 0, tsecr = 0, tsval_first = 0;
  uint8_t ttl = 0;    // the highest seen
  uint8_t flags = 0;  // the tracker's own
};

using SourceNodeIndex = uint32_t;
inline constexpr SourceNodeIndex kNoSourceNode = 0;

// Of a state with kInspected: the directions that are looked at, or that none of its packets passes
// (lib/engine/inspect.cc).
enum InspectMark : uint8_t { kInspectForward = 1, kInspectBackward = 2, kInspectBlocked = 4 };

// What few states need. Lies apart from the states, at the same index; meaningful only with kStateRest.
struct StateRest {
  uint16_t tag = 0;
  int8_t set_prio = -1, set_prio_lowdelay = -1;
  uint8_t route_kind = 0;  // RouteKind
  InterfaceId route_interface = kNoInterface;
  IpAddress route;                                 // next hop chosen at creation
  SourceNodeIndex source_nodes[4] = {0, 0, 0, 0};  // tracking, nat, rdr, route
  uint32_t inspection = 0;                         // the inspector's record
  uint8_t inspect = 0;                             // InspectMark
  bool inspect_untold = false;                     // waits to be told to the peers
  bool counted_by_rule = false;                    // in the rule's total over all workers
  // Whose least-states pool counts it: nat-to, rdr-to, route-to and its kin.
  RuleSlot pool_rules[3] = {kDefaultRuleSlot, kDefaultRuleSlot, kDefaultRuleSlot};
  ScrubRecord scrub[2];  // of src and dst
};

using StateIndex = uint32_t;
inline constexpr StateIndex kNoState = 0xffffffff;

// The queue a state waits in to be told to the peers (pfsync; at most one at a time).
enum class SyncQueue : uint8_t { none, ins, upd_c, upd, ins_ack, del_c };

inline constexpr uint8_t kNotTold = 0xff;

struct alignas(64) State {
  // Line 0.
  FlowKey wire;
  uint32_t way = 0;  // where the last packet went that this state let in: the engine's own
  RuleSlot rule = kDefaultRuleSlot;
  StateIndex link = kNoState;  // the other hook's state of the same connection; both point at each other, or neither
  uint16_t flags = 0;
  InterfaceId interface = kNoInterface;  // bound to it; kNoInterface: floating
  Direction direction = Direction::in;
  TimeoutClass timeout = TimeoutClass::tcp_first;
  uint8_t owner = 0;            // worker
  uint8_t log = 0;              // LogBit
  bool in_use : 1 = false;      // false: on a free list or waiting for reclamation
  bool translated : 1 = false;  // wire and stack keys differ
  SyncQueue sync_queue : 4 = SyncQueue::none;
  bool tcp_est : 1 = false;         // its source's limits count it as a connection
  bool waits_for_both : 1 = false;  // a leader in a queue: the follower is told along with it
  uint8_t sync_updates = 0;
  uint16_t match_set = 0;  // the `match` rules it met, a number of the owner's (lib/engine/match_sets.h); 0: none
  // Line 1.
  Peer src, dst;
  // [0] in the state's direction, [1] the other; what overflows is carried into a line that is seldom needed.
  uint32_t packets_low[2] = {0, 0};
  uint32_t bytes_low[2] = {0, 0};
  uint32_t last_update = 0;  // seconds; the timeout runs from here
  uint32_t rule_number = kNoRuleNumber;
  // Line 2.
  FlowKey stack;
  uint32_t packets_high[2] = {0, 0};
  uint32_t bytes_high[2] = {0, 0};
  uint32_t creation = 0;  // seconds
  uint32_t unused = 0;
  // Line 3.
  uint64_t id = 0;       // written big-endian on the wire; with creator the state's identity for ever
  uint32_t creator = 0;  // host id of the creating node, as a big-endian number
  StateIndex wheel_next = kNoState, wheel_prev = kNoState;
  uint32_t wheel_slot = 0;  // the second its slot of the wheel stands for
  StateIndex sync_next = kNoState, sync_prev = kNoState;
  uint32_t sync_peer_update = 0;  // seconds of the peer's last word on it, 0: never
  uint8_t min_ttl = 0, set_tos = 0;
  uint16_t max_mss = 0;
  InterfaceId created_on = kNoInterface;
  bool imported = false;
  bool sync_urgent = false;  // in the list that goes out within milliseconds
  bool sync_hasty = false;   // a leader that is told behind one of the next bursts, and stays in its list
  uint8_t index_phase = 0;   // progress of an insertion; the state table's own
  uint8_t told = kNotTold;   // levels of src and dst as peers know them, four bits each (lib/engine/digest.cc)
  // While windows imported from a peer settle (tcp_reanchor.h): seqlo of src and dst as imported, and the second in
  // which one was last moved.
  struct Anchor {
    uint32_t base[2] = {0, 0};
    uint32_t time = 0;
  };
  // Of twins: IPv4 addresses and ports that the packets leave with that this state lets in, as they are in the packet,
  // and what that changes in the checksums of its headers, for checksum_fold().
  struct SentAs {
    uint32_t src, dst, ports;
    uint16_t header_change, l4_change;
  };
  union {
    Anchor anchor = {};
    SentAs sent_as;
  };

  [[nodiscard]] uint64_t packets(unsigned slot) const { return uint64_t{packets_high[slot]} << 32 | packets_low[slot]; }
  [[nodiscard]] uint64_t bytes(unsigned slot) const { return uint64_t{bytes_high[slot]} << 32 | bytes_low[slot]; }
  [[gnu::always_inline]] void count(unsigned slot, uint32_t length) {
    if (++packets_low[slot] == 0) [[unlikely]]
      ++packets_high[slot];
    if ((bytes_low[slot] += length) < length) [[unlikely]]
      ++bytes_high[slot];
  }
  void count_more(unsigned slot, uint64_t more_packets, uint64_t more_bytes) {
    const uint64_t all_packets = packets(slot) + more_packets, all_bytes = bytes(slot) + more_bytes;
    packets_low[slot] = static_cast<uint32_t>(all_packets);
    packets_high[slot] = static_cast<uint32_t>(all_packets >> 32);
    bytes_low[slot] = static_cast<uint32_t>(all_bytes);
    bytes_high[slot] = static_cast<uint32_t>(all_bytes >> 32);
  }
};
static_assert(sizeof(State) == 256);
static_assert(offsetof(State, src) == 64 && offsetof(State, stack) == 128 && offsetof(State, id) == 192);

}  // namespace twinwall
