// twinwall-bench: what a packet costs, from packet in to packet out, in cycles of the time stamp counter.
//
// Everything in memory on one pinned core: the bench makes a burst of frames, takes the time, gives the burst to the
// same Engine that the daemon runs, and takes the time again. Making the frames is not part of the figure and is
// reported apart.
#include <fmt/core.h>
#include <rte_eal.h>
#include <sched.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/bench/traffic.h"
#include "dataplane/routes_fib.h"
#include "lib/base/random.h"
#include "lib/config/load.h"
#include "lib/engine/engine.h"
#include "lib/engine/snapshot.h"

namespace twinwall::bench {
namespace {

constexpr const char* kConfig = R"(
interfaces:
  lan: {port: "kernel:lan", addresses: [10.0.0.2/24]}
  wan: {port: "kernel:wan", addresses: [192.0.2.2/24]}
routes:
  - {to: 0.0.0.0/0, via: 192.0.2.254}
  - {to: 10.128.0.0/9, via: 10.0.0.254}
options:
  timeouts: {adaptive.start: 0, adaptive.end: 0, udp.first: 86400, udp.single: 86400, udp.multiple: 86400}
rules:
  - {action: block}
  - {action: pass, STATE}
)";

// Frees nothing and sends nothing: the bench only looks at fates.
class NullHost final : public EngineHost {
 public:
  Packet* allocate(uint32_t) override { return nullptr; }
  void submit(Packet*) override {}
  void log(const LogRecord&) override {}
};

struct Figures {
  std::vector<double> cycles;  // a packet, one figure a repeat
  double generator = 0;
  [[nodiscard]] double at(double q) const {
    std::vector<double> sorted = cycles;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
  }
};

struct Row {
  std::string name;
  Proto proto = Proto::udp;
  uint32_t states = 1;
  bool stateless = false;
};

double tsc_hz() {
  const auto t0 = std::chrono::steady_clock::now();
  const uint64_t c0 = __rdtsc();
  while (std::chrono::steady_clock::now() - t0 < std::chrono::milliseconds(100)) {}
  const uint64_t c1 = __rdtsc();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - t0;
  return static_cast<double>(c1 - c0) / elapsed.count();
}

class Bench {
 public:
  explicit Bench(const Row& row) : row_(row), traffic_(kBurst, macs()) {
    std::string text = kConfig;
    text.replace(text.find("STATE"), 5, row.stateless ? "state: none" : "state: keep");
    config::LoadResult loaded = config::load_text(text, "bench", "");
    if (!loaded.ok()) throw std::runtime_error(config::to_string(loaded.diagnostics));
    const std::vector<Mac> both{macs().lan, macs().wan};
    snapshot_ = make_snapshot(loaded.config, both, make_fib_routes);
    const std::vector<NeighborTable::Entry> neighbors{
        {1, *parse_ip("10.0.0.254"), *parse_mac("02:00:00:00:00:98")},
        {2, *parse_ip("192.0.2.254"), *parse_mac("02:00:00:00:00:99")},
    };
    neighbors_ = std::make_unique<NeighborTable>(neighbors);
    table_ = std::make_unique<StateTable>(table_options(row));
    EngineOptions options;
    options.hostid = 1;
    options.seed = 1;
    options.fragment_limit = 64;
    engine_ = std::make_unique<Engine>(options, *table_, host_);
    view_ = {snapshot_.get(), neighbors_.get(), nullptr};
  }

  void open() {
    for (uint32_t flow = 0; flow < row_.states; flow += kBurst) {
      const uint32_t n = std::min<uint32_t>(kBurst, row_.states - flow);
      for (const Step step : {Step::open, Step::answer, Step::acknowledge}) {
        for (uint32_t i = 0; i < n; ++i) burst_[i] = traffic_.make(i, flow + i, row_.proto, step);
        engine_->process({burst_.data(), n}, view_, now());
        for (uint32_t i = 0; i < n; ++i)
          if (burst_[i]->fate != Fate::forward)
            throw std::runtime_error("a packet of an opening connection was not forwarded: " +
                                     std::string(reason_name(burst_[i]->reason)));
      }
    }
  }

  // One repeat: cycles a packet over `bursts` bursts of uniformly random flows.
  double run(size_t bursts, double& generator) {
    uint64_t spent = 0, made = 0;
    for (size_t b = 0; b < bursts; ++b) {
      const uint64_t t0 = __rdtsc();
      for (size_t i = 0; i < kBurst; ++i)
        burst_[i] = traffic_.make(i, random_.below(row_.states), row_.proto, Step::established);
      const uint64_t t1 = __rdtsc();
      engine_->process(burst_, view_, now());
      spent += __rdtsc() - t1;
      made += t1 - t0;
      for (const Packet* p : burst_) lost_ += p->fate != Fate::forward ? 1 : 0;
    }
    const auto packets = static_cast<double>(bursts * kBurst);
    generator = static_cast<double>(made) / packets;
    return static_cast<double>(spent) / packets;
  }

