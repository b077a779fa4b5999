// Labels and tags: names with macros of their own (pf.conf(5) "label", "tag").
#include <algorithm>
#include <cctype>

#include "lib/config/rule_parts.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxName = 63;  // as PF's
constexpr std::string_view kMacros[] = {"nr", "if", "srcaddr", "dstaddr", "srcport", "dstport", "proto"};

void check_macros(Context& c, const Node& n, const std::string& text, std::string_view what) {
  for (size_t at = text.find('$'); at != std::string::npos; at = text.find('$', at + 1)) {
    size_t end = at + 1;
    while (end < text.size() && std::isalpha(static_cast<unsigned char>(text[end])) != 0) ++end;
    const std::string name = text.substr(at + 1, end - at - 1);
    const bool known = std::any_of(std::begin(kMacros), std::end(kMacros),
                                   [&](std::string_view macro) { return name.starts_with(macro); });
    if (!known)
      c.error(n, fmt::format("'${}' means nothing in a {}: there are $nr, $if, $srcaddr, $dstaddr, $srcport, "
                             "$dstport and $proto",
                             name, what));
  }
}

}  // namespace

void read_label(Context& c, const Node& n, RuleSpec& r) {
  const auto text = read_text(c, n, "label");
  if (!text) return;
  r.label_at = &n;
  r.label = *text;
  if (text->size() > kMaxName)
    c.error(n, fmt::format("the label has {} characters: at most {} are possible", text->size(), kMaxName));
  for (const char ch : *text)
    if (ch < ' ' || ch == '"' || ch == 0x7f) {
      c.error(n, "a label holds no control characters and no double quotes");
      break;
    }
  check_macros(c, n, *text, "label");
}

void read_tag_name(Context& c, const Node& n, std::string_view what, std::string& out) {
  const auto text = read_text(c, n, what);
  if (!text) return;
  const auto allowed = [](char ch) {
    return std::isalnum(static_cast<unsigned char>(ch)) != 0 ||
           std::string_view("-_.:/$").find(ch) != std::string::npos;
  };
  if (text->size() > kMaxName) {
    c.error(n, fmt::format("the tag has {} characters: at most {} are possible", text->size(), kMaxName));
  } else if (!std::all_of(text->begin(), text->end(), allowed)) {
    c.error(n, fmt::format("'{}' cannot name a tag: use letters, digits, '-', '_', '.', ':' and '/'", *text));
  } else {
    check_macros(c, n, *text, "tag");
    out = *text;
  }
}

void read_tagged(Context& c, const Node& n, RuleSpec& r) {
  r.tagged_at = &n;
  r.not_tagged = n.is_scalar() && n.text.starts_with('!');
  if (!r.not_tagged) {
    read_tag_name(c, n, "tagged", r.tagged);
    return;
  }
  Node name = n;
  name.text = std::string(trim(std::string_view(n.text).substr(1)));
  read_tag_name(c, name, "tagged", r.tagged);
}

}  // namespace twinwall::config
