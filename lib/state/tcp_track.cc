#include "lib/state/tcp_track.h"

#include "lib/state/tcp_parts.h"
#include "lib/state/tcp_reanchor.h"

namespace twinwall {

using namespace tcp;

namespace {

constexpr uint8_t kSynAck = kTcpSyn | kTcpAck;

uint8_t shift_of(const Peer& p) { return p.wscale & kWindowScaleMask; }

uint8_t wscale_of(const TcpSegment& segment) {
  if (segment.wscale < 0) return 0;
  const uint8_t shift = std::min(static_cast<uint8_t>(segment.wscale), kMaxWindowScale);
  return static_cast<uint8_t>(kWindowScaleKnown | shift);
}

uint32_t scale_down(uint32_t win, unsigned shift) { return (win + (1u << shift) - 1) >> shift; }

// The sender's first segment: its window starts here.
void first_segment(Context& c, const TcpSegment& segment) {
  if ((segment.flags & kTcpSyn) != 0 && (c.dst.wscale & kWindowScaleKnown) != 0) {
    c.src.wscale = wscale_of(segment);
    if (c.src.wscale != 0) {
      c.src_shift = shift_of(c.src);
      c.dst_shift = shift_of(c.dst);
      c.win = scale_down(c.win, c.src_shift);
    } else {
      // Only one end offers scaling, so nobody scales.
      const uint32_t unscaled = static_cast<uint32_t>(c.dst.max_win) << shift_of(c.dst);
      c.dst.max_win = static_cast<uint16_t>(std::min<uint32_t>(unscaled, 65535));
      c.dst.wscale = 0;
    }
  }
  c.src.seqlo = c.seq;
  if (c.src.level < kTcpSynSent) c.src.level = kTcpSynSent;
  // seqhi may have been set by the other end's segments before.
  const uint32_t allowed = c.end + std::max<uint32_t>(1, c.dst_window());
  if (c.src.seqhi == 1 || !after(c.src.seqhi, allowed)) c.src.seqhi = allowed;
  c.src.max_win = std::max(c.src.max_win, static_cast<uint16_t>(c.win));
}

Context read_segment(Peer& src, Peer& dst, const TcpSegment& segment) {
  const bool syn = (segment.flags & kTcpSyn) != 0;
  const bool scaled = src.wscale != 0 && dst.wscale != 0 && !syn;
  const uint32_t data_end = segment.seq + segment.payload + (syn ? 1 : 0);
  Context c{.src = src,
            .dst = dst,
            .seq = segment.seq,
            .end = data_end + ((segment.flags & kTcpFin) != 0 ? 1 : 0),
            .data_end = data_end,
            .ack = segment.ack - dst.seqdiff,
            .win = segment.win,
            .src_shift = scaled ? shift_of(src) : uint8_t{0},
            .dst_shift = scaled ? shift_of(dst) : uint8_t{0}};
  if (src.seqlo == 0) first_segment(c, segment);
  const bool resets = (segment.flags & (kTcpAck | kTcpRst)) == (kTcpAck | kTcpRst);
  // No ACK; or one by a stack that answers a SYN's timeout with nothing to acknowledge; or one to an end not heard yet.
  if ((segment.flags & kTcpAck) == 0 || (segment.ack == 0 && resets) || dst.level < kTcpSynSent) c.ack = dst.seqlo;
  // Nothing in it that could be out of place.
  if (c.seq == c.end) c.seq = c.end = c.data_end = src.seqlo;
  return c;
}

// A reset must hit the sender's position, give or take one: it cannot be guessed.
bool reset_fits(const Context& c, const TcpSegment& segment) {
  return (segment.flags & kTcpRst) == 0 || segment.seq + 1 - c.src.seqlo <= 2;
}

// While an end is unheard or already done: early data, the middle of a connection, stragglers after the close.
bool loosely_fits(const Context& c) {
  return (c.dst.level < kTcpSynSent || c.dst.level >= kTcpFinWait2 || c.src.level >= kTcpFinWait2) &&
         before_or_at(c.data_end, c.src.seqhi + kMaxAckWindow) && before_or_at(c.src.seqlo - kMaxAckWindow, c.seq);
}

void refresh(State& s, uint32_t now_s) {
  s.last_update = now_s;
  s.timeout = tcp_timeout_class(s.src.level, s.dst.level);
}

void mismatch(const Context& c, const TcpSegment& segment, TcpResult& result) {
  result.verdict = TcpVerdict::drop_mismatch;
  if (c.src.level != kTcpSynSent || c.dst.level != kTcpSynSent) return;
  // Two handshakes that do not belong together: one end must start again.
  if ((segment.flags & kTcpRst) == 0) {
    result.verdict = TcpVerdict::drop_and_reset;
    result.answer_seq = segment.ack;
  }
  c.src.seqlo = 0;
  c.src.seqhi = 1;
  c.src.max_win = 1;
}

void track_full(State& s, Peer& src, Peer& dst, const TcpSegment& segment, uint32_t now_s, TcpResult& result) {
  const Context c = read_segment(src, dst, segment);
  if (settling(s)) [[unlikely]] {
    bool levels_may_move = true;
    const Settling settled = settle(s, c, segment, now_s, levels_may_move);
    if (settled == Settling::refused) {
      result.verdict = TcpVerdict::drop_mismatch;
      return;
    }
    if (settled == Settling::moved) {
      result.reanchored = true;
      if (levels_may_move) move_levels(c, segment.flags);
      return refresh(s, now_s);
    }
  }
  if (sequence_fits(c) && ack_fits(c) && reset_fits(c, segment)) [[likely]] {
    slide(c);
    move_levels(c, segment.flags);
    refresh(s, now_s);
  } else if (loosely_fits(c)) {
    slide(c);
    move_levels(c, segment.flags & (kTcpFin | kTcpRst));
  } else {
    mismatch(c, segment, result);
  }
}

// Levels only; parts of the connection may go another way.
void track_sloppy(State& s, Peer& src, Peer& dst, const TcpSegment& segment, uint32_t now_s) {
  const bool ack = (segment.flags & kTcpAck) != 0;
  if ((segment.flags & kTcpSyn) != 0 && src.level < kTcpSynSent) src.level = kTcpSynSent;
  if ((segment.flags & kTcpFin) != 0 && src.level < kTcpClosing) src.level = kTcpClosing;
  if (ack && dst.level == kTcpSynSent) {
    dst.level = kTcpEstablished;
  } else if (ack && dst.level == kTcpClosing) {
    dst.level = kTcpFinWait2;
  } else if (ack && src.level == kTcpSynSent && dst.level < kTcpSynSent) {
    src.level = dst.level = kTcpEstablished;  // the other half is not seen here
  } else if (ack && src.level == kTcpClosing && dst.level == kTcpEstablished && dst.seqlo == 0) {
    dst.level = kTcpClosing;
  }
  if ((segment.flags & kTcpRst) != 0) src.level = dst.level = kTcpTimeWait;
  refresh(s, now_s);
}

}  // namespace

TimeoutClass tcp_timeout_class(uint8_t src_level, uint8_t dst_level) {
  const auto both = [&](uint8_t level) { return src_level >= level && dst_level >= level; };
  if (both(kTcpFinWait2)) return TimeoutClass::tcp_closed;
  if (both(kTcpClosing)) return TimeoutClass::tcp_finwait;
  if (!both(kTcpEstablished)) return TimeoutClass::tcp_opening;
  if (src_level >= kTcpClosing || dst_level >= kTcpClosing) return TimeoutClass::tcp_closing;
  return TimeoutClass::tcp_established;
}

void tcp_start(State& s, const TcpSegment& segment, uint32_t now_s) {
  const bool syn = (segment.flags & kTcpSyn) != 0;
  const bool fin = (segment.flags & kTcpFin) != 0;
  s.src = Peer{};
  s.dst = Peer{};
  s.src.seqlo = segment.seq;
  s.src.seqhi = segment.seq + segment.payload + 1 + (syn ? 1 : 0) + (fin ? 1 : 0);
  s.src.wscale = syn ? wscale_of(segment) : uint8_t{0};
  s.src.max_win = static_cast<uint16_t>(scale_down(std::max<uint32_t>(segment.win, 1), shift_of(s.src)));
  s.dst.seqhi = 1;
  s.dst.max_win = 1;
  s.src.level = kTcpSynSent;
  s.dst.level = kTcpClosed;
  s.timeout = TimeoutClass::tcp_first;
  s.creation = s.last_update = now_s;
}

TcpResult tcp_track(State& s, bool forward, const TcpSegment& segment, uint32_t now_s) {
  Peer& src = forward ? s.src : s.dst;
  Peer& dst = forward ? s.dst : s.src;
  TcpResult result;
  if ((segment.flags & kSynAck) == kTcpSyn) [[unlikely]] {
    if (src.level >= kTcpFinWait2 && dst.level >= kTcpFinWait2) {
      result.verdict = TcpVerdict::reuse;
      return result;
    }
    if (src.level >= kTcpEstablished && dst.level >= kTcpEstablished) {
      // The sender may have lost its memory. If so it resets the connection in answer; a forger never sees the
      // question.
      result.verdict = TcpVerdict::challenge_ack;
      result.answer_seq = dst.seqlo;
      result.answer_ack = src.seqlo;
      return result;
    }
  }
  const uint8_t src_before = s.src.level, dst_before = s.dst.level;
  if ((s.flags & kStateSloppy) != 0) {
    track_sloppy(s, src, dst, segment, now_s);
  } else {
    track_full(s, src, dst, segment, now_s, result);
  }
  if (s.src.level != src_before || s.dst.level != dst_before) [[unlikely]] {
    result.levels_changed = true;
    result.half_open_ended = src_before != kTcpClosed && src_before < kTcpEstablished && !tcp_half_open(s);
    result.both_established_now = s.src.level == kTcpEstablished && s.dst.level == kTcpEstablished;
  }
  return result;
}

bool tcp_quoted_sequence_fits(const State& s, bool forward, uint32_t seq) {
  if ((s.flags & kStateSloppy) != 0) return true;
  const Peer& src = forward ? s.src : s.dst;
  const Peer& dst = forward ? s.dst : s.src;
  seq -= src.seqdiff;
  const unsigned shift = src.wscale != 0 && dst.wscale != 0 ? shift_of(dst) : 0;
  const uint32_t window = static_cast<uint32_t>(dst.max_win) << shift;
  if (before_or_at(src.seqlo - window, seq) && before_or_at(seq, src.seqhi)) return true;
  if (src.reanchor == 0) return false;
  // An error about a fast connection that was just taken over.
  if (src.reanchor == kImported)
    return src.level >= kTcpEstablished && src.level < kTcpClosing &&
           before_or_at(src.seqlo - std::max(window, kMaxAckWindow), seq) &&
           before_or_at(seq, src.seqlo + kReanchorAhead);
  return plausible(src, s.anchor.base[forward ? 0 : 1], window, seq, seq);
}

}  // namespace twinwall
