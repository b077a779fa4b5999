// What one load carries along: the files read, the problems found, the configuration so far.
//
// Lives for one call of load_*; single thread. Problems may be reported in any order and come out in file order.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/config/node.h"
#include "lib/config/schema.h"

namespace twinwall::config {

class Describer;

class Context {
 public:
  // `directory` is where the file's relative paths start. `included`: the main file includes it.
  uint32_t add_file(std::string name, std::string directory, bool included = false);
  [[nodiscard]] const std::string& file_name(uint32_t file) const { return files_[file].name; }
  [[nodiscard]] const std::string& directory(uint32_t file) const { return files_[file].directory; }
  [[nodiscard]] bool included(uint32_t file) const { return files_[file].included; }
  // A path as written at `at`, made usable from the working directory.
  [[nodiscard]] std::string resolve_path(const Node& at, const std::string& path) const;
  // Such a path as the reader of a message knows it: relative to the file that names it.
  [[nodiscard]] std::string display_path(const Node& at, const std::string& path) const;

  void error(const Node& at, std::string message) { report(Severity::error, at, std::move(message)); }
  void warning(const Node& at, std::string message) { report(Severity::warning, at, std::move(message)); }
  // About a file as a whole (line 0) or a place that has no node.
  void error_in_file(uint32_t file, int line, int column, std::string message);
  [[nodiscard]] size_t errors() const { return errors_; }
  [[nodiscard]] Position position(const Node& at) const { return {file_name(at.file), at.line, at.column}; }
  // In file order; those of one place in the order of their discovery.
  [[nodiscard]] std::vector<Diagnostic> take_diagnostics();

  Config config;
  const LoadOptions* options = nullptr;  // never null while loading from files
  Describer* describer = nullptr;        // not null: nothing is read, but what would be is noted

  // Texts of files other than the configuration's own, and where they are named, when copies are wanted.
  struct KeptFile {
    const Node* at = nullptr;
    std::string text;
  };
  std::vector<KeptFile> kept_files;
  SharedFiles shared;                                       // those read so far, when they are wanted or given
  std::vector<const Node*> secrets;                         // every value that was read as one
  std::map<std::string, InterfaceSet, std::less<>> groups;  // interface groups

  // The rules of each anchor by absolute path, "" the main ruleset; joined by link_rules().
  std::map<std::string, std::vector<Rule>> anchors;
  size_t rules = 0;                                            // in all anchors
  std::map<std::string, std::vector<const Node*>> rule_nodes;  // where each of them stands
  std::vector<const Node*> linked_nodes;                       // the same for config.rules.rules

  unsigned unnamed_anchors = 0;
  // Where anchors are called by name, and what they stand for; checked when all anchors are known.
  std::vector<std::pair<const Node*, std::string>> anchor_calls;

  std::map<const inspect::Group*, std::vector<const Node*>> signature_nodes;  // where its signatures stand
  std::set<std::string, std::less<>> broken_groups;                           // their problems were told

  // The table of this name, made when it is not known yet.
  [[nodiscard]] std::shared_ptr<Table> table(const std::string& name);
  // Null when it is not known.
  [[nodiscard]] std::shared_ptr<Table> find_table(std::string_view name) const;
  // The number of a tag. 0 when there are too many.
  [[nodiscard]] TagId tag(const std::string& name);

 private:
  struct File {
    std::string name, directory;
    bool included = false;
  };
  struct Entry {
    uint32_t file;
    Diagnostic diagnostic;
  };
  void report(Severity severity, const Node& at, std::string message);

  std::map<std::string, std::shared_ptr<Table>, std::less<>> tables_;
  std::map<std::string, TagId, std::less<>> tags_;
  std::vector<File> files_;
  std::vector<Entry> entries_;
  size_t errors_ = 0;
};

// ": did you mean 'x'?" for a near miss, else empty.
[[nodiscard]] std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

// "a, b or c".
[[nodiscard]] std::string word_list(std::span<const std::string_view> words);

}  // namespace twinwall::config
