// What the short ways of a packet share. Private to lib/engine.
#pragma once

#include "lib/engine/parse_ordinary.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"
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

// rewrite() of IPv4 with TCP or UDP, all differences in one sum. Addresses and ports are as in the packet.
[[gnu::always_inline]] inline void rewrite_v4(uint8_t* h, uint8_t* t, uint8_t proto, uint32_t src, uint32_t dst,
                                              uint32_t ports) {
  const auto set = [](uint8_t* field, uint32_t after) {
    const auto before = load_raw<uint32_t>(field);
    store_raw(field, after);
    return before == after ? uint64_t{0} : uint64_t{~before} + after;  // RFC 1624 equation 3, two words at once
  };
  const auto adjust = [](uint8_t* field, uint64_t d) {
    const auto sum = static_cast<uint16_t>(~load_raw<uint16_t>(field));
    return static_cast<uint16_t>(~checksum_fold(sum + d));
  };
  const uint64_t addresses = set(h + 12, src) + set(h + 16, dst);
  const uint64_t all = addresses + set(t, ports);
  if (addresses != 0) store_raw(h + 10, adjust(h + 10, addresses));
  if (all == 0) return;
  if (proto == kProtoTcp) [[likely]] {
    store_raw(t + 16, adjust(t + 16, all));
  } else if (load_raw<uint16_t>(t + 6) != 0) {
    const uint16_t value = adjust(t + 6, all);
    store_raw(t + 6, value == 0 ? uint16_t{0xffff} : value);
  }
}

// The ends that an IPv4 packet has by `key`, whose slot `sender` sends it.
[[nodiscard, gnu::always_inline]] inline State::SentAs ends_v4(const FlowKey& key, unsigned sender) {
  const auto address = [&](unsigned slot) { return load_raw<uint32_t>(key.addr[slot].bytes.data()); };
  const auto ports = load_raw<uint32_t>(&key.port);
  return {address(sender), address(1 - sender), sender == 0 ? ports : ports >> 16 | ports << 16};
}

}  // namespace twinwall
