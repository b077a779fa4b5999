#include "lib/pfconf/lexer.h"

#include <cstddef>

#include "lib/pfconf/quoted.h"

namespace twinwall::pfconf {

namespace {

constexpr std::string_view kSigns[] = {"><", "<>", "<=", ">=", "!=", "<", ">", "=", "!", "{", "}", "(", ")", ",", "/"};

bool in_word(char ch) {
  const auto c = static_cast<unsigned char>(ch);
  if (c <= ' ' || c == 0x7f) return false;
  return std::string_view("<>=!{}(),/\\\"'#").find(ch) == std::string_view::npos;
}

class Lexer {
 public:
  Lexer(std::string_view text, size_t limit, std::deque<std::string>& quoted, std::span<const Segment> segments)
      : text_(text), limit_(limit), quoted_(quoted), segments_(segments) {}

  std::vector<Token> run() {
    while (step()) {}
    add(Token::Kind::end, 0);
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] std::string_view rest() const { return text_.substr(at_); }

  void add(Token::Kind kind, size_t length) {
    tokens_.push_back({kind, text_.substr(at_, length), file_, line_, static_cast<int>(at_ - line_start_) + 1});
    at_ += length;
  }

  void new_line() {
    ++line_;
    line_start_ = at_;
  }

  // False: nothing more, or nothing that can be read.
  bool step() {
    for (; !segments_.empty() && segments_.front().offset <= at_; segments_ = segments_.subspan(1)) {
      file_ = segments_.front().file;
      line_ = segments_.front().line;
      line_start_ = segments_.front().offset;
    }
    if (at_ >= text_.size()) return false;
    if (tokens_.size() >= limit_) {
      add(Token::Kind::bad, 0);
      return false;
    }
    const char ch = text_[at_];
    if (ch == '\n') {
      add(Token::Kind::line_end, 0);
      ++at_;
      new_line();
    } else if (rest().starts_with("\\\n")) {
      at_ += 2;
      new_line();
    } else if (ch == ' ' || ch == '\t' || ch == '\r') {
      ++at_;
    } else if (ch == '#') {
      comment();
    } else if (ch == '"' || ch == '\'') {
      return quoted();
    } else {
      return sign() || word();
    }
    return true;
  }

  void comment() {
    for (const size_t end = at_ + comment_length(rest()); at_ < end;)
      if (text_[at_++] == '\n') new_line();
  }

  bool quoted() {
    Quoted q = read_quoted(rest());
    const size_t start = at_;
    if (q.length == 0) {
      add(Token::Kind::bad, 1);
      return false;
    }
    add(Token::Kind::quoted, q.length);
    tokens_.back().text = quoted_.emplace_back(std::move(q.text));
    line_ += static_cast<int>(q.lines);
    if (q.lines != 0) line_start_ = start + q.last_start;
    return true;
  }

  bool sign() {
    for (const std::string_view s : kSigns) {
      if (!rest().starts_with(s)) continue;
      add(Token::Kind::sign, s.size());
      return true;
    }
    return false;
  }

  bool word() {
    size_t length = 0;
    while (at_ + length < text_.size() && in_word(text_[at_ + length])) ++length;
    if (length != 0) {
      add(Token::Kind::word, length);
      return true;
    }
    add(Token::Kind::bad, text_[at_] == '\\' ? 1 : 0);
    return false;
  }

  std::string_view text_;
  size_t limit_;
  std::deque<std::string>& quoted_;
  std::span<const Segment> segments_;
  uint32_t file_ = 0;
  size_t at_ = 0;
  size_t line_start_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view text, size_t limit, std::deque<std::string>& quoted,
                            std::span<const Segment> segments) {
  return Lexer(text, limit, quoted, segments).run();
}

}  // namespace twinwall::pfconf
