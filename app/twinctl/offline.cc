#include "app/twinctl/offline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include "control/simulation/pair_runner.h"
#include "lib/config/load.h"
#include "lib/filter/print_ruleset.h"
#include "lib/scenario/explain.h"

namespace twinwall::ctl {

namespace fs = std::filesystem;

int check(const std::string& file, bool print) {
  config::LoadOptions options;
  options.advise = true;
  const config::LoadResult loaded = config::load_file(file, options);
  fmt::print(stderr, "{}", config::to_string(loaded.diagnostics));
  if (!loaded.ok()) return kBadUsage;
  if (print) fmt::print("{}", print_ruleset(loaded.config.rules, true));
  return kOk;
}

int explain_offline(const std::string& file, const std::string& packet, const std::string& at, bool all) {
  config::LoadResult loaded = config::load_file(file);
  fmt::print(stderr, "{}", config::to_string(loaded.diagnostics));
  if (!loaded.ok()) return kBadUsage;
  scenario::Node node(std::move(loaded.config));
  const auto target = [&](InterfaceId interface, const IpAddress& to) { return node.target_mac(interface, to); };
  const scenario::ArrivingFrame arriving = scenario::arriving_frame(node.snapshot(), packet, at, target);
  if (!arriving.error.empty()) {
    fmt::print(stderr, "packet: {}\n", arriving.error);
    return kBadUsage;
  }
  for (const std::string& line :
       scenario::explain(node, arriving.interface, arriving.frame, all ? ExplainRules::all : ExplainRules::matching))
    fmt::print("{}\n", line);
  return kOk;
}

int schema() {
  fmt::print("{}", config::configuration_schema());
  return kOk;
}

namespace {

// Configurations may lie beside their scenarios: in a folder only what says `steps:` or `config:` at its margin counts.
bool is_scenario(const fs::path& path) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("steps:") || line.starts_with("config:")) return true;
  return false;
}

// The scenarios that a path stands for, in order of their names. False: there is no such path.
bool add_scenarios(const std::string& path, std::vector<std::string>& out, size_t& others) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    out.push_back(path);
    return fs::exists(path, error);
  }
  std::vector<std::string> found;
  for (fs::recursive_directory_iterator it(path, error), end; it != end && !error; it.increment(error)) {
    if (!it->is_regular_file(error) || it->path().extension() != ".yaml") continue;
    if (is_scenario(it->path()))
      found.push_back(it->path().string());
    else
      ++others;
  }
  std::sort(found.begin(), found.end());
  out.insert(out.end(), found.begin(), found.end());
  return true;
}

// The rules of every configuration, and whether any scenario had a use for them.
class Coverage {
 public:
  void add(const std::vector<scenario::RuleUse>& rules) {
    for (const scenario::RuleUse& rule : rules) {
      auto& known = configurations_[rule.configuration];
      const auto same = [&](const scenario::RuleUse& other) { return other.identity == rule.identity; };
      const auto it = std::find_if(known.begin(), known.end(), same);
      if (it == known.end())
        known.push_back(rule);
      else
        it->used = it->used || rule.used;
    }
  }

  void print() const {
    for (const auto& [name, rules] : configurations_) {
      const auto used = std::count_if(rules.begin(), rules.end(), [](const auto& r) { return r.used; });
      fmt::print("{}: {} of {} rules decided a packet\n", name, used, rules.size());
      for (const scenario::RuleUse& rule : rules)
        if (!rule.used) fmt::print("  never: @{} {}\n", rule.place, rule.text);
    }
  }

 private:
  std::map<std::string, std::vector<scenario::RuleUse>> configurations_;
};

}  // namespace

int test(const std::vector<std::string>& paths, bool verbose, bool coverage) {
  std::vector<std::string> files;
  size_t others = 0;
  for (const std::string& path : paths) {
    if (add_scenarios(path, files, others)) continue;
    fmt::print(stderr, "{}: there is no such file or folder\n", path);
    return kBadUsage;
  }
  if (files.empty()) {
    fmt::print(stderr, "there are no scenarios (*.yaml) here\n");
    return kBadUsage;
  }
  size_t passed = 0, failed = 0;
  Coverage covered;
  for (const std::string& file : files) {
    const scenario::RunResult r = simulation::run_file(file);
    fmt::print("{}", r.shown);
    if (coverage) covered.add(r.rules);
    if (r.passed) {
      ++passed;
      if (verbose) fmt::print("passed: {} ({})\n", r.name, file);
    } else {
      ++failed;
      fmt::print("FAILED: {}\n{}", r.name, r.report);
    }
  }
  if (others != 0) fmt::print("{} other YAML files left alone\n", others);
  if (coverage) covered.print();
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed == 0 ? kOk : kFailed;
}

}  // namespace twinwall::ctl
