// What the pf.conf reader makes of a text, in few words.
#pragma once

#include <string>
#include <string_view>

#include "lib/filter/print_ruleset.h"
#include "lib/pfconf/pfconf.h"
#include "tests/unit/pfconf/interfaces.h"

namespace twinwall::pfconf {

inline Result read(std::string_view text) { return parse(text, test_interfaces()); }

// The tables and rules in PF's notation; where there are problems, these instead.
inline std::string printed(std::string_view text, const std::vector<config::Interface>& interfaces = test_interfaces(),
                           const std::string& directory = {}) {
  const Result r = parse(text, interfaces, {}, directory);
  std::string out;
  for (const auto& u : r.unsupported) out += "unsupported " + u.feature + "\n";
  for (const auto& d : r.diagnostics) out += to_string(d) + "\n";
  return out.empty() ? print_ruleset(r.config.rules, false) : out;
}

inline bool accepted(std::string_view text) { return parse(text, test_interfaces()).ok(); }

}  // namespace twinwall::pfconf
