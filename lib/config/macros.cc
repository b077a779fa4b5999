// Macros: `define` and the $names that use it.
#include <fmt/format.h>

#include <cctype>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/config/document.h"
#include "lib/config/values.h"
#include "lib/config/yaml_reader.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxText = 4096;   // of a value made from macros
constexpr size_t kMaxNesting = 32;  // of macros in macros

bool is_name_start(char ch) { return std::isalpha(static_cast<unsigned char>(ch)) != 0 || ch == '_'; }
bool is_name_part(char ch) { return std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '_'; }

// The length of the macro name that starts at text[at], which follows a '$'.
size_t name_length(std::string_view text, size_t at) {
  size_t n = 0;
  if (at < text.size() && is_name_start(text[at]))
    while (at + n < text.size() && is_name_part(text[at + n])) ++n;
  return n;
}

class Macros {
 public:
  Macros(Context& context, const Node& define) : c_(context) {
    if (define.is_null()) return;
    if (!define.is_mapping()) {
      c_.error(define, "'define' needs a mapping of names to values");
      return;
    }
    for (size_t i = 0; i < define.keys.size(); ++i) {
      const Node& key = define.keys[i];
      if (name_length(key.text, 0) != key.text.size())
        c_.error(key, fmt::format("'{}' cannot name a macro: use letters, digits and '_'", key.text));
      else
        macros_[key.text] = {define.items[i], Stage::untouched};
    }
    for (auto& [name, macro] : macros_) resolve(macro);
  }

  // Puts macros in place everywhere below.
  void substitute(Node& node) {
    if (node.is_scalar()) {
      replace(node);
      return;
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      if (node.is_mapping() && is_left_alone(node.keys[i].text)) continue;
      substitute(node.items[i]);
    }
  }

 private:
  enum class Stage : uint8_t { untouched, under_way, done, broken };
  struct Macro {
    Node value;
    Stage stage = Stage::untouched;
  };

  // Labels and tags have macros of their own.
  static bool is_left_alone(std::string_view key) {
    return key == "label" || key == "tag" || key == "tagged" || key == "key" || key == "define" || key == "pattern" ||
           key == "message";
  }

  void resolve(Macro& macro) {
    if (macro.stage != Stage::untouched) return;
    macro.stage = Stage::under_way;
    const size_t before = c_.errors();
    if (macro.value.is_mapping() || macro.value.is_null())
      c_.error(macro.value, "a macro is a value or a list of values");
    else
      substitute(macro.value);
    macro.stage = c_.errors() == before ? Stage::done : Stage::broken;
  }

  // The value of a macro, or nothing after reporting why.
  const Node* value_of(const Node& at, const std::string& name) {
    const auto it = macros_.find(name);
    if (it == macros_.end()) {
      std::vector<std::string_view> names;
      for (const auto& [known, macro] : macros_) names.push_back(known);
      std::string hint = did_you_mean(name, names);
      if (hint.empty()) hint = ": add it to 'define'";
      c_.error(at, fmt::format("'${}' is not defined{}", name, hint));
      return nullptr;
    }
    if (it->second.stage == Stage::under_way) {
      c_.error(at, fmt::format("'${}' is defined by itself", name));
      return nullptr;
    }
    if (nesting_ >= kMaxNesting) {
      c_.error(at, fmt::format("macros are nested deeper than {}", kMaxNesting));
      return nullptr;
    }
    ++nesting_;
    resolve(it->second);
    --nesting_;
    return it->second.stage == Stage::done ? &it->second.value : nullptr;
  }

  void replace(Node& node) {
    if (node.text.find('$') == std::string::npos) return;
    const size_t whole = node.text[0] == '$' ? name_length(node.text, 1) : 0;
    if (whole != 0 && whole + 1 == node.text.size()) {
      const Node* value = value_of(node, node.text.substr(1));
      if (value == nullptr) {
        clear(node);
        return;
      }
      put(node, *value);
      return;
    }
    if (const auto text = with_macros(node))
      node.text = *text;
    else
      clear(node);
  }

  // What was wrong has been said: an element that says nothing is not complained about again.
  static void clear(Node& node) {
    node.text.clear();
    node.broken = true;
  }

  void put(Node& node, const Node& value) {
    nodes_ += count_nodes(value);
    if (nodes_ > kMaxNodes) {
      c_.error(node, fmt::format("macros grow to more than {} values", kMaxNodes));
      clear(node);
      return;
    }
    const Node place = node;
    node = value;
    place_all(node, place);
  }

  static void place_all(Node& node, const Node& place) {
    node.stand_at(place);
    for (Node& item : node.items) place_all(item, place);
  }

  // Text in which every $name is replaced, as in "$lan:network" or "!$host".
  std::optional<std::string> with_macros(const Node& node) {
    std::string out;
    const std::string& text = node.text;
    for (size_t i = 0; i < text.size(); ++i) {
      const size_t length = text[i] == '$' ? name_length(text, i + 1) : 0;
      if (length == 0) {
        out += text[i];
        continue;
      }
      const std::string name = text.substr(i + 1, length);
      const Node* value = value_of(node, name);
      if (value == nullptr) return std::nullopt;
      if (!value->is_scalar()) {
        c_.error(node, fmt::format("'${}' is a list: it can stand alone only, not inside other text", name));
        return std::nullopt;
      }
      out += value->text;
      if (out.size() > kMaxText) {
        c_.error(node, fmt::format("macros grow to more than {} characters", kMaxText));
        return std::nullopt;
      }
      i += length;
    }
    return out;
  }

  Context& c_;
  std::map<std::string, Macro> macros_;
  size_t nodes_ = 0;
  size_t nesting_ = 0;
};

}  // namespace

void substitute_macros(Context& context, Node& root) {
  const Node* define = root.find("define");
  Macros macros(context, define != nullptr ? *define : Node{});
  macros.substitute(root);
}

}  // namespace twinwall::config
