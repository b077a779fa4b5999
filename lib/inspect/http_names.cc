#include <algorithm>
#include <charconv>

#include "lib/inspect/domain_set.h"
#include "lib/inspect/names.h"

namespace twinwall::inspect {

namespace {

constexpr size_t kLongestMethod = 32;
constexpr uint64_t kLongestBody = uint64_t{1} << 31;

bool same(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower_case(x) == y; });
}

std::string_view trim(std::string_view text) {
  const auto blank = [](char ch) { return ch == ' ' || ch == '\t' || ch == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// "user@host:port" → host. An address in brackets is no name.
void authority(std::string_view text, OnName found) {
  text = trim(text);
  if (const size_t at = text.rfind('@'); at != std::string_view::npos) text.remove_prefix(at + 1);
  if (text.starts_with('[')) return;
  text = text.substr(0, text.find(':'));
  if (!text.empty()) found(text);
}

// Of the request line. False: it is none.
bool request_line(std::string_view line, OnName found) {
  line = trim(line);
  const size_t space = line.find(' ');
  const size_t version = line.rfind(' ');
  if (space == std::string_view::npos || version == space || !line.substr(version + 1).starts_with("HTTP/1."))
    return false;
  const std::string_view method = line.substr(0, space);
  const std::string_view target = trim(line.substr(space, version - space));
  if (same(method, "connect")) {
    authority(target, found);
  } else if (const size_t scheme = target.find("://"); scheme != std::string_view::npos && !target.starts_with('/')) {
    const std::string_view rest = target.substr(scheme + 3);
    authority(rest.substr(0, rest.find_first_of("/?#")), found);
  }
  return true;
}

// Letters only, as all methods are: else it cannot become a request.
bool may_be_method(std::string_view text) {
  const std::string_view word = text.substr(0, text.find(' '));
  return word.size() <= kLongestMethod && !word.empty() && std::all_of(word.begin(), word.end(), [](char ch) {
           return (lower_case(ch) >= 'a' && lower_case(ch) <= 'z') || ch == '-' || ch == '_';
         });
}

struct Head {
  size_t length = 0;  // with the empty line; 0: not whole yet
  uint64_t body = 0;
  bool open_end = false;  // nobody says where the body ends without reading it
  bool request = false;
};

Head read_head(std::string_view text, OnName found) {
  Head h;
  bool first = true;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string_view::npos) return h;
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (first) {
      if (trim(line).empty()) continue;  // RFC 9112 section 2.2: before a request line
      h.request = request_line(line, found);
      if (!h.request) return h;
      first = false;
      continue;
    }
    if (trim(line).empty()) {
      h.length = at;
      return h;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view name = trim(line.substr(0, colon)), value = trim(line.substr(colon + 1));
    if (same(name, "host")) {
      authority(value, found);
    } else if (same(name, "content-length")) {
      const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), h.body);
      if (error != std::errc{} || stop != value.data() + value.size() || h.body > kLongestBody) h.open_end = true;
    } else if (same(name, "transfer-encoding") || same(name, "upgrade")) {
      h.open_end = true;
    }
  }
  return h;
}

}  // namespace

Parse http_names(Bytes stream, OnName found, uint32_t& consumed) {
  const std::string_view all(reinterpret_cast<const char*>(stream.data()), stream.size());
  consumed = 0;
  for (;;) {
    if (consumed >= all.size()) return Parse::more;
    std::string_view text = all.substr(consumed);
    const size_t start = text.find_first_not_of("\r\n");
    if (start == std::string_view::npos) return Parse::more;
    if (!may_be_method(text.substr(start))) return Parse::other;
    const Head h = read_head(text, found);
    if (!h.request) return text.find('\n', start) == std::string_view::npos ? Parse::more : Parse::other;
    if (h.length == 0) return Parse::more;
    if (h.open_end) return Parse::done;
    consumed = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{consumed} + h.length + h.body, kLongestBody));
  }
}

}  // namespace twinwall::inspect
