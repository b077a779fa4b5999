#include "app/bench/rig.h"

#include <fmt/core.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "app/bench/rule_rows.h"
#include "dataplane/mapped_memory.h"
#include "dataplane/routes_fib.h"
#include "dataplane/worker.h"
#include "lib/config/load.h"

namespace twinwall::bench {

namespace {

constexpr uint32_t kDyingSeconds = 100;

constexpr const char* kNetwork = R"(
interfaces:
  lan: {port: "kernel:lan", addresses: [10.0.0.2/24]}
  wan: {port: "kernel:wan", addresses: [192.0.2.2/24]}
routes:
  - {to: 0.0.0.0/0, via: 192.0.2.254}
  - {to: 10.128.0.0/9, via: 10.0.0.254}
  - {to: 11.0.0.0/8, via: 10.0.0.254}
)";

std::string config_text(const Row& row) {
  const Path path = row.path;
  std::string out = kNetwork;
  const uint32_t udp_seconds = path == Path::churn ? 1 : path == Path::expiring ? kDyingSeconds : 86400;
  out += fmt::format(
      "options:\n  timeouts: {{adaptive.start: 0, adaptive.end: 0, udp.first: {0}, udp.single: {0}, udp.multiple: "
      "{0}}}\n",
      udp_seconds);
  if (path == Path::plain) out += "  skip: [lan, wan]\n";
  if (path == Path::opening) return out + mixed_rules(row.rules);
  if (path == Path::uninspected)
    out += "signatures:\n  bench:\n    - {id: 1, pattern: \"cmd=[0-9]{40}\", message: long}\n";
  out += "rules:\n  - {action: block}\n";
  if (path == Path::nat) out += "  - {action: match, direction: out, interface: wan, nat-to: 192.0.2.2}\n";
  out += path == Path::stateless ? "  - {action: pass, state: none}\n" : "  - {action: pass, state: keep}\n";
  if (path == Path::uninspected)
    out += "  - {action: pass, proto: tcp, to: {port: 1}, inspect: {signatures: [bench], on-match: drop}}\n";
  return out;
}

Macs macs() { return {*parse_mac("02:00:00:00:00:01"), *parse_mac("02:00:00:00:00:02")}; }

// A worker's upkeep (dataplane/worker.cc).
constexpr unsigned kTickTurns = 16;
constexpr Duration kTickInterval = 1ms;

// What was told of a connection is told again a second later, or when its turn comes: of many connections nearly all
// wait then. So many packets a connection make all but a few of them wait.
constexpr Duration kSyncSettles = 2500ms;
constexpr uint64_t kSyncPackets = 6;
// Of `churn`, by the engine's clock: some times a connection's life.
constexpr Duration kChurnSettles = 5s;

// Of `churn`: so fast runs the clock, so that a second's connections are fewer than the table has room for.
constexpr double kChurnClock = 16;
constexpr uint32_t kChurnStates = 2000000;
constexpr size_t kFloodEstablished = 8;  // every so-manieth packet of `flood`

uint32_t capacity_for(const Row& row, size_t most_bursts) {
  switch (row.path) {
    case Path::opening: return static_cast<uint32_t>(most_bursts * kBurst * 2 + 1024);
    case Path::churn: return kChurnStates;
    case Path::flood: return row.connections * 2;
    default: return (row.connections * row.workers + row.dying) * 2 + 4096;
  }
}

}  // namespace

std::optional<Row> plain_of(const Row& row) {
  Row plain = row;
  plain.told = false;
  if (row.path == Path::uninspected) plain.path = Path::established;
  if (plain.told == row.told && plain.path == row.path) return std::nullopt;
  return plain;
}

