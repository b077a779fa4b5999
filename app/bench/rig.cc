#include "app/bench/rig.h"

#include <sys/resource.h>
#include <x86intrin.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "app/bench/rule_rows.h"
#include "dataplane/mapped_memory.h"
#include "dataplane/routes_fib.h"
#include "lib/config/load.h"

namespace twinwall::bench {

namespace {

constexpr const char* kNetwork = R"(
interfaces:
  lan: {port: "kernel:lan", addresses: [10.0.0.2/24]}
  wan: {port: "kernel:wan", addresses: [192.0.2.2/24]}
routes:
  - {to: 0.0.0.0/0, via: 192.0.2.254}
  - {to: 10.128.0.0/9, via: 10.0.0.254}
)";

std::string config_text(const Row& row) {
  const Path path = row.path;
  std::string out = kNetwork;
  out +=
      "options:\n  timeouts: {adaptive.start: 0, adaptive.end: 0, udp.first: 86400, udp.single: 86400, udp.multiple: "
      "86400}\n";
  if (path == Path::plain) out += "  skip: [lan, wan]\n";
  if (path == Path::opening) return out + mixed_rules(row.rules);
  out += "rules:\n  - {action: block}\n";
  if (path == Path::nat) out += "  - {action: match, direction: out, interface: wan, nat-to: 192.0.2.2}\n";
  out += path == Path::stateless ? "  - {action: pass, state: none}\n" : "  - {action: pass, state: keep}\n";
  return out;
}

Macs macs() { return {*parse_mac("02:00:00:00:00:01"), *parse_mac("02:00:00:00:00:02")}; }

// Bursts longer than this are asked about: 20 µs at some GHz, where the question costs a microsecond.
constexpr uint64_t kLong = 40000;

int64_t times_preempted() {
  rusage usage{};
  (void)getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

}  // namespace

Rig::Rig(const Row& row, double tsc_hz, size_t most_bursts)
    : row_(row), tsc_hz_(tsc_hz), started_(__rdtsc()), traffic_(kBurst, macs()) {
  config::LoadResult loaded = config::load_text(config_text(row), "bench", "");
  if (!loaded.ok()) throw std::runtime_error(config::to_string(loaded.diagnostics));
  const std::vector<Mac> both{macs().lan, macs().wan};
  snapshot_ = make_snapshot(loaded.config, both, make_fib_routes);
  const std::vector<NeighborTable::Entry> neighbors{
      {1, *parse_ip("10.0.0.254"), *parse_mac("02:00:00:00:00:98")},
      {2, *parse_ip("192.0.2.254"), *parse_mac("02:00:00:00:00:99")},
  };
  neighbors_ = std::make_unique<NeighborTable>(neighbors);
  StateTableOptions table;
  const size_t connections = row.path == Path::opening ? most_bursts * kBurst : row.connections;
  table.capacity = static_cast<uint32_t>(connections * 2 + 1024);
  table.secret[0] = 0x5eed;
  table.secret[1] = 0x5eed5;
  state_memory_ = std::make_unique<MappedMemory>(StateTable::memory_needed(table.capacity));
  table.memory = state_memory_->bytes();
  table_ = std::make_unique<StateTable>(table);
  EngineOptions options;
  options.hostid = 1;
  options.seed = 1;
  options.fragment_limit = 64;
  options.sync = row.path == Path::sync;
  engine_ = std::make_unique<Engine>(options, *table_, *this);
  view_ = {snapshot_.get(), neighbors_.get(), nullptr};
  if (row.path == Path::nat) outer_ports_.resize(row.connections);
  if (row.path == Path::established || row.path == Path::nat || row.path == Path::sync) open();
}

Rig::~Rig() = default;

uint64_t Rig::states() const { return table_->states(); }

// The engine's clock runs as the real one does.
Time Rig::now() const {
  const double seconds = static_cast<double>(__rdtsc() - started_) / tsc_hz_;
  return Time(std::chrono::seconds(1000)) +
         std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

void Rig::process(size_t count) {
  const Time t = now();
  engine_->process({burst_.data(), count}, view_, t);
  if (row_.path == Path::sync) engine_->drain_deltas(view_, t, [](const Delta&) { return true; });
}

void Rig::open() {
  for (uint32_t flow = 0; flow < row_.connections; flow += kBurst) {
    const uint32_t n = std::min<uint32_t>(kBurst, row_.connections - flow);
    for (const Step step : {Step::open, Step::answer, Step::acknowledge}) {
      for (uint32_t i = 0; i < n; ++i) {
        const uint16_t port = step == Step::answer && !outer_ports_.empty() ? outer_ports_[flow + i] : uint16_t{0};
        burst_[i] = traffic_.make(i, flow + i, row_.proto, step, port);
      }
      process(n);
      for (uint32_t i = 0; i < n; ++i) {
        if (burst_[i]->fate != Fate::forward)
          throw std::runtime_error("a packet of an opening connection was not forwarded: " +
                                   std::string(reason_name(burst_[i]->reason)));
        if (step == Step::open && !outer_ports_.empty()) outer_ports_[flow + i] = bswap(burst_[i]->sport);
      }
    }
  }
}

void Rig::make(size_t count, Step step) {
  const bool opening = row_.path == Path::opening;
  for (size_t i = 0; i < count; ++i)
    burst_[i] = traffic_.make(i, opening ? next_flow_++ : random_.below(row_.connections), row_.proto,
                              opening ? Step::open : step, 0);
}

Sample Rig::run(size_t bursts) {
  Sample out;
  uint64_t spent = 0, made = 0;
  int64_t preempted = times_preempted();
  size_t counted = 0;
  for (size_t b = 0; b < bursts; ++b) {
    const uint64_t t0 = __rdtsc();
    make(kBurst, Step::established);
    const uint64_t t1 = __rdtsc();
    process(kBurst);
    const uint64_t t2 = __rdtsc();
    for (const Packet* p : burst_) lost_ += p->fate != Fate::forward ? 1 : 0;
    if (t2 - t0 > kLong) {
      const int64_t times = times_preempted();
      if (times != std::exchange(preempted, times)) {
        ++out.disturbed;
        continue;
      }
    }
    ++counted;
    spent += t2 - t1;
    made += t1 - t0;
    out.longest = std::max(out.longest, t2 - t1);
  }
  const auto packets = static_cast<double>(std::max<size_t>(counted, 1) * kBurst);
  out.generator = static_cast<double>(made) / packets;
  out.packet = static_cast<double>(spent) / packets;
  return out;
}

}  // namespace twinwall::bench
