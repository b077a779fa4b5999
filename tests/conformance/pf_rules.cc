// The rule display (pfctl -sr -v) read back with the same reader, so that rules are compared by what they say.
#include <fmt/format.h>

#include "lib/filter/print.h"
#include "lib/net/headers.h"
#include "tests/conformance/pf_case.h"

namespace twinwall::conformance::pf {

namespace {

std::string said(Rule rule) {
  // The loader's own defaults: a block rule prints its codes only where it answers.
  rule.label.clear();
  return print_rule(rule);
}

// Neighbour discovery of the recorded host counts in its rule.
bool counts_compared(const Rule& r) { return r.proto != kProtoIcmp6 || r.icmp_type < 133 || r.icmp_type > 137; }

}  // namespace

RuleMap::RuleMap(const std::string& options, const json& rules_after, const config::Config& config,
                 pfconf::Dialect dialect) {
  for (const auto& item : rules_after) {
    auto line = item.get<std::string>();
    // /etc/protocols of the recorded system names protocol 99 so.
    if (const size_t at = line.find(" proto any "); at != std::string::npos) line.replace(at, 11, " proto 99 ");
    if (line.starts_with("[")) {
      unsigned long long evaluations = 0, packets = 0, bytes = 0, states = 0;
      const int n = std::sscanf(line.c_str(), "[ Evaluations: %llu Packets: %llu Bytes: %llu States: %llu",
                                &evaluations, &packets, &bytes, &states);
      if (n != 4 || recorded_.empty()) continue;
      Counts& c = counts_[recorded_.back()];
      c.packets += packets;
      c.bytes += bytes;
      c.states += states;
      continue;
    }
    const auto read = pfconf::parse(options + "\n" + line + "\n", config.interfaces, dialect);
    if (!read.ok() || read.config.rules.rules.size() != 1) {
      problem_ = "cannot read the recorded rule '" + line + "'";
      return;
    }
    const Rule& rule = read.config.rules.rules[0];
    recorded_.push_back(said(rule));
    counts_[recorded_.back()].compared = counts_compared(rule);
  }
}

const std::string& RuleMap::recorded(size_t number) const {
  static const std::string kNone = "no such rule";
  return number < recorded_.size() ? recorded_[number] : kNone;
}

std::string RuleMap::own(const Rule& rule) const { return said(rule); }

}  // namespace twinwall::conformance::pf
