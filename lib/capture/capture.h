// One capture of an interface's frames, from those who have them to the one who reads.
//
// A worker sees a frame as it is received, before anything looks at it, and as it is given to the port to be sent,
// after everything. Each producer (a worker, and one for all other senders and receivers together, who take turns) has
// a ring of its own. What finds no room there is counted and not captured; the frame itself goes its way in any case.
//
// A VLAN's frames are those on its parent with its tag, shown without it; the parent shows all of its frames, with
// tags.
//
// Threads: see() by that producer, take() by one reader, everything else by anybody.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/counter.h"
#include "lib/base/time.h"
#include "lib/capture/capture_ring.h"
#include "lib/filter/rule.h"

namespace twinwall::capture {

inline constexpr uint32_t kWholeFrames = 65535;        // snaplen without a word of anybody's
inline constexpr size_t kRingBytes = size_t{4} << 20;  // a producer

struct Wanted {
  InterfaceId port = kNoInterface;  // whose frames; of a VLAN its parent
  uint16_t vlan = 0;                // 0: all frames of the port
  Direction direction = Direction::both;
  uint32_t snaplen = kWholeFrames;  // bytes of a frame at most
};

class Capture {
 public:
  // Takes all memory that it will need: producers × kRingBytes.
  Capture(const Wanted& wanted, unsigned producers, size_t ring_bytes = kRingBytes);

  [[nodiscard]] const Wanted& wanted() const { return wanted_; }
  [[nodiscard]] bool wants(InterfaceId port, Direction direction) const {
    return port == wanted_.port && (wanted_.direction == Direction::both || wanted_.direction == direction);
  }
  // Of a frame that wants() is true for.
  void see(unsigned producer, Direction direction, Bytes frame, Time at);

  // The oldest frame of all producers that is not younger than `until`, its bytes appended to `bytes`. A producer shows
  // a frame a little later than its time: with an `until` some milliseconds ago frames come in order. False: there is
  // none.
  [[nodiscard]] bool take(Time until, FrameHeader& header, std::string& bytes);

  [[nodiscard]] uint64_t seen() const { return sum(&Producer::seen); }        // and wanted
  [[nodiscard]] uint64_t dropped() const { return sum(&Producer::dropped); }  // of these: found no room

  // Nobody reads any more; what comes is not looked at.
  void close() { closed_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool closed() const { return closed_.load(std::memory_order_relaxed); }

 private:
  struct alignas(64) Producer {
    explicit Producer(size_t bytes) : ring(bytes) {}
    CaptureRing ring;
    Counter seen, dropped;
  };
  [[nodiscard]] uint64_t sum(Counter Producer::*counter) const;

  const Wanted wanted_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::atomic<bool> closed_{false};
};

}  // namespace twinwall::capture
