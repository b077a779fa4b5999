// Which packets of a group that shares its load are this node's.
//
// Every node gets every frame to the group's MAC address, and all of them must come to the same answer, OpenBSD's
// included: the addresses decide (lib/carp/balance.h). Both directions of a connection have one answer, unless it is
// translated in between.
//
// Source: carp(4), "balancing".
#pragma once

#include "lib/engine/packet.h"
#include "lib/engine/snapshot.h"

namespace twinwall {

// `p` is parsed. What is for all, at the network's level, is for this node too, and so is neighbour discovery, which
// the node that answers for the address must see. An ICMP error of IPv4 belongs to where the flow is that it quotes.
[[nodiscard]] bool takes_share(const Packet& p, const CarpSharing& sharing);

}  // namespace twinwall
