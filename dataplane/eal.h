// DPDK's environment, made from the configuration alone: the user never sees an EAL flag.
//
// Every process is on its own: a file prefix of its own, no shared configuration, no telemetry socket, no PCI device
// that is not configured. Several instances run side by side on one host and in network namespaces.
// The functions that build arguments are pure; EalSession starts and ends the environment, once a process (DPDK cannot
// be started again). Thread: the control core's, which becomes EAL's main lcore.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/config/schema.h"

namespace twinwall {

struct EalOptions {
  std::vector<unsigned> cpus;  // lcore i runs on cpus[i]; [0] is the control core; a CPU may come several times
  uint64_t memory_bytes = 0;   // what EAL reserves
  bool hugepages = false;
  std::vector<std::string> pci;  // the configured PCI addresses; none: the PCI bus is left alone
  std::string prefix;            // unique on this host
};

// "0@0,1@2,2@2": lcore@CPU in order.
[[nodiscard]] std::string lcore_map(std::span<const unsigned> cpus);

[[nodiscard]] std::vector<std::string> eal_arguments(const EalOptions& options);

struct HugepageChoice {
  bool use = false;
  std::string error;  // not empty: `required` cannot be met
};
// `free_bytes`: of all sizes of huge pages together.
[[nodiscard]] HugepageChoice choose_hugepages(config::Hugepages wanted, uint64_t free_bytes, uint64_t needed_bytes);
// Sum of the free huge pages below `root` (/sys/kernel/mm/hugepages); 0 when there are none.
[[nodiscard]] uint64_t free_hugepage_bytes(const std::string& root);

// The first of `cpus` for which `usable` says no.
[[nodiscard]] std::optional<unsigned> first_unusable(std::span<const unsigned> cpus,
                                                     const std::function<bool(unsigned)>& usable);
// True when this thread may run on that CPU; its affinity is the same afterwards.
[[nodiscard]] bool cpu_usable(unsigned cpu);

// "twinwall-1234": the prefix of the process with that id.
[[nodiscard]] std::string process_prefix(int pid);
// Removes the empty directories that killed processes left in DPDK's directory `parent`; those of live ones stay.
void remove_stale_directories(const std::string& parent);

class EalSession {
 public:
  // Null and `error` set when DPDK refuses. What DPDK prints goes to the process's log: errors as errors, the rest only
  // at level debug.
  [[nodiscard]] static std::unique_ptr<EalSession> start(const EalOptions& options, std::string& error);
  ~EalSession();
  EalSession(const EalSession&) = delete;
  EalSession& operator=(const EalSession&) = delete;

  // The last line that DPDK reported as an error since the last call; empty: none. To explain a failed call.
  [[nodiscard]] static std::string take_error();

 private:
  EalSession() = default;
  std::string run_directory_;
};

// While one lives, what DPDK reports as an error is kept for take_error() and logged only at level debug.
class QuietErrors {
 public:
  QuietErrors();
  ~QuietErrors();
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;
};

}  // namespace twinwall
