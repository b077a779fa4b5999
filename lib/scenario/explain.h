// Why a packet fares as it does on a node of a scenario (lib/engine/explain.h). Changes nothing.
#pragma once

#include <string>
#include <vector>

#include "lib/engine/explain.h"
#include "lib/scenario/node.h"
#include "lib/scenario/packet_spec.h"
#include "lib/scenario/subject.h"

namespace twinwall::scenario {

[[nodiscard]] std::vector<std::string> explain(Subject& node, InterfaceId interface, const std::vector<uint8_t>& frame,
                                               ExplainRules rules = ExplainRules::deciding);

// A packet in the notation, as a frame that comes in on an interface. `at`: its name; empty: where the way back to the
// source leaves. `target_mac`: where a frame for an address is sent to on an interface.
struct ArrivingFrame {
  InterfaceId interface = kNoInterface;
  std::vector<uint8_t> frame;
  std::string error;  // not empty: what is wrong with the packet or the interface
};
[[nodiscard]] ArrivingFrame arriving_frame(const Snapshot& snapshot, const std::string& packet, const std::string& at,
                                           const std::function<Mac(InterfaceId, const IpAddress&)>& target_mac);

}  // namespace twinwall::scenario
