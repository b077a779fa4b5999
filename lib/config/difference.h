// What one configuration changes of another: rule by rule in PF's notation, and every other setting by its key.
//
// Pure. A rule is recognised by its identity, as the counters are, so what is not listed here keeps its counters and
// states. Of the rules that both have the longest run in the same order stays where it is; the others have moved.
// Secrets are compared but never shown.
#pragma once

#include <string>
#include <vector>

#include "lib/config/schema.h"

namespace twinwall::config {

struct RuleChange {
  enum class Kind : uint8_t { removed, added, moved };
  Kind kind = Kind::added;
  std::string place;  // in the ruleset that has it, the later one if both do: "3", inside an anchor "2.0"
  std::string was;    // of a moved one: its place before
  std::string text;   // PF's notation
};

struct SettingChange {
  std::string key;            // "options.timeouts.tcp.first", "carp.groups.wan/1.advskew", "tables.bogons.entries"
  std::string before, after;  // empty: not there
};

struct Difference {
  std::vector<RuleChange> rules;  // in the order of evaluation
  size_t rules_kept = 0;          // unchanged, moved ones included
  std::vector<RuleSlot> gone;     // slots of the removed rules
  std::vector<SettingChange> settings;
  [[nodiscard]] bool empty() const { return rules.empty() && settings.empty(); }
};

// `before` is what runs: its tables are taken with what was added to them meanwhile.
[[nodiscard]] Difference compare(const Config& before, const Config& after);

// The later positions, in order, of the longest run that keeps its order: a longest increasing subsequence.
[[nodiscard]] std::vector<bool> longest_run(const std::vector<size_t>& positions);

}  // namespace twinwall::config
