#include "lib/state/tcp_reanchor.h"

namespace twinwall::tcp {

namespace {

// Both have completed the handshake, none has seen a reset, and at least one may still send.
bool established(const State& s) {
  return s.src.level >= kTcpEstablished && s.src.level <= kTcpFinWait2 && s.dst.level >= kTcpEstablished &&
         s.dst.level <= kTcpFinWait2 && (s.src.level < kTcpFinWait2 || s.dst.level < kTcpFinWait2);
}

// An update from the peer that arrives meanwhile sets kImported alone and so starts that end anew.
void keep_base(Peer& p, uint32_t& base) {
  if (p.reanchor != kImported) return;
  base = p.seqlo;
  p.reanchor = kImported | kBaseKept;
}

void mark(Peer& p, uint8_t bits) {
  if (p.reanchor != 0) p.reanchor |= bits;
}

// Nothing is left to find out once both ends were heard in place and no window has moved for a while.
void finish(State& s, uint32_t now_s) {
  const auto heard = [](const Peer& p) { return p.reanchor == 0 || (p.reanchor & kHeard) != 0; };
  if (!heard(s.src) || !heard(s.dst)) return;
  const bool moved = ((s.src.reanchor | s.dst.reanchor) & kMoved) != 0;
  if (moved && now_s - s.anchor.time < kSettleSeconds) return;
  s.src.reanchor = s.dst.reanchor = 0;
}

void move_sequence(const Context& c) {
  c.src.seqlo = c.end;
  // What the receiver granted is unknown; a sender has at most a window in flight.
  c.src.seqhi = c.end + std::max<uint32_t>(1, c.dst_window());
  mark(c.src, kMoved);
}

void move_acknowledged(const Context& c) {
  c.dst.seqlo = c.ack;  // it has sent that much, though it was not seen
  c.dst.seqhi = c.ack + std::max<uint32_t>(1, c.src_window());
  mark(c.dst, kMoved);
  c.dst.reanchor &= static_cast<uint8_t>(~kHeard);
}

}  // namespace

bool plausible(const Peer& p, uint32_t base, uint32_t window, uint32_t first, uint32_t last) {
  if ((p.reanchor & kBaseKept) == 0 || p.level >= kTcpClosing) return false;
  const uint32_t behind = std::max(window, kMaxAckWindow);
  return before_or_at(base - behind, first) && before_or_at(last, base + kReanchorAhead);
}

Settling settle(State& s, const Context& eased, const TcpSegment& segment, uint32_t now_s, bool& levels_may_move) {
  keep_base(s.src, s.anchor.base[0]);
  keep_base(s.dst, s.anchor.base[1]);
  if (!established(s) || (segment.flags & kTcpSyn) != 0) return Settling::strict;
  finish(s, now_s);
  const bool moved = ((s.src.reanchor | s.dst.reanchor) & kMoved) != 0;
  if ((segment.flags & kTcpRst) != 0) return moved ? Settling::refused : Settling::strict;
  if ((segment.flags & kTcpAck) == 0 || !settling(s)) return Settling::strict;

  // Here a bare ACK must be in place too: where its sender is, is what is to be found out.
  Context c = eased;
  c.seq = segment.seq;
  c.data_end = segment.seq + segment.payload;
  c.end = c.data_end + ((segment.flags & kTcpFin) != 0 ? 1 : 0);
  const bool sequence_ok = sequence_fits(c);
  const bool ack_ok = ack_fits(c);
  if (sequence_ok && ack_ok) {
    mark(c.src, kHeard);
    finish(s, now_s);
    return Settling::strict;
  }
  const bool forward = &c.src == &s.src;
  const uint32_t src_base = s.anchor.base[forward ? 0 : 1];
  const uint32_t dst_base = s.anchor.base[forward ? 1 : 0];
  if (!sequence_ok && !plausible(c.src, src_base, c.dst_window(), c.seq, c.end)) return Settling::strict;
  if (!ack_ok && !plausible(c.dst, dst_base, c.src_window(), c.ack, c.ack)) return Settling::strict;

  if (!sequence_ok) move_sequence(c);
  if (!ack_ok) move_acknowledged(c);
  slide(c);
  mark(c.src, kHeard);
  s.anchor.time = now_s;
  levels_may_move = ack_ok;
  return Settling::moved;
}

}  // namespace twinwall::tcp
