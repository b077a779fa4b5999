// What is looked for in connections, and what was found.
#include "control/show.h"

namespace twinwall {

namespace {

// The sum over all workers, since the start.
uint64_t inspected(const Node& node, size_t counter) {
  uint64_t sum = 0;
  for (unsigned w = 0; w < node.workers(); ++w) sum += node.dataplane().counters(w).inspection[counter].get();
  return sum;
}

Json flags_of(const inspect::Pattern& p) {
  Json out = Json::array();
  if (p.nocase) out.push_back("nocase");
  if (p.dotall) out.push_back("dotall");
  if (p.multiline) out.push_back("multiline");
  if (p.utf8) out.push_back("utf8");
  return out;
}

Json group_json(const Node& node, const inspect::Group& group) {
  Json domains = Json::object(), rules = Json::array();
  for (size_t i = 0; i < inspect::kWhats; ++i)
    if (!group.sets[i].empty())
      domains[std::string(inspect::what_name(static_cast<inspect::What>(i)))] = group.sets[i].size();
  for (const Rule& rule : node.snapshot().rules.rules) {
    if (rule.inspect == nullptr || rule.repeated()) continue;
    for (const auto& named : rule.inspect->detector->groups)
      if (named->name == group.name) rules.push_back(rule.number);
  }
  return {{"group", group.name},
          {"signatures", group.signatures.size()},
          {"domains", std::move(domains)},
          {"rules", std::move(rules)},
          {"hits", group.hits.load(std::memory_order_relaxed)}};
}

}  // namespace

uint64_t inspected_now(const Node& node) {
  uint64_t sum = 0;
  for (unsigned w = 0; w < node.workers(); ++w) sum += node.dataplane().counters(w).inspected_now.get();
  return sum;
}

Json show_signatures(const Node& node) {
  Json groups = Json::array(), signatures = Json::array(), counters = Json::object();
  for (const auto& group : node.config().inspection.groups) {
    groups.push_back(group_json(node, *group));
    for (size_t i = 0; i < group->signatures.size(); ++i) {
      const inspect::Signature& s = group->signatures[i];
      signatures.push_back({{"group", group->name},
                            {"id", s.id},
                            {"message", s.message},
                            {"pattern", s.pattern.text},
                            {"flags", flags_of(s.pattern)},
                            {"hits", group->signature_hits[i].load(std::memory_order_relaxed)}});
    }
  }
  for (size_t i = 0; i < kInspectCounters; ++i)
    counters[std::string(inspect_name(static_cast<InspectCounter>(i)))] = inspected(node, i);
  size_t memory = 0;
  for (const auto& d : node.config().inspection.detectors)
    if (d->patterns != nullptr) memory += d->patterns->memory_bytes();
  return {{"groups", std::move(groups)},
          {"signatures", std::move(signatures)},
          {"counters", std::move(counters)},
          {"connections", {{"current", inspected_now(node)}, {"limit", node.config().inspection.reserve.connections}}},
          {"database_bytes", memory}};
}

}  // namespace twinwall
