// Files that a pf.conf names: include, load anchor (pf.conf(5) "INCLUDE", "ANCHORS").
#include <fmt/format.h>

#include <utility>

#include "lib/config/document.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

namespace {

constexpr size_t kMaxFiles = 64;  // of both kinds together
constexpr size_t kMaxLoads = 8;   // inside each other

}  // namespace

// Relative to the pf.conf.
std::optional<uint32_t> Reader::open_file(const config::Node& at, const std::string& name, std::string& text,
                                          std::string& problem) {
  const std::string path = c_.resolve_path(at, name);
  std::string why;
  if (++files_ > kMaxFiles)
    problem = fmt::format("more than {} files", kMaxFiles);
  else if (!config::read_whole_file(path, text, why))
    problem = fmt::format("cannot read '{}': {}", c_.display_path(at, path), why);
  else if (text.size() > kMaxText)
    problem = fmt::format("'{}' has more than {} bytes", name, kMaxText);
  if (!problem.empty()) return std::nullopt;
  return c_.add_file(c_.display_path(at, path), directory_);
}

// The macros put in place and what is included put in; false: what is wrong is reported.
bool Reader::tokens_of(std::string_view text, uint32_t file, std::vector<Token>& out) {
  IncludeFiles open;
  if (!directory_.empty())
    open = [this](uint32_t from, int line, const std::string& name, std::string& content, std::string& problem) {
      config::Node at;
      at.file = from;
      at.line = line;
      return open_file(at, name, content, problem);
    };
  ExpandedText expanded = expand_macros(text, kMaxText, file, open);
  if (!expanded.problem.empty()) {
    c_.error_in_file(expanded.file, expanded.line, 1, expanded.problem);
    return false;
  }
  texts_.push_back(std::move(expanded));
  out = tokenize(texts_.back().text, kMaxTokens, quoted_, texts_.back().segments);
  return true;
}

// load anchor NAME from "FILE": its rules as if they stood in the anchor.
bool Reader::load_anchor() {
  next();  // load
  if (!expect("anchor")) return false;
  if (!is_name(peek())) return wrong("the name of an anchor");
  const std::string path = config::resolve_anchor(path_, next().text);
  if (!expect("from")) return false;
  if (!peek().is_text()) return wrong("the name of a file");
  if (loads_ >= kMaxLoads) return refuse("too many files are loaded inside each other");
  std::string text, problem;
  const auto file = open_file(*place(peek()), std::string(peek().text), text, problem);
  if (!file) return refuse(problem);
  next();
  std::vector<Token> tokens;
  if (!tokens_of(text, *file, tokens)) return true;
  flush_old_rules();
  c_.anchors[path];
  tokens.swap(tokens_);
  const size_t at = std::exchange(at_, 0), depth = std::exchange(depth_, 0);
  const std::string outer = std::exchange(path_, path);
  ++loads_;
  lines();
  flush_old_rules();
  --loads_;
  path_ = outer;
  depth_ = depth;
  at_ = at;
  tokens.swap(tokens_);
  return true;
}

}  // namespace twinwall::pfconf
