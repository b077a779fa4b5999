// Recorded PF behaviour, packet by packet: ref-*tcp-window-cases.json and ref-pf-cases-*.json through the real engine.
//
// Each case is one comparison: passed only if every step's verdict, packets, counters and states, and at the end the
// rules' counters, are the kernel's. A ruleset with a feature that this version does not offer counts as not yet
// supported under the feature's name.
#include <fmt/format.h>

#include <algorithm>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "tests/conformance/pf_case.h"
#include "tests/conformance/pfsync_json.h"
#include "tests/conformance/runner.h"

namespace twinwall::conformance::pf {

namespace {

constexpr InterfaceId kClientSide = 1, kServerSide = 2;
constexpr auto kStepTime = 20ms;
constexpr long kTimeSlack = 2;  // seconds, as the recorded systems were under load

struct Recording {
  bool freebsd = false;
  std::string topic;
  std::vector<config::Interface> interfaces;
  std::vector<uint8_t> probe;  // one follows each step
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

Recording load(const json& file) {
  Recording r;
  const auto system = file.at("origin").at("system").get<std::string>();
  r.freebsd = system.find("FreeBSD") != std::string::npos;
  r.topic = file.value("topic", "TCP windows");
  const std::string name = r.freebsd ? "vtnet" : "vio";
  r.interfaces = {interface(kClientSide, name + "0", {"10.30.0.1/24", "fd00:30::1/64"}),
                  interface(kServerSide, name + "1", {"10.30.1.1/24", "fd00:31::1/64"})};
  r.probe = {0x45, 0,  0,  38, 0, 0,  0,    0,    64, kProtoUdp, 0, 0,  10, 30,
             0,    10, 10, 30, 1, 20, 0x30, 0x39, 0,  9,         0, 18, 0,  0};
  r.probe.resize(38, 'p');
  store_raw<uint16_t>(&r.probe[10], checksum(r.probe.data(), kIpv4Header));
  return r;
}

std::string join(const json& lines, bool only_options) {
  std::string out;
  for (const auto& l : lines) {
    const auto line = l.get<std::string>();
    if (!only_options || line.starts_with("set ")) out += line + "\n";
  }
  return out;
}

Packets packets_of(const json& step, const char* first, const char* more) {
  Packets out;
  if (const auto it = step.find(first); it != step.end() && it->is_string()) out.push_back(sync::hex(step, first));
  const auto it = step.find(more);
  if (it != step.end())
    for (const auto& text : *it) out.push_back(sync::hex(json{{"p", text}}, "p"));
  return out;
}

// Names that the displays of both systems give to the reasons that are compared.
constexpr DropReason kCompared[] = {DropReason::fragment,    DropReason::too_short,      DropReason::normalize,
                                    DropReason::memory,      DropReason::bad_timestamp,  DropReason::ip_option,
                                    DropReason::proto_cksum, DropReason::state_mismatch, DropReason::state_insert,
                                    DropReason::state_limit, DropReason::src_limit,      DropReason::synproxy,
                                    DropReason::translate,   DropReason::no_route};

class CaseRun {
 public:
  CaseRun(const Recording& recording, const json& c, config::Config config)
      : recording_(recording), case_(c), node_(std::move(config)) {
    bindings_.learn_from(node_.snapshot().rules);
    for (const auto& text : c.value("do_not_compare", json::array())) {
      const auto what = text.get<std::string>();
      if (what.starts_with("IPv4 identification of out")) out_mask_.ipv4_id = true;
      if (what.starts_with("IPv6 fragment identification")) out_mask_.fragment_id = true;
    }
    back_mask_.ipv4_id = true;
    if (c.contains("rules_after")) {
      pfconf::Dialect dialect;
      dialect.scrub_rules = recording.freebsd;
      rules_.emplace(join(c.at("ruleset"), true), c.at("rules_after"), node_.config(), dialect);
    }
  }

  // Empty, or the first difference.
  std::string run() {
    if (rules_ && !rules_->problem().empty()) return rules_->problem();
    size_t n = 0;
    for (const auto& step : case_.at("steps")) {
      const std::string difference = run_step(step);
      if (!difference.empty()) return fmt::format("step {}: {}", n, difference);
      ++n;
    }
    return rules_ ? compare_rules() : "";
  }

