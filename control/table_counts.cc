#include "control/table_counts.h"

namespace twinwall {
namespace {

// Modulo 2^64: what is below 0 comes right when the rest is added.
void add_traffic(TableTotals& to, const TableTotals& what, uint64_t factor) {
  for (int d = 0; d < 2; ++d)
    for (int f = 0; f < 3; ++f) {
      to.packets[d][f] += factor * what.packets[d][f];
      to.bytes[d][f] += factor * what.bytes[d][f];
    }
}

constexpr uint64_t kPlus = 1, kMinus = UINT64_MAX;

TableTotals::Fate fate_of(Action action) {
  if (action == Action::match) return TableTotals::match;
  return action == Action::pass ? TableTotals::pass : TableTotals::block;
}

bool of_loader(const std::string& name) { return name.starts_with('('); }

}  // namespace

std::map<std::string, TableTotals> TableCounts::of_rules(const Ruleset& rules) const {
  std::map<std::string, TableTotals> out;
  for (const auto& table : rules.tables)
    if (!of_loader(table->name())) out[table->name()];
  for (const Rule& rule : rules.rules) {
    if (rule.repeated() || rule.action == Action::anchor) continue;
    for (const AddressMatch* const m : {&rule.from.address, &rule.to.address}) {
      if (m->kind != AddressKind::table) continue;
      const auto it = out.find(m->table->name());
      if (it == out.end()) continue;
      TableTotals& t = it->second;
      const RuleTotals r = of_rule_(rule.slot);
      const auto fate = fate_of(rule.action);
      ++t.rules;
      for (int d = 0; d < 2; ++d) {
        t.packets[d][fate] += r.packets[d];
        t.bytes[d][fate] += r.bytes[d];
      }
    }
  }
  return out;
}

void TableCounts::before_reload(const Ruleset& rules) {
  for (const auto& [name, traffic] : of_rules(rules))
    if (const auto it = entries_.find(name); it != entries_.end()) add_traffic(it->second.carried, traffic, kPlus);
}

void TableCounts::after_reload(const Ruleset& rules) {
  ++reload_;
  const auto traffic = of_rules(rules);
  for (const auto& table : rules.tables) {
    if (of_loader(table->name())) continue;
    auto [it, fresh] = entries_.try_emplace(table->name());
    Entry& entry = it->second;
    if (fresh) entry.slot = free_slot();
    if (fresh || entry.seen + 1 < reload_)
      begin(entry, traffic.at(table->name()));
    else if (entry.seen < reload_)
      add_traffic(entry.carried, traffic.at(table->name()), kMinus);
    entry.seen = reload_;
    if (table->slot != entry.slot) table->slot = entry.slot;
  }
  std::erase_if(entries_, [this](const auto& named) {
    const Entry& entry = named.second;
    if (entry.seen + 1 >= reload_) return false;
    if (entry.slot != kNoTableSlot) free_.push_back(entry.slot);
    return true;
  });
}

TableSlot TableCounts::free_slot() {
  if (next_slot_ < slots_) return static_cast<TableSlot>(next_slot_++);
  if (free_.empty()) return kNoTableSlot;
  const TableSlot slot = free_.back();
  free_.pop_back();
  return slot;
}

void TableCounts::begin(Entry& entry, const TableTotals& of_rules) const {
  entry.begin = entry.slot == kNoTableSlot ? TableEvaluations{} : evaluated_(entry.slot);
  entry.carried = {};
  add_traffic(entry.carried, of_rules, kMinus);
}

std::map<std::string, TableTotals> TableCounts::totals(const Ruleset& rules) const {
  auto out = of_rules(rules);
  for (auto& [name, totals] : out) {
    const auto it = entries_.find(name);
    if (it == entries_.end()) continue;
    const Entry& entry = it->second;
    add_traffic(totals, entry.carried, kPlus);
    if (entry.slot == kNoTableSlot) continue;
    const TableEvaluations now = evaluated_(entry.slot);
    totals.evaluations = {now.match - entry.begin.match, now.nomatch - entry.begin.nomatch};
  }
  return out;
}

bool TableCounts::zero(const Ruleset& rules, const std::string& name) {
  const auto traffic = of_rules(rules);
  const auto of = traffic.find(name);
  const auto it = entries_.find(name);
  if (of == traffic.end() || it == entries_.end()) return false;
  begin(it->second, of->second);
  return true;
}

void TableCounts::zero_all(const Ruleset& rules) {
  for (const auto& [name, traffic] : of_rules(rules))
    if (const auto it = entries_.find(name); it != entries_.end()) begin(it->second, traffic);
}

}  // namespace twinwall
