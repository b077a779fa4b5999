#include "lib/pfconf/reader.h"

#include <fmt/format.h>

#include "lib/config/values.h"
#include "lib/pfconf/macros.h"

namespace twinwall::pfconf {

namespace {

// What may start a line and is not offered.
struct Feature {
  std::string_view word, name;
};
constexpr Feature kFeatures[] = {{"load", "load anchor"},
                                 {"queue", "queues"},
                                 {"scrub", "scrub"},
                                 {"nat", "FreeBSD's nat rules"},
                                 {"rdr", "FreeBSD's rdr rules"},
                                 {"binat", "FreeBSD's binat rules"},
                                 {"include", "include"}};

}  // namespace

Reader::Reader(std::string_view text, std::span<const config::Interface> interfaces, Dialect dialect,
               const std::string& directory)
    : dialect_(dialect), directory_(directory) {
  c_.add_file("pf.conf", directory);
  c_.config.interfaces.assign(interfaces.begin(), interfaces.end());
  for (const config::Interface& i : interfaces)
    for (const std::string& group : i.groups) c_.groups[group].set(i.id);
  if (text.size() > kMaxText)
    c_.error_in_file(0, 0, 0, fmt::format("more than {} bytes", kMaxText));
  else
    (void)tokens_of(text, 0, tokens_);
  if (tokens_.empty()) tokens_.emplace_back();
}

Result Reader::run() {
  lines();
  flush_old_rules();
  finish_options();
  check_tables();
  config::link_rules(c_);
  Result result;
  result.unsupported = std::move(unsupported_);
  result.skips = std::move(skips_);
  for (config::Diagnostic& d : c_.take_diagnostics())
    if (d.severity == config::Severity::error) result.diagnostics.push_back(std::move(d));
  result.config = std::move(c_.config);
  return result;
}

void Reader::lines() {
  while (peek().kind != Token::Kind::end)
    if (!take_line_end()) line();
}

void Reader::line() {
  bool good = false;
  if (sees("pass") || sees("block") || sees("match") || sees("anchor") || sees("antispoof")) {
    flush_old_rules();
    filters_seen_ = filters_seen_ || path_.empty();
  }
  if (take("set"))
    good = set();
  else if (take("pass"))
    good = rule(config::RuleKind::pass);
  else if (take("block"))
    good = rule(config::RuleKind::block);
  else if (take("match"))
    good = rule(config::RuleKind::match);
  else if (take("anchor"))
    good = anchor();
  else if (take("table"))
    good = table();
  else if (take("antispoof"))
    good = antispoof();
  else if (dialect_.scrub_rules && take("scrub"))
    good = freebsd_scrub();
  else if (dialect_.freebsd && freebsd_line(good)) {
  } else if (sees("load") && !directory_.empty()) {
    good = load_anchor();
  } else {
    if (dialect_.freebsd && freebsd_unknown()) return skip_line();
    for (const Feature& f : kFeatures)
      if (sees(f.word)) {
        unsupported(f.name);
        return skip_line();
      }
    good = wrong("a rule or 'set'");
  }
  if (good && !at_line_end()) wrong("the end of the line");
  skip_line();
}

bool Reader::list(const std::function<bool()>& element, bool may_be_empty) {
  if (!take("{")) return element();
  while (take_line_end()) {}
  if (may_be_empty && take("}")) return true;
  for (;;) {
    if (!element()) return false;
    while (take_line_end()) {}
    if (take("}")) return true;
    if (take(","))
      while (take_line_end()) {}
  }
}

bool Reader::take_line_end() {
  if (peek().kind != Token::Kind::line_end) return false;
  next();
  return true;
}

// What is in braces belongs to the line, however many lines it takes.
void Reader::skip_line() {
  while (!at_line_end()) {
    if (!take("{")) {
      next();
      continue;
    }
    for (size_t open = 1; open > 0 && peek().kind != Token::Kind::end;) {
      if (take("{"))
        ++open;
      else if (take("}"))
        --open;
      else
        next();
    }
  }
}

const Token& Reader::peek(size_t ahead) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }

const Token& Reader::next() {
  const Token& t = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return t;
}

bool Reader::at_line_end() const {
  const Token& t = peek();
  if (t.kind == Token::Kind::line_end || t.kind == Token::Kind::end) return true;
  return depth_ != 0 && sees("}");  // the end of the anchor
}

bool Reader::sees(std::string_view word) const {
  const Token& t = peek();
  return (t.kind == Token::Kind::word || t.kind == Token::Kind::sign) && t.text == word;
}

bool Reader::take(std::string_view word) {
  if (!sees(word)) return false;
  next();
  return true;
}

bool Reader::expect(std::string_view word) { return take(word) || wrong(fmt::format("'{}'", word)); }

bool Reader::wrong(std::string_view expected) {
  const Token& t = peek();
  const bool ends = t.kind == Token::Kind::line_end || t.kind == Token::Kind::end;
  return refuse(fmt::format("{} where {} is expected", ends ? "the line ends" : fmt::format("'{}'", t.text), expected));
}

bool Reader::refuse(std::string message) {
  c_.error(*place(peek()), std::move(message));
  return false;
}

bool Reader::first_time(std::string_view option) {
  return given_.emplace(option).second || refuse(fmt::format("'{}' is given a second time", option));
}

bool Reader::unsupported(std::string_view feature) {
  unsupported_.push_back({std::string(feature), file_of(peek().file), peek().line, peek().column});
  return false;
}

std::string Reader::file_of(uint32_t file) const { return file == 0 ? std::string() : c_.file_name(file); }

bool Reader::mention(std::string_view feature) {
  (void)unsupported(feature);
  return true;
}

const config::Node* Reader::place(const Token& here) {
  config::Node& n = places_.emplace_back();
  n.file = here.file;
  n.line = here.line;
  n.column = here.column;
  return &n;
}

std::optional<uint32_t> Reader::number(std::string_view what, uint32_t low, uint32_t high) {
  const auto value = peek().kind == Token::Kind::word ? config::parse_number(peek().text) : std::nullopt;
  if (!value || *value < low || *value > high) {
    wrong(fmt::format("{} from {} to {}", what, low, high));
    return std::nullopt;
  }
  next();
  return static_cast<uint32_t>(*value);
}

Result parse(std::string_view text, std::span<const config::Interface> interfaces, Dialect dialect,
             const std::string& directory) {
  return Reader(text, interfaces, dialect, directory).run();
}

}  // namespace twinwall::pfconf