  [[nodiscard]] uint64_t lost() const { return lost_; }
  [[nodiscard]] uint64_t states() const { return table_->states(); }

 private:
  static Macs macs() { return {*parse_mac("02:00:00:00:00:01"), *parse_mac("02:00:00:00:00:02")}; }
  static StateTableOptions table_options(const Row& row) {
    StateTableOptions o;
    o.capacity = row.states * 2 + 1024;
    o.secret[0] = 0x5eed;
    o.secret[1] = 0x5eed5;
    return o;
  }
  static Time now() { return Time(std::chrono::seconds(1000)); }

  Row row_;
  Traffic traffic_;
  NullHost host_;
  std::shared_ptr<Snapshot> snapshot_;
  std::unique_ptr<NeighborTable> neighbors_;
  std::unique_ptr<StateTable> table_;
  std::unique_ptr<Engine> engine_;
  View view_;
  std::array<Packet*, kBurst> burst_{};
  Random random_{7};
  uint64_t lost_ = 0;
};

// The routes' table lives in EAL memory. No device is looked at.
bool start_eal() {
  std::vector<std::string> words = {"twinwall-bench", "--no-huge",      "--no-shconf", "--no-pci",     "-m", "256",
                                    "--no-telemetry", "--iova-mode=va", "--log-level", "lib.eal:error"};
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  return rte_eal_init(static_cast<int>(argv.size()), argv.data()) >= 0;
}

void pin(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fmt::print(stderr, "twinwall-bench: cannot pin to cpu {}\n", cpu);
}

std::vector<Row> rows(const std::vector<uint32_t>& counts) {
  std::vector<Row> out{{"udp, stateless rules", Proto::udp, 1, true}};
  for (const auto& [proto, name] : {std::pair{Proto::udp, "udp"}, std::pair{Proto::tcp, "tcp"}})
    for (const uint32_t n : counts) out.push_back({fmt::format("{} established", name), proto, n, false});
  return out;
}

int run_all(const std::vector<uint32_t>& counts, unsigned repeats, size_t bursts, const std::string& json_path) {
  const double hz = tsc_hz();
  nlohmann::json report{{"tsc_hz", hz}, {"burst", kBurst}, {"repeats", repeats}, {"rows", nlohmann::json::array()}};
  fmt::print("{:<24}{:>12}{:>10}{:>8}{:>8}{:>9}{:>11}\n", "path", "connections", "cycles", "min", "max", "Mpps",
             "generator");
  for (const Row& row : rows(counts)) {
    Bench bench(row);
    bench.open();
    Figures f;
    double generator = 0;
    (void)bench.run(bursts / 4 + 1, generator);  // warm up
    for (unsigned r = 0; r < repeats; ++r) f.cycles.push_back(bench.run(bursts, generator));
    if (bench.lost() != 0) {
      fmt::print(stderr, "twinwall-bench: {} packets of '{}' were not forwarded\n", bench.lost(), row.name);
      return 1;
    }
    const double median = f.at(0.5);
    fmt::print("{:<24}{:>12}{:>10.1f}{:>8.1f}{:>8.1f}{:>9.2f}{:>11.1f}\n", row.name, row.states, median, f.at(0),
               f.at(1), hz / median / 1e6, generator);
    report["rows"].push_back({{"path", row.name},
                              {"connections", row.states},
                              {"states", bench.states()},
                              {"cycles_median", median},
                              {"cycles_min", f.at(0)},
                              {"cycles_max", f.at(1)},
                              {"mpps", hz / median / 1e6},
                              {"generator_cycles", generator}});
  }
  if (!json_path.empty()) {
    std::ofstream out(json_path);
    out << report.dump(2) << '\n';
    if (!out) {
      fmt::print(stderr, "twinwall-bench: cannot write {}\n", json_path);
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace twinwall::bench

int main(int argc, char** argv) {
  CLI::App app{"cycles per packet through the whole packet path, in memory"};
  std::vector<uint32_t> counts{1, 10000, 1000000};
  unsigned repeats = 7, cpu = 1;
  size_t bursts = 20000;
  std::string json;
  app.add_option("--connections", counts, "numbers of established connections")->check(CLI::Range(1u, 8000000u));
  app.add_option("--repeat", repeats, "repeats a row; the median counts")->check(CLI::Range(1u, 1000u));
  app.add_option("--bursts", bursts, "bursts of 32 packets a repeat")->check(CLI::Range(size_t{1}, size_t{100000000}));
  app.add_option("--cpu", cpu, "processor to pin to");
  app.add_option("--json", json, "also write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  if (!twinwall::bench::start_eal()) {
    fmt::print(stderr, "twinwall-bench: DPDK's EAL does not start\n");
    return 1;
  }
  twinwall::bench::pin(cpu);  // after EAL, which pins to a processor of its own choice
  try {
    return twinwall::bench::run_all(counts, repeats, bursts, json);
  } catch (const std::exception& e) {
    fmt::print(stderr, "twinwall-bench: {}\n", e.what());
    return 1;
  }
}
