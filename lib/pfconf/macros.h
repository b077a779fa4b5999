// Macros of a pf.conf (pf.conf(5) "MACROS") and the files that it includes: put in place in the text, before anything
// else reads it.
//
// Errors are given by line; a file whose macros are wrong is not read further. Bounded: the expanded text is at most
// `limit` bytes. Reads no file by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/pfconf/lexer.h"

namespace twinwall::pfconf {

struct ExpandedText {
  std::string text;               // line for line the file's, definitions blanked, includes put in
  std::vector<Segment> segments;  // which of it is whose
  std::string problem;            // empty, or what is wrong
  uint32_t file = 0;              // of the problem
  int line = 0;                   // of the problem, 1-based
};

// Reads the file that is named in a line of another one; its number, or nothing and what is wrong.
using IncludeFiles = std::function<std::optional<uint32_t>(uint32_t from, int line, const std::string& name,
                                                           std::string& text, std::string& problem)>;

// `file` is the number of the text's own. Without `open`, include lines stay as they are.
[[nodiscard]] ExpandedText expand_macros(std::string_view text, size_t limit, uint32_t file = 0,
                                         const IncludeFiles& open = {});

}  // namespace twinwall::pfconf
