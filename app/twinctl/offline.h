// The commands that need no daemon: check a configuration, run scenarios. Print to standard output and error and give
// the exit status: 0 all well, 1 a scenario failed, 2 bad configuration or usage.
#pragma once

#include <string>
#include <vector>

namespace twinwall::ctl {

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;
inline constexpr int kBadUsage = 2;

// `print`: the expanded rules, numbered, in PF's notation.
[[nodiscard]] int check(const std::string& file, bool print);

// Files, or folders whose *.yaml files are scenarios, subfolders included. `verbose`: name those that passed.
[[nodiscard]] int test(const std::vector<std::string>& paths, bool verbose);

}  // namespace twinwall::ctl
