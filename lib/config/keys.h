// Mappings read by table: one row a key, with what reads it.
//
// The tables are the single list of what a mapping may hold: the reader works from them, unknown keys are told apart
// from keys of a later version by them, and the schema for editors is made from them
// (describe.h).
#pragma once

#include <fmt/format.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/config/context.h"
#include "lib/config/describe.h"
#include "lib/config/node.h"

namespace twinwall::config {

template <class T>
struct Key {
  std::string_view name;
  void (*read)(Context&, const Node& value, T& out) = nullptr;  // null: known, but not available in this version
  bool required = false;
  std::string_view harmless = {};  // without a reader: the one value that asks for nothing, and so is accepted
};

[[nodiscard]] inline std::string not_available(std::string_view what) {
  return fmt::format("'{}' is not available in this version: remove it", what);
}

template <class T, size_t N>
void describe_mapping(Context& c, const Node& node, std::string_view where, const Key<T> (&table)[N], T& out) {
  std::vector<Describer::Row> rows;
  for (const Key<T>& key : table) {
    if (key.read != nullptr)
      rows.push_back({key.name, [&c, &key, &out](const Node& n) { key.read(c, n, out); }, key.required, {}});
    else if (!key.harmless.empty())
      rows.push_back({key.name, {}, false, key.harmless});
  }
  c.describer->mapping(node, where, rows);
  c.error(node, "described");  // nobody goes on with what was not read
}

// `where` is for messages: "'system'", "a rule".
template <class T, size_t N>
void read_mapping(Context& c, const Node& node, std::string_view where, const Key<T> (&table)[N], T& out) {
  if (node.broken) return;
  if (c.describer != nullptr) return describe_mapping(c, node, where, table, out);
  if (!node.is_mapping()) {
    c.error(node, fmt::format("{} needs a mapping of keys to values", where));
    return;
  }
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const Node& key = node.keys[i];
    const Node& value = node.items[i];
    const Key<T>* row = nullptr;
    for (const Key<T>& candidate : table)
      if (candidate.name == key.text) row = &candidate;
    if (row == nullptr) {
      std::vector<std::string_view> names;
      for (const Key<T>& candidate : table)
        if (candidate.read != nullptr) names.push_back(candidate.name);
      std::string hint = did_you_mean(key.text, names);
      if (hint.empty()) hint = fmt::format(": it knows {}", word_list(names));
      c.error(key, fmt::format("unknown key '{}' in {}{}", key.text, where, hint));
    } else if (row->read != nullptr) {
      row->read(c, value, out);
    } else if (row->harmless.empty() || value.text != row->harmless) {
      std::string except;
      if (!row->harmless.empty()) except = fmt::format(" (or set it to '{}')", row->harmless);
      c.error(key, not_available(key.text) + except);
    }
  }
  for (const Key<T>& row : table)
    if (row.required && node.find(row.name) == nullptr)
      c.error(node, fmt::format("{} needs the key '{}'", where, row.name));
}

}  // namespace twinwall::config
