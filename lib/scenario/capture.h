// One frame of a pcap file (the classic format, Ethernet), for scenarios that replay what was recorded.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace twinwall::scenario {

// Frame `number`, from 1; or what is wrong.
[[nodiscard]] std::variant<std::vector<uint8_t>, std::string> captured_frame(const std::string& path, unsigned number);

}  // namespace twinwall::scenario
