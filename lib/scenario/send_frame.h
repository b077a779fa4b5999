// A `send` as the frames that arrive. For runners of scenarios.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "lib/scenario/packet_spec.h"
#include "lib/scenario/scenario.h"

namespace twinwall::scenario {

// The whole frame; a text says what is wrong. `target`: the MAC address that a frame for an address is sent to.
[[nodiscard]] std::variant<std::vector<uint8_t>, std::string> frame_of(
    const Send& send, const Bindings& bindings, const std::function<Mac(const IpAddress&)>& target);
// As it is sent, in fragments where the step says so. Without `times`.
[[nodiscard]] std::vector<std::vector<uint8_t>> pieces_of(const Send& send, const std::vector<uint8_t>& frame);
// For reports: the packet, or which frame of a capture.
[[nodiscard]] std::string describe(const Send& send);

}  // namespace twinwall::scenario
