#include "dataplane/dataplane.h"

#include <fmt/core.h>
#include <net/if.h>
#include <spdlog/spdlog.h>

#include <map>

#include "dataplane/eal.h"
#include "dataplane/memory.h"
#include "dataplane/running_dataplane.h"

namespace twinwall {
namespace {

constexpr const char* kHugepageRoot = "/sys/kernel/mm/hugepages";
constexpr size_t kMostWorkers = RTE_MAX_LCORE - 1;

// Keys that the file does not have are reported where their section is, or for the file as a whole.
config::Position place(const config::Config& config, const config::Position& wanted) {
  if (!wanted.file.empty()) return wanted;
  if (!config.system.at.file.empty()) return config.system.at;
  return {config.interfaces.empty() ? std::string() : config.interfaces.front().at.file, 0, 0};
}

bool check_cores(const config::Config& config, StartResult& result) {
  std::vector<unsigned> cpus = config.system.worker_cores;
  if (cpus.empty() || cpus.size() > kMostWorkers) {
    result.error = fmt::format("there must be 1 to {} workers", kMostWorkers);
  } else {
    cpus.push_back(config.system.control_core);
    cpus.push_back(config.system.sync_core);
    if (const auto bad = first_unusable(cpus, cpu_usable))
      result.error = fmt::format("CPU {} does not exist or may not be used here", *bad);
  }
  result.at = place(config, config.system.cores_at);
  return result.error.empty();
}

// A worker that never sleeps leaves nothing of its CPU to the control core.
void warn_of_shared_cores(const config::Config& config) {
  if (config.system.idle != config::Idle::poll) return;
  for (const unsigned cpu : config.system.worker_cores)
    if (cpu == config.system.control_core || cpu == config.system.sync_core)
      spdlog::warn(
          "CPU {} is a worker's that polls (system.idle) and also the control or sync core's: elections and "
          "synchronisation will be late",
          cpu);
}

bool check_ports(const config::Config& config, StartResult& result) {
  std::map<std::string, std::string> users;
  for (const auto& i : config.interfaces) {
    if (i.port_kind == config::PortKind::vlan) continue;
    const auto take = [&](config::PortKind kind, const std::string& port) {
      const std::string device = kind == config::PortKind::vdev ? ethdev_name(kind, port, i.id) : port;
      const auto [user, fresh] = users.emplace(device, i.name);
      if (!fresh) result.error = fmt::format("the port '{}' is already that of interface '{}'", device, user->second);
    };
    if (i.port_kind == config::PortKind::bond)
      for (const auto& m : i.bond.members) take(m.kind, m.port);
    else
      take(i.port_kind, i.port);
    if (result.error.empty() && i.port_kind == config::PortKind::kernel && if_nametoindex(i.port.c_str()) == 0)
      result.error = fmt::format("kernel interface '{}': there is none of that name", i.port);
    if (result.error.empty()) continue;
    result.at = place(config, i.port_at);
    return false;
  }
  return true;
}

}  // namespace

StartResult start_dataplane(const config::Config& config, const DataplaneOptions& options) {
  StartResult result;
  if (!check_cores(config, result) || !check_ports(config, result)) return result;
  warn_of_shared_cores(config);

  const MemoryPlan plan = plan_memory(config, options);
  if (plan.total() > config.system.memory_bytes) {
    result.at = place(config, config.system.memory_at);
    result.error = fmt::format("system.memory is {} MB, which does not suffice for {}",
                               config.system.memory_bytes >> 20, describe(plan));
    return result;
  }
  const HugepageChoice hugepages =
      choose_hugepages(config.system.hugepages, free_hugepage_bytes(kHugepageRoot), plan.eal);
  if (!hugepages.error.empty()) {
    result.at = place(config, config.system.hugepages_at);
    result.error = hugepages.error;
    return result;
  }

  auto running = std::make_unique<RunningDataplane>(config, options, plan);
  config::Position at;
  if (!running->start(hugepages.use, result.error, at)) {
    result.at = place(config, at);
    return result;
  }
  result.dataplane = std::move(running);
  return result;
}

}  // namespace twinwall
