// Copies of frames between one thread that has them and one that wants to see them.
//
// Bounded: what finds no room is refused, and nobody ever waits. All memory is taken, and touched once, at the start,
// so that pushing neither allocates nor faults a page in. A record is a header and the frame's bytes, rounded up to the
// header's size, so that a header always lies in one piece.
//
// Threads: push() by the producer; front() and pop() by the consumer.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/bytes.h"

namespace twinwall::capture {

struct FrameHeader {
  int64_t at_ns = 0;      // of the monotonic clock
  uint32_t length = 0;    // of the frame
  uint16_t captured = 0;  // bytes of it that are here
  uint16_t outgoing = 0;  // sent here, not received
};

class CaptureRing {
 public:
  // `size` in bytes, a power of two of at least 64.
  explicit CaptureRing(size_t size);

  // The frame in two pieces, together header.captured bytes. False: no room.
  [[nodiscard]] bool push(const FrameHeader& header, Bytes first, Bytes second);

  // The oldest record's header; false: there is none.
  [[nodiscard]] bool front(FrameHeader& header) const;
  // Takes that record away and appends its bytes to `out`. Only after front() said that there is one.
  void pop(std::string& out);

 private:
  void write(uint64_t at, const void* from, size_t length);
  void read(uint64_t at, void* to, size_t length) const;

  std::vector<uint8_t> bytes_;
  alignas(64) std::atomic<uint64_t> head_{0};  // bytes ever written; the producer's
  uint64_t tail_seen_ = 0;                     // the producer's last look at tail_
  alignas(64) std::atomic<uint64_t> tail_{0};  // bytes ever read; the consumer's
};

}  // namespace twinwall::capture
