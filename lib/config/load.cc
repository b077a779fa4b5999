#include "lib/config/load.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "lib/config/document.h"
#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/config/sections.h"
#include "lib/config/stored.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

// Where the sections stand; they are read in the order of their dependences, not of the file.
struct Sections {
  const Node *system = nullptr, *interfaces = nullptr, *routes = nullptr, *carp = nullptr, *pfsync = nullptr,
             *options = nullptr, *tables = nullptr, *anchors = nullptr, *rules = nullptr, *signatures = nullptr;
};

constexpr Key<Sections> kSectionKeys[] = {
    {"include", [](Context&, const Node&, Sections&) {}},  // read while the document was put together
    {"system", [](Context&, const Node& n, Sections& s) { s.system = &n; }},
    {"interfaces", [](Context&, const Node& n, Sections& s) { s.interfaces = &n; }},
    {"routes", [](Context&, const Node& n, Sections& s) { s.routes = &n; }},
    {"carp", [](Context&, const Node& n, Sections& s) { s.carp = &n; }},
    {"pfsync", [](Context&, const Node& n, Sections& s) { s.pfsync = &n; }},
    {"options", [](Context&, const Node& n, Sections& s) { s.options = &n; }},
    {"define", [](Context&, const Node&, Sections&) {}},  // put in place by substitute_macros
    {"rules", [](Context&, const Node& n, Sections& s) { s.rules = &n; }},
    {"neighbors",
     [](Context& c, const Node& n, Sections&) {
       static constexpr Word<bool> kWords[] = {{"answer", true}, {"none", false}};
       assign(c.config.options.neighbors, read_word(c, n, "neighbors", kWords));
     }},
    {"tables", [](Context&, const Node& n, Sections& s) { s.tables = &n; }},
    {"anchors", [](Context&, const Node& n, Sections& s) { s.anchors = &n; }},
    {"signatures", [](Context&, const Node& n, Sections& s) { s.signatures = &n; }},
};

void read_all(Context& c, Node& root) {
  put_loaded_anchors(c, root);
  substitute_macros(c, root);
  Sections s;
  read_mapping(c, root, "the configuration", kSectionKeys, s);
  if (s.system != nullptr && !s.system->is_null()) read_system(c, *s.system);
  if (s.interfaces != nullptr)
    read_interfaces(c, *s.interfaces);
  else
    c.error_in_file(root.file, 0, 0, "there is no 'interfaces': a firewall needs at least one interface");
  if (s.carp != nullptr) read_carp(c, *s.carp);
  if (s.routes != nullptr) read_routes(c, *s.routes);
  if (s.pfsync != nullptr) read_pfsync(c, *s.pfsync);
  if (s.tables != nullptr) read_tables(c, *s.tables);
  RuleDefaults defaults;
  read_options(c, s.options != nullptr ? *s.options : Node{}, defaults);
  if (s.tables != nullptr) check_table_entries(c, *s.tables);
  if (s.signatures != nullptr) read_signatures(c, *s.signatures);
  if (s.anchors != nullptr) read_anchors(c, *s.anchors, defaults);
  if (s.rules != nullptr) read_rules(c, *s.rules, defaults);
  if (s.signatures != nullptr) check_signatures(c, *s.signatures);
  check_anchor_calls(c);
  link_rules(c);
  if (c.errors() == 0 && c.options != nullptr && c.options->advise) warn_of_idle_rules(c);
}

}  // namespace

LoadResult load_text(const std::string& text, const std::string& name, const std::string& base_dir,
                     const LoadOptions& options) {
  Context c;
  c.options = &options;
  Node root = read_document(c, text, name, base_dir);
  if (root.is_mapping()) read_all(c, root);
  if (options.shared != nullptr && c.errors() == 0)
    for (const auto& [file, content] : *options.shared)
      if (!c.shared.contains(file))
        c.error_in_file(0, 0, 0,
                        fmt::format("the pair's '{}' is not part of this configuration: let both nodes include the "
                                    "same files",
                                    file));
  LoadResult result;
  result.shared = std::move(c.shared);
  if (options.keep && c.errors() == 0) result.stored = std::make_shared<StoredCopy>(stored_copy(c, root));
  result.diagnostics = c.take_diagnostics();
  result.config = std::move(c.config);
  return result;
}

std::string configuration_schema() {
  Context c;
  Describer describer;
  c.describer = &describer;
  (void)c.add_file("", "");  // where the nodes made up for this stand
  RuleDefaults defaults;
  const std::map<std::string_view, Describer::Read> sections = {
      {"include",
       [&](const Node& n) {
         for_each_item(c, n, "include", [&](const Node& item) { (void)read_text(c, item, "include"); });
       }},
      {"system", [&](const Node& n) { read_system(c, n); }},
      {"interfaces", [&](const Node& n) { read_interfaces(c, n); }},
      {"routes", [&](const Node& n) { read_routes(c, n); }},
      {"carp", [&](const Node& n) { read_carp(c, n); }},
      {"pfsync", [&](const Node& n) { read_pfsync(c, n); }},
      {"options", [&](const Node& n) { read_options(c, n, defaults); }},
      {"tables", [&](const Node& n) { read_tables(c, n); }},
      {"anchors", [&](const Node& n) { read_anchors(c, n, defaults); }},
      {"rules", [&](const Node& n) { read_rules(c, n, defaults); }},
      {"signatures", [&](const Node& n) { read_signatures(c, n); }},
  };
  std::vector<Describer::Row> rows;
  for (const Key<Sections>& key : kSectionKeys) {
    if (key.read == nullptr) continue;
    Describer::Read read = [&c, &key](const Node& n) {
      Sections none;
      key.read(c, n, none);
    };
    if (const auto section = sections.find(key.name); section != sections.end()) read = section->second;
    rows.push_back({key.name, std::move(read), false, {}});
  }
  return describer.document(rows);
}

LoadResult load_file(const std::string& path, const LoadOptions& options) {
  std::string text, problem;
  if (read_whole_file(path, text, problem))
    return load_text(text, path, std::filesystem::path(path).parent_path().string(), options);
  LoadResult result;
  Diagnostic& d = result.diagnostics.emplace_back();
  d.at.file = path;
  d.message = problem;
  return result;
}

std::string to_string(const std::vector<Diagnostic>& diagnostics) {
  std::string out;
  for (const Diagnostic& d : diagnostics) out += to_string(d) + "\n";
  return out;
}

}  // namespace twinwall::config
