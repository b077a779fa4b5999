#include "lib/scenario/table_read.h"

#include <fmt/format.h>

#include <charconv>

#include "lib/config/keys.h"
#include "lib/config/values.h"
#include "lib/filter/table_change.h"

namespace twinwall::scenario {

using config::Context;
using config::for_each_item;
using config::read_text;
using Verb = TableStep::Verb;
using YamlNode = config::Node;

namespace {

std::vector<TableEntry> read_entries(Context& c, const YamlNode& n) {
  std::vector<TableEntry> out;
  if (n.is_sequence() && n.items.empty()) return out;
  for_each_item(c, n, "table", [&](const YamlNode& item) {
    const auto text = read_text(c, item, "table");
    if (!text) return;
    if (const auto entry = parse_table_entry(*text))
      out.push_back(*entry);
    else
      c.error(item, fmt::format("'{}' is neither an address nor a network", *text));
  });
  return out;
}

void read_age(Context& c, const YamlNode& n, TableStep::Change& change) {
  const auto text = read_text(c, n, "expire");
  if (!text) return;
  if (const auto age = parse_duration(*text))
    change.age = *age;
  else
    c.error(n, fmt::format("'{}' is not a time: write 90s, 5m, 2h or 1d", *text));
}

constexpr std::pair<std::string_view, EntryCounts::Fate> kFates[] = {
    {"block", EntryCounts::block}, {"match", EntryCounts::match}, {"pass", EntryCounts::pass}};

// {10.0.0.5: {in-pass: 2, out-pass: 1}}
void read_counted(Context& c, const YamlNode& n, ExpectedTable& t) {
  for (size_t i = 0; i < n.keys.size(); ++i) {
    const auto entry = parse_table_entry(n.keys[i].text);
    const YamlNode& counts = n.items[i];
    if (!entry || !counts.is_mapping()) {
      c.error(n.keys[i], "an entry and what it counts are needed, such as {10.0.0.5: {in-pass: 2}}");
      continue;
    }
    for (size_t j = 0; j < counts.keys.size(); ++j) {
      const std::string& word = counts.keys[j].text;
      ExpectedTable::Counted counted{*entry, word.starts_with("out-"), EntryCounts::pass, 0};
      const std::string_view fate = std::string_view(word).substr(std::min(word.find('-'), word.size() - 1) + 1);
      const auto known =
          std::find_if(std::begin(kFates), std::end(kFates), [&](const auto& f) { return f.first == fate; });
      const auto packets = config::parse_number(counts.items[j].text);
      if (known == std::end(kFates) || !packets || !(counted.out || word.starts_with("in-"))) {
        c.error(counts.keys[j], fmt::format("'{}' is none of in-block, in-match, in-pass, out-block, out-match and "
                                            "out-pass with a number of packets",
                                            word));
        continue;
      }
      counted.fate = known->second;
      counted.packets = *packets;
      t.counted.push_back(counted);
    }
  }
}

void read_verb(Context& c, const YamlNode& n, std::string_view word, Verb verb, TableStep& step) {
  if (verb == Verb::flush || verb == Verb::zero) {
    for_each_item(c, n, word, [&](const YamlNode& item) {
      if (const auto name = read_text(c, item, word)) step.changes.push_back({verb, *name, {}, {}});
    });
    return;
  }
  if (!n.is_mapping() || n.keys.empty()) {
    c.error(n, fmt::format("'{}' needs a table and what it means, such as {{{}: {{bruteforce: {}}}}}", word, word,
                           verb == Verb::expire ? "60s" : "[203.0.113.9]"));
    return;
  }
  for (size_t i = 0; i < n.keys.size(); ++i) {
    TableStep::Change change{verb, n.keys[i].text, {}, {}};
    if (verb == Verb::expire)
      read_age(c, n.items[i], change);
    else
      change.entries = read_entries(c, n.items[i]);
    step.changes.push_back(std::move(change));
  }
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{}) return std::nullopt;
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  static constexpr std::pair<std::string_view, uint64_t> kUnits[] = {
      {"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
  constexpr uint64_t kMost = 3650ull * 86'400'000;
  for (const auto& [name, factor] : kUnits)
    if (name == unit && n <= kMost / factor) return std::chrono::milliseconds(n * factor);
  return std::nullopt;
}

TableStep read_table_step(Context& c, const YamlNode& n) {
  static constexpr std::pair<std::string_view, Verb> kVerbs[] = {{"add", Verb::add},         {"delete", Verb::remove},
                                                                 {"replace", Verb::replace}, {"flush", Verb::flush},
                                                                 {"expire", Verb::expire},   {"zero", Verb::zero}};
  TableStep step;
  if (!n.is_mapping() || n.keys.empty()) {
    c.error(n, "'table' needs add, delete, replace, flush, expire or zero, such as {add: {bruteforce: [203.0.113.9]}}");
    return step;
  }
  for (size_t i = 0; i < n.keys.size(); ++i) {
    const auto verb =
        std::find_if(std::begin(kVerbs), std::end(kVerbs), [&](const auto& v) { return v.first == n.keys[i].text; });
    if (verb == std::end(kVerbs))
      c.error(n.keys[i],
              fmt::format("'{}' is nothing to do with a table: write add, delete, replace, flush, expire or zero",
                          n.keys[i].text));
    else
      read_verb(c, n.items[i], verb->first, verb->second, step);
  }
  return step;
}

void read_expected_tables(Context& c, const YamlNode& n, Expectation& e) {
  if (!n.is_mapping() || n.keys.empty()) {
    c.error(n, "'table' needs a table and what it must hold, such as {bruteforce: [203.0.113.9]}");
    return;
  }
  for (size_t i = 0; i < n.keys.size(); ++i) {
    ExpectedTable t;
    t.table = n.keys[i].text;
    if (n.items[i].is_scalar()) t.count = config::parse_number(n.items[i].text);
    if (n.items[i].is_mapping())
      read_counted(c, n.items[i], t);
    else if (!t.count)
      t.entries = read_entries(c, n.items[i]);
    e.tables.push_back(std::move(t));
  }
}

}  // namespace twinwall::scenario
