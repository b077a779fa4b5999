// Tables: their options, addresses and files (pf.conf(5) "TABLES").
#include <algorithm>
#include <map>
#include <tuple>

#include "lib/config/document.h"
#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxTableName = 31;       // as PF's
constexpr size_t kMaxTables = 1000;        // as PF's
constexpr size_t kMaxBadLines = 20;        // of one file that are told apart
constexpr size_t kMaxEntries = 5'000'000;  // of one table
constexpr size_t kMaxCounted = 65536;      // … that counts by entry: as many again may come at run time
constexpr size_t kMaxCounting = 64;        // tables that do
static_assert(2 * kMaxCounted <= EntryCounts::kNumbers);

struct TableReading {
  std::shared_ptr<Table> table;
  const Node* sync_at = nullptr;
  const Node* counters_at = nullptr;
  std::map<std::tuple<Af, uint8_t, Address>, bool> signs;  // what the table says of each prefix so far
};

void add(Context& c, const Node& at, const Prefix& prefix, bool negate, TableReading& r) {
  const Prefix network{prefix.af, prefix.network(), prefix.length};
  const auto [known, fresh] = r.signs.try_emplace({network.af, network.length, network.addr}, negate);
  if (!fresh) {
    if (known->second != negate)
      c.error(at, fmt::format("{} stands in this table with and without '!': remove one", to_string(network)));
    return;
  }
  if (r.signs.size() > kMaxEntries) {
    if (r.signs.size() == kMaxEntries + 1)
      c.error(at, fmt::format("a table holds at most {} entries: split it", kMaxEntries));
    return;
  }
  r.table->add_entry({network, negate});
}

// An address or network, with its sign. False when it is none.
bool add_written(Context& c, const Node& at, std::string_view text, bool negate, TableReading& r) {
  const auto prefix = parse_prefix(text);
  if (!prefix) return false;
  if (prefix->network() != prefix->addr)
    c.warning(at, fmt::format("{} has bits set behind its prefix length: it stands for {}", text,
                              to_string(Prefix{prefix->af, prefix->network(), prefix->length})));
  add(c, at, *prefix, negate, r);
  return true;
}

std::string_view without_sign(std::string_view text, bool& negate) {
  negate = text.starts_with('!');
  return trim(negate ? text.substr(1) : text);
}

void read_entry(Context& c, const Node& n, TableReading& r) {
  const auto whole = read_text(c, n, "addresses");
  if (!whole) return;
  bool negate = false;
  const std::string_view text = without_sign(trim(*whole), negate);
  if (add_written(c, n, text, negate, r)) return;
  if (text == "self") {
    for (const Interface& i : c.config.interfaces)
      for (const Prefix& p : i.addresses) add(c, n, host_prefix(p.address()), negate, r);
    for (const CarpGroup& g : c.config.carp.groups)
      for (const Prefix& p : g.addresses) add(c, n, host_prefix(p.address()), negate, r);
    return;
  }
  const bool network = text.ends_with(":network");
  const std::string_view name = network ? text.substr(0, text.size() - 8) : text;
  if (const Interface* i = c.config.find_interface(name)) {
    for (const Prefix& p : i->addresses) {
      if (network && is_link_network(p)) continue;
      add(c, n, network ? p : host_prefix(p.address()), negate, r);
    }
    return;
  }
  std::string hint = did_you_mean(name, interface_names(c));
  if (hint.empty())
    hint =
        ": write an address, a network, an interface or self (a host name is not resolved, because a firewall must "
        "load without DNS)";
  c.error(n, fmt::format("'{}' cannot stand in a table{}", text, hint));
}

// One entry a line; what follows a '#' is a comment.
void read_lines(Context& c, uint32_t file, std::string_view text, TableReading& r) {
  Node at;
  at.file = file;
  size_t bad = 0;
  for (size_t start = 0; start < text.size();) {
    ++at.line;
    const size_t end = std::min(text.find('\n', start), text.size());
    std::string line(text.substr(start, end - start));
    start = end + 1;
    line.erase(std::min(line.find('#'), line.size()));
    std::replace(line.begin(), line.end(), '\t', ' ');
    if (line.ends_with('\r')) line.pop_back();
    const std::string_view entry = trim(line);
    if (entry.empty()) continue;
    at.column = static_cast<int>(entry.data() - line.data()) + 1;
    bool negate = false;
    const std::string_view address = without_sign(entry, negate);
    if (add_written(c, at, address, negate, r)) continue;
    if (++bad > kMaxBadLines) {
      c.error(at, "more lines are wrong: correct those above first");
      return;
    }
    c.error(at, fmt::format("'{}' is neither an address nor a network: write one a line", entry.substr(0, 80)));
  }
}

