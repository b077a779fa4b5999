#include "control/api_tables.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "lib/filter/table_change.h"

namespace twinwall {

namespace {

using Verb = TableRequest::Verb;

constexpr std::pair<std::string_view, Verb> kVerbs[] = {
    {"add", Verb::add},     {"delete", Verb::remove}, {"replace", Verb::replace}, {"test", Verb::test},
    {"flush", Verb::flush}, {"expire", Verb::expire}, {"zero", Verb::zero}};

TableAnswer refuse(int status, std::string text) { return {status, {{"error", std::move(text)}}}; }

// The addresses of an interface are tables too, of the loader's own.
Table* find_table(const Node& node, const std::string& name) {
  for (const auto& table : node.snapshot().rules.tables)
    if (table->name() == name && !name.starts_with('(')) return table.get();
  return nullptr;
}

size_t held_by_all(const Node& node) {
  size_t total = 0;
  for (const auto& table : node.snapshot().rules.tables) total += table->content()->size();
  return total;
}

Json sync_json(const Node& node, const Table& table) {
  for (const TableSyncStatus& s : node.table_sync().status())
    if (s.name == table.name())
      return {{"version", s.version},
              {"digest", fmt::format("{:016x}", s.digest)},
              {"equal", s.compared ? Json(s.equal) : Json(nullptr)},
              {"too_long", s.too_long}};
  return nullptr;
}

TableAnswer test(const Table& table, const std::vector<TableEntry>& entries) {
  Json matched = Json::array(), missed = Json::array();
  for (const TableEntry& e : entries)
    (table.contains(e.prefix.af, e.prefix.addr) ? matched : missed).push_back(to_string(e));
  return {200, {{"matched", matched}, {"missed", missed}}};
}

}  // namespace

std::optional<Verb> table_verb(std::string_view word) {
  for (const auto& [name, verb] : kVerbs)
    if (name == word) return verb;
  return std::nullopt;
}

bool parse_table_lines(std::string_view text, std::vector<TableEntry>& out, std::string& problem) {
  size_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = line.substr(0, line.find('#'));
    constexpr std::string_view kBlank = " \t\r";
    line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
    line = line.substr(0, line.find_last_not_of(kBlank) + 1);  // npos + 1 is 0: nothing is left
    if (line.empty()) continue;
    if (const auto entry = parse_table_entry(line)) {
      out.push_back(*entry);
      continue;
    }
    problem = fmt::format("line {}: '{}' is neither an address nor a network; nothing was changed", number,
                          line.substr(0, 80));
    return false;
  }
  return true;
}

TableAnswer change_table(Node& node, Time now, TableRequest request) {
  Table* const table = find_table(node, request.table);
  if (table == nullptr) return refuse(404, fmt::format("there is no table '{}'", request.table));
  if (request.verb == Verb::test) return test(*table, request.entries);
  if (request.verb == Verb::zero) {
    (void)node.zero_table(request.table);
    table->zero_entries(to_seconds(now));
    return {200, {{"zeroed", 1}}};
  }
  if (const std::string_view why = why_unchangeable(*table); !why.empty())
    return refuse(422, fmt::format("table {}: {}", request.table, why));
  const size_t limit = node.config().options.limit_table_entries, held = held_by_all(node);
  const size_t room = limit > held ? limit - held : 0;
  const uint32_t now_s = to_seconds(now);
  TableAddition done;
  switch (request.verb) {
    case Verb::add: done = table_add(*table, request.entries, room, now_s); break;
    case Verb::replace: done = table_replace(*table, std::move(request.entries), room, now_s); break;
    case Verb::remove: done.before = table_delete(*table, request.entries, done.change); break;
    case Verb::flush: done.before = table_flush(*table, done.change); break;
    case Verb::expire: done.before = table_expire(*table, request.age, now_s, done.change); break;
    case Verb::test:
    case Verb::zero: break;
  }
  if (done.full)
    return refuse(422, fmt::format("all tables together hold at most {} entries (options.limits.table-entries) and {} "
                                   "are in use; nothing was changed",
                                   limit, held));
  if (done.before != nullptr) node.dataplane().retire(std::move(done.before));
  node.table_changed(now, request.table);
  const TableChange& c = done.change;
  spdlog::info("api: table {}: {} added, {} deleted", request.table, c.added, c.deleted);
  return {200,
          {{"added", c.added},
           {"deleted", c.deleted},
           {"present", c.present},
           {"conflicts", c.conflicts},
           {"missing", c.missing}}};
}

