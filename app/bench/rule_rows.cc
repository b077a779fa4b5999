#include "app/bench/rule_rows.h"

#include <fmt/format.h>
#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>

#include "dataplane/routes_fib.h"
#include "lib/base/random.h"
#include "lib/config/load.h"
#include "lib/engine/snapshot.h"
#include "lib/filter/table_change.h"
#include "lib/net/headers.h"

namespace twinwall::bench {

namespace {

constexpr size_t kPackets = 4096;  // all over the rules
constexpr size_t kOwn = 256;       // for the last one: they stay in the nearest cache, as a packet that was just parsed
constexpr size_t kMostOneByOne = 10000;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string random_address(Random& random) {
  const uint32_t a = random.next32();
  const std::string net = fmt::format("{}.{}", 11 + (a >> 24) % 150, a >> 16 & 255);
  switch (random.below(4)) {
    case 0: return fmt::format("{}.{}.{}", net, a >> 8 & 255, a & 255);
    case 1: return fmt::format("{}.{}.0/24", net, a >> 8 & 255);
    case 2: return net + ".0.0/16";
    default: return "any";
  }
}

// As the bench's first packets are: 10.128.0.0/9 to 198.18.0.0/15.
RuleInput own_packet(Random& random) {
  RuleInput in;
  in.interface = 1;
  in.received_on = 1;
  in.af = Af::inet;
  in.proto = random.below(2) == 0 ? kProtoTcp : kProtoUdp;
  in.tcp_flags = in.proto == kProtoTcp ? kTcpSyn : uint8_t{0};
  in.src = Address::v4(0x0a800000 + random.below(1u << 23));
  in.dst = Address::v4(0xc6120000 + random.below(1u << 17));
  in.sport = static_cast<uint16_t>(1024 + random.below(60000));
  in.dport = 80;
  return in;
}

// One that the rule is meant for.
RuleInput packet_for(const Rule& rule, Random& random) {
  RuleInput in = own_packet(random);
  in.direction = rule.direction == Direction::out ? Direction::out : Direction::in;
  if (!rule.any_interface) in.interface = rule.interfaces[1] ? 1 : 2;
  if (rule.proto != 0) in.proto = rule.proto;
  if (rule.from.address.kind == AddressKind::prefix) in.src = rule.from.address.prefix.addr;
  if (rule.to.address.kind == AddressKind::prefix) in.dst = rule.to.address.prefix.addr;
  if (rule.to.port.op != PortOperator::any) in.dport = rule.to.port.a;
  return in;
}

// fn(size_t i) for i below kPackets; ticks of one.
template <class Fn>
Spread ticks(unsigned repeats, size_t count, Fn&& fn) {
  std::vector<double> values;
  for (unsigned r = 0; r < repeats + 1; ++r) {
    const uint64_t start = __rdtsc();
    for (size_t i = 0; i < count; ++i) fn(i % kPackets);
    const auto spent = static_cast<double>(__rdtsc() - start);
    if (r != 0) values.push_back(spent / static_cast<double>(count));  // the first one warms up
  }
  return spread(std::move(values));
}

}  // namespace

Spread spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

std::string mixed_rules(size_t rules) {
  static constexpr const char* kPorts[] = {"80", "443", "22", "53", "'1024:2048'", "'> 49151'"};
  Random random(11);
  std::string out = "rules:\n  - {action: block}\n";
  for (size_t i = 2; i < rules; ++i) {
    std::string from = random_address(random), to = random_address(random);
    if (from == "any" && to == "any") to = fmt::format("203.0.{}.{}", random.below(256), random.below(256));
    const std::string port =
        random.below(3) == 0 ? fmt::format("{}", 1 + random.below(65535)) : kPorts[random.below(6)];
    out += fmt::format(
        "  - {{action: {}, direction: {}, interface: {}, proto: {}, from: {}, to: {{address: {}, port: {}}}, state: "
        "keep}}\n",
        random.below(3) == 0 ? "block" : "pass", random.below(2) == 0 ? "in" : "out",
        random.below(2) == 0 ? "lan" : "wan", random.below(3) == 0 ? "udp" : "tcp", from, to, port);
    // A rule that blocks keeps no state, and saying so is an error.
    if (const size_t at = out.rfind("action: block"); at != std::string::npos && at > out.rfind('\n', out.size() - 2))
      out.erase(out.rfind(", state: keep"), 13);
  }
  return out + "  - {action: pass, state: keep}\n";
}

RuleRow measure_rules(size_t rules, unsigned repeats) {
  RuleRow out;
  out.rules = rules;
  const std::string text =
      "interfaces:\n  lan: {port: \"kernel:lan\", addresses: [10.0.0.2/24]}\n"
      "  wan: {port: \"kernel:wan\", addresses: [192.0.2.2/24]}\n" +
      mixed_rules(rules);
  auto start = std::chrono::steady_clock::now();
  config::LoadResult loaded = config::load_text(text, "bench", "");
  out.read_seconds = seconds_since(start);
  if (!loaded.ok()) throw std::runtime_error(config::to_string(loaded.diagnostics));
  const Ruleset& set = loaded.config.rules;

  start = std::chrono::steady_clock::now();
  const auto classifier = Classifier::compile(set);
  out.compile_seconds = seconds_since(start);
  if (classifier == nullptr) throw std::runtime_error("the rules do not compile within the bound");
  out.bytes = classifier->bytes();
  start = std::chrono::steady_clock::now();
  const auto snapshot = make_snapshot(loaded.config, std::vector<Mac>(2), make_fib_routes);
  out.snapshot_seconds = seconds_since(start);

  Random random(5);
  std::vector<RuleInput> own, aimed;
  for (size_t i = 0; i < kOwn; ++i) own.push_back(own_packet(random));
  for (size_t i = 0; i < kPackets; ++i)
    aimed.push_back(packet_for(set.rules[random.below(static_cast<uint32_t>(set.rules.size()))], random));
  size_t wrong = 0, looked_at = 0, asked = 0;
  const auto nothing = [](const Rule&) {};
  const auto no_translation = [](const Rule&, RuleInput&) { return true; };
  const auto visit = [&](const Rule&) { ++looked_at; };
  const auto by_rows = [&](const RuleInput& in) {
    RuleInput copy = in;
    ++asked;
    return classifier->decide(set, copy, no_translation, visit, nothing).rule;
  };
  const Rule* const last = &set.rules.back();
  constexpr size_t kTimes = 16 * kPackets;
  out.last = ticks(repeats, kTimes, [&](size_t i) { wrong += by_rows(own[i % kOwn]) != last ? 1 : 0; });
  out.looked_at = static_cast<double>(looked_at) / static_cast<double>(asked);
  uintptr_t sum = 0;  // so that the answers are needed
  out.spread_out = ticks(repeats, kTimes, [&](size_t i) { sum += reinterpret_cast<uintptr_t>(by_rows(aimed[i])); });
  if (rules <= kMostOneByOne)
    out.one_by_one = ticks(repeats, std::max<size_t>(1, 4'000'000 / rules / 16), [&](size_t i) {
      RuleInput copy = own[i % kOwn];
      wrong += evaluate_visiting(set, copy, no_translation, nothing, nothing).rule != last ? 1 : 0;
    });
  if (wrong != 0 || sum == 0) throw std::runtime_error(fmt::format("{} packets did not match the last rule", wrong));
  return out;
}

TableRow measure_table(size_t prefixes, unsigned repeats) {
  TableRow out;
  out.prefixes = prefixes;
  Random random(9);
  std::vector<std::string> lines;
  std::vector<Address> inside, outside;
  for (size_t i = 0; i < prefixes; ++i) {
    const uint32_t a = random.next32() | 1u << 31;  // the upper half; the lower one is outside
    lines.push_back(to_string(
        Prefix{Af::inet, Address::v4(i % 3 == 0 ? a & 0xffffff00 : a), static_cast<uint8_t>(i % 3 == 0 ? 24 : 32)}));
  }
  std::vector<TableEntry> entries;
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& line : lines) entries.push_back(*parse_table_entry(line));
  out.parse_seconds = seconds_since(start);
  for (size_t i = 0; i < kPackets; ++i) {
    inside.push_back(entries[random.below(static_cast<uint32_t>(prefixes))].prefix.addr);
    outside.push_back(Address::v4(random.next32() & 0x7fffffff));
  }
  Table table("bench");
  table.seal(true);
  std::vector<double> seconds;
  for (unsigned r = 0; r < repeats; ++r) {
    std::vector<TableEntry> next = entries;
    next.resize(prefixes - r % 2);  // another content each time
    const auto begin = std::chrono::steady_clock::now();
    if (table_replace(table, std::move(next), prefixes, 1).full) throw std::runtime_error("the table is full");
    seconds.push_back(seconds_since(begin));
  }
  out.replace_seconds = spread(std::move(seconds));
  out.bytes = table.content()->bytes();
  size_t wrong = 0;
  constexpr size_t kTimes = 64 * kPackets;
  out.inside = ticks(repeats, kTimes, [&](size_t i) { wrong += table.contains(Af::inet, inside[i]) ? 0 : 1; });
  out.outside = ticks(repeats, kTimes, [&](size_t i) { wrong += table.contains(Af::inet, outside[i]) ? 1 : 0; });
  if (wrong > repeats * kTimes / 100) throw std::runtime_error("look-ups in the table are wrong");
  return out;
}

}  // namespace twinwall::bench
