// A configuration that was read, as files that need nothing else: includes merged, macros in their places, table files
// along. What is secret stays where it is: a key file is referred to by its absolute path, and a key that stands in the
// configuration itself is left out (`key: {withheld: true}`, filled in by whoever still knows it).
//
// Pure; made from the tree that the load worked from, so that it is what was checked.
#pragma once

#include <string>
#include <vector>

#include "lib/config/context.h"
#include "lib/config/schema.h"

namespace twinwall::config {

inline constexpr const char* kStoredMain = "twinwall.yaml";

// `root`: with macros in place, as it was read with `context`.
[[nodiscard]] StoredCopy stored_copy(const Context& context, const Node& root);

}  // namespace twinwall::config
