// A reader for capture files: classic pcap of either byte order, with micro- or nanosecond times.
//
// Why: the runner replays recorded frames and needs nothing else of a capture library. Frames are owned by the result.
// Source: draft-ietf-opsawg-pcap.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/time.h"

namespace twinwall::conformance {

struct PcapFrame {
  Duration time{};  // since the epoch
  std::vector<uint8_t> bytes;
  bool truncated = false;  // the capture kept less than was on the wire
};

struct Pcap {
  uint32_t link_type = 0;  // 1 is Ethernet
  std::vector<PcapFrame> frames;
};

// Nothing when the bytes are no capture file. A cut-off last record ends the list.
[[nodiscard]] std::optional<Pcap> parse_pcap(std::span<const uint8_t> file);
[[nodiscard]] std::optional<Pcap> read_pcap(const std::filesystem::path& path);

// Hexadecimal text, both cases; nothing when it is none.
[[nodiscard]] std::optional<std::vector<uint8_t>> from_hex(std::string_view text);
[[nodiscard]] std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace twinwall::conformance
