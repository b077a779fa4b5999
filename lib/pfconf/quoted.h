// Quoted text of a pf.conf, as pfctl takes it: "…" or '…'. It may go on over lines, whose breaks are left out; a
// backslash gives the quote itself, and blanks after it are blanks.
#pragma once

#include <string>
#include <string_view>

namespace twinwall::pfconf {

struct Quoted {
  std::string text;       // without the quotes
  size_t length = 0;      // from quote to quote; 0: it is never closed
  size_t lines = 0;       // that end in it
  size_t last_start = 0;  // where the last line in it starts, when there is more than one
};

// `text` starts with a quote.
[[nodiscard]] inline Quoted read_quoted(std::string_view text) {
  Quoted q;
  const auto line_end = [&q](size_t at) {
    ++q.lines;
    q.last_start = at + 1;
  };
  for (size_t i = 1; i < text.size() && text[i] != '\0'; ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] == text[0]) {
      q.length = i + 1;
      return q;
    }
    if (text[i] == '\n') {
      line_end(i);
    } else if (text[i] != '\\') {
      q.text += text[i];
    } else if (next == '\n') {
      line_end(++i);
    } else if (next == text[0] || next == ' ' || next == '\t') {
      q.text += next;
      ++i;
    } else {
      q.text += '\\';
    }
  }
  return q;
}

// How long a comment is that starts here, without the line break that ends it: a backslash before a break takes the
// next line in (pf.conf(5)).
[[nodiscard]] inline size_t comment_length(std::string_view text) {
  size_t i = 0;
  while (i < text.size() && text[i] != '\n') i += text[i] == '\\' ? 2 : 1;
  return i < text.size() ? i : text.size();
}

}  // namespace twinwall::pfconf
