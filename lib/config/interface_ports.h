// The ports of interfaces: their notation, bonds of several, and that each is used once.
#pragma once

#include "lib/config/context.h"
#include "lib/config/node.h"

namespace twinwall::config {

// "0000:03:00.0", "kernel:eth0", "tap:tap0", "vdev:net_af_packet0,iface=eth0" of the key `port`.
void read_port(Context& c, const Node& n, Interface& i);
// The mapping of the key `bond`.
void read_bond(Context& c, const Node& n, Interface& i);

// What the keys of one interface demand of each other; `i` is not yet among c.config.interfaces, those before it are.
void check_ports(Context& c, const Node& key, const Node& node, const Interface& i);

}  // namespace twinwall::config
