// The announcements of recorded ucarp daemons (`arp_frames` of carp-ucarp-capture.json).
//
// ucarp moves no MAC address: it tells the network that the virtual address is at its port's own one. twinwall does not
// do so itself, but it is a neighbour of those that do. So each frame must be read as that, be built again byte for
// byte, move the entry of a node that sends to the virtual address, and be no neighbour for a node of the same group,
// which says where the address is if it is MASTER; and what twinwall announces for the address differs from it in the
// MAC addresses alone.
#pragma once

#include <nlohmann/json.hpp>

#include "tests/conformance/runner.h"

namespace twinwall::conformance {

void check_ucarp_announcements(const nlohmann::json& file, Report& report);

}  // namespace twinwall::conformance
