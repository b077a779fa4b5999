#include "control/rule_registry.h"

#include <algorithm>
#include <set>

namespace twinwall {

bool RuleRegistry::assign(Ruleset& rules) {
  std::map<Key, RuleSlot> wanted;
  std::map<uint64_t, unsigned> turns;
  std::vector<std::pair<Rule*, Key>> fresh;
  for (Rule& rule : rules.rules) {
    if (rule.repeated()) continue;  // its first place has the slot
    const Key key{rule.identity, turns[rule.identity]++};
    const auto it = in_use_.find(key);
    if (it == in_use_.end()) {
      fresh.emplace_back(&rule, key);
      continue;
    }
    rule.slot = it->second;
    wanted.insert(*it);
  }

  // A worker may still count for, and make states of, what the last reload took away; what is older is safe.
  std::vector<RuleSlot> reusable;
  for (const auto& r : retired_)
    if (r.generation < generation_ && totals_(r.slot).states == 0) reusable.push_back(r.slot);
  const size_t untouched = slots_ > next_fresh_ ? slots_ - next_fresh_ : 0;
  if (fresh.size() > reusable.size() + untouched || !assign_tags(rules)) return false;
  carry_tables(rules);

  ++generation_;
  for (const auto& [rule, key] : fresh) {
    RuleSlot slot = next_fresh_;
    if (slot < slots_) {
      ++next_fresh_;
    } else {
      slot = reusable.back();
      reusable.pop_back();
      std::erase_if(retired_, [&](const Retired& r) { return r.slot == slot; });
    }
    RuleTotals base = totals_(slot);
    base.states = 0;
    baseline_[slot] = base;
    rule->slot = slot;
    wanted.emplace(key, slot);
  }
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
bool RuleRegistry::assign_tags(Ruleset& rules) {
  std::vector<std::string> fresh;
  for (const std::string& name : rules.tags)
    if (!tags_.contains(name)) fresh.push_back(name);
  if (tag_names_.size() + fresh.size() > UINT16_MAX) return false;
  for (const std::string& name : fresh) {
    tag_names_.push_back(name);
    tags_[name] = static_cast<TagId>(tag_names_.size());
  }
  const auto renumber = [&](TagId& id) {
    if (id != 0) id = tags_.at(rules.tags[id - 1u]);
  };
  for (Rule& rule : rules.rules) {
    renumber(rule.tag);
    renumber(rule.tagged);
  }
  rules.tags = tag_names_;
  return true;
}

void RuleRegistry::carry_tables(Ruleset& rules) {
  std::map<std::string, std::shared_ptr<Table>> now;
  for (const auto& table : rules.tables) {
    now[table->name()] = table;
    const auto before = tables_.find(table->name());
    if (before != tables_.end()) table->take_over(*before->second);
  }
  tables_ = std::move(now);
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
