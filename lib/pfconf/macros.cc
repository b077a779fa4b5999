#include "lib/pfconf/macros.h"

#include <fmt/format.h>

#include <cctype>
#include <map>

namespace twinwall::pfconf {

namespace {

bool in_name(char ch) { return std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '_'; }

class Expansion {
 public:
  Expansion(std::string_view text, size_t limit) : text_(text), limit_(limit) {}

  ExpandedText run() {
    while (at_ < text_.size() && out_.problem.empty()) line();
    return std::move(out_);
  }

 private:
  // One line with its continuations.
  void line() {
    size_t i = at_;
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) ++i;
    const size_t name = i;
    while (i < text_.size() && in_name(text_[i])) ++i;
    const std::string_view word = text_.substr(name, i - name);
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) ++i;
    const bool defines = !word.empty() && i < text_.size() && text_[i] == '=';
    if (defines) at_ = i + 1;
    std::string& to = defines ? values_[std::string(word)] : out_.text;
    if (defines) to.clear();
    copy_line(to, defines);
    if (defines) out_.text.append(newlines_, '\n');
  }

  // To the end of the line, macros put in place. A definition's quotes are left away: they only hold it together.
  void copy_line(std::string& to, bool definition) {
    newlines_ = 0;
    bool quoted = false;
    while (at_ < text_.size()) {
      const char ch = text_[at_];
      if (text_.substr(at_).starts_with("\\\n")) {
        to += definition ? " " : "\\\n";
        at_ += 2;
        ++line_;
        ++newlines_;
        continue;
      }
      if (ch == '\n') {
        ++at_;
        ++line_;
        ++newlines_;
        if (!definition) to += '\n';
        return;
      }
      if (ch == '#' && !quoted) {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
        continue;
      }
      if (ch == '"') {
        quoted = !quoted;
        ++at_;
        if (!definition)
          to += ch;
        else if (!quoted)
          to += ' ';
        continue;
      }
      if (ch == '$' && (!quoted || definition)) {
        if (!put_value(to)) return;
        continue;
      }
      to += ch;
      ++at_;
      if (to.size() > limit_) return fail("the macros grow too long");
    }
  }

  bool put_value(std::string& to) {
    size_t end = at_ + 1;
    while (end < text_.size() && in_name(text_[end])) ++end;
    const std::string name(text_.substr(at_ + 1, end - at_ - 1));
    const auto it = values_.find(name);
    if (it == values_.end() || &it->second == &to) {
      fail(fmt::format("macro '{}' is not defined", name));
      return false;
    }
    std::string value = it->second;
    while (!value.empty() && value.back() == ' ') value.pop_back();
    while (!value.empty() && value.front() == ' ') value.erase(0, 1);
    to += value;
    at_ = end;
    if (to.size() <= limit_) return true;
    fail("the macros grow too long");
    return false;
  }

  void fail(std::string what) {
    out_.problem = std::move(what);
    out_.line = line_;
  }

  std::string_view text_;
  size_t limit_;
  size_t at_ = 0;
  int line_ = 1;
  size_t newlines_ = 0;
  std::map<std::string, std::string> values_;
  ExpandedText out_;
};

}  // namespace

ExpandedText expand_macros(std::string_view text, size_t limit) { return Expansion(text, limit).run(); }

}  // namespace twinwall::pfconf
