// What one worker counts. Written by that worker alone, read by anybody (lib/base/counter.h).
#pragma once

#include <array>

#include "lib/base/counter.h"
#include "lib/base/zeroed.h"
#include "lib/engine/reasons.h"
#include "lib/filter/rule.h"
#include "lib/filter/table.h"
#include "lib/pfsync/slices.h"

namespace twinwall {

struct RuleCounters {
  Counter evaluations;
  Counter packets[2];  // [0] in, [1] out, as the hook saw them
  Counter bytes[2];
  Counter states;  // current
  Counter creations;

  void count(Direction dir, uint32_t length) {
    packets[dir == Direction::in ? 0 : 1].add();
    bytes[dir == Direction::in ? 0 : 1].add(length);
  }
};

struct InterfaceCounters {
  struct Pair {
    Counter packets, bytes;
  };
  // [0] in, [1] out; [0] IPv4, [1] IPv6; [0] passed, [1] blocked
  Pair hook[2][2][2];
};

struct EngineCounters {
  std::array<Counter, kDropReasons> drops;
  std::array<Counter, kLimitCounters> limits;
  std::array<InterfaceCounters, kMaxInterfaces> interfaces;
  ZeroedArray<RuleCounters> rules = make_zeroed<RuleCounters>(kMaxRuleSlots);
  ZeroedArray<TableCounters> tables = make_zeroed<TableCounters>(kMaxTableSlots);
  Counter packets;  // taken into process()
  Counter forwarded;
  Counter fast;               // of them: those of established connections that took the fast path
  Counter first;              // … those of which no hook knew anything, under rules that say no more than pass
  Counter courses_exhausted;  // packets that found no number for the course of their connection (lib/engine/courses.h)
  Counter punted;
  Counter handed_off;
  Counter half_open;     // TCP states whose handshake is not complete, created here
  Counter icmp_sent;     // errors and resets made here
  Counter icmp_limited;  // not sent because of the rate limit
  Counter echo_replies;
  Counter reanchored;  // imported windows that were re-anchored by traffic
  Counter expired;
  Counter killed;
  Counter imported;
  Counter import_refused;
  Counter import_evicted;    // states that were opening or over and gave way to the peer's that are in use
  Counter rivals_displaced;  // states of the same connection that gave way to those of the peer
  Counter imported_unbound;  // states of the peer that belong to no rule here, so to the default rule
  Counter updates_merged;
  Counter updates_stale;
  Counter sync_queued;    // states to be told to the sync engine; what it has no room for is counted again
  Counter sync_overflow;  // deltas that had to wait because the ring was full
  std::array<Counter, kInspectCounters> inspection;
  Counter inspected_now;    // connections that are looked into
  Counter inspected_bytes;  // payload of inspected packets
  Counter logged;
  Counter overload_lost;       // offenders for which the table had no room
  Counter flush_lost;          // flushes that came faster than they could be carried out
  Counter nat_exhausted;       // connections refused because every address and port was taken
  Counter nat_search_cut;      // … because the search for a free port had cost too much
  Counter deletes_lost;        // removals that could not be announced
  Counter deferred;            // first packets that were made to wait for the peer
  Counter defer_acknowledged;  // … until it had the states
  Counter defer_timeout;       // … in vain
  Counter defer_overflow;      // … and went when there were too many
  // Of the states that peers know, by slice (lib/pfsync/slices.h): what their contributions add up to, and how many.
  std::array<Counter, pfsync::kSlices> slice_sums;
  std::array<Counter, pfsync::kSlices> slice_states;
};

}  // namespace twinwall
