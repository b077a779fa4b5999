#include "lib/config/stored.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "lib/config/emit.h"

namespace twinwall::config {

namespace {

class Copier {
 public:
  Copier(const Context& context, StoredCopy& out) : c_(context), out_(out) {
    for (const Context::KeptFile& file : c_.kept_files) texts_.emplace(file.at, &file.text);
  }

  void run(const Node& root) {
    Node copy = root;
    secrets(root, copy);
    drop(copy, "include");
    drop(copy, "define");
    if (Node* tables = copy.find("tables"); tables != nullptr && tables->is_mapping())
      for (size_t i = 0; i < tables->items.size(); ++i) listed_files(root.find("tables")->items[i], tables->items[i]);
    if (Node* groups = copy.find("signatures"); groups != nullptr && groups->is_mapping())
      for (size_t i = 0; i < groups->items.size(); ++i) {
        const Node& group = root.find("signatures")->items[i];
        for (size_t k = 0; group.is_mapping() && k < group.items.size(); ++k)
          listed_files(group.items[k], groups->items[i].items[k]);
      }
    out_.files.insert(out_.files.begin(), StoredFile{kStoredMain, emit_yaml(copy)});
  }

 private:
  static void drop(Node& mapping, std::string_view key) {
    for (size_t i = 0; i < mapping.keys.size(); ++i) {
      if (mapping.keys[i].text != key) continue;
      mapping.keys.erase(mapping.keys.begin() + static_cast<std::ptrdiff_t>(i));
      mapping.items.erase(mapping.items.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
  }

  void listed_files(const Node& original, Node& table) {
    const Node* from = original.find("file");
    if (from == nullptr) return;
    Node names = sequence();
    add_files(*from, names);
    *table.find("file") = std::move(names);
  }

  void add_files(const Node& from, Node& names) {
    if (from.is_sequence())
      for (const Node& item : from.items) add_files(item, names);
    const auto text = texts_.find(&from);
    if (text == texts_.end()) return;
    const std::string name = fmt::format("list-{}.txt", ++lists_);
    out_.files.push_back({name, *text->second});
    names.items.push_back(scalar(name));
  }

  // While both trees have the same shape.
  void secrets(const Node& original, Node& copy) const {
    if (std::find(c_.secrets.begin(), c_.secrets.end(), &original) != c_.secrets.end()) return secret(copy);
    for (size_t i = 0; i < original.items.size(); ++i) secrets(original.items[i], copy.items[i]);
  }

  void secret(Node& key) const {
    Node kept = mapping();
    if (const Node* file = key.find("file"); file != nullptr && file->is_scalar())
      put(kept, "file", scalar(std::filesystem::absolute(c_.resolve_path(*file, file->text)).lexically_normal()));
    else
      put(kept, "withheld", scalar("true"));
    key = std::move(kept);
  }

  const Context& c_;
  StoredCopy& out_;
  std::map<const Node*, const std::string*> texts_;
  size_t lists_ = 0;
};

}  // namespace

StoredCopy stored_copy(const Context& context, const Node& root) {
  StoredCopy out;
  Copier(context, out).run(root);
  return out;
}

}  // namespace twinwall::config
