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
#include "lib/state/twin_line.h"

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

// Both shifts are as segments say them, which is not sure of what a peer has said (RFC 7323 section 2.3).
[[nodiscard]] inline bool tcp_shifts_known(const State& s) {
  constexpr unsigned kLargest = 14;
  const auto known = [](uint8_t wscale) {
    return wscale == 0 || ((wscale & kWindowScaleKnown) != 0 && (wscale & kWindowScaleMask) <= kLargest);
  };
  return known(s.src.wscale) && known(s.dst.wscale);
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

// tcp_ordinary_fits() and tcp_ordinary_take() in one, of twins that were joined while tcp_ordinary() and
// tcp_shifts_known() held for them. `sender`: of the two ends in the line. False: nothing has changed, and the trackers
// may still take it. `tcp` is the segment's header, all of which is there.
[[nodiscard, gnu::always_inline]] inline bool tcp_ordinary_step(TwinLine& line, unsigned sender, const uint8_t* tcp,
                                                                uint32_t payload) {
  const unsigned other = 1 - sender;
  const uint32_t ack = load_be32(tcp + 8);
  const unsigned src_shift = line.moving.shift[sender];
  if (line.moving.seqlo[other] - ack + kMaxAckWindow > kMaxAckWindow + (kMaxAckWindow << src_shift)) [[unlikely]]
    return false;
  const uint32_t from = line.moving.seqlo[sender];
  if (payload == 0) {  // where its sender is, whatever it says
    if (tcp::after(from, line.moving.seqhi[sender])) [[unlikely]]
      return false;
  } else {
    const uint32_t seq = load_be32(tcp + 4), end = seq + payload;
    const uint32_t sent = tcp::after(end, from) ? end : from;
    if (tcp::after(end, line.moving.seqhi[sender]) ||
        tcp::after(from - (uint32_t{line.moving.max_win[other]} << line.moving.shift[other]), seq) || sent == 0)
        [[unlikely]]
      return false;  // of 0: numbers that come to it are not known any more
    line.moving.seqlo[sender] = sent;
  }
  const uint16_t win = load_be16(tcp + 14);
  if (win > line.moving.max_win[sender]) [[unlikely]]
    line.moving.max_win[sender] = win;
  const uint32_t window = uint32_t{win} << src_shift;
  // The limit moves on to what the sender has room for behind its acknowledgement, at least one.
  const uint32_t room = ack + window + (window == 0 ? 1 : 0), limit = line.moving.seqhi[other];
  line.moving.seqhi[other] = tcp::after(limit, room) ? limit : room;
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
