// Recorded PF behaviour, packet by packet: ref-*tcp-window-cases.json and ref-pf-cases-*.json through the real engine.
//
// Each case is one comparison: passed only if every step's verdict, packets, counters and states, and at the end the
// rules' counters, are the kernel's. A ruleset with a feature that this version does not offer counts as not yet
// supported under the feature's name.
#include <fmt/format.h>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "tests/conformance/pf_run.h"
#include "tests/conformance/runner.h"

namespace twinwall::conformance::pf {

namespace {

// Cases that twinwall is not to repeat, and why.
const std::map<std::string, std::string> kMeant = {
    {"frag6-timeout", "a fragment outlived its timeout: the recorded kernel's purge had not run yet"},
    {"frag6-timeout-egress-skipped", "a fragment outlived its timeout: the recorded kernel's purge had not run yet"},
    {"nat-icmp-other-query",
     "the kernel loses the replies to translated ICMP queries other than echo; here they return"},
};

Prefix prefix(const std::string& text) { return *parse_prefix(text); }

config::Interface interface(InterfaceId id, const std::string& name, std::initializer_list<const char*> addresses) {
  config::Interface i;
  i.id = id;
  i.name = name;
  for (const char* a : addresses) i.addresses.push_back(prefix(a));
  return i;
}

config::Route route(const char* to, const char* via, InterfaceId interface) {
  config::Route r;
  r.to = prefix(to);
  r.via = *parse_ip(via);
  r.interface = interface;
  return r;
}

void add_topology(config::Config& c) {
  c.routes = {route("0.0.0.0/0", "10.30.1.20", kServerSide), route("::/0", "fd00:31::14", kServerSide),
              route("10.99.0.0/16", "10.30.0.10", kClientSide)};
}

// From the client to the server, UDP port 9; PF looks at neither its checksum nor its payload.
std::vector<uint8_t> probe(Af af) {
  constexpr size_t kUdp = 18;
  const bool v4 = af == Af::inet;
  const IpAddress from = *parse_ip(v4 ? "10.30.0.10" : "fd00:30::a"), to = *parse_ip(v4 ? "10.30.1.20" : "fd00:31::14");
  std::vector<uint8_t> p((v4 ? kIpv4Header : kIpv6Header) + kUdp);
  p[0] = v4 ? 0x45 : 0x60;
  store_be16(&p[v4 ? 2 : 4], static_cast<uint16_t>(v4 ? p.size() : kUdp));
  p[v4 ? 8 : 7] = 64;
  p[v4 ? 9 : 6] = kProtoUdp;
  std::copy_n(from.addr.bytes.begin(), address_length(af), &p[v4 ? 12 : 8]);
  std::copy_n(to.addr.bytes.begin(), address_length(af), &p[v4 ? 16 : 24]);
  if (v4) store_raw<uint16_t>(&p[10], checksum(p.data(), kIpv4Header));
  uint8_t* udp = p.data() + p.size() - kUdp;
  store_be16(udp, 12345);
  store_be16(udp + 2, 9);
  store_be16(udp + 4, kUdp);
  return p;
}

Recording load(const json& file) {
  Recording r;
  const auto system = file.at("origin").at("system").get<std::string>();
  r.freebsd = system.find("FreeBSD") != std::string::npos;
  r.topic = file.value("topic", "TCP windows");
  const std::string name = r.freebsd ? "vtnet" : "vio";
  r.interfaces = {interface(kClientSide, name + "0", {"10.30.0.1/24", "fd00:30::1/64"}),
                  interface(kServerSide, name + "1", {"10.30.1.1/24", "fd00:31::1/64"})};
  r.probe = probe(Af::inet);
  r.probe6 = probe(Af::inet6);
  return r;
}

// What in the rules makes a difference that is meant; empty: nothing.
std::string meant_by(const Ruleset& rules) {
  size_t global = 0;
  bool first_of_network = false;
  for (const Rule& r : rules.rules) {
    if (r.limits.track == SourceTrack::global) ++global;
    for (const Translation* t : {&r.nat_to, &r.rdr_to})
      if (t->enabled && t->pool.type == PoolType::none && t->pool.table == nullptr && !t->pool.single())
        first_of_network = true;
  }
  if (global > 1)
    return "source-track global: the kernel counts a source for each rule, here for all rules together, as documented";
  if (first_of_network)
    return "nothing is sent to the address of a network itself, not even when it is translated to it";
  return {};
}

void count_case(const Recording& recording, const json& c, Report& report) {
  const auto name = c.at("name").get<std::string>();
  if (const auto it = kMeant.find(name); it != kMeant.end()) return report.unsupported(it->second);
  pfconf::Dialect dialect;
  dialect.scrub_rules = recording.freebsd;
  auto read = pfconf::parse(join_lines(c.at("ruleset"), false), recording.interfaces, dialect);
  if (!read.diagnostics.empty())
    return report.fail(recording.topic, fmt::format("{}: {}", name, config::to_string(read.diagnostics[0])));
  if (!read.unsupported.empty()) return report.unsupported(read.unsupported[0].feature);
  add_topology(read.config);
  const std::string meant = meant_by(read.config.rules);
  Outcome outcome = run_case(recording, c, std::move(read.config));
  if (!outcome.difference.empty() && !meant.empty()) outcome = {"", meant};
  if (outcome.difference.empty() && !outcome.deviation.empty()) return report.unsupported(outcome.deviation);
  report.check(outcome.difference.empty(), recording.topic, [&] { return name + ": " + outcome.difference; });
}

bool run_pf_cases(const json& file, const std::filesystem::path& path, Report& report) {
  const std::string name = path.filename().string();
  if (name.find("tcp-window-cases") == std::string::npos && name.find("pf-cases-") == std::string::npos) return false;
  if (!file.is_object() || !file.contains("cases") || !file.contains("origin")) return false;
  const Recording recording = load(file);
  for (const auto& c : file["cases"]) {
    try {
      count_case(recording, c, report);
    } catch (const json::exception& e) {
      report.fail("case", e.what());
    }
  }
  return true;
}

const Registration kPfCases{"PF cases", &run_pf_cases};

}  // namespace

}  // namespace twinwall::conformance::pf
