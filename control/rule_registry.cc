#include "control/rule_registry.h"

#include <algorithm>
#include <set>

namespace twinwall {

RuleRegistry::Sorted RuleRegistry::sort_out(const Ruleset& rules) const {
  Sorted out;
  std::map<uint64_t, unsigned> turns;
  for (size_t i = 0; i < rules.rules.size(); ++i) {
    const Rule& rule = rules.rules[i];
    if (rule.repeated()) continue;  // its first place has the slot
    const Key key{rule.identity, turns[rule.identity]++};
    const auto it = in_use_.find(key);
    if (it == in_use_.end()) {
      out.fresh.emplace_back(i, key);
      continue;
    }
    out.slots.emplace_back(i, it->second);
    out.kept.insert(*it);
  }
  return out;
}

// A worker may still count for, and make states of, what the last reload took away; what is older is safe.
std::vector<RuleSlot> RuleRegistry::reusable() const {
  std::vector<RuleSlot> out;
  for (const auto& r : retired_)
    if (r.generation < generation_ && totals_(r.slot).states == 0) out.push_back(r.slot);
  return out;
}

bool RuleRegistry::has_room(const Ruleset& rules, size_t fresh, size_t reusable) const {
  const size_t untouched = slots_ > next_fresh_ ? slots_ - next_fresh_ : 0;
  const auto new_tags = std::count_if(rules.tags.begin(), rules.tags.end(),
                                      [&](const std::string& name) { return !tags_.contains(name); });
  return fresh <= reusable + untouched && tag_names_.size() + static_cast<size_t>(new_tags) <= UINT16_MAX;
}

bool RuleRegistry::fits(const Ruleset& rules) const {
  return has_room(rules, sort_out(rules).fresh.size(), reusable().size());
}

void RuleRegistry::rehearse(Ruleset& rules) const {
  Tags tags = tags_;
  std::vector<std::string> names = tag_names_;
  assign_tags(rules, tags, names);
  carry_tables(rules);
}

bool RuleRegistry::assign(Ruleset& rules, bool keep_tables) {
  Sorted sorted = sort_out(rules);
  std::vector<RuleSlot> reusable = this->reusable();
  if (!has_room(rules, sorted.fresh.size(), reusable.size())) return false;
  assign_tags(rules, tags_, tag_names_);
  carry_tables(rules, keep_tables);
  for (const auto& table : rules.tables)
    if (const auto before = tables_.find(table->name()); before != tables_.end()) table->keep_counts(*before->second);
  tables_.clear();
  for (const auto& table : rules.tables) tables_[table->name()] = table;

  ++generation_;
  for (const auto& [position, slot] : sorted.slots) rules.rules[position].slot = slot;
  std::map<Key, RuleSlot>& wanted = sorted.kept;
  std::set<RuleSlot> reused;
  for (const auto& [position, key] : sorted.fresh) {
    RuleSlot slot = next_fresh_;
    if (slot < slots_) {
      ++next_fresh_;
    } else {
      slot = reusable.back();
      reusable.pop_back();
      reused.insert(slot);
    }
    RuleTotals base = totals_(slot);
    base.states = 0;
    baseline_[slot] = base;
    rules.rules[position].slot = slot;
    wanted.emplace(key, slot);
  }
  std::erase_if(retired_, [&](const Retired& r) { return reused.contains(r.slot); });
  for (const auto& [key, slot] : in_use_)
    if (!wanted.contains(key)) retired_.push_back({slot, generation_});
  keep_retired(rules);
  in_use_ = std::move(wanted);
  for (Rule& rule : rules.rules)
    if (rule.origin < rules.rules.size()) rule.slot = rules.rules[rule.origin].slot;
  rules.index_slots();
  current_.clear();
  for (const Rule& rule : rules.rules) {
    if (rule.repeated()) continue;
    current_.push_back(rule);
    current_.back().anchor = kNoRuleNumber;  // a position in a ruleset that will be no more
  }
  return true;
}

// Rules that are gone from the ruleset, for the states that they made.
void RuleRegistry::keep_retired(Ruleset& rules) {
  std::set<RuleSlot> waiting;
  for (const Retired& r : retired_)
    if (r.generation == generation_ || totals_(r.slot).states != 0) waiting.insert(r.slot);
  std::erase_if(gone_, [&](const Rule& rule) { return !waiting.contains(rule.slot); });
  for (const Rule& rule : gone_) waiting.erase(rule.slot);
  for (const Rule& rule : current_)
    if (waiting.contains(rule.slot)) gone_.push_back(rule);
  rules.retired = gone_;
}

// Names are never forgotten: a state may outlive many reloads.
void RuleRegistry::assign_tags(Ruleset& rules, Tags& tags, std::vector<std::string>& names) {
  for (const std::string& name : rules.tags) {
    if (tags.contains(name)) continue;
    names.push_back(name);
    tags[name] = static_cast<TagId>(names.size());
  }
  const auto renumber = [&](TagId& id) {
    if (id != 0) id = tags.at(rules.tags[id - 1u]);
  };
  for (Rule& rule : rules.rules) {
    renumber(rule.tag);
    renumber(rule.tagged);
  }
  rules.tags = names;
}

void RuleRegistry::carry_tables(Ruleset& rules, bool whatever) const {
  for (const auto& table : rules.tables)
    if (const auto before = tables_.find(table->name()); before != tables_.end())
      table->take_over(*before->second, whatever);
}

RuleTotals RuleRegistry::since_assigned(RuleSlot slot) const {
  RuleTotals t = totals_(slot);
  const auto it = baseline_.find(slot);
  if (it == baseline_.end()) return t;
  const RuleTotals& base = it->second;
  t.evaluations -= base.evaluations;
  t.creations -= base.creations;
  for (int i = 0; i < 2; ++i) {
    t.packets[i] -= base.packets[i];
    t.bytes[i] -= base.bytes[i];
  }
  return t;
}

void RuleRegistry::reset() {
  baseline_[kDefaultRuleSlot] = totals_(kDefaultRuleSlot);
  for (const auto& [key, slot] : in_use_) baseline_[slot] = totals_(slot);
}

}  // namespace twinwall
