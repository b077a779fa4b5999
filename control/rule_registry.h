// Which counters belong to which rule, over reloads.
//
// A rule is recognised by its content (Rule::identity) and, among equal ones, by its turn; it keeps its slot, and with
// it its counters and states, as long as it stays in the configuration, wherever it moves. The slot of a vanished rule
// is used again only when no state refers to it any more and at least one other reload came between, so that no worker
// can still be using the old rule. Workers' counters are never reset: a slot's values at the time of its assignment are
// subtracted when shown.
//
// Tags keep their numbers, because living states carry them, and tables that the new ruleset gives no addresses keep
// the hosts that were added at run time (pf.conf(5) "TABLES").
//
// Not thread-safe; the control thread's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/filter/rule.h"

namespace twinwall {

// Sums over all workers.
struct RuleTotals {
  uint64_t evaluations = 0;
  uint64_t packets[2] = {0, 0};
  uint64_t bytes[2] = {0, 0};
  uint64_t states = 0;
  uint64_t creations = 0;
};

class RuleRegistry {
 public:
  using Totals = std::function<RuleTotals(RuleSlot)>;
  explicit RuleRegistry(Totals totals, size_t slots = kMaxRuleSlots) : totals_(std::move(totals)), slots_(slots) {}

  // Gives every rule its slot and every tag its number. False when there are more than there is room for: nothing is
  // changed then.
  // `keep_tables`: what tables hold stays, whatever the ruleset gives them.
  [[nodiscard]] bool assign(Ruleset& rules, bool keep_tables = false);
  // Makes of `rules` what assign() would, but for the slots: tags with their numbers, tables with what they would take
  // over. The registry stays as it is.
  void rehearse(Ruleset& rules) const;
  // Whether assign() would find room.
  [[nodiscard]] bool fits(const Ruleset& rules) const;
  // What the rule counted since it has the slot; `states` as they are now.
  [[nodiscard]] RuleTotals since_assigned(RuleSlot slot) const;
  // Forgets what was counted so far.
  void reset();
  // The vanished rules' slots that wait for their last state.
  [[nodiscard]] size_t retired() const { return retired_.size(); }

 private:
  using Key = std::pair<uint64_t, unsigned>;  // identity, turn among equal rules
  struct Retired {
    RuleSlot slot = 0;
    uint64_t generation = 0;
  };

  // Which rules there were before, and which are new (by position).
  struct Sorted {
    std::map<Key, RuleSlot> kept;
    std::vector<std::pair<size_t, Key>> fresh;
    std::vector<std::pair<size_t, RuleSlot>> slots;  // of the kept ones
  };
  [[nodiscard]] Sorted sort_out(const Ruleset& rules) const;
  [[nodiscard]] std::vector<RuleSlot> reusable() const;
  [[nodiscard]] bool has_room(const Ruleset& rules, size_t fresh, size_t reusable) const;
  using Tags = std::map<std::string, TagId>;
  // Names are never forgotten: a state may outlive many reloads.
  static void assign_tags(Ruleset& rules, Tags& tags, std::vector<std::string>& names);
  void carry_tables(Ruleset& rules, bool whatever = false) const;
  void keep_retired(Ruleset& rules);

  Totals totals_;
  size_t slots_;
  Tags tags_;
  std::vector<std::string> tag_names_;
  std::map<std::string, std::shared_ptr<Table>> tables_;
  uint64_t generation_ = 0;
  RuleSlot next_fresh_ = kDefaultRuleSlot + 1;
  std::map<Key, RuleSlot> in_use_;
  std::vector<Retired> retired_;
  std::vector<Rule> current_;  // of the last ruleset, for when one of them is retired
  std::vector<Rule> gone_;     // the retired ones that still have states
  std::map<RuleSlot, RuleTotals> baseline_;
};

}  // namespace twinwall
