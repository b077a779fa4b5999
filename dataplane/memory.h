// What the process will reserve, worked out before anything is started.
//
// Units: bytes. plan_memory() is pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "dataplane/dataplane.h"
#include "lib/config/schema.h"

namespace twinwall {

struct MemoryPlan {
  unsigned buffers = 0;    // frames in memory at a time
  uint16_t data_room = 0;  // of each, headroom included
  uint64_t eal = 0;        // buffers, rings, route tables, drivers' queues
  uint64_t states = 0;     // the table of states and its index
  uint64_t kernel_rings = 0;
  [[nodiscard]] uint64_t total() const { return eal + states + kernel_rings; }
};
[[nodiscard]] MemoryPlan plan_memory(const config::Config& config, const DataplaneOptions& options);
// In words, for the message that it is more than the configuration allows.
[[nodiscard]] std::string describe(const MemoryPlan& plan);

}  // namespace twinwall
