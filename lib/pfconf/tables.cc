// Tables (pf.conf(5) "TABLES").
#include <fmt/format.h>

#include <algorithm>

#include "lib/config/document.h"
#include "lib/config/values.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

namespace {

constexpr size_t kMaxTableName = 31;
constexpr size_t kMaxBadLines = 20;  // of one file that are told apart

}  // namespace

bool Reader::table_name(std::string& out) {
  if (!expect("<")) return false;
  if (!peek().is_text() || peek().text.empty() || peek().text.size() > kMaxTableName)
    return wrong("the name of a table");
  out = std::string(next().text);
  return expect(">");
}

bool Reader::table() {
  if (first_table_ == nullptr) first_table_ = place(peek());
  std::string name;
  if (!table_name(name)) return false;
  const std::shared_ptr<Table> t = c_.table(name);
  t->declared = true;
  while (!at_line_end()) {
    if (take("persist")) {
      t->persist = true;
    } else if (take("const")) {
      t->constant = true;
    } else if (take("counters")) {
      t->counters = true;
    } else if (take("file")) {
      t->addressed = true;
      if (!table_file(*t)) return false;
    } else if (sees("{")) {
      t->addressed = true;
      if (!list([&] { return table_entry(*t); }, true)) return false;
    } else {
      return wrong("an option of the table");
    }
  }
  return true;
}

bool Reader::table_entry(Table& table) {
  const bool negate = take("!");
  if (sees("(")) return unsupported("dynamic interface addresses in tables");
  if (!is_name(peek())) return wrong("an address");
  size_t tokens = 0;
  const std::string text = address_text(tokens);
  std::vector<Prefix> addresses;
  if (const auto prefix = read_prefix(text))
    addresses.push_back(*prefix);
  else if (!interface_addresses(text, addresses))
    return false;
  for (const Prefix& p : addresses) table.add_entry({p, negate});
  skip(tokens);
  return true;
}

// Addresses and networks with blanks or line breaks between them; what follows a '#' is a comment.
bool Reader::table_file(Table& table) {
  if (directory_.empty()) return unsupported("tables from files");
  if (!is_name(peek())) return wrong("the name of a file");
  const config::Node& at = *place(peek());
  const std::string path = c_.resolve_path(at, std::string(peek().text));
  std::string text, problem;
  if (!config::read_whole_file(path, text, problem)) return refuse(fmt::format("cannot read '{}': {}", path, problem));
  next();
  config::Node line;
  line.file = c_.add_file(c_.display_path(at, path), "");
  const size_t errors = c_.errors();
  for (size_t start = 0; start < text.size() && c_.errors() < errors + kMaxBadLines;) {
    const size_t end = std::min(text.find('\n', start), text.size());
    ++line.line;
    table_line(table, std::string_view(text).substr(start, end - start), line);
    start = end + 1;
  }
  return true;
}

void Reader::table_line(Table& table, std::string_view line, const config::Node& at) {
  constexpr std::string_view kBlanks = " \t\r";
  line = line.substr(0, line.find('#'));
  for (size_t start = line.find_first_not_of(kBlanks); start != std::string_view::npos;) {
    const size_t end = std::min(line.find_first_of(kBlanks, start), line.size());
    std::string_view entry = line.substr(start, end - start);
    const bool negate = entry.starts_with('!');
    if (negate) entry.remove_prefix(1);
    config::Node here = at;
    here.column = static_cast<int>(start) + 1;
    if (const auto prefix = read_prefix(entry))
      table.add_entry({*prefix, negate});
    else
      c_.error(here, fmt::format("'{}' is neither an address nor a network", entry.substr(0, 80)));
    start = line.find_first_not_of(kBlanks, end);
  }
}

// Once the limit is known.
void Reader::check_tables() {
  size_t entries = 0;
  for (const auto& table : c_.config.rules.tables)
    if (!table->name().starts_with('(')) entries += table->entries().size();
  const uint32_t limit = c_.config.options.limit_table_entries;
  if (entries > limit && first_table_ != nullptr)
    c_.error(*first_table_,
             fmt::format("the tables hold {} entries: 'set limit table-entries' allows {}", entries, limit));
}

}  // namespace twinwall::pfconf
