#include "lib/pfconf/macros.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "lib/pfconf/quoted.h"

namespace twinwall::pfconf {

namespace {

bool in_name(char ch) { return std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '_'; }

class Expansion {
 public:
  Expansion(std::string_view text, size_t limit, uint32_t file, const IncludeFiles& open)
      : text_(text), limit_(limit), file_(file), open_(open) {}

  ExpandedText run() {
    begin_segment();
    lines();
    return std::move(out_);
  }

 private:
  static constexpr size_t kMaxIncludes = 8;  // inside each other

  void lines() {
    while (at_ < text_.size() && out_.problem.empty()) line();
  }

  void begin_segment() { out_.segments.push_back({out_.text.size(), file_, line_}); }

  // include "FILE", at the quote: all of it in place of the line.
  void include(size_t quote) {
    const Quoted q = read_quoted(text_.substr(quote));
    if (q.length == 0) return fail("a quote is not closed");
    if (depth_ == kMaxIncludes) return fail("files include each other too deep");
    at_ = quote + q.length;
    std::string text, problem;
    const auto file = open_(file_, line_, q.text, text, problem);
    if (!file) return fail(problem);
    if (text.size() > limit_ - std::min(limit_, out_.text.size()))
      return fail("with what is included the file grows too long");
    const std::string_view outer = std::exchange(text_, text);
    const size_t outer_at = std::exchange(at_, 0);
    const uint32_t outer_file = std::exchange(file_, *file);
    const int outer_line = std::exchange(line_, 1);
    ++depth_;
    begin_segment();
    lines();
    if (!out_.problem.empty()) return;  // it is told where it was found
    if (!out_.text.ends_with('\n')) out_.text += '\n';
    --depth_;
    text_ = outer;
    at_ = outer_at;
    file_ = outer_file;
    line_ = outer_line;
    begin_segment();
  }

  // One line with its continuations.
  void line() {
    size_t i = at_;
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) ++i;
    const size_t name = i;
    while (i < text_.size() && in_name(text_[i])) ++i;
    const std::string_view word = text_.substr(name, i - name);
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) ++i;
    if (word == "include" && open_ && i < text_.size() && (text_[i] == '"' || text_[i] == '\'')) {
      include(i);
      if (out_.problem.empty()) copy_line(out_.text, false);
      return;
    }
    const bool defines = !word.empty() && i < text_.size() && text_[i] == '=';
    if (defines) at_ = i + 1;
    std::string& to = defines ? values_[std::string(word)] : out_.text;
    if (defines) to.clear();
    copy_line(to, defines);
    if (defines) out_.text.append(newlines_, '\n');
  }

  // To the end of the line, macros put in place.
  void copy_line(std::string& to, bool definition) {
    newlines_ = 0;
    while (at_ < text_.size() && out_.problem.empty()) {
      const char ch = text_[at_];
      if (ch == '\n') {
        pass(to, 1, !definition);
        return;
      }
      if (text_.substr(at_).starts_with("\\\n")) {
        if (definition) to += ' ';
        pass(to, 2, !definition);
      } else if (ch == '#') {
        pass(to, comment_length(text_.substr(at_)), !definition);
      } else if (ch == '"' || ch == '\'') {
        copy_quoted(to, definition);
      } else if (ch == '$') {
        put_value(to);
      } else {
        to += ch;
        ++at_;
      }
      if (to.size() > limit_) fail("the macros grow too long");
    }
  }

  // A definition's quotes are left away: they only hold it together. Macros inside them are put in place, as nothing
  // else could be meant.
  void copy_quoted(std::string& to, bool definition) {
    const Quoted q = read_quoted(text_.substr(at_));
    if (q.length == 0) return fail("a quote is not closed");
    if (definition) {
      to += ' ';
      put_values(to, q.text);
      to += ' ';
    }
    pass(to, q.length, !definition);
  }

  void put_values(std::string& to, std::string_view text) {
    while (!text.empty() && out_.problem.empty()) {
      const size_t length = std::min(text.find('$'), text.size());
      to += text.substr(0, length);
      text.remove_prefix(length);
      if (!text.empty()) text.remove_prefix(put_value(to, text));
      if (to.size() > limit_) fail("the macros grow too long");
    }
  }

  // Goes on behind so much of the text, which is kept or left away.
  void pass(std::string& to, size_t length, bool keep) {
    const std::string_view text = text_.substr(at_, length);
    if (keep) to += text;
    const auto lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    line_ += static_cast<int>(lines);
    newlines_ += lines;
    at_ += text.size();
  }

  void put_value(std::string& to) { at_ += put_value(to, text_.substr(at_)); }

  // The value of the macro that is named at the start of the text; how long that is.
  size_t put_value(std::string& to, std::string_view text) {
    size_t end = 1;
    while (end < text.size() && in_name(text[end])) ++end;
    const std::string name(text.substr(1, end - 1));
    const auto it = values_.find(name);
    if (it == values_.end() || &it->second == &to) {
      fail(fmt::format("macro '{}' is not defined", name));
      return end;
    }
    std::string_view value = it->second;
    while (value.ends_with(' ')) value.remove_suffix(1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    to += value;
    return end;
  }

  void fail(std::string what) {
    out_.problem = std::move(what);
    out_.line = line_;
    out_.file = file_;
  }

  std::string_view text_;
  size_t limit_;
  uint32_t file_;
  const IncludeFiles& open_;
  size_t depth_ = 0;
  size_t at_ = 0;
  int line_ = 1;
  size_t newlines_ = 0;
  std::map<std::string, std::string> values_;
  ExpandedText out_;
};

}  // namespace

ExpandedText expand_macros(std::string_view text, size_t limit, uint32_t file, const IncludeFiles& open) {
  return Expansion(text, limit, file, open).run();
}

}  // namespace twinwall::pfconf
