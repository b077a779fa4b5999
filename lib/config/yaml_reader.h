// YAML text to a Node tree: the only place that knows yaml-cpp, and where its exceptions end.
//
// Bounded in size, depth and number of nodes, so that a hostile or mistaken file (an alias that multiplies itself)
// cannot exhaust memory. Problems go to the context; the tree is then null.
#pragma once

#include <string>

#include "lib/config/context.h"
#include "lib/config/node.h"

namespace twinwall::config {

inline constexpr size_t kMaxFileBytes = size_t{16} << 20;
inline constexpr size_t kMaxNodes = 2'500'000;
inline constexpr size_t kMaxDepth = 32;

// An empty document is an empty mapping. Keys that stand twice in one mapping are reported here.
[[nodiscard]] Node read_yaml(Context& context, uint32_t file, const std::string& text);

}  // namespace twinwall::config
