// PF's TCP state machine: is this segment part of the connection, and what did it change?
//
// What: tcp_start() fills a fresh state from the segment that made it, tcp_track() judges every later one and moves the
// peers' windows, levels and the timeout class.
// Why here: the verdict decides what passes; it must agree with PF segment by segment, because a pair may be half BSD.
// Units: sequence numbers and windows as in the header, in host order; time in whole seconds.
// Ownership, threads: changes the State it is given, nothing else; only the state's owner may call.
// Errors: none; a segment that does not fit is a verdict. The caller counts.
// Not here: header checks and flag normalisation (a segment without SYN, ACK or RST never comes here), rewriting of
// modulated numbers (the caller adds src.seqdiff to seq and takes dst.seqdiff from ack), connection limits.
// Source: behaviour of OpenBSD pf(4), December 2024; RFC 9293; RFC 7323 section 2 (window scale).
#pragma once

#include <cstdint>

#include "lib/state/state.h"

namespace twinwall {

// PF's fudge: a full unscaled window and one more frame.
inline constexpr uint32_t kMaxAckWindow = 65535 + 1500;
inline constexpr uint8_t kMaxWindowScale = 14;  // RFC 7323 section 2.3

struct TcpSegment {
  uint32_t seq = 0;
  uint32_t ack = 0;  // the field, whether or not the ACK flag is set
  uint16_t win = 0;  // unscaled, as in the header
  uint8_t flags = 0;
  uint32_t payload = 0;  // bytes of data
  int8_t wscale = -1;    // window scale option; -1: absent
  uint16_t mss = 0;      // MSS option; 0: absent
};

enum class TcpVerdict : uint8_t {
  pass,
  drop_mismatch,   // drop, reason state-mismatch; the state stays
  drop_and_reset,  // the same, and answer the sender with a bare RST (flags RST, sequence `answer_seq`, ack 0)
  challenge_ack,   // drop, and answer the sender with an ACK (`answer_seq`, `answer_ack`, window 0)
  reuse,           // the connection is over and a new one starts: remove the state, evaluate the rules
};

struct TcpResult {
  TcpVerdict verdict = TcpVerdict::pass;
  bool both_established_now = false;  // this segment completed the handshake: connection limits apply
  // The initiator left the handshake: take one off the half-open counter if the state was created here.
  bool half_open_ended = false;
  bool levels_changed = false;  // worth telling a peer at once
  bool reanchored = false;      // accepted only because the window came from a peer and was moved
  uint32_t answer_seq = 0;
  uint32_t answer_ack = 0;
};

// Counts in the half-open counter (of the node that created it). Removal of such a state takes one off.
[[nodiscard]] inline bool tcp_half_open(const State& s) {
  return s.src.level != kTcpClosed && s.src.level < kTcpEstablished;
}

// Fills peers, timeout class and times of a state whose keys, flags and direction are set. The half-open counter goes
// up by one.
void tcp_start(State& state, const TcpSegment& segment, uint32_t now_s);

// `forward`: sent by the state's src. Follows full or, for kStateSloppy, sloppy tracking.
[[nodiscard]] TcpResult tcp_track(State& state, bool forward, const TcpSegment& segment, uint32_t now_s);

// The timeout class that the two levels ask for.
[[nodiscard]] TimeoutClass tcp_timeout_class(uint8_t src_level, uint8_t dst_level);

// Does the sequence number of a segment quoted in an ICMP error lie in what its sender may have in flight? `forward`:
// the quoted segment was sent by the state's src. `seq` as on the wire at the quoting hook. Always true when sloppy.
[[nodiscard]] bool tcp_quoted_sequence_fits(const State& state, bool forward, uint32_t seq);

}  // namespace twinwall
