// The packets that nearly all packets are: of an established connection, where only windows move. What is asked here
// and taken here is what tcp_track() and pseudo_track() would do, made small enough to be part of the caller.
//
// Both are asked before anything is taken, so that a connection's two states can be asked together. Whatever is not
// ordinary belongs to the trackers.
#pragma once

#include "lib/net/headers.h"
#include "lib/state/state.h"
#include "lib/state/tcp_parts.h"
#include "lib/state/tcp_track.h"

namespace twinwall {

namespace ordinary {

[[gnu::always_inline]] inline tcp::Context context(Peer& src, Peer& dst, const TcpSegment& segment) {
  const bool scaled = src.wscale != 0 && dst.wscale != 0;
  const uint32_t end = segment.seq + segment.payload;
  const bool empty = segment.payload == 0;
  return {.src = src,
          .dst = dst,
          .seq = empty ? src.seqlo : segment.seq,
          .end = empty ? src.seqlo : end,
          .data_end = empty ? src.seqlo : end,
          .ack = segment.ack,
          .win = segment.win,
          .src_shift = scaled ? static_cast<uint8_t>(src.wscale & kWindowScaleMask) : uint8_t{0},
          .dst_shift = scaled ? static_cast<uint8_t>(dst.wscale & kWindowScaleMask) : uint8_t{0}};
}

}  // namespace ordinary

// An established connection in its own numbers, with windows that are known.
[[nodiscard, gnu::always_inline]] inline bool tcp_ordinary(const State& s) {
  return s.timeout == TimeoutClass::tcp_established && s.src.level == kTcpEstablished &&
         s.dst.level == kTcpEstablished && (s.src.seqdiff | s.dst.seqdiff) == 0 &&
         (s.src.reanchor | s.dst.reanchor) == 0 && s.src.seqlo != 0 && s.dst.seqlo != 0 &&
         (s.flags & (kStateSloppy | kStateScrubTcp)) == 0;
}

// Data or an acknowledgement, nothing that opens or closes.
[[nodiscard, gnu::always_inline]] inline bool tcp_ordinary(uint8_t flags) {
  return (flags & (kTcpSyn | kTcpFin | kTcpRst | kTcpAck)) == kTcpAck;
}

[[nodiscard, gnu::always_inline]] inline bool tcp_ordinary_fits(State& s, bool forward, const TcpSegment& segment) {
  const tcp::Context c = ordinary::context(forward ? s.src : s.dst, forward ? s.dst : s.src, segment);
  return tcp::sequence_fits(c) && tcp::ack_fits(c);
}

[[gnu::always_inline]] inline void tcp_ordinary_take(State& s, bool forward, const TcpSegment& segment,
                                                     uint32_t now_s) {
  tcp::slide(ordinary::context(forward ? s.src : s.dst, forward ? s.dst : s.src, segment));
  s.last_update = now_s;
}

// tcp_ordinary_fits() and tcp_ordinary_take() in one, of a state that tcp_ordinary() holds for but perhaps for its
// numbers, which move. False: nothing has changed.
[[nodiscard, gnu::always_inline]] inline bool tcp_ordinary_step(State& s, bool forward, const TcpSegment& segment,
                                                                uint32_t now_s) {
  const tcp::Context c = ordinary::context(forward ? s.src : s.dst, forward ? s.dst : s.src, segment);
  if (c.src.seqlo == 0 || c.dst.seqlo == 0 || !tcp::sequence_fits(c) || !tcp::ack_fits(c)) return false;
  tcp::slide(c);
  s.last_update = now_s;
  return true;
}

// A UDP packet that changes neither level nor timeout of its state; the tracker would only note the time.
[[nodiscard, gnu::always_inline]] inline bool udp_ordinary(const State& s, bool forward) {
  const uint8_t sender = forward ? s.src.level : s.dst.level;
  const uint8_t other = forward ? s.dst.level : s.src.level;
  if (sender == kMultiple && other == kMultiple) return s.timeout == TimeoutClass::udp_multiple;
  return sender >= kSingle && other != kSingle && s.timeout == TimeoutClass::udp_single;
}

}  // namespace twinwall