Rig::Rig(const Row& row, double tsc_hz, size_t most_bursts, Rig* first)
    : row_(row), tsc_hz_(tsc_hz), started_(__rdtsc()), left_at_(started_), traffic_(kBurst, macs()) {
  if (first == nullptr) {
    prepare(most_bursts);
  } else {
    snapshot_ = first->snapshot_;
    neighbors_ = first->neighbors_;
    table_ = first->table_;
    first_flow_ = row.connections;
  }
  EngineOptions options;
  options.hostid = 1;
  options.worker = first == nullptr ? 0 : 1;
  options.workers = row.workers;
  options.seed = 1u + options.worker;
  options.id_base = uint64_t{options.worker} << 32;
  options.fragment_limit = 64;
  options.sync = row.told;
  if (row.told) deltas_.resize(kDeltaRing);
  engine_ = std::make_unique<Engine>(options, *table_, *this);
  view_ = {snapshot_.get(), neighbors_.get(), nullptr};
  if (row.path == Path::nat) outer_ports_.resize(row.connections);
  if (row.path == Path::churn) clock_rate_ = kChurnClock;
  if (row.path == Path::expiring) {
    open(Proto::udp, row.connections, row.dying);
    clock_ahead_ = std::chrono::seconds(kDyingSeconds / 2);  // the others are younger, and TCP's
  }
  if (row.path != Path::plain && row.path != Path::stateless) open(row.proto, first_flow_, row.connections);
  if (row.path == Path::expiring) clock_ahead_ = std::chrono::seconds(2 * kDyingSeconds);
  if (row.told) {
    engine_->flush_deltas();
    while (engine_->deltas_waiting()) (void)tell(now());
    if (row.path != Path::opening) steady_at_ = now() + kSyncSettles;
    steady_after_ = row.connections * kSyncPackets / kBurst;
  }
  if (row.path == Path::churn) steady_at_ = now() + kChurnSettles;
  next_flow_ = row.connections + row.dying;
  left_at_ = __rdtsc();
}

// What all workers share.
void Rig::prepare(size_t most_bursts) {
  config::LoadResult loaded = config::load_text(config_text(row_), "bench", "");
  if (!loaded.ok()) throw std::runtime_error(config::to_string(loaded.diagnostics));
  const std::vector<Mac> both{macs().lan, macs().wan};
  snapshot_ = make_snapshot(loaded.config, both, make_fib_routes);
  const std::vector<NeighborTable::Entry> neighbors{
      {1, *parse_ip("10.0.0.254"), *parse_mac("02:00:00:00:00:98")},
      {2, *parse_ip("192.0.2.254"), *parse_mac("02:00:00:00:00:99")},
  };
  neighbors_ = std::make_shared<NeighborTable>(neighbors);
  StateTableOptions table;
  table.capacity = capacity_for(row_, most_bursts);
  table.workers = row_.workers;
  table.secret[0] = 0x5eed;
  table.secret[1] = 0x5eed5;
  state_memory_ = std::make_unique<MappedMemory>(StateTable::memory_needed(table.capacity));
  table.memory = state_memory_->bytes();
  table_ = std::make_shared<StateTable>(table);
}

Rig::~Rig() = default;

uint64_t Rig::states() const { return table_->states(); }

bool Rig::is_steady() const { return now() >= steady_at_ && ran_ >= steady_after_; }

double Rig::bytes_per_state() const {
  return static_cast<double>(StateTable::memory_needed(table_->capacity())) / table_->capacity();
}

