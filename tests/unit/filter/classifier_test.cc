// What the classifier is made of: ranks, rows of bits; and its bounds.
#include "lib/filter/classifier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "lib/base/random.h"
#include "tests/unit/filter/rules.h"

namespace twinwall {
namespace {

using namespace testing_rules;

template <class Key, class Make>
void expect_ranks(size_t count, uint64_t seed, Make&& make) {
  Random random(seed);
  std::set<Key> chosen;
  while (chosen.size() < count) chosen.insert(make(random));
  const std::vector<Key> keys(chosen.begin(), chosen.end());
  const RankTree<Key> tree(keys);
  const auto expect = [&](Key k) {
    const auto expected = std::upper_bound(keys.begin(), keys.end(), k) - keys.begin();
    ASSERT_EQ(tree.rank(k), static_cast<uint32_t>(expected)) << count << " keys, seed " << seed;
  };
  expect(Key{});
  expect(Key::max());
  for (const Key& k : keys) {
    expect(k);
    if (k != Key{}) expect(k.previous());
    if (k != Key::max()) expect(k.next());
  }
  for (int i = 0; i < 200; ++i) expect(make(random));
}

TEST(RankTree, CountsWhatIsNotAbove) {
  for (const size_t count : {0u, 1u, 2u, 15u, 16u, 17u, 96u, 97u, 255u, 256u, 257u, 450u, 1537u, 1800u, 5000u}) {
    expect_ranks<Key32>(count, count + 1, [](Random& r) { return Key32{r.next32()}; });
    expect_ranks<Key128>(count, count + 1, [](Random& r) { return Key128{r.below(50), r.next() >> 40}; });
  }
  const std::vector<Key32> edges{{0}, {UINT32_MAX}};
  const RankTree<Key32> tree(edges);
  EXPECT_EQ(tree.rank({0}), 1u);
  EXPECT_EQ(tree.rank({UINT32_MAX - 1}), 1u);
  EXPECT_EQ(tree.rank({UINT32_MAX}), 2u);
}

void expect_common(uint32_t bits) {
  Random random(3);
  std::vector<std::set<uint32_t>> sets(12);
  BitRowsBuilder builder(bits, size_t{1} << 24);
  std::vector<RowId> ids;
  for (size_t i = 0; i < sets.size(); ++i) {
    builder.clear();
    for (uint32_t n = 0; n < 300u * (1u + static_cast<uint32_t>(i) % 4u * 100u); ++n) {
      const uint32_t bit = random.below(i % 3 == 0 ? 600 : bits);
      sets[i].insert(bit);
      builder.set(bit);
    }
    for (int n = 0; n < 50; ++n) {
      const uint32_t bit = *std::next(sets[i].begin(), random.below(static_cast<uint32_t>(sets[i].size())));
      sets[i].erase(bit);
      builder.reset(bit);
    }
    ids.push_back(builder.row());
  }
  EXPECT_EQ(builder.row(), ids.back());
  const RowId both = builder.both(ids[1], ids[3]);
  const BitRows rows = builder.finish();
  EXPECT_EQ(rows.rows(), sets.size() + 1);
  for (uint32_t bit = 0; bit < bits; ++bit)
    ASSERT_EQ(rows.test(both, bit), sets[1].contains(bit) && sets[3].contains(bit));
  for (size_t a = 0; a < sets.size(); ++a) {
    for (int n = 0; n < 500; ++n) {
      const uint32_t bit = random.below(bits);
      ASSERT_EQ(rows.test(ids[a], bit), sets[a].contains(bit));
    }
    for (size_t b = 0; b < sets.size(); ++b) {
      std::vector<uint32_t> got, expected;
      rows.each_common(std::array<RowId, 3>{ids[a], ids[b], ids[a]}, [&](uint32_t bit) { got.push_back(bit); });
      std::ranges::set_intersection(sets[a], sets[b], std::back_inserter(expected));
      ASSERT_EQ(got, expected);
    }
  }
}

TEST(BitRows, GiveWhatTheyHaveInCommon) { expect_common(70000); }  // three groups
TEST(BitRows, OfOneGroupToo) { expect_common(30000); }

TEST(Classifier, AnEmptyRulesetPassesByDefault) {
  const Ruleset rules;
  const auto c = Classifier::compile(rules);
  ASSERT_NE(c, nullptr);
  RuleInput in = kWeb;
  const Decision d = c->decide(
      rules, in, [](const Rule&, RuleInput&) { return true; }, [](const Rule&) {}, [](const Rule&) {});
  EXPECT_EQ(d.rule, &rules.default_rule);
}

// A thousand rules, of which the packet may match two: the others are not looked at.
TEST(Classifier, LooksAtWhatFitsOnly) {
  Ruleset rules;
  for (uint32_t i = 0; i < 1000; ++i) {
    Rule r = pass();
    r.to.address = prefix("10.0.0.0/32");
    r.to.address.prefix.addr = Address::v4(0x0a000000 + i);
    r.position = r.number = i;
    rules.rules.push_back(r);
  }
  rules.rules[3] = block();
  rules.rules[3].position = 3;
  const auto c = Classifier::compile(rules);
  ASSERT_NE(c, nullptr);
  RuleInput in = tcp("192.0.2.1", "10.0.3.7", 80);
  std::vector<uint32_t> visited;
  const Decision d = c->decide(
      rules, in, [](const Rule&, RuleInput&) { return true; }, [&](const Rule& r) { visited.push_back(r.position); },
      [](const Rule&) {});
  EXPECT_EQ(d.rule->position, 0x307u);
  EXPECT_EQ(visited, (std::vector<uint32_t>{3, 0x307}));
}

// Few hooks and kinds have a row for each pair of them, many do not.
TEST(Classifier, TellsHooksAndKindsApart) {
  for (const uint8_t count : {10, 80}) {
    Ruleset rules;
    for (uint8_t i = 0; i <= count; ++i) {
      Rule r = i == 0 ? pass() : block();
      r.proto = i == 0 ? uint8_t{0} : static_cast<uint8_t>(100 + i);
      r.any_interface = i == 0;
      r.interfaces.set(i);
      r.position = i;
      rules.rules.push_back(r);
    }
    const auto c = Classifier::compile(rules);
    ASSERT_NE(c, nullptr);
    for (uint8_t interface = 1; interface <= count; ++interface)
      for (uint8_t proto = 1; proto <= count; ++proto) {
        RuleInput in = packet("10.0.0.5", "198.51.100.7", static_cast<uint8_t>(100 + proto));
        in.interface = interface;
        const Decision d = c->decide(
            rules, in, [](const Rule&, RuleInput&) { return true; }, [](const Rule&) {}, [](const Rule&) {});
        ASSERT_EQ(d.rule->position, interface == proto ? interface : 0u);
      }
  }
}

TEST(Classifier, IsNotMadeBeyondItsBound) {
  Ruleset rules;
  for (uint32_t i = 0; i < 2000; ++i) {
    Rule r = pass();
    r.from.address = prefix("10.0.0.0/24");
    r.from.address.prefix.addr = Address::v4(0x0a000000 + (i << 8));
    r.position = i;
    rules.rules.push_back(r);
  }
  const auto c = Classifier::compile(rules);
  ASSERT_NE(c, nullptr);
  EXPECT_LT(c->bytes(), size_t{4} << 20);
  EXPECT_EQ(Classifier::compile(rules, c->bytes() - 1), nullptr);
  EXPECT_NE(Classifier::compile(rules, c->bytes()), nullptr);
  EXPECT_EQ(Classifier::compile(rules, 1000), nullptr);
}

}  // namespace
}  // namespace twinwall