void read_table_file(Context& c, const Node& n, TableReading& r) {
  r.table->addressed = true;
  for_each_item(c, n, "file", [&](const Node& item) {
    std::string text, shown;
    if (!read_list_file(c, item, text, shown)) return;
    read_lines(c, c.add_file(std::move(shown), ""), text, r);
    if (c.options != nullptr && c.options->keep) c.kept_files.push_back({&item, std::move(text)});
  });
}

constexpr Key<TableReading> kTableKeys[] = {
    {"persist",
     [](Context& c, const Node& n, TableReading& r) { assign(r.table->persist, read_bool(c, n, "persist")); }},
    {"const", [](Context& c, const Node& n, TableReading& r) { assign(r.table->constant, read_bool(c, n, "const")); }},
    {"counters",
     [](Context& c, const Node& n, TableReading& r) {
       assign(r.table->counters, read_bool(c, n, "counters"));
       if (r.table->counters) r.counters_at = &n;
     }},
    {"addresses",
     [](Context& c, const Node& n, TableReading& r) {
       r.table->addressed = true;
       if (n.is_sequence() && n.items.empty()) return;  // an empty table is of use: others may fill it
       for_each_item(c, n, "addresses", [&](const Node& item) { read_entry(c, item, r); });
     }},
    {"file", read_table_file},
    {"sync",
     [](Context& c, const Node& n, TableReading& r) {
       assign(r.table->sync, read_bool(c, n, "sync"));
       if (r.table->sync) r.sync_at = &n;
     }},
};

// What goes to the peer must be able to change here, and come from nobody else there.
void check_sync(Context& c, const TableReading& r) {
  if (r.sync_at == nullptr) return;
  if (r.table->constant) {
    c.error(*r.sync_at,
            "a table with 'const: true' never changes, so there is nothing to tell the peer: remove one of the two");
  } else if (!c.config.pfsync || c.config.pfsync->multicast() || c.config.pfsync->key.empty()) {
    c.error(
        *r.sync_at,
        "a table is only told to a twinwall peer that proves who it is: give 'pfsync' a 'key', and the other node's "
        "address as 'peer'");
  }
}

// Every worker has room for the counts of all of them.
void check_counters(Context& c, const TableReading& r) {
  if (r.counters_at == nullptr) return;
  if (r.table->entries().size() > kMaxCounted) {
    c.error(*r.counters_at,
            fmt::format("a table that counts by entry holds at most {} of them, this one has {}: split it, or do "
                        "without 'counters'",
                        kMaxCounted, r.table->entries().size()));
    return;
  }
  const auto& tables = c.config.rules.tables;
  const auto counting =
      static_cast<size_t>(std::count_if(tables.begin(), tables.end(), [](const auto& t) { return t->counters; }));
  if (counting == kMaxCounting + 1)
    c.error(*r.counters_at,
            fmt::format("at most {} tables can count by entry: remove 'counters' from some", kMaxCounting));
}

}  // namespace

void read_tables(Context& c, const Node& node) {
  if (node.broken || node.is_null()) return;
  if (!node.is_mapping()) {
    c.error(node, "'tables' needs a mapping of names to tables");
    return;
  }
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const Node& key = node.keys[i];
    if (!is_name(key.text) || key.text.size() > kMaxTableName) {
      c.error(key, fmt::format("'{}' cannot name a table: use 1 to {} letters, digits, '-' and '_', a letter first",
                               key.text, kMaxTableName));
      continue;
    }
    if (i >= kMaxTables) {
      c.error(key, fmt::format("there are more than {} tables: use fewer", kMaxTables));
      return;
    }
    TableReading r;
    r.table = c.table(key.text);
    r.table->declared = true;
    read_mapping(c, node.items[i], "a table", kTableKeys, r);
    check_sync(c, r);
    check_counters(c, r);
  }
}

void check_table_entries(Context& c, const Node& at) {
  size_t entries = 0;
  for (const auto& table : c.config.rules.tables) entries += table->entries().size();
  if (entries > c.config.options.limit_table_entries)
    c.error(at, fmt::format("the tables hold {} entries: raise 'limits: {{table-entries: {}}}' under 'options'",
                            entries, c.config.options.limit_table_entries));
}

std::shared_ptr<Table> table_by_name(Context& c, const Node& node, std::string_view name) {
  if (auto table = c.find_table(name)) return table;
  std::vector<std::string_view> names;
  for (const auto& table : c.config.rules.tables) names.push_back(table->name());
  std::string hint = did_you_mean(name, names);
  if (hint.empty()) hint = ": define it under 'tables'";
  c.error(node, fmt::format("there is no table '{}'{}", name, hint));
  return nullptr;
}

std::shared_ptr<Table> table_reference(Context& c, const Node& node, std::string_view text) {
  if (text.size() < 3 || !text.ends_with('>')) {
    c.error(node, fmt::format("'{}' is no table: write its name in angle brackets, such as <clients>", text));
    return nullptr;
  }
  return table_by_name(c, node, trim(text.substr(1, text.size() - 2)));
}

}  // namespace twinwall::config
