// What it costs to look into packets: the inspector alone, without the path around it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace twinwall::bench {

struct InspectFigure {
  std::string name;
  uint32_t bytes = 0;                    // a packet's payload
  double median = 0, low = 0, high = 0;  // ticks a packet
};

// Signatures over TCP segments as streams, as datagrams, and as blocks that overlap, for comparison; names in TLS
// hellos and DNS queries against `domains` names. Those whose name holds `wanted`. Throws std::runtime_error.
[[nodiscard]] std::vector<InspectFigure> measure_inspection(uint32_t signatures, uint32_t domains, unsigned repeats,
                                                            const std::string& wanted);

}  // namespace twinwall::bench
