#include "dataplane/memory.h"

#include <fmt/core.h>

#include <algorithm>

#include "dataplane/mbuf.h"
#include "dataplane/routes_fib.h"
#include "dataplane/worker.h"
#include "lib/net/headers.h"
#include "lib/state/state_table.h"

namespace twinwall {
namespace {

constexpr uint64_t kMegabyte = uint64_t{1} << 20;
constexpr uint32_t kLeastData = 2048;
constexpr unsigned kSpareBuffers = 1024;
constexpr unsigned kDescriptors = 1024;
constexpr uint64_t kEalOwn = 24 * kMegabyte;   // its heap's and the drivers' overhead
constexpr uint64_t kDeviceQueue = 256 * 1024;  // descriptors and a driver's own memory
constexpr uint64_t kPerBuffer = 128 + 128;     // the mbuf and the pool's header, rounded up
constexpr uint64_t kLacpFrame = 256;           // the buffers that the bonding driver holds for LACPDUs, with headroom

}  // namespace

MemoryPlan plan_memory(const config::Config& config, const DataplaneOptions& options) {
  MemoryPlan plan;
  const auto workers = static_cast<unsigned>(config.system.worker_cores.size());
  uint32_t largest = 1500;
  unsigned device_queues = 0, lacp_queues = 0;
  for (const auto& i : config.interfaces) {
    if (i.port_kind == config::PortKind::vlan) continue;
    largest = std::max<uint32_t>(largest, i.mtu);
    const bool sync = i.id == options.sync_interface;
    if (i.port_kind == config::PortKind::kernel)
      plan.kernel_rings +=
          KernelPort::ring_memory({i.port, i.mtu, i.queues == 0 ? workers : std::min(i.queues, workers), 0, sync});
    else
      device_queues += (2 * workers + 2) * static_cast<unsigned>(std::max<size_t>(i.bond.members.size(), 1));
    if (i.port_kind == config::PortKind::bond && i.bond.mode == config::BondMode::lacp)
      lacp_queues += (workers + 3) * static_cast<unsigned>(i.bond.members.size());
  }
  const uint32_t frame = largest + static_cast<uint32_t>(kEthernetHeader + 2 * kVlanTag);
  plan.data_room = static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + std::max(kLeastData, (frame + 63) & ~63u));

  // Everything that can hold a buffer, full at the same time.
  const auto ports = static_cast<unsigned>(config.interfaces.size());
  const unsigned per_worker = 2 * kPuntRing + workers * kHandoffRing + ports * kTxBuffer + 2 * kBurst;
  plan.buffers = kSpareBuffers + workers * per_worker + device_queues * kDescriptors;
  plan.eal = plan.buffers * (plan.data_room + uint64_t{kMbufPrivateSize} + kPerBuffer) +
             workers * Worker::memory(workers) + FibRouteTable::memory(2) + device_queues * kDeviceQueue +
             lacp_queues * kDescriptors * (kLacpFrame + kPerBuffer) + kEalOwn;
  plan.eal = (plan.eal + 2 * kMegabyte - 1) / (2 * kMegabyte) * (2 * kMegabyte);
  plan.states = StateTable::memory_needed(options.state_limit);
  return plan;
}

std::string describe(const MemoryPlan& plan) {
  const auto megabytes = [](uint64_t bytes) { return (bytes + kMegabyte - 1) / kMegabyte; };
  return fmt::format("{} MB: {} for states, {} for {} packet buffers, rings and routes, {} for the kernel's rings",
                     megabytes(plan.total()), megabytes(plan.states), megabytes(plan.eal), plan.buffers,
                     megabytes(plan.kernel_rings));
}

}  // namespace twinwall
