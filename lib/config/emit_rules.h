// Typed rules, tables and options as the YAML that reads back to them.
//
// Pure. A rule comes out as one mapping: lists are expanded already and stay so. Names of tables that YAML cannot have
// ("(em0:network)", made of an interface's addresses) become other names.
#pragma once

#include <map>
#include <string>

#include "lib/config/node.h"
#include "lib/config/schema.h"

namespace twinwall::config {

struct EmitNames {
  std::map<std::string, std::string> tables;  // of the ruleset → in the YAML; without an entry they are the same
};

// `anchors` gets those that are called by name, with their rules.
[[nodiscard]] Node rules_tree(const Config& config, const EmitNames& names, Node& anchors);
[[nodiscard]] Node tables_tree(const Ruleset& rules, const EmitNames& names);
// What differs from the defaults.
[[nodiscard]] Node options_tree(const Config& config);
[[nodiscard]] Node interfaces_tree(const Config& config);

}  // namespace twinwall::config
