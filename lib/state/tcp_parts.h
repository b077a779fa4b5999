// What strict tracking and the settling of imported windows share. Private to lib/state.
#pragma once

#include <algorithm>
#include <cstdint>

#include "lib/net/headers.h"
#include "lib/state/tcp_track.h"

namespace twinwall::tcp {

// Sequence comparison modulo 2^32 (RFC 9293 section 3.4).
[[gnu::always_inline]] inline bool before_or_at(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) <= 0; }
[[gnu::always_inline]] inline bool after(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0; }

// A segment against a state, seen from its sender.
struct Context {
  Peer& src;  // the sender
  Peer& dst;
  uint32_t seq;       // of a segment without length: the sender's position, whatever the header says
  uint32_t end;       // behind data, SYN and FIN
  uint32_t data_end;  // behind data and SYN
  uint32_t ack;       // in dst's own numbers; dst's position where the field means nothing
  uint32_t win;       // as announced, or scaled down in a SYN that brings a scale
  uint8_t src_shift;
  uint8_t dst_shift;

  [[nodiscard]] uint32_t src_window() const { return win << src_shift; }
  [[nodiscard]] uint32_t dst_window() const { return static_cast<uint32_t>(dst.max_win) << dst_shift; }
};

// Behind what dst has sent by a scaled window at most, and a little ahead of it.
[[gnu::always_inline]] inline bool ack_fits(const Context& c) {
  const auto skew = static_cast<int32_t>(c.dst.seqlo - c.ack);
  return skew >= -static_cast<int32_t>(kMaxAckWindow) && skew <= static_cast<int32_t>(kMaxAckWindow << c.src_shift);
}

[[gnu::always_inline]] inline bool sequence_fits(const Context& c) {
  return before_or_at(c.data_end, c.src.seqhi) && before_or_at(c.src.seqlo - c.dst_window(), c.seq);
}

// Takes what an accepted segment says into both windows.
[[gnu::always_inline]] inline void slide(const Context& c) {
  c.src.max_win = std::max(c.src.max_win, static_cast<uint16_t>(c.win));
  if (after(c.end, c.src.seqlo)) c.src.seqlo = c.end;
  if (!after(c.dst.seqhi, c.ack + c.src_window())) c.dst.seqhi = c.ack + std::max<uint32_t>(c.src_window(), 1);
}

inline void move_levels(const Context& c, uint8_t flags) {
  if ((flags & kTcpSyn) != 0 && c.src.level < kTcpSynSent) c.src.level = kTcpSynSent;
  if ((flags & kTcpFin) != 0 && c.src.level < kTcpClosing) c.src.level = kTcpClosing;
  if ((flags & kTcpAck) != 0) {
    if (c.dst.level == kTcpSynSent) {
      c.dst.level = kTcpEstablished;
    } else if (c.dst.level == kTcpClosing) {
      c.dst.level = kTcpFinWait2;
    }
  }
  if ((flags & kTcpRst) != 0) c.src.level = c.dst.level = kTcpTimeWait;
}

}  // namespace twinwall::tcp
