// Macros of a pf.conf (pf.conf(5) "MACROS"): put in place in the text, before anything else reads it.
//
// Errors are given by line; a file whose macros are wrong is not read further. Bounded: the expanded text is at most
// `limit` bytes.
#pragma once

#include <string>
#include <string_view>

namespace twinwall::pfconf {

struct ExpandedText {
  std::string text;     // line for line the file's, definitions blanked
  std::string problem;  // empty, or what is wrong
  int line = 0;         // of the problem, 1-based
};

[[nodiscard]] ExpandedText expand_macros(std::string_view text, size_t limit);

}  // namespace twinwall::pfconf
