// From the rules of each anchor to one list in the order of evaluation (pf.conf(5) "ANCHORS").
#include <fmt/format.h>

#include <set>

#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/filter/evaluate.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxLinkedRules = kMaxRuleSlots - 1;

class Linker {
 public:
  Linker(Context& c, std::vector<Rule>& out) : c_(c), out_(out) {}

  void run() {
    if (append("", kNoRuleNumber, 0)) return;
    c_.error_in_file(0, 0, 0,
                     fmt::format("with its anchors the ruleset has more than {} rules: call fewer anchors from several "
                                 "places, and none from itself",
                                 kMaxLinkedRules));
    out_.clear();
    c_.linked_nodes.clear();
  }

 private:
  // The rules of one anchor. False: too many rules.
  bool append(const std::string& path, uint32_t around, size_t depth) {
    const auto found = c_.anchors.find(path);
    if (found == c_.anchors.end()) return true;
    std::vector<uint32_t>* const positions = first_call(path);
    const std::vector<const Node*>& nodes = c_.rule_nodes[path];
    for (size_t i = 0; i < found->second.size(); ++i) {
      Rule& rule = found->second[i];
      if (out_.size() >= kMaxLinkedRules) return false;
      const auto at = static_cast<uint32_t>(out_.size());
      if (rule.origin == kNoRuleNumber) rule.origin = at;
      out_.push_back(rule);
      c_.linked_nodes.push_back(nodes[i]);
      out_[at].position = at;
      out_[at].anchor = around;
      if (positions != nullptr) positions->push_back(at);
      if (rule.action != Action::anchor) continue;
      // One level more than evaluation enters, so that what is too deep is found there.
      if (depth <= kMaxAnchorDepth && !append_called(rule.anchor_path, at, depth + 1)) return false;
      out_[at].anchor_end = static_cast<uint32_t>(out_.size());
    }
    return true;
  }

  // Where to note the places of the anchor's rules; null when they were noted, or when it has no name.
  std::vector<uint32_t>* first_call(const std::string& path) {
    const auto it = c_.config.anchors.find(path);
    return it != c_.config.anchors.end() && noted_.insert(path).second ? &it->second : nullptr;
  }

  bool append_called(const std::string& path, uint32_t at, size_t depth) {
    if (!path.ends_with("/*")) return append(path, at, depth);
    const std::string parent = path.substr(0, path.size() - 1);
    // The map is in the order of the names.
    for (const auto& [child, rules] : c_.anchors)
      if (child.starts_with(parent) && child.find('/', parent.size()) == std::string::npos && !append(child, at, depth))
        return false;
    return true;
  }

  Context& c_;
  std::vector<Rule>& out_;
  std::set<std::string> noted_;
};

// Equal rules are told apart by how many came before, so that every identity is one rule's.
void make_identities_unique(std::vector<Rule>& rules) {
  std::set<uint64_t> used{0};
  for (Rule& rule : rules) {
    if (rule.origin != rule.position) {
      rule.identity = rules[rule.origin].identity;
      continue;
    }
    while (!used.insert(rule.identity).second) rule.identity = rule.identity * 0x9e3779b97f4a7c15ull + 1;
  }
}

}  // namespace

void link_rules(Context& c) {
  c.config.rules.rules.clear();
  for (const auto& [path, rules] : c.anchors)
    if (!path.empty() && path[0] != '_' && path.find("/_") == std::string::npos) c.config.anchors[path];
  Linker(c, c.config.rules.rules).run();
  make_identities_unique(c.config.rules.rules);
  for (Rule& r : c.config.rules.rules)
    for (Pool* pool : {&r.nat_to.pool, &r.rdr_to.pool, &r.af_to_to, &r.route.pool})
      for (const auto& table : c.config.rules.tables)
        if (table == pool->table) table->in_pool = true;
  for (const auto& table : c.config.rules.tables) table->seal(table->persist || table->overload);
  for (Rule& r : c.config.rules.rules)
    for (Pool* pool : {&r.nat_to.pool, &r.rdr_to.pool, &r.af_to_to, &r.route.pool})
      if (!pool->empty()) pool->seal();
}

}  // namespace twinwall::config
