#include "lib/config/emit.h"

#include <yaml-cpp/emitter.h>
#include <yaml-cpp/emittermanip.h>
#include <yaml-cpp/null.h>

#include <algorithm>
#include <cctype>

namespace twinwall::config {

namespace {

constexpr size_t kSections = 2;  // levels of mappings that always have lines of their own

bool plain(const std::string& text) {
  const auto good = [](char ch) {
    return std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '_' || ch == '.' || ch == '/' || ch == '$';
  };
  const auto inside = [&](char ch) { return good(ch) || ch == '-' || ch == '+'; };
  return !text.empty() && text != "null" && text != "~" && good(text.front()) &&
         std::all_of(text.begin(), text.end(), inside);
}

bool has_list_of_mappings(const Node& n) {
  if (n.is_sequence() && std::any_of(n.items.begin(), n.items.end(), [](const Node& i) { return i.is_mapping(); }))
    return true;
  return std::any_of(n.items.begin(), n.items.end(), has_list_of_mappings);
}

void emit(YAML::Emitter& out, const Node& n, size_t depth) {
  const bool lines = depth < kSections ? n.is_mapping() || has_list_of_mappings(n) : has_list_of_mappings(n);
  switch (n.kind) {
    case Node::Kind::null: out << YAML::Null; return;
    case Node::Kind::scalar:
      if (!plain(n.text)) out << YAML::DoubleQuoted;
      out << n.text;
      return;
    case Node::Kind::sequence:
      out << (lines && !n.items.empty() ? YAML::Block : YAML::Flow) << YAML::BeginSeq;
      for (const Node& item : n.items) emit(out, item, depth + 1);
      out << YAML::EndSeq;
      return;
    case Node::Kind::mapping:
      out << (lines && !n.items.empty() ? YAML::Block : YAML::Flow) << YAML::BeginMap;
      for (size_t i = 0; i < n.keys.size(); ++i) {
        out << YAML::Key;
        emit(out, n.keys[i], depth + 1);
        out << YAML::Value;
        emit(out, n.items[i], depth + 1);
      }
      out << YAML::EndMap;
      return;
  }
}

}  // namespace

std::string emit_yaml(const Node& root) {
  YAML::Emitter out;
  emit(out, root, 0);
  return std::string(out.c_str(), out.size()) + "\n";
}

Node scalar(std::string text) {
  Node n;
  n.kind = Node::Kind::scalar;
  n.text = std::move(text);
  return n;
}

Node sequence(std::vector<Node> items) {
  Node n;
  n.kind = Node::Kind::sequence;
  n.items = std::move(items);
  return n;
}

Node mapping() {
  Node n;
  n.kind = Node::Kind::mapping;
  return n;
}

void put(Node& mapping, std::string key, Node value) {
  mapping.keys.push_back(scalar(std::move(key)));
  mapping.items.push_back(std::move(value));
}

}  // namespace twinwall::config
