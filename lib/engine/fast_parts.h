// What the short ways of a packet share. Private to lib/engine.
#pragma once

#include "lib/engine/parse_ordinary.h"
#include "lib/engine/rewrite.h"
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
  return {address(sender), address(1 - sender), sender == 0 ? ports : ports >> 16 | ports << 16, 0, 0};
}

// `to`, with what it changes of a packet that has these ends.
[[nodiscard]] inline State::SentAs changed(const State::SentAs& from, State::SentAs to) {
  const auto change = [](uint32_t before, uint32_t after) {  // RFC 1624 equation 3, two words at once
    return before == after ? uint64_t{0} : uint64_t{~before} + after;
  };
  const uint64_t addresses = change(from.src, to.src) + change(from.dst, to.dst);
  to.header_change = checksum_fold(addresses);
  to.l4_change = checksum_fold(addresses + change(from.ports, to.ports));
  return to;
}

// rewrite_v4() of a header without options, where the change is known, and the TTL minus one.
[[gnu::always_inline]] inline void send_as(uint8_t* h, uint8_t proto, const State::SentAs& as) {
  const auto adjusted = [](uint32_t checksum, uint32_t change) {
    const uint32_t sum = (checksum ^ 0xffff) + change;
    return static_cast<uint16_t>(~(sum + (sum >> 16)));  // it has one carry at most
  };
  const uint32_t word = decremented_v4_ttl(load_raw<uint32_t>(h + 8));
  store_raw(h + 8, (word & 0xffff) | uint32_t{adjusted(word >> 16, as.header_change)} << 16);
  store_raw(h + 12, as.src);
  store_raw(h + 16, as.dst);
  uint8_t* const t = h + kIpv4Header;
  store_raw(t, as.ports);
  if (proto == kProtoTcp) [[likely]] {
    store_raw(t + 16, adjusted(load_raw<uint16_t>(t + 16), as.l4_change));
  } else if (const auto checksum = load_raw<uint16_t>(t + 6); checksum != 0) {
    const uint16_t value = adjusted(checksum, as.l4_change);
    store_raw(t + 6, value == 0 ? uint16_t{0xffff} : value);
  }
}

}  // namespace twinwall
