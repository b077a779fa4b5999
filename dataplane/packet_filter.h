// Classic BPF programs that decide in the kernel which of a port's receive queues takes a frame.
//
// Each queue of a kernel port is a socket of its own, and each socket's filter takes the frames of its share: the
// kernel's fanout is not used because it reassembles IPv4 fragments. The shares are disjoint and complete. Both
// directions of a connection, and all fragments of a datagram, fall to one queue.
// Pure. Source: packet(7), Linux' classic BPF with its ancillary loads (networking/filter.rst).
#pragma once

#include <linux/filter.h>

#include <vector>

namespace twinwall {

using FilterProgram = std::vector<sock_filter>;

// Takes only pfsync (IP protocol 240, untagged, IPv4 or IPv6).
[[nodiscard]] FilterProgram pfsync_filter();

struct QueueShare {
  unsigned queue = 0;
  unsigned queues = 1;
  bool without_pfsync = false;  // pfsync has a queue of its own
};
// Takes queue's share of the frames. What has no IP addresses falls to queue 0.
[[nodiscard]] FilterProgram share_filter(const QueueShare& share);

}  // namespace twinwall
