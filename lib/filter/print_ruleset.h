// A whole ruleset as text in PF's notation: its tables, then its rules, those of an anchor in the braces of the first
// rule that calls it (pf.conf(5) "GRAMMAR").
//
// For people; pure. What a "name/*" calls stands in its braces too, which PF itself does not write.
#pragma once

#include <string>

#include "lib/filter/rule.h"

namespace twinwall {

// `numbers` puts "@N " in front of each rule: its number in its own anchor, as in logs and states.
[[nodiscard]] std::string print_ruleset(const Ruleset& ruleset, bool numbers);

// Where a rule stands, as its name in displays: "4"; inside an anchor "2.0", the numbers of the anchor rules around it
// and its own. No two rules of a ruleset have the same.
[[nodiscard]] std::string rule_place(const Ruleset& ruleset, const Rule& rule);

// "table <clients> persist { 10.0.0.0/8, !10.66.0.0/16 }".
[[nodiscard]] std::string print_table(const Table& table);

}  // namespace twinwall
