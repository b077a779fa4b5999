// From files to one tree: includes read and merged, macros put in place.
//
// A main file comes first, then what it includes in the order written (a pattern's matches sorted by name). Mappings
// merge key by key, lists append, a single value may be set once. Files are bounded in number, size and depth.
#pragma once

#include <string>

#include "lib/config/context.h"
#include "lib/config/node.h"

namespace twinwall::config {

inline constexpr size_t kMaxIncludeDepth = 8;
inline constexpr size_t kMaxFiles = 1000;

// The whole text of a file. Reports to `at` and returns false when it cannot be read.
[[nodiscard]] bool read_whole_file(const std::string& path, std::string& out, std::string& problem);

// The text of a list that a table or a group of signatures names at `item`, and how messages call that file. Reports
// what is wrong and returns false.
[[nodiscard]] bool read_list_file(Context& context, const Node& item, std::string& text, std::string& shown);

// The document of `text` with everything it includes. Null after a problem that leaves nothing to look at.
[[nodiscard]] Node read_document(Context& context, const std::string& text, const std::string& name,
                                 const std::string& directory);

// Replaces every $name below the root by what `define` says; a list takes the place of the element that named it.
// Labels (which have macros of their own), keys and `define` itself are left alone. Macros may use macros.
void substitute_macros(Context& context, Node& root);

}  // namespace twinwall::config