namespace {

Json entry_counters(const EntryCounts& counts, EntryCounts::Number n, uint32_t now_s) {
  const EntryCounts::Traffic t = counts.traffic(n);
  Json out = {{"cleared", now_s - counts.cleared(n)}};
  for (const int d : {0, 1}) {
    const auto fate = [&](EntryCounts::Fate f) -> Json {
      return {{"packets", t.packets[d][f]}, {"bytes", t.bytes[d][f]}};
    };
    out[d == 0 ? "in" : "out"] = {
        {"block", fate(EntryCounts::block)}, {"match", fate(EntryCounts::match)}, {"pass", fate(EntryCounts::pass)}};
  }
  return out;
}

}  // namespace

TableAnswer show_table(const Node& node, Time now, const std::string& name, size_t limit) {
  const Table* const table = find_table(node, name);
  if (table == nullptr) return refuse(404, fmt::format("there is no table '{}'", name));
  std::vector<TableEntry> all = all_entries(*table->content());
  const size_t count = all.size();
  std::sort(all.begin(), all.end(), [](const TableEntry& a, const TableEntry& b) {
    return std::tuple(a.prefix.af, a.prefix.addr, a.prefix.length) <
           std::tuple(b.prefix.af, b.prefix.addr, b.prefix.length);
  });
  all.resize(std::min(count, limit));
  Json entries = Json::array();
  for (const TableEntry& e : all) {
    Json row = {{"address", to_string(e)}};
    if (e.added != 0) row["age"] = to_seconds(now) - e.added;
    const TableContent& content = *table->content();
    if (const auto n = table->counters ? content.number_of(e) : EntryCounts::kNone; n != EntryCounts::kNone)
      row["counters"] = entry_counters(*content.counts(), n, to_seconds(now));
    entries.push_back(std::move(row));
  }
  return {200, {{"table", name}, {"count", count}, {"complete", all.size() == count}, {"entries", entries}}};
}

namespace {

Json traffic_json(const TableTotals& t, int direction) {
  const auto fate = [&](TableTotals::Fate f) -> Json {
    return {{"packets", t.packets[direction][f]}, {"bytes", t.bytes[direction][f]}};
  };
  return {{"pass", fate(TableTotals::pass)}, {"block", fate(TableTotals::block)}, {"match", fate(TableTotals::match)}};
}

}  // namespace

Json show_tables(const Node& node) {
  Json out = Json::array();
  const auto totals = node.table_totals();
  for (const auto& table : node.snapshot().rules.tables) {
    const auto it = totals.find(table->name());
    if (it == totals.end()) continue;
    const TableTotals& t = it->second;
    const auto& counts = table->content()->counts();
    out.push_back({{"table", table->name()},
                   {"entries", table->content()->size()},
                   {"references", t.rules},
                   {"evaluations", {{"match", t.evaluations.match}, {"nomatch", t.evaluations.nomatch}}},
                   {"in", traffic_json(t, 0)},
                   {"out", traffic_json(t, 1)},
                   {"persist", table->persist},
                   {"const", table->constant},
                   {"counters", table->counters},
                   {"uncounted", table->counters && counts != nullptr ? counts->refused() : 0},
                   {"overload", table->overload},
                   {"sync", table->sync ? sync_json(node, *table) : Json(false)},
                   {"defined", table->declared}});
  }
  const TableSyncCounters& c = node.table_sync().counters();
  return {{"tables", out},
          {"limit", node.config().options.limit_table_entries},
          {"sync",
           {{"changes_sent", c.changes_sent},
            {"changes_taken", c.changes_taken},
            {"wholes_sent", c.wholes_sent},
            {"wholes_taken", c.wholes_taken},
            {"refused", c.refused}}}};
}

}  // namespace twinwall
