// What rules ask beyond addresses and ports: rates, once, probability, tags, tos, where a packet came in, routes.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "lib/filter/evaluate.h"
#include "tests/unit/filter/rules.h"

namespace twinwall {
namespace {

using namespace testing_rules;

// PF's threshold as it is written down, in whole numbers.
struct NaiveMeter {
  uint64_t count = 0, last = 0;
  bool exceeded(const RateLimit& limit, uint64_t now) {
    const uint64_t gone = now - last;
    if (gone >= limit.seconds)
      count = 0;
    else
      count -= count * gone / limit.seconds;
    count += 1000;
    last = now;
    return count > uint64_t{limit.n} * 1000;
  }
};

TEST(Rate, SoManyPassAndOneMoreExceeds) {
  std::atomic<uint64_t> meter{0};
  const RateLimit limit{3, 10};
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(rate_exceeded(meter, limit, 100));
  EXPECT_TRUE(rate_exceeded(meter, limit, 100));
  EXPECT_TRUE(rate_exceeded(meter, limit, 101));
  EXPECT_FALSE(rate_exceeded(meter, limit, 111));  // a whole period without an event
}

TEST(Rate, DecaysAsPfsMeterDoes) {
  Random random(3);
  size_t exceeded = 0;
  for (int round = 0; round < 200; ++round) {
    const RateLimit limit{1 + random.below(20), 1 + random.below(20)};
    std::atomic<uint64_t> meter{0};
    NaiveMeter naive;
    uint32_t now = 1000 + random.below(1000);
    bool over = false;
    for (int i = 0; i < 200; ++i) {
      now += random.below(4) == 0 ? random.below(limit.seconds * 2) : 0;
      const bool want = naive.exceeded(limit, now), got = rate_exceeded(meter, limit, now);
      // Far beyond the limit ours stops to count, so it may come back earlier; up to the first excess they are one.
      ASSERT_TRUE(over || got == want) << limit.n << "/" << limit.seconds << " event " << i;
      over = over || want;
      EXPECT_TRUE(!got || want);
      exceeded += got ? 1 : 0;
    }
  }
  EXPECT_GT(exceeded, 1000u);
}

TEST(Rate, NeverOverflows) {
  std::atomic<uint64_t> meter{0};
  const RateLimit most{4'294'967, 31'536'000};
  for (int i = 0; i < 10000; ++i) EXPECT_FALSE(rate_exceeded(meter, most, 5));
  meter = static_cast<uint64_t>(5) << 32 | 4'294'966'000ull;
  EXPECT_FALSE(rate_exceeded(meter, most, 5) && rate_exceeded(meter, RateLimit{1, 1}, 9));
}

class Surroundings {
 public:
  Surroundings() {
    environment.context = this;
    environment.has_route = [](const void*, Af, const Address& a) { return a != parse_ip("203.0.113.1")->addr; };
    environment.urpf_failed = [](const void*, Af, const Address& a, InterfaceId in) {
      return (a.bytes[0] == 10) != (in == 1);
    };
    environment.random = &random;
    environment.now_s = 100;
  }
  const Rule* decide(const Ruleset& rules, RuleInput in) {
    in.environment = &environment;
    return evaluate(rules, in).rule;
  }
  Random random{1};
  RuleEnvironment environment;
};

Rule with_runtime(Rule r) {
  r.runtime = std::make_shared<RuleRuntime>();
  return r;
}

TEST(Conditions, OnceIsForOnePacket) {
  Surroundings around;
  Rule once = with_runtime(pass());
  once.once = true;
  const Ruleset rules = ruleset({block(), once});
  EXPECT_EQ(around.decide(rules, kWeb)->number, 1u);
  EXPECT_EQ(around.decide(rules, kWeb)->number, 0u);
}

TEST(Conditions, LookingUsesNothingUp) {
  Surroundings around;
  Rule once = with_runtime(pass());
  once.once = true;
  once.max_pkt_rate = {1, 10};
  const Ruleset rules = ruleset({block(), once});
  around.environment.looking = true;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(around.decide(rules, kWeb)->number, 1u);
  EXPECT_EQ(evaluate(rules, kWeb).rule->number, 1u);  // and neither does asking without a around
  around.environment.looking = false;
  EXPECT_EQ(around.decide(rules, kWeb)->number, 1u);
  EXPECT_EQ(around.decide(rules, kWeb)->number, 0u);
}

TEST(Conditions, OnlyWhatElseMatchesIsMetered) {
  Surroundings around;
  Rule limited = with_runtime(pass());
  limited.to.port = port(80);
  limited.proto = kProtoTcp;
  limited.max_pkt_rate = {2, 10};
  const Ruleset rules = ruleset({block(), limited});
  for (int i = 0; i < 9; ++i) EXPECT_EQ(around.decide(rules, tcp("10.0.0.5", "198.51.100.7", 81))->number, 0u);
  EXPECT_EQ(around.decide(rules, kWeb)->number, 1u);
  EXPECT_EQ(around.decide(rules, kWeb)->number, 1u);
  EXPECT_EQ(around.decide(rules, kWeb)->number, 0u);
  around.environment.now_s += 20;
  EXPECT_EQ(around.decide(rules, kWeb)->number, 1u);
}

TEST(Conditions, ProbabilityIsTheShareOfPackets) {
  Surroundings around;
  Rule some = pass();
  some.probability = 858'993'459;  // 20%
  const Ruleset rules = ruleset({block(), some});
  int passed = 0;
  for (int i = 0; i < 10000; ++i) passed += around.decide(rules, kWeb)->number == 1 ? 1 : 0;
  EXPECT_NEAR(passed, 2000, 200);
}

TEST(Conditions, TagsAreSetByEveryMatchAndAskedAfterwards) {
  Surroundings around;
  Rule first = match(), second = block(), asks = pass(), asks_not = pass();
  first.tag = 1;
  second.tag = 2;
  second.proto = kProtoUdp;
  asks.tagged = 1;
  asks_not.tagged = 1;
  asks_not.not_tagged = true;
  const Ruleset rules = ruleset({first, second, asks, asks_not});
  EXPECT_EQ(around.decide(rules, kWeb)->number, 2u);
  RuleInput udp = packet("10.0.0.5", "198.51.100.7", kProtoUdp);
  EXPECT_EQ(around.decide(rules, udp)->number, 3u);
}

TEST(Conditions, TosPriorityAndOrigin) {
  Surroundings around;
  Rule tos = pass(), prio = pass(), from = pass();
  tos.tos = 0x10;
  prio.prio = 6;
  from.any_received_on = false;
  from.received_on.set(2);
  const Ruleset rules = ruleset({block(), tos, prio, from});
  RuleInput in = kWeb;
  EXPECT_EQ(around.decide(rules, in)->number, 0u);
  in.tos = 0x10;
  EXPECT_EQ(around.decide(rules, in)->number, 1u);
  in.prio = 6;
  EXPECT_EQ(around.decide(rules, in)->number, 2u);
  in.received_on = 2;
  EXPECT_EQ(around.decide(rules, in)->number, 3u);
}

TEST(Conditions, RoutesAndTheWayBack) {
  Surroundings around;
  Rule unreachable = block(), reachable = pass(), wrong_side = block();
  unreachable.to.address.kind = AddressKind::no_route;
  reachable.to.address.kind = AddressKind::no_route;
  reachable.to.address.negate = true;
  wrong_side.from.address.kind = AddressKind::urpf_failed;
  const Ruleset rules = ruleset({unreachable, reachable, wrong_side});
  RuleInput in = tcp("10.0.0.5", "203.0.113.1", 80);
  in.received_on = 1;
  EXPECT_EQ(around.decide(rules, in)->number, 0u);
  in = kWeb;
  in.received_on = 1;
  EXPECT_EQ(around.decide(rules, in)->number, 1u);
  in.received_on = 2;
  EXPECT_EQ(around.decide(rules, in)->number, 2u);
}

TEST(Conditions, TablesAndTheirNegation) {
  auto table = std::make_shared<Table>("t");
  table->add_entry({*parse_prefix("10.0.0.0/24"), false});
  table->add_entry({*parse_prefix("10.0.0.5"), true});
  table->seal(false);
  Rule in = pass(), out = block();
  in.from.address.kind = out.from.address.kind = AddressKind::table;
  in.from.address.table = out.from.address.table = table;
  out.from.address.negate = true;
  const Ruleset rules = ruleset({in, out});
  EXPECT_EQ(evaluate(rules, tcp("10.0.0.6", "1.1.1.1", 80)).rule->number, 0u);
  EXPECT_EQ(evaluate(rules, tcp("10.0.0.5", "1.1.1.1", 80)).rule->number, 1u);
  EXPECT_EQ(evaluate(rules, tcp("2001:db8::1", "2001:db8::2", 80)).rule->number, 1u);
}

TEST(Conditions, AsksOfTablesAreCountedWhereSomebodyCounts) {
  auto table = std::make_shared<Table>("t");
  table->add_entry({*parse_prefix("10.0.0.0/24"), false});
  table->seal(false);
  table->slot = 3;
  Rule web = pass(), not_in = pass();
  web.proto = kProtoTcp;
  web.from.address.kind = not_in.to.address.kind = AddressKind::table;
  web.from.address.table = not_in.to.address.table = table;
  not_in.to.address.negate = true;
  const Ruleset rules = ruleset({web, not_in});
  std::array<TableCounters, 8> counters;
  RuleEnvironment world;
  world.tables = counters.data();
  RuleInput input = tcp("10.0.0.6", "1.1.1.1", 80);
  (void)evaluate(rules, input);  // nobody counts
  input.environment = &world;
  (void)evaluate(rules, input);
  EXPECT_EQ(counters[3].match.get(), 1u);    // the source
  EXPECT_EQ(counters[3].nomatch.get(), 1u);  // the destination: the negation is the rule's
  input.proto = kProtoUdp;                   // the first rule does not come as far as its table
  (void)evaluate(rules, input);
  EXPECT_EQ(counters[3].match.get(), 1u);
  EXPECT_EQ(counters[3].nomatch.get(), 2u);
}

TEST(Conditions, ActionsOfMatchRulesAddUp) {
  Rule a = match(), b = match(), last = pass();
  a.actions.no_df = true;
  a.actions.min_ttl = 30;
  b.actions.min_ttl = 20;
  b.actions.set_prio = 1;
  b.actions.set_prio_lowdelay = 2;
  last.actions.set_tos = 0x10;
  const PacketActions got = evaluate(ruleset({a, b, last}), kWeb).actions;
  EXPECT_TRUE(got.no_df);
  EXPECT_EQ(got.min_ttl, 20);
  EXPECT_EQ(got.set_prio, 1);
  EXPECT_EQ(got.set_prio_lowdelay, 2);
  EXPECT_EQ(got.set_tos, 0x10);
  EXPECT_FALSE(evaluate(ruleset({pass()}), kWeb).actions.any());
}

}  // namespace
}  // namespace twinwall
