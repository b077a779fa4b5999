#include "lib/config/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "lib/config/settings.h"
#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"
#include "lib/filter/table_change.h"

namespace twinwall::config {

namespace {

// The rules that count: one that stands in several places counts where it stands first.
std::vector<const Rule*> own_rules(const Ruleset& set) {
  std::vector<const Rule*> out;
  for (const Rule& rule : set.rules)
    if (!rule.repeated()) out.push_back(&rule);
  return out;
}

void compare_rules(const Ruleset& before, const Ruleset& after, Difference& out) {
  const std::vector<const Rule*> old_rules = own_rules(before), new_rules = own_rules(after);
  std::map<uint64_t, size_t> old_at;
  for (size_t i = 0; i < old_rules.size(); ++i) old_at.emplace(old_rules[i]->identity, i);
  constexpr size_t kNone = SIZE_MAX;
  std::vector<size_t> origin(new_rules.size(), kNone);  // index among the old rules
  std::vector<bool> stays(old_rules.size(), false);
  std::vector<size_t> common;
  for (size_t i = 0; i < new_rules.size(); ++i) {
    const auto it = old_at.find(new_rules[i]->identity);
    if (it == old_at.end()) continue;
    origin[i] = it->second;
    stays[it->second] = true;
    common.push_back(it->second);
  }
  out.rules_kept = common.size();
  const std::vector<bool> keeps_order = longest_run(common);

  size_t next_old = 0;  // the first old rule whose fate has not been told
  const auto tell_removed = [&](size_t end) {
    for (; next_old < end; ++next_old) {
      if (stays[next_old]) continue;
      const Rule& rule = *old_rules[next_old];
      out.rules.push_back({RuleChange::Kind::removed, rule_place(before, rule), "", print_rule(rule)});
      out.gone.push_back(rule.slot);
    }
  };
  // Up to where the old ones are told before each new one: what was removed stands before what took its place.
  std::vector<size_t> until(new_rules.size(), old_rules.size());
  std::vector<bool> in_place(new_rules.size(), false);
  for (size_t i = new_rules.size(), left = common.size(), bound = old_rules.size(); i-- > 0;) {
    if (origin[i] != kNone && keeps_order[--left]) {
      in_place[i] = true;
      bound = origin[i];
    }
    until[i] = bound;
  }
  for (size_t i = 0; i < new_rules.size(); ++i) {
    const Rule& rule = *new_rules[i];
    tell_removed(until[i]);
    if (origin[i] == kNone)
      out.rules.push_back({RuleChange::Kind::added, rule_place(after, rule), "", print_rule(rule)});
    else if (!in_place[i])
      out.rules.push_back({RuleChange::Kind::moved, rule_place(after, rule), rule_place(before, *old_rules[origin[i]]),
                           print_rule(rule)});
  }
  tell_removed(old_rules.size());
}

void compare_settings(const Config& before, const Config& after, Difference& out) {
  const auto was = settings_of(before), is = settings_of(after);
  const auto shown = [](const Setting& s, const char* secret) {
    if (!s.text.empty()) return s.text;
    return std::string(s.secret.empty() ? "\"\"" : secret);
  };
  for (const auto& [key, setting] : was) {
    const auto it = is.find(key);
    if (it == is.end())
      out.settings.push_back({key, shown(setting, "(not shown)"), ""});
    else if (!(it->second == setting))
      out.settings.push_back({key, shown(setting, "(not shown)"), shown(it->second, "(another, not shown)")});
  }
  for (const auto& [key, setting] : is)
    if (!was.contains(key)) out.settings.push_back({key, "", shown(setting, "(not shown)")});
}

using Tables = std::map<std::string, const Table*>;

Tables tables_of(const Ruleset& set) {
  Tables out;
  for (const auto& table : set.tables)
    if (table->declared && !table->name().starts_with('(')) out.emplace(table->name(), table.get());
  return out;
}

// Whether each entry is negated.
using Entries = std::map<std::pair<std::pair<Af, uint8_t>, Address>, bool>;

Entries entries_of(const Table& table) {
  Entries out;
  for (const TableEntry& e : all_entries(*table.content()))
    out[{{e.prefix.af, e.prefix.length}, e.prefix.network()}] = e.negate;
  return out;
}

size_t missing_in(const Entries& some, const Entries& others) {
  return static_cast<size_t>(std::count_if(some.begin(), some.end(), [&](const auto& e) {
    const auto it = others.find(e.first);
    return it == others.end() || it->second != e.second;
  }));
}

std::string words_of(const Table& table) {
  std::string out;
  if (table.persist) out += " persist";
  if (table.constant) out += " const";
  if (table.counters) out += " counters";
  if (table.sync) out += " sync";
  return out.empty() ? "plain" : out.substr(1);
}

void compare_tables(const Ruleset& before, const Ruleset& after, Difference& out) {
  const Tables was = tables_of(before), is = tables_of(after);
  const auto size = [](const Table& table) { return fmt::format("{} entries", table.content()->size()); };
  for (const auto& [name, table] : was)
    if (!is.contains(name)) out.settings.push_back({"tables." + name, size(*table), ""});
  for (const auto& [name, table] : is) {
    const std::string key = "tables." + name;
    const auto old = was.find(name);
    if (old == was.end()) {
      out.settings.push_back({key, "", size(*table)});
      continue;
    }
    const std::string words[] = {words_of(*old->second), words_of(*table)};
    if (words[0] != words[1]) out.settings.push_back({key, words[0], words[1]});
    if (!table->addressed && !table->in_pool) continue;  // what it holds stays
    const Entries then = entries_of(*old->second), now = entries_of(*table);
    const size_t added = missing_in(now, then), removed = missing_in(then, now);
    if (added + removed != 0)
      out.settings.push_back({key + ".entries", std::to_string(then.size()),
                              fmt::format("{} ({} added, {} removed)", now.size(), added, removed)});
  }
}

}  // namespace

std::vector<bool> longest_run(const std::vector<size_t>& positions) {
  constexpr size_t kNone = SIZE_MAX;
  std::vector<size_t> ends;  // [length - 1]: which element ends the run of that length with the least position
  std::vector<size_t> previous(positions.size(), kNone);
  for (size_t i = 0; i < positions.size(); ++i) {
    const auto it = std::lower_bound(ends.begin(), ends.end(), positions[i],
                                     [&](size_t end, size_t position) { return positions[end] < position; });
    if (it != ends.begin()) previous[i] = *(it - 1);
    if (it == ends.end())
      ends.push_back(i);
    else
      *it = i;
  }
  std::vector<bool> out(positions.size(), false);
  for (size_t i = ends.empty() ? kNone : ends.back(); i != kNone; i = previous[i]) out[i] = true;
  return out;
}

Difference compare(const Config& before, const Config& after) {
  Difference out;
  compare_rules(before.rules, after.rules, out);
  compare_settings(before, after, out);
  compare_tables(before.rules, after.rules, out);
  return out;
}

}  // namespace twinwall::config
