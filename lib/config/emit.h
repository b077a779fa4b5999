// A tree of values as YAML text that reads as the same tree.
//
// Pure. Sections and lists of mappings stand on lines of their own, the rest in braces. Whatever could be taken for
// something else (nothing, a number with a colon, a tag) is quoted.
#pragma once

#include <string>

#include "lib/config/node.h"

namespace twinwall::config {

[[nodiscard]] std::string emit_yaml(const Node& root);

// For making trees.
[[nodiscard]] Node scalar(std::string text);
[[nodiscard]] Node sequence(std::vector<Node> items = {});
[[nodiscard]] Node mapping();
void put(Node& mapping, std::string key, Node value);

}  // namespace twinwall::config
