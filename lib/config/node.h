// A YAML document as a plain tree that knows where every value stands.
//
// Made by yaml_reader, owned by value. Scalars stay text: their type is decided by the key that reads them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twinwall::config {

struct Node {
  enum class Kind : uint8_t { null, scalar, sequence, mapping };

  Kind kind = Kind::null;
  uint32_t file = 0;        // index given by Context::add_file
  int line = 0;             // 1-based
  int column = 0;           // 1-based
  bool broken = false;      // its problem has been reported: readers take it for absent, silently
  std::string text;         // of a scalar
  std::vector<Node> keys;   // of a mapping; parallel to items
  std::vector<Node> items;  // of a mapping or sequence

  [[nodiscard]] bool is_scalar() const { return kind == Kind::scalar; }
  [[nodiscard]] bool is_sequence() const { return kind == Kind::sequence; }
  [[nodiscard]] bool is_mapping() const { return kind == Kind::mapping; }
  [[nodiscard]] bool is_null() const { return kind == Kind::null; }

  // The value under a key; null when absent or when this is no mapping.
  [[nodiscard]] const Node* find(std::string_view key) const {
    for (size_t i = 0; i < keys.size(); ++i)
      if (keys[i].text == key) return &items[i];
    return nullptr;
  }
  [[nodiscard]] Node* find(std::string_view key) {
    for (size_t i = 0; i < keys.size(); ++i)
      if (keys[i].text == key) return &items[i];
    return nullptr;
  }
  // Takes over where another node stands, so that messages point to where a value is used.
  void stand_at(const Node& other) {
    file = other.file;
    line = other.line;
    column = other.column;
  }
};

// How many nodes the tree has, itself included.
[[nodiscard]] inline size_t count_nodes(const Node& node) {
  size_t n = 1;
  for (const Node& key : node.keys) n += count_nodes(key);
  for (const Node& item : node.items) n += count_nodes(item);
  return n;
}

// True when a problem in the tree has been reported already.
[[nodiscard]] inline bool has_broken(const Node& node) {
  if (node.broken) return true;
  for (const Node& item : node.items)
    if (has_broken(item)) return true;
  return false;
}

}  // namespace twinwall::config
