// Load sharing between CARP nodes: which of several nodes takes a packet that all of them receive.
//
// Why here: the choice must be the same on every machine, including OpenBSD's, so it is a pure function of the packet's
// addresses. Nodes are counted in ascending vhid order, node i is bit i of a mask. Called from the workers' receive
// path.
//
// Source: OpenBSD carp(4), "balancing".
#pragma once

#include <cstdint>

#include "lib/base/bytes.h"
#include "lib/net/address.h"

namespace twinwall::carp {

inline constexpr unsigned kBalanceNodesMax = 32;

// Exclusive or of all 32-bit words of both addresses, read as big-endian numbers.
[[nodiscard]] inline uint32_t balance_fold(Af af, const Address& src, const Address& dst) {
  uint32_t fold = 0;
  for (size_t i = 0; i < address_length(af); i += 4) fold ^= load_be32(&src.bytes[i]) ^ load_be32(&dst.bytes[i]);
  return fold;
}

// 0 when there is no node to choose from.
[[nodiscard]] constexpr unsigned balance_node(uint32_t fold, unsigned nodes) { return nodes == 0 ? 0 : fold % nodes; }

// Whether this machine takes the packet, given which of the `nodes` (at most 32) are master here.
[[nodiscard]] inline bool balance_accepts(Af af, const Address& src, const Address& dst, unsigned nodes,
                                          uint32_t master_mask) {
  if (nodes == 0 || nodes > kBalanceNodesMax) return false;
  return ((master_mask >> balance_node(balance_fold(af, src, dst), nodes)) & 1) != 0;
}

}  // namespace twinwall::carp
