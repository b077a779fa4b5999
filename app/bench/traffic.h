// The bench's own packets: frames in memory, made for a flow number, with right checksums. Its cost is measured apart.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "lib/engine/packet.h"
#include "lib/net/address.h"

namespace twinwall::bench {

enum class Proto : uint8_t { udp, tcp };

// Which packet of a flow.
enum class Step : uint8_t { open, answer, acknowledge, established };

struct Macs {
  Mac lan, wan;
};

// Frames of a burst, reused over and over. Not thread-safe.
class Traffic {
 public:
  Traffic(size_t burst, const Macs& macs);

  // Writes the packet of `flow` into place i and returns it, 60 bytes long. `outer_port`: where an answer goes when the
  // flow's source is translated, 0 when it is not.
  Packet* make(size_t i, uint32_t flow, Proto proto, Step step, uint16_t outer_port);

 private:
  // As far from each other as buffers of the dataplane's pool: at a power of two they would all fall into the same few
  // places of the cache.
  static constexpr size_t kRoom = 2624;
  static constexpr size_t kHeadroom = 128;
  Macs macs_;
  std::vector<uint8_t> memory_;
  std::vector<Packet> packets_;
};

}  // namespace twinwall::bench
