// What the short ways of a packet share. Private to lib/engine.
#pragma once

#include "lib/engine/parse_ordinary.h"
#include "lib/state/ordinary.h"

namespace twinwall {

[[nodiscard, gnu::always_inline]] inline const FlowKey& stack_of(const State& s) {
  return s.translated ? s.stack : s.wire;
}

[[nodiscard, gnu::always_inline]] inline TcpSegment ordinary_segment(const Packet& p, const Ordinary& seen) {
  const uint8_t* const t = p.frame + seen.l4;
  TcpSegment segment;
  segment.seq = load_be32(t + 4);
  segment.ack = load_be32(t + 8);
  segment.win = load_be16(t + 14);
  segment.payload = seen.payload;
  return segment;
}

}  // namespace twinwall
