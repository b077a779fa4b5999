#include "dataplane/eal.h"

#include <fmt/core.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string_view>
#include <utility>

namespace twinwall {

std::string lcore_map(std::span<const unsigned> cpus) {
  std::string map;
  for (size_t i = 0; i < cpus.size(); ++i) map += fmt::format("{}{}@{}", i == 0 ? "" : ",", i, cpus[i]);
  return map;
}

std::vector<std::string> eal_arguments(const EalOptions& options) {
  const uint64_t megabytes = (options.memory_bytes + (uint64_t{1} << 20) - 1) >> 20;
  std::vector<std::string> arguments{"twinwall", "--lcores", lcore_map(options.cpus), "--main-lcore", "0"};
  const auto add = [&](std::initializer_list<std::string> more) { arguments.insert(arguments.end(), more); };
  if (options.hugepages) {
    add({"--in-memory"});
  } else {
    add({"--no-huge", "--no-shconf"});  // --in-memory is refused together with --no-huge
  }
  add({"-m", std::to_string(megabytes), "--file-prefix", options.prefix, "--no-telemetry"});
  if (options.pci.empty()) {
    add({"--no-pci", "--iova-mode=va"});
  } else {
    for (const auto& address : options.pci) add({"-a", address});
  }
  return arguments;
}

HugepageChoice choose_hugepages(config::Hugepages wanted, uint64_t free_bytes, uint64_t needed_bytes) {
  const bool enough = free_bytes >= needed_bytes && free_bytes != 0;
  switch (wanted) {
    case config::Hugepages::never: return {};
    case config::Hugepages::automatic: return {enough, {}};
    case config::Hugepages::required:
      if (enough) return {true, {}};
      return {false, fmt::format("system.hugepages is 'required', but only {} MB of huge pages are free and {} MB are "
                                 "needed (set vm.nr_hugepages)",
                                 free_bytes >> 20, (needed_bytes + (uint64_t{1} << 20) - 1) >> 20)};
  }
  return {};
}

uint64_t free_hugepage_bytes(const std::string& root) {
  constexpr std::string_view kPrefix = "hugepages-";
  uint64_t total = 0;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(root, ec)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    const uint64_t kilobytes = std::strtoull(name.c_str() + kPrefix.size(), nullptr, 10);
    std::ifstream file(entry.path() / "free_hugepages");
    uint64_t pages = 0;
    if (file >> pages) total += pages * kilobytes * 1024;
  }
  return total;
}

std::optional<unsigned> first_unusable(std::span<const unsigned> cpus, const std::function<bool(unsigned)>& usable) {
  for (const unsigned cpu : cpus)
    if (!usable(cpu)) return cpu;
  return std::nullopt;
}

bool cpu_usable(unsigned cpu) {
  if (cpu >= CPU_SETSIZE) return false;
  cpu_set_t before, wanted;
  if (sched_getaffinity(0, sizeof before, &before) != 0) return false;
  CPU_ZERO(&wanted);
  CPU_SET(cpu, &wanted);
  // The mask that the process inherited says nothing about what it may ask for, so it is asked for.
  const bool ok = sched_setaffinity(0, sizeof wanted, &wanted) == 0;
  if (ok) (void)sched_setaffinity(0, sizeof before, &before);
  return ok;
}

namespace {

constexpr std::string_view kProcessPrefix = "twinwall-";

}  // namespace

std::string process_prefix(int pid) { return fmt::format("{}{}", kProcessPrefix, pid); }

void remove_stale_directories(const std::string& parent) {
  std::error_code ec;
  std::vector<std::filesystem::path> stale;
  for (const auto& entry : std::filesystem::directory_iterator(parent, ec)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kProcessPrefix)) continue;
    const char* const digits = name.c_str() + kProcessPrefix.size();
    char* end = nullptr;
    const long pid = std::strtol(digits, &end, 10);
    if (end == digits || *end != '\0' || pid <= 0) continue;
    if (kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) stale.push_back(entry.path());
  }
  for (const auto& path : stale) std::filesystem::remove(path, ec);  // what is not empty stays
}

namespace {

std::mutex log_mutex;
std::string last_error;
std::atomic<int> quiet{0};

// Threads that EAL starts inherit the signal mask: signals are for the control core.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

// What the bonding driver calls an error and then does another way, with promiscuous mode.
bool is_harmless(std::string_view line) { return line.find("ailed to enable allmulti") != std::string_view::npos; }

// DPDK writes a message with one call, and rte_log_cur_msg_loglevel() tells its level meanwhile.
ssize_t write_log(void*, const char* text, size_t size) {
  std::string_view line(text, size);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  if (line.empty()) return static_cast<ssize_t>(size);
  const int level = rte_log_cur_msg_loglevel();
  if (level >= 0 && level <= static_cast<int>(RTE_LOG_ERR)) {
    {
      const std::lock_guard lock(log_mutex);
      last_error = line;
    }
    spdlog::log(quiet > 0 || is_harmless(line) ? spdlog::level::debug : spdlog::level::err, "dpdk: {}", line);
  } else {
    spdlog::debug("dpdk: {}", line);
  }
  return static_cast<ssize_t>(size);
}

FILE* log_stream() {
  static FILE* const stream = [] {
    cookie_io_functions_t io{};
    io.write = write_log;
    return fopencookie(nullptr, "w", io);
  }();
  return stream;
}

}  // namespace

std::unique_ptr<EalSession> EalSession::start(const EalOptions& options, std::string& error) {
  std::vector<std::string> arguments = eal_arguments(options);
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(a.data());

  if (FILE* stream = log_stream()) (void)rte_openlog_stream(stream);
  rte_log_set_global_level(spdlog::should_log(spdlog::level::debug) ? RTE_LOG_INFO : RTE_LOG_ERR);
  (void)take_error();
  const BlockedSignals blocked;
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    const int code = rte_errno;
    const std::string said = take_error();
    error = fmt::format("DPDK does not start: {}", said.empty() ? std::strerror(code) : said);
    return nullptr;
  }
  auto session = std::unique_ptr<EalSession>(new EalSession());
  if (const char* directory = rte_eal_get_runtime_dir()) session->run_directory_ = directory;
  if (!session->run_directory_.empty())
    remove_stale_directories(std::filesystem::path(session->run_directory_).parent_path());
  return session;
}

EalSession::~EalSession() {
  (void)rte_eal_cleanup();
  // DPDK leaves its directory behind. Only this process ever used it, because its prefix is unique.
  std::error_code ec;
  if (!run_directory_.empty()) std::filesystem::remove_all(run_directory_, ec);
}

QuietErrors::QuietErrors() { ++quiet; }
QuietErrors::~QuietErrors() { --quiet; }

std::string EalSession::take_error() {
  const std::lock_guard lock(log_mutex);
  return std::exchange(last_error, {});
}

}  // namespace twinwall
