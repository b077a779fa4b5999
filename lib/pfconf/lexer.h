// The words of a pf.conf: names, numbers and addresses as written, quoted text, and the signs between them.
//
// A backslash before a line break continues the line, '#' starts a comment (pf.conf(5) "GRAMMAR"). Line breaks inside
// braces are tokens too: in an anchor they end a line, in a list the reader passes over them. Pure; tokens point into
// the text, which must outlive them.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twinwall::pfconf {

// From here on the text is that file's, from that line on.
struct Segment {
  size_t offset = 0;
  uint32_t file = 0;
  int line = 1;
};

struct Token {
  enum class Kind { word, quoted, sign, line_end, end, bad };
  Kind kind = Kind::end;
  std::string_view text;  // without quotes
  uint32_t file = 0;      // as in the segments
  int line = 1;           // 1-based
  int column = 1;         // 1-based

  // A name, a number or an address; only in words may be keywords.
  [[nodiscard]] bool is_text() const { return kind == Kind::word || kind == Kind::quoted; }
};

// Always ends with a token of kind `end`. Text that cannot be read (an open quote, a control character) becomes one
// token of kind `bad`. At most `limit` tokens: the one after is `bad`. What is in quotes goes to `quoted`, which must
// outlive the tokens as well.
[[nodiscard]] std::vector<Token> tokenize(std::string_view text, size_t limit, std::deque<std::string>& quoted,
                                          std::span<const Segment> segments = {});

}  // namespace twinwall::pfconf
