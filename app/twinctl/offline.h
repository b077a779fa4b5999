// The commands that need no daemon: check a configuration, run scenarios. Print to standard output and error and give
// the exit status: 0 all well, 1 a scenario failed, 2 bad configuration or usage.
#pragma once

#include <string>
#include <vector>

namespace twinwall::ctl {

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;
inline constexpr int kBadUsage = 2;

// The JSON Schema of a configuration.
[[nodiscard]] int schema();

// `print`: the expanded rules, numbered, in PF's notation.
[[nodiscard]] int check(const std::string& file, bool print);

// What would become of a packet on a node with this configuration and no states. `at`: the interface it comes in on,
// empty: that of the way back to its source. `all`: tells of every rule.
[[nodiscard]] int explain_offline(const std::string& file, const std::string& packet, const std::string& at, bool all);

// Files, or folders whose *.yaml files are scenarios, subfolders included. `verbose`: name those that passed.
// `coverage`: list the rules of their configurations that decided nothing in any of them.
[[nodiscard]] int test(const std::vector<std::string>& paths, bool verbose, bool coverage = false);

}  // namespace twinwall::ctl
