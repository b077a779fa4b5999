// Changing addresses, ports, ids and TTLs of a packet in place, every checksum kept in step by difference (RFC 1624),
// so that a packet which arrived damaged leaves just as damaged.
#pragma once

#include "lib/engine/packet.h"
#include "lib/net/checksum.h"
#include "lib/state/flow_key.h"

namespace twinwall {

struct Endpoints {
  Address src, dst;
  uint16_t sport = 0, dport = 0;  // network order; ignored where the protocol has none
  uint16_t icmp_id = 0;           // network order; echo only
};

// Makes the packet carry these endpoints. Works on whole packets (transport header present).
void rewrite(Packet& p, const Endpoints& to);

// Replaces bytes of a TCP header, at any offset, the checksum in step.
void patch_tcp(Packet& p, size_t offset, const void* value, size_t length);

// The word of an IPv4 header that has TTL and checksum, for a TTL that is one less.
[[nodiscard]] inline uint32_t decremented_v4_ttl(uint32_t word) {
  // What RFC 1624 equation 3 comes to for a word that is one less: the sum is one more, in ones' complement. The TTL is
  // the first byte of the four, the sum the last two.
  constexpr uint32_t kOneMore = 0x10000, kLastSum = 0xfffe0000;
  return word + kOneMore - 1 + (word >= kLastSum ? kOneMore : 0);
}

// The TTL of an IPv4 header minus one.
inline void decrement_v4_ttl(uint8_t* h) { store_raw(h + 8, decremented_v4_ttl(load_raw<uint32_t>(h + 8))); }

// TTL or hop limit minus one.
inline void decrement_ttl(Packet& p) {
  uint8_t* h = p.ip();
  if (p.af == Af::inet) {
    decrement_v4_ttl(h);
  } else {
    --h[7];
  }
  --p.ttl;
}

// True for echo requests and replies: the ICMP messages whose id NAT translates like a port.
[[nodiscard]] bool is_echo(const Packet& p);

// The endpoints that a packet travelling in direction `dir` carries when its state says `key`. `request_slot` is the
// slot of the connection's initiator, where an echo's id is kept.
[[nodiscard]] inline Endpoints endpoints_of(const FlowKey& key, Direction dir, unsigned request_slot) {
  const unsigned s = dir == Direction::in ? 0 : 1;  // the sender's slot
  return {key.addr[s], key.addr[1 - s], key.port[s], key.port[1 - s], key.port[request_slot]};
}

}  // namespace twinwall
