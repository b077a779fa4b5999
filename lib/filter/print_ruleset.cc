#include "lib/filter/print_ruleset.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lib/filter/print.h"
#include "lib/filter/table_change.h"

namespace twinwall {

namespace {

class Printer {
 public:
  Printer(const Ruleset& ruleset, bool numbers) : set_(ruleset), numbers_(numbers) {}

  std::string run() {
    for (const auto& table : set_.tables)
      if (table->declared && !table->name().starts_with('(')) out_ += print_table(*table) + "\n";
    rules(0, static_cast<uint32_t>(set_.rules.size()), 0);
    return std::move(out_);
  }

 private:
  void rules(uint32_t from, uint32_t to, size_t depth) {
    const std::string indent(depth * 2, ' ');
    for (uint32_t i = from; i < to;) {
      const Rule& rule = set_.rules[i++];
      out_ += indent;
      if (numbers_) out_ += fmt::format("@{} ", rule.number);
      out_ += print_rule(rule);
      if (rule.action == Action::anchor) {
        const bool empty = rule.anchor_end <= i;
        if (shows(rule, empty)) {
          out_ += " {\n";
          rules(i, rule.anchor_end, depth + 1);
          out_ += indent + "}";
        }
        i = std::max(i, rule.anchor_end);
      }
      out_ += "\n";
    }
  }

  // The rules of an anchor stand where it is called first; one without a name can be called from nowhere else, so it
  // stands there with all that is inside it.
  bool shows(const Rule& rule, bool empty) {
    if (!rule.anchor_name.empty()) return !empty && shown_.insert(rule.anchor_path).second;
    std::erase_if(shown_, [&](const std::string& path) { return path.starts_with(rule.anchor_path + "/"); });
    return true;
  }

  const Ruleset& set_;
  bool numbers_;
  std::set<std::string> shown_;
  std::string out_;
};

}  // namespace

std::string print_ruleset(const Ruleset& ruleset, bool numbers) { return Printer(ruleset, numbers).run(); }

std::string rule_place(const Ruleset& ruleset, const Rule& rule) {
  std::string place = std::to_string(rule.number);
  for (uint32_t at = rule.anchor; at != kNoRuleNumber; at = ruleset.rules[at].anchor)
    place.insert(0, fmt::format("{}.", ruleset.rules[at].number));
  return place;
}

std::string print_table(const Table& table) {
  std::string out = "table <" + table.name() + ">";
  if (table.persist) out += " persist";
  if (table.constant) out += " const";
  if (table.counters) out += " counters";
  std::string entries;
  for (const TableEntry& e : table.entries()) {
    entries += (entries.empty() ? " " : ", ") + to_string(e);
  }
  return entries.empty() ? out : out + " {" + entries + " }";
}

}  // namespace twinwall
