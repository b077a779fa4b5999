// Random trees of anchors: walking the linked list decides as walking the tree does.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "lib/base/random.h"
#include "lib/filter/evaluate.h"
#include "tests/unit/filter/rules.h"
#include "tests/unit/rounds.h"

namespace twinwall {
namespace {

using namespace testing_rules;

// A rule, and what stands inside it when it is an anchor.
struct Branch {
  Rule rule;
  std::vector<Branch> inside;
};

class Trees {
 public:
  explicit Trees(uint64_t seed) : random_(seed) {}

  std::vector<Branch> tree(size_t depth) {
    std::vector<Branch> out;
    for (uint32_t n = depth == 0 ? 1 + random_.below(6) : random_.below(4); n > 0; --n) {
      Branch b;
      const uint32_t kind = random_.below(depth < 4 ? 4 : 3);
      b.rule = kind == 0 ? pass() : kind == 1 ? block() : kind == 2 ? match() : rule(Action::anchor);
      b.rule.quick = random_.below(5) == 0;
      if (random_.below(2) == 0) b.rule.proto = random_.below(2) == 0 ? kProtoTcp : kProtoUdp;
      if (random_.below(3) == 0) b.rule.tag = static_cast<TagId>(1 + random_.below(2));
      if (random_.below(4) == 0) {
        b.rule.tagged = static_cast<TagId>(1 + random_.below(2));
        b.rule.not_tagged = random_.below(2) == 0;
      }
      if (kind == 3) b.inside = tree(depth + 1);
      out.push_back(std::move(b));
    }
    return out;
  }

  RuleInput packet() {
    RuleInput in = tcp("10.0.0.5", "198.51.100.7", 80);
    if (random_.below(2) == 0) in.proto = kProtoUdp;
    in.tag = static_cast<TagId>(random_.below(3));
    return in;
  }

 private:
  Random random_;
};

void link(const std::vector<Branch>& tree, uint32_t around, Ruleset& out) {
  for (uint32_t number = 0; number < tree.size(); ++number) {
    const auto at = static_cast<uint32_t>(out.rules.size());
    out.rules.push_back(tree[number].rule);
    out.rules[at].number = number;
    out.rules[at].position = at;
    out.rules[at].anchor = around;
    link(tree[number].inside, at, out);
    out.rules[at].anchor_end = static_cast<uint32_t>(out.rules.size());
  }
}

// The verdict as pf.conf(5) tells it: recursively, with where the last decision was made.
struct Walk {
  RuleInput in;
  const Rule* decided = nullptr;
  const std::vector<Branch>* decided_in = nullptr;
  size_t matches = 0;

  // True: evaluation has ended.
  bool rules(const std::vector<Branch>& tree) {
    for (const Branch& b : tree) {
      if (b.rule.proto != 0 && b.rule.proto != in.proto) continue;
      if (b.rule.tagged != 0 && (b.rule.tagged == in.tag) == b.rule.not_tagged) continue;
      if (b.rule.tag != 0) in.tag = b.rule.tag;
      if (b.rule.action == Action::anchor) {
        if (rules(b.inside)) return true;
        // Directly inside: an anchor inside it does not count.
        if (b.rule.quick && decided_in == &b.inside) return true;
        continue;
      }
      if (b.rule.action == Action::match) {
        ++matches;
      } else {
        decided = &b.rule;
        decided_in = &tree;
      }
      if (b.rule.quick) return true;
    }
    return false;
  }
};

TEST(AnchorsProperty, TheLinkedListDecidesAsTheTree) {
  size_t decided = 0, deep = 0;
  for (uint64_t seed = 1; seed <= test::rounds(5000); ++seed) {
    Trees trees(seed);
    const std::vector<Branch> tree = trees.tree(0);
    Ruleset rules;
    link(tree, kNoRuleNumber, rules);
    for (int i = 0; i < 12; ++i) {
      const RuleInput in = trees.packet();
      Walk walk;
      walk.in = in;
      (void)walk.rules(tree);
      const Decision d = evaluate(rules, in);
      ASSERT_FALSE(d.too_deep);
      ASSERT_EQ(d.match_count + d.match_overflow, walk.matches) << "seed " << seed;
      ASSERT_EQ(d.rule == &rules.default_rule, walk.decided == nullptr) << "seed " << seed;
      if (walk.decided == nullptr) continue;
      ASSERT_EQ(d.rule->action, walk.decided->action) << "seed " << seed;
      // The same rule, not only the same verdict.
      ASSERT_EQ(d.rule->number,
                static_cast<uint32_t>(std::find_if(walk.decided_in->begin(), walk.decided_in->end(),
                                                   [&](const Branch& b) { return &b.rule == walk.decided; }) -
                                      walk.decided_in->begin()))
          << "seed " << seed;
      ++decided;
      deep += d.rule->anchor != kNoRuleNumber ? 1 : 0;
    }
  }
  EXPECT_GE(decided, test::often(20000));
  EXPECT_GE(deep, test::often(5000));
}

TEST(AnchorsProperty, MoreThanPfAllowsIsTooDeep) {
  for (const size_t depth : {kMaxAnchorDepth, kMaxAnchorDepth + 1}) {
    Ruleset rules;
    for (size_t i = 0; i < depth; ++i) rules.rules.push_back(rule(Action::anchor));
    rules.rules.push_back(pass());
    for (uint32_t i = 0; i < rules.rules.size(); ++i) {
      rules.rules[i].position = i;
      rules.rules[i].anchor = i == 0 ? kNoRuleNumber : i - 1;
      rules.rules[i].anchor_end = static_cast<uint32_t>(rules.rules.size());
    }
    EXPECT_EQ(evaluate(rules, tcp("10.0.0.5", "1.1.1.1", 80)).too_deep, depth > kMaxAnchorDepth);
  }
}

}  // namespace
}  // namespace twinwall
