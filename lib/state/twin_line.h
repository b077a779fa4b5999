// What the packets of an established connection need of it, in one cache line: so they cost the line of the index and
// this one.
//
// Beside every state lies such a line, empty but while the state is one of twins (lib/state/state.h). That of the leader
// then holds what moves with the packets, for both states: the numbers of the two ends, counters, the time. That of the
// follower says who leads. What both know besides is where the packets go that come in by this state (`course`), and the
// key they have: whoever holds an IPv4 packet of this key need not look at the state.
//
// Owner: the worker of the state; it alone writes. Other workers that have found the state may ask is() and marks, and
// must go by the state itself when the worker named is not they: the words they read change at any time.
#pragma once

#include <atomic>
#include <cstdint>

#include "lib/state/state.h"

namespace twinwall {

// What a line is, as bits.
inline constexpr unsigned kTwinLeads = 1, kTwinFollows = 2;
// Addresses or ports change on the way: State::sent_as says to what; of IPv6 the states' keys do.
inline constexpr unsigned kTwinTranslates = 4;
inline constexpr unsigned kTwinLongKey = 8;  // IPv6: the line has no key

struct alignas(64) TwinLine {
  // As Eight and FlowKey have them: source and destination; ports, family and protocol.
  std::atomic<uint64_t> addresses{0}, rest{0};
  std::atomic<uint32_t> marks{0};  // the worker, what it is << 8, course << 16; 0: empty
  union {
    uint32_t last_update = 0;  // a leader's: seconds
    StateIndex lead;           // a follower's
  };
  // Of the two ends; [0] is the one that sends what comes in by the leader. As in Peer, but `shift` counts for both or
  // for neither.
  uint32_t seqlo[2] = {0, 0}, seqhi[2] = {0, 0};
  uint16_t max_win[2] = {0, 0};
  uint8_t shift[2] = {0, 0};
  uint8_t turned = 0;  // [turned] is the initiator's
  uint8_t quiet = 0;   // so many packets more are nothing to tell the peers (lib/engine/twins.cc)
  // Since they are twins, by sender, but for what is with the states already: bytes never overflow here.
  uint32_t packets[2] = {0, 0}, bytes[2] = {0, 0};

  [[nodiscard, gnu::always_inline]] bool is(uint64_t packets_addresses, uint64_t packets_rest) const {
    return addresses.load(std::memory_order_relaxed) == packets_addresses &&
           rest.load(std::memory_order_relaxed) == packets_rest;
  }
  [[nodiscard, gnu::always_inline]] uint32_t marked() const { return marks.load(std::memory_order_relaxed); }
  static constexpr uint32_t mark(uint8_t worker, unsigned kind, uint16_t course = 0) {
    return uint32_t{worker} | kind << 8 | uint32_t{course} << 16;
  }
  static constexpr uint32_t kWithoutCourse = 0xffff;  // of marks

  void put_key(uint64_t key_addresses, uint64_t key_rest, uint32_t new_marks) {
    addresses.store(key_addresses, std::memory_order_relaxed);
    rest.store(key_rest, std::memory_order_relaxed);
    marks.store(new_marks, std::memory_order_relaxed);
  }
};
static_assert(sizeof(TwinLine) == 64);

}  // namespace twinwall
