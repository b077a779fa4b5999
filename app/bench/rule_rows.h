// What rules and tables cost by themselves: finding the rule of a first packet among few and many, reading and
// compiling a ruleset, a table of a million prefixes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace twinwall::bench {

struct Spread {
  double median = 0, low = 0, high = 0;
};
// Of at least one value.
[[nodiscard]] Spread spread(std::vector<double> values);

// A configuration of `rules` rules: hosts and networks of all sizes, some ports, both directions and interfaces,
// passing and blocking; the first blocks all, and the bench's own packets match that and the last. At least 2.
[[nodiscard]] std::string mixed_rules(size_t rules);

struct RuleRow {
  size_t rules = 0;
  Spread last;                  // ticks: a packet whose last matching rule is the last one
  Spread spread_out;            // packets for rules all over the set
  Spread one_by_one;            // as `last`, without the compiled rules; 0 when there are too many for that
  double looked_at = 0;         // rules looked at a packet, of `last`
  double read_seconds = 0;      // from the text to the rules
  double compile_seconds = 0;   // of them: to rows of bits
  double snapshot_seconds = 0;  // compiled, with routes and everything that workers read
  size_t bytes = 0;             // of the compiled rules
};
// Throws std::runtime_error when the configuration is refused or a packet does not match as it must.
[[nodiscard]] RuleRow measure_rules(size_t rules, unsigned repeats);

struct TableRow {
  size_t prefixes = 0;
  Spread inside, outside;    // ticks a look-up
  double parse_seconds = 0;  // of the lines
  Spread replace_seconds;    // of the whole content, the lines read
  size_t bytes = 0;
};
[[nodiscard]] TableRow measure_table(size_t prefixes, unsigned repeats);

}  // namespace twinwall::bench
