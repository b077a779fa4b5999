// Taking up connections in the middle after a takeover: windows imported from a pfsync peer settle on what is seen.
//
// The problem. A peer tells of a state at most once a second. On a fast connection hundreds of megabytes pass in that
// time, and when the peer dies the numbers are that old: PF drops the data (it lies beyond the window) and the ACKs (of
// data that was never sent, as far as it knows), and the connection hangs until it times out.
//
// What is done. Ends that were imported are "settling". A segment between established ends that the strict rule refuses
// is accepted when it is plausible against the window as imported (State::anchor), and both windows move to where it
// says:
//  * its sequence number is at most one window (or kMaxAckWindow, if that is more) before the base, and its end at most
//    kReanchorAhead after it. The bound: 2^30 bytes is a second at 8.6 Gbit/s, and leaves three quarters of the number
//    space refused. A larger one would let old and new no longer be told apart;
//  * its ACK number stands in the same relation to the other end's base;
//  * an end that has sent its FIN has nothing more to send: for it the strict rule holds.
// A segment of which only one number is out of place moves only that end's window.
// This covers data first, ACKs first, both directions fast, retransmissions (of what was lost meanwhile: ahead of the
// base, or within a window behind what was seen first) and keepalives.
//
// What an off-path attacker gets. Guessing is much easier than against a strict window, so a guess must not do damage:
//  * a RST or SYN never moves a window, and while a moved window is settling no RST is believed: first moving the
//  window
//    and then sending a RST that fits it leads nowhere;
//  * a FIN moves a level only if its ACK number fits the strict rule;
//  * the base is kept, so the true segments stay plausible and move the windows back. If the connection was idle, its
//    end answers a segment outside its window with an ACK (RFC 9293 section 3.10.7.4), which does just that;
//  * only when both ends have been heard where the windows are and nothing has moved for kSettleSeconds is the base
//    forgotten. A window that needed no move settles with the first segment of each end.
// Meanwhile the receiver's own check of sequence numbers protects the data, as it does behind any router.
//
// Changes the State it is given; pure; times in whole seconds. Private to lib/state. Our own addition: PF has none.
#pragma once

#include <cstdint>

#include "lib/state/tcp_parts.h"

namespace twinwall::tcp {

inline constexpr uint32_t kReanchorAhead = 1u << 30;
inline constexpr uint32_t kSettleSeconds = 3;

// Bits of Peer::reanchor. The importer sets the first alone.
inline constexpr uint8_t kImported = 1;
inline constexpr uint8_t kBaseKept = 2;
inline constexpr uint8_t kHeard = 4;  // sent a segment that fits the window as it is
inline constexpr uint8_t kMoved = 8;

enum class Settling : uint8_t {
  strict,   // go on by the strict rule
  moved,    // accepted; the windows are moved and slid
  refused,  // drop: a RST while a moved window is not yet sure
};

[[nodiscard]] inline bool settling(const State& s) { return (s.src.reanchor | s.dst.reanchor) != 0; }

// Where an end's numbers may be found while it settles; for segments quoted in ICMP errors.
[[nodiscard]] bool plausible(const Peer& peer, uint32_t base, uint32_t window, uint32_t first, uint32_t last);

// Called for every segment of a settling state, before the strict rule. `levels_may_move`: whether a FIN of a segment
// that moved a window counts.
[[nodiscard]] Settling settle(State& state, const Context& context, const TcpSegment& segment, uint32_t now_s,
                              bool& levels_may_move);

}  // namespace twinwall::tcp
