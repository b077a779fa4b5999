// What is counted by table, over reloads (pfctl -vvsTables).
//
// Evaluations are counted by the workers, in a slot that a table keeps as long as there is one of its name. Packets and
// bytes cost the workers nothing: they are those of the rules that name the table, which is what PF counts too, one
// packet at a time. The rules' own counts begin anew or vanish when rules change, so what was counted under the rules
// before is carried on.
//
// A slot is given to another table only after two reloads without its own, so that no worker still counts for the old
// one. Not thread-safe; the control thread's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/rule_registry.h"
#include "lib/filter/rule.h"
#include "lib/filter/table.h"

namespace twinwall {

struct TableEvaluations {
  uint64_t match = 0, nomatch = 0;
};

struct TableTotals {
  enum Fate : uint8_t { pass, block, match };
  TableEvaluations evaluations;
  uint64_t packets[2][3] = {}, bytes[2][3] = {};  // [0] in, [1] out; [Fate], of the rule
  uint64_t rules = 0;                             // that name it, once for each time they do
};

class TableCounts {
 public:
  using Evaluated = std::function<TableEvaluations(TableSlot)>;  // sums over all workers
  using OfRule = std::function<RuleTotals(RuleSlot)>;            // as they are shown
  TableCounts(Evaluated evaluated, OfRule of_rule, size_t slots = kMaxTableSlots)
      : evaluated_(std::move(evaluated)), of_rule_(std::move(of_rule)), slots_(slots) {}

  // With the rules in force, before the slots of the next ones are given.
  void before_reload(const Ruleset& rules);
  // With the next rules, once they have their slots; gives their tables theirs.
  void after_reload(const Ruleset& rules);

  // By name, without the tables of the loader's own. A table for which there was no slot has no evaluations.
  [[nodiscard]] std::map<std::string, TableTotals> totals(const Ruleset& rules) const;
  // Count from here on; `rules` are those in force. False: there is no such table.
  bool zero(const Ruleset& rules, const std::string& name);
  void zero_all(const Ruleset& rules);

 private:
  struct Entry {
    TableSlot slot = kNoTableSlot;
    uint64_t seen = 0;       // the last reload that had it
    TableEvaluations begin;  // of the slot, when the count began
    // What the present rules' counts have to be added to; below 0 where these began before this count.
    TableTotals carried;
  };
  [[nodiscard]] std::map<std::string, TableTotals> of_rules(const Ruleset& rules) const;
  [[nodiscard]] TableSlot free_slot();
  void begin(Entry& entry, const TableTotals& of_rules) const;

  Evaluated evaluated_;
  OfRule of_rule_;
  size_t slots_;
  size_t next_slot_ = kNoTableSlot + 1;
  std::vector<TableSlot> free_;
  uint64_t reload_ = 0;
  std::map<std::string, Entry> entries_;
};

}  // namespace twinwall
