// Anchors: rulesets of their own that rules call (pf.conf(5) "ANCHORS").
#include <algorithm>
#include <cctype>
#include <filesystem>

#include "lib/config/document.h"
#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxPart = 63;      // of a name between slashes, as PF's
constexpr size_t kMaxPath = 1023;    // as PF's
constexpr size_t kMaxAnchors = 512;  // as PF's

// One name between slashes. Those that begin with '_' are of anchors without a name.
bool is_part(std::string_view text) {
  return !text.empty() && text.size() <= kMaxPart && text[0] != '_' && text != ".." && text != "." &&
         std::all_of(text.begin(), text.end(), [](char ch) {
           return std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '-' || ch == '_' || ch == '.';
         });
}

template <class Accept>
bool all_parts(std::string_view path, Accept accept) {
  for (;;) {
    const size_t slash = path.find('/');
    if (!accept(path.substr(0, slash), slash == std::string_view::npos)) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool define_anchor(Context& c, const Node& at, const std::string& path) {
  if (!c.anchors.try_emplace(path).second) {
    c.error(at, fmt::format("anchor '{}' is defined twice: give one another name", path));
    return false;
  }
  if (c.anchors.size() <= kMaxAnchors + 1) return true;  // the main ruleset is among them
  c.error(at, fmt::format("there are more than {} anchors: use fewer", kMaxAnchors));
  return false;
}

struct AnchorReading {
  const Node* rules = nullptr;
};
constexpr Key<AnchorReading> kAnchorBodyKeys[] = {
    {"rules", [](Context&, const Node& n, AnchorReading& r) { r.rules = &n; }, true},
};

}  // namespace

std::string resolve_anchor(std::string_view base, std::string_view name) {
  std::string path(name.starts_with('/') ? "" : base);
  while (!name.empty()) {
    const size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    name.remove_prefix(slash == std::string_view::npos ? name.size() : slash + 1);
    if (part.empty()) continue;
    if (part == "..") {
      const size_t last = path.rfind('/');
      path.erase(last == std::string::npos ? 0 : last);
    } else {
      if (!path.empty()) path.push_back('/');
      path.append(part);
    }
  }
  return path;
}

void read_anchors(Context& c, const Node& node, const RuleDefaults& defaults) {
  if (node.broken || node.is_null()) return;
  if (!node.is_mapping()) {
    c.error(node, "'anchors' needs a mapping of names to {rules: […]}");
    return;
  }
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const Node& key = node.keys[i];
    if (key.text.size() > kMaxPath || !all_parts(key.text, [](std::string_view part, bool) { return is_part(part); })) {
      c.error(key,
              fmt::format("'{}' cannot name an anchor: use letters, digits, '-', '_' and '.', no '_' first, and '/' "
                          "between names",
                          key.text));
      continue;
    }
    AnchorReading r;
    read_mapping(c, node.items[i], "an anchor", kAnchorBodyKeys, r);
    if (define_anchor(c, key, key.text) && r.rules != nullptr) read_rule_list(c, *r.rules, defaults, key.text);
  }
}

void put_loaded_anchors(Context& c, Node& root) {
  for (const LoadedAnchor& loaded : c.options->anchors) {
    const std::string directory = std::filesystem::path(loaded.file).parent_path().string();
    Node body = read_document(c, loaded.text, loaded.file, directory);
    if (body.is_null() && !body.broken && c.errors() != 0) return;  // reported
    if (!body.is_mapping()) {
      c.error(body, fmt::format("anchor '{}' needs a mapping with 'rules', as below 'anchors'", loaded.name));
      return;
    }
    substitute_macros(c, body);
    for (size_t i = 0; i < body.keys.size(); ++i) {
      if (body.keys[i].text != "define") continue;
      body.keys.erase(body.keys.begin() + static_cast<long>(i));
      body.items.erase(body.items.begin() + static_cast<long>(i));
      break;
    }
    const auto entry = [&](Node& mapping, const std::string& name) -> Node& {
      mapping.kind = Node::Kind::mapping;
      if (Node* known = mapping.find(name)) return *known;
      Node key;
      key.kind = Node::Kind::scalar;
      key.text = name;
      key.stand_at(body);
      mapping.keys.push_back(std::move(key));
      return mapping.items.emplace_back();
    };
    Node& anchors = entry(root, "anchors");
    if (!anchors.is_mapping() && !anchors.is_null()) return;  // reported when it is read
    entry(anchors, loaded.name) = std::move(body);
  }
}

// A rule that calls an anchor, or holds its rules.
void read_anchor_rule(Context& c, RuleSpec& r, const std::string& around) {
  if (r.name_at == nullptr && r.rules_at == nullptr) {
    c.error(*r.at, "an anchor rule needs 'name', the anchor to call, or 'rules'");
    return;
  }
  if (r.name_at == nullptr) {
    r.anchor_path = resolve_anchor(around, fmt::format("_{}", ++c.unnamed_anchors));
    (void)define_anchor(c, *r.rules_at, r.anchor_path);
    return;
  }
  if (r.anchor_name.empty()) return;  // reported
  if (r.rules_at != nullptr) {
    if (!is_part(r.anchor_name)) {
      c.error(*r.name_at,
              fmt::format("'{}' cannot name the rules here: use letters, digits, '-', '_' and '.', no '_' first "
                          "and no '/'",
                          r.anchor_name));
      return;
    }
    r.anchor_path = resolve_anchor(around, r.anchor_name);
    (void)define_anchor(c, *r.name_at, r.anchor_path);
    return;
  }
  std::string_view path = r.anchor_name;
  if (path.starts_with('/')) path.remove_prefix(1);
  const bool good = all_parts(
      path, [](std::string_view part, bool last) { return is_part(part) || (last ? part == "*" : part == ".."); });
  r.anchor_path = resolve_anchor(around, r.anchor_name);
  if (!good || r.anchor_path.size() > kMaxPath) {
    c.error(*r.name_at,
            fmt::format("'{}' is no anchor: write its name, a path such as tenants/a or ../b, or tenants/* for "
                        "all anchors directly below",
                        r.anchor_name));
    return;
  }
  if (!r.anchor_path.ends_with('*')) c.anchor_calls.emplace_back(r.name_at, r.anchor_path);
}

void check_anchor_calls(Context& c) {
  for (const auto& [at, path] : c.anchor_calls) {
    if (c.anchors.contains(path)) continue;
    std::vector<std::string_view> names;
    for (const auto& [name, rules] : c.anchors)
      if (!name.empty() && name.find('_') != 0) names.push_back(name);
    std::string hint = did_you_mean(path, names);
    if (hint.empty()) hint = ": define it under 'anchors', if need be with 'rules: []'";
    c.error(*at, fmt::format("there is no anchor '{}'{}", path, hint));
  }
}

}  // namespace twinwall::config
