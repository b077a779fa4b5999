#include "lib/config/document.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <glob.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include "lib/config/values.h"
#include "lib/config/yaml_reader.h"

namespace twinwall::config {

bool read_whole_file(const std::string& path, std::string& out, std::string& problem) {
  std::error_code ec;
  const auto status = std::filesystem::status(path, ec);
  if (!std::filesystem::exists(status)) {
    problem = "no such file";
    return false;
  }
  if (!std::filesystem::is_regular_file(status)) {
    problem = "not a regular file";
    return false;
  }
  const auto size = std::filesystem::file_size(path, ec);
  if (!ec && size > kMaxFileBytes) {
    problem = fmt::format("larger than {} MiB", kMaxFileBytes >> 20);
    return false;
  }
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  out.assign(std::istreambuf_iterator<char>(stream), {});
  if (!stream.is_open() || stream.bad()) {
    problem = errno != 0 ? std::strerror(errno) : "cannot be read";
    return false;
  }
  return true;
}

namespace {

// A file that the main one includes, or that such a one names: where the pair's files are given, from there.
bool read_included(Context& c, const std::string& path, std::string& text, std::string& problem) {
  const std::string name = shared_name(c.directory(0), path);
  const SharedFiles* const given = c.options != nullptr && !name.empty() ? c.options->shared : nullptr;
  if (given != nullptr) {
    const auto it = given->find(name);
    if (it == given->end()) {
      problem = "no such file";
      return false;
    }
    text = it->second;
  } else if (!read_whole_file(path, text, problem)) {
    return false;
  }
  if (!name.empty() && c.options != nullptr && (given != nullptr || c.options->keep_shared)) c.shared[name] = text;
  return true;
}

class Includer {
 public:
  explicit Includer(Context& context) : c_(context) {}

  Node read(const std::string& text, const std::string& name, const std::string& directory, size_t depth) {
    const uint32_t file = c_.add_file(name, directory, depth != 0 && of_main_);
    if (depth == 0) of_main_ = file == 0;
    Node root = read_yaml(c_, file, text);
    if (root.is_null()) return root;
    if (!root.is_mapping()) {
      c_.error(root, "a configuration is a mapping of keys to values");
      return {};
    }
    const Node* found = root.find("include");
    if (found == nullptr) return root;
    const Node include = *found;
    for_each_item(c_, include, "include", [&](const Node& item) {
      if (const auto pattern = read_text(c_, item, "include")) add(root, item, *pattern, depth);
    });
    return root;
  }

  void remember(const std::string& path) { seen_.insert(canonical(path)); }

 private:
  static std::string canonical(const std::string& path) {
    std::error_code ec;
    const auto real = std::filesystem::canonical(path, ec);
    return ec ? path : real.string();
  }

  // The files a pattern stands for, sorted.
  std::vector<std::string> matches(const Node& at, const std::string& pattern) {
    std::vector<std::string> out;
    const std::string path = c_.resolve_path(at, pattern);
    const std::string& directory = c_.directory(0);
    const std::string name = of_main_ ? shared_name(directory, path) : "";
    if (!name.empty() && c_.options != nullptr && c_.options->shared != nullptr) {
      for (const auto& [file, text] : *c_.options->shared)
        if (fnmatch(name.c_str(), file.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0)
          out.push_back(directory.empty() ? file : directory + "/" + file);
    } else {
      glob_t found{};
      if (glob(path.c_str(), 0, nullptr, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; ++i) out.emplace_back(found.gl_pathv[i]);
      globfree(&found);
    }
    if (out.empty() && pattern.find_first_of("*?[") == std::string::npos) out.push_back(path);
    return out;
  }

  void add(Node& root, const Node& at, const std::string& pattern, size_t depth) {
    if (depth >= kMaxIncludeDepth) {
      c_.error(at, fmt::format("includes are nested deeper than {}", kMaxIncludeDepth));
      return;
    }
    for (const std::string& path : matches(at, pattern)) {
      if (!seen_.insert(canonical(path)).second) {
        c_.error(at,
                 fmt::format("'{}' is already part of this configuration: include it once", c_.display_path(at, path)));
        continue;
      }
      if (seen_.size() > kMaxFiles) {
        c_.error(at, fmt::format("more than {} files", kMaxFiles));
        return;
      }
      std::string text, problem;
      if (!(of_main_ ? read_included(c_, path, text, problem) : read_whole_file(path, text, problem))) {
        c_.error(at, fmt::format("cannot include '{}': {}", c_.display_path(at, path), problem));
        continue;
      }
      Node other = read(text, c_.display_path(at, path), std::filesystem::path(path).parent_path().string(), depth + 1);
      if (other.is_mapping()) merge(root, std::move(other));
    }
  }

  void merge(Node& into, Node from) {
    for (size_t i = 0; i < from.keys.size(); ++i) {
      Node& key = from.keys[i];
      Node& value = from.items[i];
      if (key.text == "include") continue;
      Node* old = into.find(key.text);
      if (old == nullptr || old->is_null()) {
        if (old != nullptr)
          *old = std::move(value);
        else {
          into.keys.push_back(std::move(key));
          into.items.push_back(std::move(value));
        }
      } else if (old->is_mapping() && value.is_mapping()) {
        merge(*old, std::move(value));
      } else if (old->is_sequence() && value.is_sequence()) {
        for (Node& item : value.items) old->items.push_back(std::move(item));
      } else if (!value.is_null()) {
        c_.error(key, fmt::format("'{}' is already set in {}:{}: set it in one place", key.text,
                                  c_.file_name(old->file), old->line));
      }
    }
  }

  Context& c_;
  std::set<std::string> seen_;
  bool of_main_ = false;  // the document is the main one, no anchor's
};

}  // namespace

bool read_list_file(Context& c, const Node& item, std::string& text, std::string& shown) {
  const auto name = read_text(c, item, "file");
  if (!name) return false;
  const std::string path = c.resolve_path(item, *name);
  shown = c.display_path(item, path);
  std::string problem;
  if (c.included(item.file) ? read_included(c, path, text, problem) : read_whole_file(path, text, problem)) return true;
  c.error(item, fmt::format("cannot read '{}': {}", shown, problem));
  return false;
}

Node read_document(Context& context, const std::string& text, const std::string& name, const std::string& directory) {
  Includer includer(context);
  const std::string base = std::filesystem::path(name).filename().string();
  includer.remember(directory.empty() ? base : directory + "/" + base);
  return includer.read(text, name, directory, 0);
}

}  // namespace twinwall::config
