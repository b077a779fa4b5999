// The rule display (pfctl -sr -v) read back with the same reader, so that rules are compared by what they say.
#include <fmt/format.h>

#include <algorithm>

#include "lib/filter/print.h"
#include "lib/net/headers.h"
#include "tests/conformance/pf_case.h"

namespace twinwall::conformance::pf {

namespace {

std::string said(Rule rule) {
  // The loader's own defaults: a block rule prints its codes only where it answers.
  rule.label.clear();
  // The kernel shows the range that "P:*" stands for.
  rule.rdr_to.port_to_end = false;
  // Lists of addresses are shown as tables of made-up names.
  for (Pool* pool : {&rule.nat_to.pool, &rule.rdr_to.pool, &rule.af_to_to, &rule.route.pool}) {
    const bool automatic = pool->table != nullptr && pool->table->name().starts_with("__automatic");
    if (!automatic && pool->entries.size() < 2) continue;
    pool->table = nullptr;
    pool->entries.clear();
  }
  return print_rule(rule);
}

// Neighbour discovery of the recorded host counts in its rule.
bool counts_compared(const Rule& r) { return r.proto != kProtoIcmp6 || r.icmp_type < 133 || r.icmp_type > 137; }

}  // namespace

namespace {

// With anchors the rules are shown twice: once without, then with what is inside.
std::vector<std::string> whole_display(const json& rules_after) {
  std::vector<std::string> lines;
  for (const auto& item : rules_after) lines.push_back(item.get<std::string>());
  const bool anchors = std::any_of(lines.begin(), lines.end(), [](const auto& l) { return l.starts_with("anchor"); });
  if (!anchors || lines.size() < 2) return lines;
  const auto again = std::find(lines.begin() + 1, lines.end(), lines[0]);
  if (again != lines.end()) lines.erase(lines.begin(), again);
  // What a wildcard calls stands elsewhere as well.
  std::vector<std::string> out;
  int hidden = 0;
  for (std::string& l : lines) {
    const bool opens = l.ends_with("{") && l.starts_with("anchor");
    if (hidden > 0) {
      hidden += opens ? 1 : l == "}" ? -1 : 0;
      if (hidden == 1 && l.starts_with("[") && out.back().starts_with("anchor")) out.push_back(l);
      continue;
    }
    if (opens && l.find("/*\"") != std::string::npos) {
      hidden = 1;
      l.pop_back();
    }
    out.push_back(l);
  }
  return out;
}

}  // namespace

// The display is one text again once its counters are taken out; they belong to the rule before them.
RuleMap::RuleMap(const std::string& options, const json& rules_after, const config::Config& config,
                 pfconf::Dialect dialect) {
  std::string text = options;
  std::vector<Counts> counts;
  for (std::string line : whole_display(rules_after)) {
    // /etc/protocols of the recorded system names protocol 99 so.
    if (const size_t at = line.find(" proto any "); at != std::string::npos) line.replace(at, 11, " proto 99 ");
    if (line.starts_with("[")) {
      unsigned long long evaluations = 0, packets = 0, bytes = 0, states = 0;
      const int n = std::sscanf(line.c_str(), "[ Evaluations: %llu Packets: %llu Bytes: %llu States: %llu",
                                &evaluations, &packets, &bytes, &states);
      if (n != 4 || counts.empty()) continue;
      counts.back().packets = packets;
      counts.back().bytes = bytes;
      counts.back().states = states;
      continue;
    }
    text += "\n" + line;
    if (!line.ends_with("}") || line.find('{') != std::string::npos) counts.emplace_back();
  }
  const auto read = pfconf::parse(text + "\n", config.interfaces, dialect);
  const auto& rules = read.config.rules.rules;
  const auto shown = std::count_if(rules.begin(), rules.end(), [](const Rule& r) { return r.origin == r.position; });
  if (!read.ok() || static_cast<size_t>(shown) != counts.size()) {
    problem_ = fmt::format("cannot read the recorded rules: {} of {}", shown, counts.size());
    if (!read.diagnostics.empty()) problem_ += ": " + config::to_string(read.diagnostics[0]);
    if (!read.unsupported.empty()) problem_ += ": " + read.unsupported[0].feature;
    return;
  }
  size_t next = 0;
  for (const Rule& rule : rules) {
    if (rule.origin != rule.position) continue;
    const Counts& of_rule = counts[next++];
    const uint32_t around = rule.anchor == kNoRuleNumber ? kNoRuleNumber : rules[rule.anchor].number;
    by_number_.emplace(std::pair{around, rule.number}, said(rule));
    Counts& sum = counts_[said(rule)];
    sum.packets += of_rule.packets;
    sum.bytes += of_rule.bytes;
    sum.states += of_rule.states;
    sum.compared = counts_compared(rule);
  }
}

const std::string& RuleMap::recorded(uint32_t anchor, uint32_t number) const {
  static const std::string kNone = "no such rule";
  const auto it = by_number_.find({anchor, number});
  return it != by_number_.end() ? it->second : kNone;
}

namespace {

bool covers(const Endpoint& wide, const Endpoint& narrow) {
  const bool any_address = wide.address.kind == AddressKind::any && !wide.address.negate;
  return (any_address || wide.address == narrow.address) &&
         (wide.port.op == PortOperator::any || wide.port == narrow.port);
}

// Every packet of `narrow` is one of `wide`, by the simplest reckoning.
bool covers(const Rule& wide, const Rule& narrow) {
  return wide.action == narrow.action && wide.quick == narrow.quick && wide.anchor == narrow.anchor &&
         (wide.direction == Direction::both || wide.direction == narrow.direction) &&
         (wide.any_interface || wide.interfaces == narrow.interfaces) &&
         (wide.af == Af::none || wide.af == narrow.af) && (wide.proto == 0 || wide.proto == narrow.proto) &&
         covers(wide.from, narrow.from) && covers(wide.to, narrow.to) &&
         (wide.flag_mask == 0 || (wide.flag_mask == narrow.flag_mask && wide.flags == narrow.flags)) &&
         (wide.icmp_type < 0 || wide.icmp_type == narrow.icmp_type) &&
         (wide.tagged == 0 || wide.tagged == narrow.tagged);
}

}  // namespace

// The kernel's loader leaves out a rule that an earlier one of the same action covers; that one counts its packets.
std::string RuleMap::own(const Ruleset& rules, const Rule& rule) const {
  const std::string text = said(rule);
  if (counts_.contains(text) || rule.position >= rules.rules.size()) return text;
  for (uint32_t i = rule.position; i-- > 0;) {
    const Rule& earlier = rules.rules[i];
    if (!covers(earlier, rule)) continue;
    const std::string covering = said(earlier);
    if (counts_.contains(covering)) return covering;
  }
  return text;
}

}  // namespace twinwall::conformance::pf
