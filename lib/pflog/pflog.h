// Logged packets as a capture file: pcap with link type PFLOG, which tcpdump and Wireshark read.
//
// Pure: records in, bytes out. Layout: OpenBSD's pfloghdr (pflog(4)), 100 bytes, and the packet from its IP header on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/engine/log_record.h"

namespace twinwall::pflog {

inline constexpr uint32_t kLinkType = 117;  // LINKTYPE_PFLOG
inline constexpr size_t kHeader = 100;

// The 24 bytes that a capture file begins with.
[[nodiscard]] std::string file_header();

// One record of the file. `interface` is the name of the record's interface; `wall_us` are microseconds since 1970.
[[nodiscard]] std::string record(const LogRecord& r, std::string_view interface, uint64_t wall_us);

}  // namespace twinwall::pflog