// The engine's clock runs as the real one does while the rig is run: whatever happens now and then, as a peer being
// told, is as often as it would be if nothing was measured in between.
Time Rig::now() const {
  const double seconds = static_cast<double>(__rdtsc() - started_) / tsc_hz_ * clock_rate_;
  return Time(std::chrono::seconds(1000)) + clock_ahead_ +
         std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

void Rig::process(size_t count, Time t) {
  engine_->process({burst_.data(), count}, view_, t);
  if (row_.told) (void)tell(t);
}

// To a peer that is not there: into memory as large as the ring to the sync engine, which is another core and takes
// them from there. Returns how many were told.
size_t Rig::tell(Time t) {
  const auto push = [this](const Delta& d) {
    std::memcpy(&deltas_[next_delta_++ % kDeltaRing], &d, d.bytes());
    return true;
  };
  const size_t lazy = ++lazy_turn_ % Engine::kLazyTurns == 0 ? Engine::kLazyAtOnce : 0;
  return engine_->drain_deltas(view_, t, push, Engine::kDeltasAtOnce, lazy);
}

// A turn of a worker: the burst and what is due behind it. As there, the time is taken once.
void Rig::turn() {
  const Time t = now();
  process(kBurst, t);
  if (++since_tick_ >= kTickTurns || t - last_tick_ >= kTickInterval) {
    since_tick_ = 0;
    last_tick_ = t;
    engine_->tick(view_, t);
  } else {
    (void)engine_->catch_up(view_, t);
  }
}

void Rig::open(Proto proto, uint32_t first, uint32_t count) {
  for (uint32_t flow = first; flow < first + count; flow += kBurst) {
    const uint32_t n = std::min<uint32_t>(kBurst, first + count - flow);
    for (const Step step : {Step::open, Step::answer, Step::acknowledge, Step::established}) {
      for (uint32_t i = 0; i < n; ++i) {
        const uint16_t port =
            step == Step::answer && !outer_ports_.empty() ? outer_ports_[flow - first + i] : uint16_t{0};
        burst_[i] = traffic_.make(i, flow + i, proto, step, port);
      }
      process(n, now());
      for (uint32_t i = 0; i < n; ++i) {
        if (burst_[i]->fate != Fate::forward)
          throw std::runtime_error("a packet of an opening connection was not forwarded: " +
                                   std::string(reason_name(burst_[i]->reason)));
        if (step == Step::open && !outer_ports_.empty()) outer_ports_[flow - first + i] = bswap(burst_[i]->sport);
      }
    }
  }
}

bool Rig::opens(size_t i) const {
  if (row_.path == Path::flood) return i % kFloodEstablished != 0;
  return row_.path == Path::opening || row_.path == Path::churn;
}

void Rig::make(size_t count) {
  for (size_t i = 0; i < count; ++i)
    burst_[i] = opens(i)
                    ? traffic_.make(i, next_flow_++, row_.proto, Step::open, 0)
                    : traffic_.make(i, first_flow_ + random_.below(row_.connections), row_.proto, Step::established, 0);
}

// A flood's packets are for nobody: the table is full.
bool Rig::is_lost(size_t i) const {
  const bool unwanted = row_.path == Path::flood && opens(i);
  return burst_[i]->fate != (unwanted ? Fate::drop : Fate::forward);
}

Sample Rig::run(size_t bursts, AwayMeter& meter) {
  Sample out;
  constexpr size_t kAsked = 64;  // every so many bursts the instructions are counted, which costs two system calls
  uint64_t spent = 0, made = 0, executed = 0;
  size_t counted = 0, asked = 0;
  const auto duration = [this](uint64_t ticks) {
    return Duration(static_cast<int64_t>(static_cast<double>(ticks) / tsc_hz_ * 1e9));
  };
  started_ += __rdtsc() - left_at_;
  meter.begin();
  const Time began = meter.since();
  const uint64_t start = __rdtsc();
  for (size_t b = 0; b < bursts; ++b) {
    const uint64_t t0 = __rdtsc();
    make(kBurst);
    const bool asks = instructions_.available() && b % kAsked == 0;
    const uint64_t before = asks ? instructions_.now() : 0;
    const uint64_t t1 = __rdtsc();
    turn();
    const uint64_t t2 = __rdtsc();
    if (asks) {
      executed += instructions_.now() - before;
      ++asked;
    }
    for (size_t i = 0; i < kBurst; ++i) lost_ += is_lost(i) ? 1 : 0;
    const Duration away = duration(t2 - t1);
    if (meter.note(away, began + duration(t2 - start)) < away) {
      ++out.disturbed;
      continue;
    }
    ++counted;
    spent += t2 - t1;
    made += t1 - t0;
  }
  left_at_ = __rdtsc();
  ran_ += bursts;
  const auto packets = static_cast<double>(std::max<size_t>(counted, 1) * kBurst);
  out.generator = static_cast<double>(made) / packets;
  out.packet = static_cast<double>(spent) / packets;
  if (asked != 0) out.instructions = static_cast<double>(executed) / static_cast<double>(asked * kBurst);
  return out;
}

}  // namespace twinwall::bench
