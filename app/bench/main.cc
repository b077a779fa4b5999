// twinwall-bench: what a packet costs, from packet in to packet out, in ticks of the time stamp counter.
//
// Everything in memory on one pinned core: the bench makes a burst of frames, takes the time, gives the burst to the
// same Engine that the daemon runs, and takes the time again. Making the frames is not part of the figure and is
// reported apart. What rules and tables cost by themselves is measured beside it. Bursts during which the system gave
// the processor to somebody else are left out and counted.
#include <fmt/core.h>
#include <rte_eal.h>
#include <x86intrin.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "app/bench/arithmetic.h"
#include "app/bench/calm.h"
#include "app/bench/floor.h"
#include "app/bench/inspect_rows.h"
#include "app/bench/pin.h"
#include "app/bench/rig.h"
#include "app/bench/rule_rows.h"
#include "app/bench/still.h"

namespace twinwall::bench {
namespace {

double tsc_hz() {
  const auto t0 = std::chrono::steady_clock::now();
  const uint64_t c0 = __rdtsc();
  while (std::chrono::steady_clock::now() - t0 < std::chrono::milliseconds(100)) {}
  const uint64_t c1 = __rdtsc();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - t0;
  return static_cast<double>(c1 - c0) / elapsed.count();
}

// The routes' table lives in EAL memory. No device is looked at.
bool start_eal() {
  std::vector<std::string> words = {"twinwall-bench", "--no-huge",      "--no-shconf", "--no-pci",     "-m", "256",
                                    "--no-telemetry", "--iova-mode=va", "--log-level", "lib.eal:error"};
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  return rte_eal_init(static_cast<int>(argv.size()), argv.data()) >= 0;
}

constexpr uint32_t kManyTranslated = 100000;
constexpr uint32_t kDying = 500000;  // connections, of two states

// Each such row reads its rules anew.
constexpr size_t kMostRulesOfPath = 10000;

std::vector<Row> all_rows(const std::vector<uint32_t>& counts, const std::vector<size_t>& rules) {
  std::vector<Row> out{{"plain forward", Path::plain, Proto::udp, 1},
                       {"udp, stateless rules", Path::stateless, Proto::udp, 1}};
  for (const auto& [proto, name] : {std::pair{Proto::udp, "udp"}, std::pair{Proto::tcp, "tcp"}})
    for (const uint32_t n : counts) out.push_back({fmt::format("{} established", name), Path::established, proto, n});
  const uint32_t middle = counts[counts.size() / 2];
  out.push_back({"tcp established, others inspected", Path::uninspected, Proto::tcp, middle});
  const auto add_told = [&out](Row row) {
    row.name += ", synchronised";
    row.told = true;
    out.push_back(row);
  };
  for (const uint32_t n : counts)
    if (n >= middle) add_told({"tcp established", Path::established, Proto::tcp, n});
  out.push_back({"tcp established, source nat", Path::nat, Proto::tcp, middle});
  if (middle < kManyTranslated) {
    const Row many{"tcp established, source nat", Path::nat, Proto::tcp, kManyTranslated};
    out.push_back(many);
    add_told(many);
  }
  const Row opening{"udp, new connections", Path::opening, Proto::udp, 0};
  out.push_back(opening);
  add_told(opening);
  out.push_back({"tcp, new connections", Path::opening, Proto::tcp, 0});
  const Row churn{"udp, opened and run out", Path::churn, Proto::udp, 0};
  out.push_back(churn);
  add_told(churn);
  out.push_back({"tcp, others running out", Path::expiring, Proto::tcp, middle, 2, kDying});
  out.push_back({"tcp, a flood on a full table", Path::flood, Proto::tcp, middle});
  for (const size_t n : rules)
    if (n <= kMostRulesOfPath)
      out.push_back({fmt::format("udp, new, last of {} rules", n), Path::opening, Proto::udp, 0, n});
  return out;
}

struct Options {
  std::vector<uint32_t> counts{1, 10000, 1000000};
  std::vector<size_t> rules{10, 100, 1000, 10000, 100000};
  size_t prefixes = 1000000;
  unsigned repeats = 7, cpu = 1;
  size_t bursts = 20000;
  uint32_t signatures = 1000, domains = 100000;  // to look for
  std::string rows;                              // only those whose name holds this
  std::string row;                               // only the one of this name
  std::string json, compare;
  double calm = 0;  // seconds that a row may wait
};

bool wanted(const std::string& name, const Options& o) {
  return name.find(o.rows) != std::string::npos && (o.row.empty() || name == o.row);
}

struct Figures {
  double median = 0, low = 0, high = 0, generator = 0, bytes_per_state = 0;
  uint64_t disturbed = 0, states = 0;
  std::optional<double> instructions;  // a packet; none where the machine does not count them
  // How much more than its plain row (plain_of), as a share of that; the median of repeats that followed on each other.
  std::optional<double> added;
  DurationHistogram::View own, taken, idle, same;
};

// Throws std::runtime_error when a packet was lost.
Figures measure(const Row& row, const Options& o, double hz, Calm& calm) {
  // What runs out must last for all repeats: a worker looks at so many states behind each burst.
  constexpr size_t kLookedAt = 128;
  const size_t bursts = row.path == Path::expiring
                            ? std::max<size_t>(1, std::min(o.bursts, row.dying * 2 / kLookedAt / (o.repeats + 1)))
                            : o.bursts;
  const size_t warm_up = bursts / 4 + 1;
  Rig rig(row, hz, warm_up + bursts * o.repeats);
  std::unique_ptr<Rig> plain;
  if (const std::optional<Row> without = plain_of(row))
    plain = std::make_unique<Rig>(*without, hz, warm_up + bursts * o.repeats);
  for (Rig* const r : {&rig, plain.get()}) {
    if (r == nullptr) continue;
    do r->warm_up(warm_up);
    while (!r->is_steady());
  }
  Figures f;
  std::vector<double> packets, shares;
  constexpr unsigned kAttempts = 4;  // a repeat
  // What is opened or runs out is there for so many repeats and no more.
  const bool again = row.path != Path::opening && row.path != Path::expiring;
  const auto run = [&](Rig& which) {
    if (again) which.warm_up(warm_up);  // the other's memory is in the caches
    return which.run(bursts);
  };
  calm.begin();
  for (unsigned r = 0, left = kAttempts * o.repeats; r < o.repeats; --left) {
    if (calm.wait() && again) rig.warm_up(warm_up);
    Sample s, without;
    if (plain == nullptr) {
      s = rig.run(bursts);
    } else if (r % 2 == 0) {
      s = run(rig);
      without = run(*plain);
    } else {
      without = run(*plain);
      s = run(rig);
    }
    if (again && left > 1 && !calm.now()) continue;
    ++r;
    packets.push_back(s.packet);
    if (plain != nullptr) shares.push_back(s.packet / without.packet - 1);
    f.generator = s.generator;
    f.disturbed += s.disturbed;
    if (s.instructions) f.instructions = s.instructions;
  }
  if (plain != nullptr) f.added = spread(shares).median;
  const uint64_t lost = rig.lost() + (plain != nullptr ? plain->lost() : 0);
  if (lost != 0) throw std::runtime_error(fmt::format("{} packets of '{}' were not sent on", lost, row.name));
  std::sort(packets.begin(), packets.end());
  f.median = packets[packets.size() / 2];
  f.low = packets.front();
  f.high = packets.back();
  f.states = rig.states();
  f.bytes_per_state = rig.bytes_per_state();
  f.own = rig.away().own().view();
  f.taken = rig.away().taken().view();
  const double burst = f.median * kBurst / hz;
  const double ran = burst * static_cast<double>(bursts * o.repeats);
  f.idle = do_nothing(ran, hz);
  f.same = do_the_same(ran, hz, static_cast<size_t>(static_cast<double>(f.states) * f.bytes_per_state), burst);
  return f;
}

// Two workers on one table, each with connections of its own, on a processor each; and before, the first alone.
struct PairFigures {
  double alone = 0, first = 0, second = 0;  // ticks a packet, medians
  // How much more the two do together than one.
  [[nodiscard]] double gain() const { return alone / first + alone / second; }
};

PairFigures measure_pair(const Row& row, const Options& o, double hz, Calm& calm) {
  Rig first(row, hz, 0), second(row, hz, 0, &first);
  std::array<std::vector<double>, 3> ticks;
  calm.begin();
  for (unsigned r = 0; r <= o.repeats; ++r) {
    (void)calm.wait();
    const double alone = first.run(o.bursts).packet;
    Sample beside;
    std::atomic<int> ready{0};
    const auto together = [&](Rig& rig, unsigned cpu) {
      pin(cpu);
      // Until it has pinned itself the other runs on this processor, and with the same real-time priority only if this
      // one lets it.
      for (++ready; ready.load() < 2;) std::this_thread::yield();
      return rig.run(o.bursts);
    };
    std::thread other([&] { beside = together(second, o.cpu == 0 ? 1 : o.cpu - 1); });
    const Sample here = together(first, o.cpu);
    other.join();
    if (r == 0) continue;  // warm now
    ticks[0].push_back(alone);
    ticks[1].push_back(here.packet);
    ticks[2].push_back(beside.packet);
  }
  if (first.lost() + second.lost() != 0) throw std::runtime_error("packets of two workers were not sent on");
  return {spread(ticks[0]).median, spread(ticks[1]).median, spread(ticks[2]).median};
}

void pair_rows(const Options& o, double hz, Calm& calm, nlohmann::json& report) {
  report["workers"] = nlohmann::json::array();
  const uint32_t middle = o.counts[o.counts.size() / 2];
  const Row row{"tcp established, two workers", Path::established, Proto::tcp, middle, 2, 0, 2};
  if (!wanted(row.name, o) || std::thread::hardware_concurrency() < 2) return;
  const PairFigures f = measure_pair(row, o, hz, calm);
  fmt::print("\n{:<32}{:>12}{:>8}{:>8}{:>8}{:>8}\n", "workers", "connections", "alone", "first", "second", "gain");
  fmt::print("{:<34}{:>12}{:>8.1f}{:>8.1f}{:>8.1f}{:>8.2f}\n", row.name, row.connections, f.alone, f.first, f.second,
             f.gain());
  const double bare = arithmetic_gain(o.cpu, o.cpu == 0 ? 1 : o.cpu - 1);
  fmt::print("{:<46}{:>32.2f}\n", "for comparison: additions in registers", bare);
  report["workers"].push_back({{"path", row.name},
                               {"connections", row.connections},
                               {"alone_cycles", f.alone},
                               {"first_cycles", f.first},
                               {"second_cycles", f.second},
                               {"gain", f.gain()},
                               {"arithmetic_gain", bare}});
}

// The median of the same row in an earlier report; 0 when it has none.
double earlier(const nlohmann::json& report, const Row& row) {
  if (!report.contains("rows")) return 0;
  for (const auto& r : report["rows"])
    if (r.value("path", "") == row.name && r.value("connections", 0u) == row.connections)
      return r.value("cycles_median", 0.0);
  return 0;
}

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// Bursts that took longer than 100 µs: no worker may be away from its queues for that long by its own doing.
uint64_t too_long(const DurationHistogram::View& v) {
  uint64_t n = 0;
  for (size_t i = 0; i < v.buckets.size(); ++i)
    if (i == DurationHistogram::kBounds.size() || DurationHistogram::kBounds[i] > 100us) n += v.buckets[i];
  return n;
}

nlohmann::json to_json(const DurationHistogram::View& v) {
  nlohmann::json bounds = nlohmann::json::array();
  for (const Duration d : DurationHistogram::kBounds) bounds.push_back(seconds(d));
  return {{"bounds_seconds", bounds}, {"counts", v.buckets}, {"longest_seconds", seconds(v.longest)}};
}

nlohmann::json to_json(const Spread& s) { return {{"median", s.median}, {"min", s.low}, {"max", s.high}}; }

void rule_rows(const Options& o, Calm& calm, nlohmann::json& report) {
  report["rules"] = nlohmann::json::array();
  if (!wanted("rules by themselves", o)) return;
  fmt::print("\n{:<24}{:>8}{:>8}{:>8}{:>12}{:>12}{:>11}{:>9}{:>12}{:>13}{:>9}\n", "rules by themselves", "ticks", "min",
             "max", "all over", "one by one", "looked at", "read s", "compile s", "snapshot s", "KiB");
  for (const size_t n : o.rules) {
    calm.begin();
    (void)calm.wait();
    const RuleRow r = measure_rules(n, o.repeats);
    fmt::print("last of {:<16}{:>8.1f}{:>8.1f}{:>8.1f}{:>12.1f}{:>12}{:>11.2f}{:>9.3f}{:>12.4f}{:>13.4f}{:>9}\n", n,
               r.last.median, r.last.low, r.last.high, r.spread_out.median,
               r.one_by_one.median == 0 ? "" : fmt::format("{:.1f}", r.one_by_one.median), r.looked_at, r.read_seconds,
               r.compile_seconds, r.snapshot_seconds, r.bytes / 1024);
    report["rules"].push_back({{"rules", n},
                               {"last_cycles", to_json(r.last)},
                               {"all_over_cycles", to_json(r.spread_out)},
                               {"one_by_one_cycles", to_json(r.one_by_one)},
                               {"looked_at", r.looked_at},
                               {"read_seconds", r.read_seconds},
                               {"compile_seconds", r.compile_seconds},
                               {"snapshot_seconds", r.snapshot_seconds},
                               {"bytes", r.bytes}});
  }
}

void table_rows(const Options& o, nlohmann::json& report) {
  report["tables"] = nlohmann::json::array();
  if (o.prefixes == 0 || !wanted("a table by itself", o)) return;
  fmt::print("\n{:<24}{:>12}{:>12}{:>11}{:>12}{:>9}\n", "a table by itself", "hit ticks", "miss ticks", "parse s",
             "replace s", "MiB");
  const TableRow r = measure_table(o.prefixes, o.repeats);
  fmt::print("{:<24}{:>12.1f}{:>12.1f}{:>11.3f}{:>12.3f}{:>9}\n", fmt::format("{} prefixes", r.prefixes),
             r.inside.median, r.outside.median, r.parse_seconds, r.replace_seconds.median, r.bytes >> 20);
  report["tables"].push_back({{"prefixes", r.prefixes},
                              {"hit_cycles", to_json(r.inside)},
                              {"miss_cycles", to_json(r.outside)},
                              {"parse_seconds", r.parse_seconds},
                              {"replace_seconds", to_json(r.replace_seconds)},
                              {"bytes", r.bytes}});
}

void floor_rows(const Options& o, Calm& calm, nlohmann::json& report) {
  report["floor"] = nlohmann::json::array();
  const std::string name = "machine floor";
  if (!wanted(name, o)) return;
  fmt::print("\n{:<34}{:>12}{:>8}{:>8}{:>8}\n", name, "connections", "ticks", "min", "max");
  for (const uint32_t n : o.counts) {
    const Spread s = measure_floor(n, o.repeats, o.bursts, calm);
    fmt::print("{:<34}{:>12}{:>8.1f}{:>8.1f}{:>8.1f}\n", "one look-up, nothing asked", n, s.median, s.low, s.high);
    report["floor"].push_back({{"connections", n}, {"cycles", to_json(s)}});
  }
}

int run_all(const Options& o) {
  nlohmann::json before;
  if (!o.compare.empty()) before = nlohmann::json::parse(std::ifstream(o.compare), nullptr, false);
  if (before.is_discarded()) {
    fmt::print(stderr, "twinwall-bench: {} holds no report: name a file that --json has written\n", o.compare);
    return 1;
  }
  const double hz = tsc_hz();
  nlohmann::json report{{"tsc_hz", hz}, {"burst", kBurst}, {"repeats", o.repeats}, {"rows", nlohmann::json::array()}};
  Calm calm(o.calm, hz);
  fmt::print("{:<34}{:>12}{:>8}{:>8}{:>8}{:>8}{:>11}{:>12}{:>9}{:>9}{:>9}{:>11}{:>12}{:>8}{:>8}{}\n", "path",
             "connections", "ticks", "min", "max", "Mpps", "generator", "longest us", ">100 us", "idle", "same",
             "disturbed", "longest us", "instr", "added", before.is_null() ? "" : "  against");
  for (const Row& row : all_rows(o.counts, o.rules)) {
    if (!wanted(row.name, o)) continue;
    const Figures f = measure(row, o, hz, calm);
    const double then = earlier(before, row);
    fmt::print(
        "{:<34}{:>12}{:>8.1f}{:>8.1f}{:>8.1f}{:>8.2f}{:>11.1f}{:>12.1f}{:>9}{:>9}{:>9}{:>11}{:>12.1f}{:>8}{:>8}{}\n",
        row.name, row.connections, f.median, f.low, f.high, hz / f.median / 1e6, f.generator,
        seconds(f.own.longest) * 1e6, too_long(f.own), too_long(f.idle), too_long(f.same), f.disturbed,
        seconds(f.taken.longest) * 1e6, f.instructions ? fmt::format("{:.0f}", *f.instructions) : "-",
        f.added ? fmt::format("{:.0f} %", *f.added * 100) : "",
        then == 0 ? "" : fmt::format("{:>8.0f} %", f.median / then * 100));
    report["rows"].push_back({{"path", row.name},
                              {"connections", row.connections},
                              {"states", f.states},
                              {"cycles_median", f.median},
                              {"cycles_min", f.low},
                              {"cycles_max", f.high},
                              {"mpps", hz / f.median / 1e6},
                              {"generator_cycles", f.generator},
                              {"bytes_per_state", f.bytes_per_state},
                              {"away_own", to_json(f.own)},
                              {"away_taken", to_json(f.taken)},
                              {"away_idle", to_json(f.idle)},
                              {"away_same_work", to_json(f.same)},
                              {"added_ratio", f.added ? nlohmann::json(*f.added) : nlohmann::json()},
                              {"instructions", f.instructions ? nlohmann::json(*f.instructions) : nlohmann::json()},
                              {"disturbed_bursts", f.disturbed}});
  }
  pair_rows(o, hz, calm, report);
  floor_rows(o, calm, report);
  rule_rows(o, calm, report);
  table_rows(o, report);
  const auto looked_into = measure_inspection(o.signatures, o.domains, o.repeats, o.row.empty() ? o.rows : o.row);
  if (!looked_into.empty())
    fmt::print("\n{:<32}{:>12}{:>8}{:>8}{:>8}{:>14}\n", "looking into a packet", "bytes", "ticks", "min", "max",
               "ticks a byte");
  for (const InspectFigure& f : looked_into) {
    fmt::print("{:<32}{:>12}{:>8.0f}{:>8.0f}{:>8.0f}{:>14.2f}\n", f.name, f.bytes, f.median, f.low, f.high,
               f.median / f.bytes);
    report["inspection"].push_back({{"path", f.name},
                                    {"payload_bytes", f.bytes},
                                    {"cycles_median", f.median},
                                    {"cycles_min", f.low},
                                    {"cycles_max", f.high}});
  }
  if (!o.json.empty()) {
    std::ofstream out(o.json);
    out << report.dump(2) << '\n';
    if (!out) {
      fmt::print(stderr, "twinwall-bench: cannot write {}\n", o.json);
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace twinwall::bench

int main(int argc, char** argv) {
  CLI::App app{"what a packet costs through the whole packet path, in memory"};
  twinwall::bench::Options o;
  app.add_option("--connections", o.counts, "numbers of established connections")->check(CLI::Range(1u, 10000000u));
  app.add_option("--rules", o.rules, "numbers of rules")->check(CLI::Range(size_t{2}, size_t{131000}));
  app.add_option("--prefixes", o.prefixes, "of the table; 0: no table")->check(CLI::Range(size_t{0}, size_t{10000000}));
  app.add_option("--repeat", o.repeats, "repeats a row; the median counts")->check(CLI::Range(1u, 1000u));
  app.add_option("--bursts", o.bursts, "bursts of 32 packets a repeat")->check(CLI::Range(size_t{1}, size_t{1000000}));
  app.add_option("--signatures", o.signatures, "signatures to look for")->check(CLI::Range(1u, 100000u));
  app.add_option("--domains", o.domains, "domain names to look for")->check(CLI::Range(1u, 5000000u));
  app.add_option("--rows", o.rows, "only the rows whose name holds this");
  app.add_option("--row", o.row, "only the row of this name");
  app.add_option("--cpu", o.cpu, "processor to pin to");
  app.add_option("--calm", o.calm,
                 "seconds that a row may wait for the machine to be as fast as at its best (see app/bench/calm.h)")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option("--json", o.json, "also write the figures to this file");
  app.add_option("--compare", o.compare, "show each median against that of this earlier file");
  CLI11_PARSE(app, argc, argv);
  if (!twinwall::bench::start_eal()) {
    fmt::print(stderr, "twinwall-bench: DPDK's EAL does not start\n");
    return 1;
  }
  twinwall::bench::pin(o.cpu);  // after EAL, which pins to a processor of its own choice
  try {
    return twinwall::bench::run_all(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "twinwall-bench: {}\n", e.what());
    return 1;
  }
}