 private:
  void send(InterfaceId from, const std::vector<uint8_t>& packet, Packets& across, Packets& back) {
    std::vector<uint8_t> frame(kEthernetHeader);
    const Mac to = node_.interface_mac(from);
    const Mac source = scenario::Node::neighbor_mac(source_of(packet));
    std::copy(to.bytes.begin(), to.bytes.end(), frame.begin());
    std::copy(source.bytes.begin(), source.bytes.end(), frame.begin() + 6);
    store_be16(&frame[12], !packet.empty() && packet[0] >> 4 == 6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
    frame.insert(frame.end(), packet.begin(), packet.end());
    for (const auto& o : node_.inject(from, frame).outputs)
      (o.interface == from ? back : across)
          .emplace_back(o.frame.begin() + static_cast<ptrdiff_t>(kEthernetHeader), o.frame.end());
  }

  std::array<uint64_t, kDropReasons> drops() {
    std::array<uint64_t, kDropReasons> out{};
    for (size_t i = 0; i < kDropReasons; ++i) out[i] = node_.engine().counters().drops[i].get();
    return out;
  }
  uint64_t inserts() { return node_.table().counters(0).inserts.get(); }

  std::string run_step(const json& step) {
    if (const auto wait = step.find("wait_before_s"); wait != step.end() && wait->is_number())
      node_.advance(std::chrono::milliseconds(static_cast<int64_t>(wait->get<double>() * 1000)));
    const InterfaceId from = step.at("from") == "client" ? kClientSide : kServerSide;
    const auto sent = bindings_.to_own(sync::hex(step, "sent"));
    const auto drops_before = drops();
    const uint64_t inserts_before = inserts();
    Packets across, back, unused;
    send(from, sent, across, back);
    const auto drops_after = drops();
    const uint64_t inserted = inserts() - inserts_before;
    send(kClientSide, recording_.probe, unused, unused);
    node_.advance(kStepTime);

    const bool passed = !across.empty();
    if (passed != (step.at("verdict") == "pass"))
      return fmt::format("verdict is {}, recorded is {}{}", passed ? "pass" : "drop",
                         step.at("verdict").get<std::string>(), told(drops_before, drops_after));
    std::string difference = compare_packets("out", packets_of(step, "out", "more_out"), across, out_mask_);
    if (difference.empty() && !local(sent))
      difference = compare_packets("sent_back", without_own_stack(packets_of(step, "", "sent_back")),
                                   without_own_stack(back), back_mask_);
    if (difference.empty()) difference = compare_counters(step.at("counters"), drops_before, drops_after, inserted);
    if (difference.empty()) difference = compare_states(step.at("states_after"));
    return difference;
  }

  static std::string told(const std::array<uint64_t, kDropReasons>& before,
                          const std::array<uint64_t, kDropReasons>& after) {
    for (size_t i = 0; i < kDropReasons; ++i)
      if (before[i] != after[i]) return fmt::format(" ({})", reason_name(static_cast<DropReason>(i)));
    return {};
  }

  // For the host itself: what its stack answers is not the filter's.
  bool local(const std::vector<uint8_t>& sent) {
    const IpAddress to = destination_of(sent);
    for (const auto& i : recording_.interfaces)
      for (const auto& a : i.addresses)
        if (a.address() == to) return true;
    return false;
  }

  static Packets without_own_stack(Packets packets) {
    std::erase_if(packets, from_own_stack);
    return packets;
  }

  std::string compare_packets(const char* what, const Packets& recorded, const Packets& own, const PacketMask& mask) {
    if (recorded.size() != own.size())
      return fmt::format("{}: {} packets, recorded {}", what, own.size(), recorded.size());
    for (size_t i = 0; i < own.size(); ++i) {
      std::string problem = damage(own[i]);
      if (problem.empty()) problem = bindings_.bind(recorded[i], own[i]);
      if (!problem.empty()) return fmt::format("{} {}: {}", what, i, problem);
      const auto a = masked(bindings_.to_recorded(own[i]), mask), b = masked(recorded[i], mask);
      if (a != b) return fmt::format("{} {}: {}", what, i, first_difference(a, b));
    }
    return {};
  }

  static std::string first_difference(const std::vector<uint8_t>& own, const std::vector<uint8_t>& recorded) {
    if (own.size() != recorded.size()) return fmt::format("{} bytes, recorded {}", own.size(), recorded.size());
    const auto at = static_cast<size_t>(std::mismatch(own.begin(), own.end(), recorded.begin()).first - own.begin());
    std::string a, b;
    for (size_t i = at; i < std::min(at + 8, own.size()); ++i) {
      a += fmt::format("{:02x}", own[i]);
      b += fmt::format("{:02x}", recorded[i]);
    }
    return fmt::format("at byte {} is {}, recorded {}", at, a, b);
  }

  std::string compare_counters(const json& recorded, const std::array<uint64_t, kDropReasons>& before,
                               const std::array<uint64_t, kDropReasons>& after, uint64_t inserted) {
    for (const DropReason r : kCompared) {
      const auto i = static_cast<size_t>(r);
      const auto want = recorded.value(std::string(reason_name(r)), uint64_t{0});
      if (after[i] - before[i] != want)
        return fmt::format("counter {}: {}, recorded {}", reason_name(r), after[i] - before[i], want);
    }
    const auto want = recorded.value("inserts", uint64_t{0});
    return inserted == want ? "" : fmt::format("inserts: {}, recorded {}", inserted, want);
  }

  std::string compare_states(const json& lines) {
    auto recorded = recorded_states(lines);
    std::vector<ShownState> own;
    const bool counters = std::any_of(recorded.begin(), recorded.end(), [](const auto& s) { return s.expires >= 0; });
    for (const State* s : node_.states()) {
      if (s->timeout == TimeoutClass::purge) continue;
      own.push_back(own_state(node_, *s, bindings_, counters));
      own.back().rule = s->rule_number;
    }
    std::sort(recorded.begin(), recorded.end());
    std::sort(own.begin(), own.end());
    for (size_t i = 0; i < std::max(own.size(), recorded.size()); ++i) {
      if (i >= own.size()) return "states: lacks '" + recorded[i].text + "'";
      if (i >= recorded.size()) return "states: has beside the recorded ones '" + own[i].text + "'";
      if (own[i].text != recorded[i].text)
        return fmt::format("states: '{}', recorded '{}'", own[i].text, recorded[i].text);
      if (!counters) continue;
      if (std::abs(own[i].expires - recorded[i].expires) > kTimeSlack)
        return fmt::format("'{}' expires in {}, recorded {}", own[i].text, own[i].expires, recorded[i].expires);
      const std::string difference = compare_rule_of(own[i], recorded[i]);
      if (!difference.empty()) return difference;
    }
    return {};
  }

  std::string compare_rule_of(const ShownState& own, const ShownState& recorded) {
    if (!rules_) return {};
    const auto& mine = node_.snapshot().rules.rules;
    const auto n = static_cast<size_t>(own.rule);
    const std::string said = n < mine.size() ? rules_->own(mine[n]) : "default rule";
    const std::string& want = rules_->recorded(static_cast<size_t>(recorded.rule));
    return said == want ? "" : fmt::format("'{}' is of rule '{}', recorded '{}'", own.text, said, want);
  }

  std::string compare_rules() {
    std::map<std::string, RuleMap::Counts> own;
    for (const Rule& r : node_.snapshot().rules.rules) {
      const RuleCounters& c = node_.engine().counters().rules[r.slot];
      RuleMap::Counts& sum = own[rules_->own(r)];
      sum.packets += c.packets[0].get() + c.packets[1].get();
      sum.bytes += c.bytes[0].get() + c.bytes[1].get();
      sum.states += c.states.get();
    }
    for (const auto& [rule, want] : rules_->counts()) {
      const auto it = own.find(rule);
      if (it == own.end()) return fmt::format("there is no rule '{}'", rule);
      if (!want.compared) continue;
      const RuleMap::Counts& got = it->second;
      if (!(got == want))
        return fmt::format("rule '{}' has {} packets, {} bytes, {} states, recorded {}, {}, {}", rule, got.packets,
                           got.bytes, got.states, want.packets, want.bytes, want.states);
    }
    for (const auto& [rule, counts] : own)
      if (!rules_->counts().contains(rule)) return fmt::format("the recorded rules have no '{}'", rule);
    return {};
  }

  const Recording& recording_;
  const json& case_;
  scenario::Node node_;
  Bindings bindings_;
  PacketMask out_mask_, back_mask_;
  std::optional<RuleMap> rules_;
};

void run_case(const Recording& recording, const json& c, Report& report) {
  const auto name = c.at("name").get<std::string>();
  pfconf::Dialect dialect;
  dialect.scrub_rules = recording.freebsd;
  auto read = pfconf::parse(join(c.at("ruleset"), false), recording.interfaces, dialect);
  if (!read.diagnostics.empty())
    return report.fail(recording.topic, fmt::format("{}: {}", name, config::to_string(read.diagnostics[0])));
  if (!read.unsupported.empty()) return report.unsupported(read.unsupported[0].feature);
  add_topology(read.config);
  const std::string difference = CaseRun(recording, c, std::move(read.config)).run();
  report.check(difference.empty(), recording.topic, [&] { return name + ": " + difference; });
}

bool run(const json& file, const std::filesystem::path& path, Report& report) {
  const std::string name = path.filename().string();
  if (name.find("tcp-window-cases") == std::string::npos && name.find("pf-cases-") == std::string::npos) return false;
  if (!file.is_object() || !file.contains("cases") || !file.contains("origin")) return false;
  const Recording recording = load(file);
  for (const auto& c : file["cases"]) {
    try {
      run_case(recording, c, report);
    } catch (const json::exception& e) {
      report.fail("case", e.what());
    }
  }
  return true;
}

const Registration kPfCases{"PF cases", &run};

}  // namespace

}  // namespace twinwall::conformance::pf
