#include "lib/config/context.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <tuple>

namespace twinwall::config {

std::string to_string(const Diagnostic& d) {
  std::string out = d.at.file;
  if (d.at.line != 0) out += fmt::format(":{}:{}", d.at.line, d.at.column);
  return out + (d.severity == Severity::warning ? ": warning: " : ": ") + d.message;
}

uint32_t Context::add_file(std::string name, std::string directory, bool included) {
  files_.push_back({std::move(name), std::move(directory), included});
  return static_cast<uint32_t>(files_.size() - 1);
}

std::string Context::resolve_path(const Node& at, const std::string& path) const {
  const std::string& base = directory(at.file);
  if (base.empty() || path.starts_with('/')) return path;
  return base + "/" + path;
}

std::string Context::display_path(const Node& at, const std::string& path) const {
  const std::string& base = directory(at.file);
  std::string shown = path;
  if (!base.empty() && shown.starts_with(base + "/")) shown.erase(0, base.size() + 1);
  if (shown.starts_with('/')) return shown;
  return (std::filesystem::path(file_name(at.file)).parent_path() / shown).string();
}

void Context::error_in_file(uint32_t file, int line, int column, std::string message) {
  entries_.push_back({file, {Severity::error, {file_name(file), line, column}, std::move(message)}});
  ++errors_;
}

void Context::report(Severity severity, const Node& at, std::string message) {
  entries_.push_back({at.file, {severity, position(at), std::move(message)}});
  if (severity == Severity::error) ++errors_;
}

std::vector<Diagnostic> Context::take_diagnostics() {
  std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.file, a.diagnostic.at.line, a.diagnostic.at.column) <
           std::tie(b.file, b.diagnostic.at.line, b.diagnostic.at.column);
  });
  std::vector<Diagnostic> out;
  for (Entry& entry : entries_) out.push_back(std::move(entry.diagnostic));
  entries_.clear();
  return out;
}

namespace {

constexpr size_t kLongestCompared = 40;

// Edit distance with neighbours swapped as one edit (optimal string alignment).
size_t distance(std::string_view a, std::string_view b) {
  std::array<std::array<size_t, kLongestCompared + 1>, 3> rows{};
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    auto& row = rows[i % 3];
    const auto& above = rows[(i + 2) % 3];
    const auto& twice_above = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], twice_above[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > kLongestCompared) return {};
  std::string_view best;
  size_t best_distance = word.size() <= 2 ? 2 : std::max<size_t>(2, word.size() / 3 + 1);
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > kLongestCompared || candidate.empty()) continue;
    const size_t d = distance(word, candidate);
    if (d < best_distance && d < candidate.size()) {
      best = candidate;
      best_distance = d;
    }
  }
  return best.empty() ? std::string() : fmt::format(": did you mean '{}'?", best);
}

std::string word_list(std::span<const std::string_view> words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out += words[i];
  }
  return out;
}

std::shared_ptr<Table> Context::table(const std::string& name) {
  auto& t = tables_[name];
  if (t == nullptr) {
    t = std::make_shared<Table>(name);
    config.rules.tables.push_back(t);
  }
  return t;
}

std::shared_ptr<Table> Context::find_table(std::string_view name) const {
  const auto it = tables_.find(name);
  return it == tables_.end() ? nullptr : it->second;
}

TagId Context::tag(const std::string& name) {
  if (const auto it = tags_.find(name); it != tags_.end()) return it->second;
  if (config.rules.tags.size() >= UINT16_MAX) return 0;
  config.rules.tags.push_back(name);
  return tags_[name] = static_cast<TagId>(config.rules.tags.size());
}

}  // namespace twinwall::config
