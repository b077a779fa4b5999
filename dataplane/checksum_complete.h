// Finishes a checksum that the sending kernel left to hardware which does not exist (a veth pair's transmit offload).
//
// The kernel says where summing starts and where the result goes; nothing of the packet is parsed. Pure. Source:
// struct virtio_net_hdr in virtio 1.1, section 5.1.6; RFC 9260 appendix A for SCTP's CRC32c.
#pragma once

#include <cstdint>

#include "lib/base/bytes.h"

namespace twinwall {

// Sums frame[start..] into the field at frame[start + offset]. False, and nothing written, when that is not inside the
// frame.
[[nodiscard]] bool complete_checksum(MutableBytes frame, uint32_t start, uint32_t offset);

[[nodiscard]] uint32_t crc32c(Bytes data);

}  // namespace twinwall
