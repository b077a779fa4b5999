// What the packets of an established connection need of it, in one cache line: so they cost the line of the index and
// this one.
//
// Beside every state lies such a line, empty but while the state is one of twins (lib/state/state.h). That of the
// leader then holds what moves with the packets, for both states: the numbers of the two ends, counters, the time. That
// of the follower says who leads, and who it is itself. What both know besides is where the packets go that come in by
// this state (`course`), and the key they have: whoever holds an IPv4 packet of this key need not look at the state.
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
  struct Moving {
    uint32_t seqlo[2] = {0, 0}, seqhi[2] = {0, 0};
    uint16_t max_win[2] = {0, 0};
    uint8_t shift[2] = {0, 0};
    uint8_t turned = 0;    // [turned] is the initiator's
    uint8_t touch_at = 0;  // the low bits of `packets` of which the peers are to be told (lib/engine/twins.cc)
    // Since they are twins, but for what is with the states already: bytes never overflow here.
    uint32_t packets = 0, answers = 0;  // `answers` are those of [1]
    uint32_t bytes[2] = {0, 0};

    [[nodiscard]] uint32_t packets_of(unsigned end) const { return end == 0 ? packets - answers : answers; }
    // So many packets more are nothing to tell.
    [[nodiscard]] uint8_t quiet() const { return static_cast<uint8_t>(touch_at - packets - 1); }
    void set_quiet(uint8_t n) { touch_at = static_cast<uint8_t>(packets + n + 1u); }
  };
  // What telling the peers of both needs of the follower, and what of both does not move: so its state is left alone,
  // and most of the leader's.
  struct Told {
    uint64_t id;
    uint32_t creator;
    uint32_t rule_number, leaders_rule_number;
    uint16_t flags;
    uint16_t mss[2];  // of the initiator and the other
    uint8_t wscale[2];
    uint8_t level;   // of both
    bool by_itself;  // it waits in a queue
    bool as_it_is;   // peers know its levels
  };
  union {
    Moving moving = {};  // a leader's
    Told told;           // a follower's
  };

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
