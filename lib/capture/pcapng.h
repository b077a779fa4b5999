// Frames as a capture file: pcapng, which tcpdump (libpcap) and Wireshark read.
//
// Why not pcap: it has no room for a frame's direction, nor for how many frames are missing. Pure: values in, bytes
// out. Source: "PCAP Next Generation (pcapng) Capture File Format", draft-ietf-opsawg-pcapng; numbers in this machine's
// byte order, as the format lets the writer choose. Times are nanoseconds since 1970.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/bytes.h"

namespace twinwall::pcapng {

inline constexpr uint32_t kSection = 0x0a0d0d0a;
inline constexpr uint32_t kInterface = 1;
inline constexpr uint32_t kStatistics = 5;
inline constexpr uint32_t kPacket = 6;

// What a file begins with: a section of one Ethernet interface.
[[nodiscard]] std::string header(std::string_view interface, uint32_t snaplen);

struct PacketInfo {
  uint64_t wall_ns = 0;
  uint32_t length = 0;  // of the frame, of which perhaps less is here
  bool outgoing = false;
};
[[nodiscard]] std::string packet(const PacketInfo& info, std::string_view bytes);

struct Statistics {
  uint64_t received = 0;  // seen at the interface
  uint64_t dropped = 0;   // of these: not in the file, because there was no room
};
[[nodiscard]] std::string statistics(const Statistics& s, uint64_t wall_ns);

}  // namespace twinwall::pcapng
