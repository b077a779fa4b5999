// Random rulesets with everything a rule may ask for, and packets at and beside what the rules say: the compiled rules
// decide as the plain evaluation does, claim the same rules in the same order and draw the same random numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "lib/base/random.h"
#include "lib/filter/classifier.h"
#include "lib/filter/print.h"
#include "tests/unit/filter/rules.h"
#include "tests/unit/rounds.h"

namespace twinwall {
namespace {

constexpr uint8_t kSomeProtocols[] = {kProtoTcp, kProtoUdp, kProtoIcmp, kProtoIcmp6, kProtoSctp, 47};

class RichWorld {
 public:
  explicit RichWorld(uint64_t seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) tables_.push_back(table());
  }

  Ruleset ruleset() {
    Ruleset set;
    const uint32_t most = chance(20) ? 1500 : chance(3) ? 150 : 25;
    fill(set, 1 + below(most), kNoRuleNumber, 0);
    return set;
  }

  // As much like the ruleset's own words as chance makes it.
  RuleInput packet(const Ruleset& set) {
    RuleInput in;
    in.direction = chance(2) ? Direction::in : Direction::out;
    in.interface = static_cast<InterfaceId>(1 + below(3));
    in.received_on = static_cast<InterfaceId>(below(4));
    in.af = chance(3) ? Af::inet6 : Af::inet;
    in.proto = chance(20) ? static_cast<uint8_t>(below(256)) : kSomeProtocols[below(6)];
    in.src = address(in.af);
    in.dst = address(in.af);
    in.is_fragment = chance(8);
    in.tos = chance(2) ? 0 : 0x10;
    in.prio = chance(2) ? 3 : 5;
    in.tag = static_cast<TagId>(below(3));
    if (in.proto == kProtoTcp || in.proto == kProtoUdp || in.proto == kProtoSctp) {
      in.sport = port_number();
      in.dport = port_number();
    }
    if (in.proto == kProtoTcp) in.tcp_flags = chance(2) ? kTcpSyn : static_cast<uint8_t>(below(256));
    if (in.proto == kProtoIcmp || in.proto == kProtoIcmp6) {
      in.icmp_type = chance(8) ? static_cast<int16_t>(below(256)) : static_cast<int16_t>(below(4));
      in.icmp_code = static_cast<int16_t>(below(3));
      in.icmp_is_reply = chance(3);
    }
    const Rule& like = set.rules[below(static_cast<uint32_t>(set.rules.size()))];
    if (chance(2)) aim(like, in);
    return in;
  }

  // What is random about an evaluation.
  Random& random() { return random_; }

  // A table gets other content while the compiled rules stay as they are.
  void change_table() {
    Table& t = *tables_[below(static_cast<uint32_t>(tables_.size()))];
    std::vector<TableEntry> entries;
    for (uint32_t n = below(6); n > 0; --n) entries.push_back(entry());
    before_.push_back(t.exchange(std::make_shared<TableContent>(std::move(entries), nullptr)));
  }

 private:
  bool chance(uint32_t one_in) { return random_.below(one_in) == 0; }
  uint32_t below(uint32_t n) { return random_.below(n); }
  uint16_t port_number() {
    return chance(10)  ? uint16_t{65535}
           : chance(4) ? static_cast<uint16_t>(below(65536))
                       : static_cast<uint16_t>(below(80));
  }

  Address address(Af af) {
    Address a = af == Af::inet ? Address::v4(0x0a000000) : parse_ip("2001:db8::")->addr;
    a.bytes[af == Af::inet ? 3 : 15] = static_cast<uint8_t>(chance(2) ? below(8) : below(256));
    if (chance(4)) a.bytes[1] ^= 1;
    if (chance(20)) a.bytes.fill(chance(2) ? 0 : 0xff);
    if (af == Af::inet) std::fill(a.bytes.begin() + 4, a.bytes.end(), uint8_t{0});
    return a;
  }

  static void step(Af af, Address& a, int by) {
    for (size_t i = address_length(af); i-- > 0;) {
      const int sum = a.bytes[i] + by;
      a.bytes[i] = static_cast<uint8_t>(sum);
      if (sum >= 0 && sum < 256) return;
    }
  }

  void aim(const AddressMatch& m, Af af, Address& a) {
    if (m.af != af || (m.kind != AddressKind::prefix && m.kind != AddressKind::range)) return;
    const bool first = chance(2);
    if (m.kind == AddressKind::range) {
      a = first ? m.low : m.high;
    } else {
      a = m.prefix.network();
      for (unsigned i = m.prefix.length; !first && i < address_bits(af); ++i)
        a.bytes[i / 8] = static_cast<uint8_t>(a.bytes[i / 8] | 0x80 >> i % 8);
    }
    if (chance(3)) step(af, a, first ? -1 : 1);
  }

  void aim(const PortMatch& m, uint16_t& port) {
    if (m.op == PortOperator::any) return;
    port = static_cast<uint16_t>((chance(2) ? m.a : m.b) + below(3) - 1);
  }

  // At what the rule says, or just beside it.
  void aim(const Rule& r, RuleInput& in) {
    if (r.from.address.af != Af::none) in.af = r.from.address.af;
    if (r.af != Af::none) in.af = r.af;
    in.src = address(in.af);
    in.dst = address(in.af);
    if (r.direction != Direction::both) in.direction = r.direction;
    if (r.proto != 0) in.proto = r.proto;
    aim(r.from.address, in.af, in.src);
    aim(r.to.address, in.af, in.dst);
    aim(r.from.port, in.sport);
    aim(r.to.port, in.dport);
    if (r.icmp_type >= 0) in.icmp_type = r.icmp_type;
    if (!chance(4)) in.tcp_flags = r.flags;
    in.is_fragment = r.fragment && chance(2);
  }

  TableEntry entry() {
    const Af af = chance(3) ? Af::inet6 : Af::inet;
    return {Prefix{af, address(af), static_cast<uint8_t>(address_bits(af) - below(4))}, chance(3)};
  }

  std::shared_ptr<Table> table() {
    auto t = std::make_shared<Table>("t");
    for (uint32_t n = below(6); n > 0; --n) t->add_entry(entry());
    t->seal(false);
    return t;
  }

  AddressMatch address_match(Af af) {
    AddressMatch m;
    m.negate = chance(5);
    const uint32_t kind = below(12);
    if (kind < 3) {
      m.negate = chance(40);
      return m;
    }
    if (kind == 3) m.kind = AddressKind::no_route;
    if (kind == 4) m.kind = AddressKind::urpf_failed;
    if (kind == 5) {
      m.kind = AddressKind::table;
      m.table = tables_[below(static_cast<uint32_t>(tables_.size()))];
    }
    if (kind < 6) return m;
    m.af = af;
    if (kind < 8) {
      m.kind = AddressKind::range;
      m.low = address(af);
      m.high = address(af);
      if (m.high < m.low && !chance(10)) std::swap(m.low, m.high);
    } else {
      m.kind = AddressKind::prefix;
      const unsigned bits = address_bits(af);
      m.prefix = {af, address(af), static_cast<uint8_t>(chance(4) ? below(bits + 1) : bits - below(9))};
    }
    return m;
  }

  PortMatch port_match() {
    if (chance(2)) return {};
    PortMatch m{static_cast<PortOperator>(below(10)), port_number(), port_number()};
    if (m.a > m.b && !chance(10)) std::swap(m.a, m.b);
    return m;
  }

  Rule rule() {
    Rule r;
    r.action = static_cast<Action>(below(3));
    r.direction = static_cast<Direction>(below(3));
    r.quick = chance(10);
    r.log = chance(3);
    r.log_all = r.log && chance(3);
    r.log_matches = r.log && chance(5);
    r.any_interface = chance(2);
    for (size_t i = 1; i <= 3; ++i) r.interfaces.set(i, chance(2));
    r.af = chance(2) ? Af::none : chance(3) ? Af::inet6 : Af::inet;
    r.proto = chance(3) ? uint8_t{0} : kSomeProtocols[below(6)];
    const Af af = r.af != Af::none ? r.af : chance(3) ? Af::inet6 : Af::inet;
    r.from.address = address_match(af);
    r.to.address = address_match(af);
    if (r.proto == kProtoTcp || r.proto == kProtoUdp || r.proto == kProtoSctp || chance(10)) {
      r.from.port = port_match();
      r.to.port = port_match();
    }
    if ((r.proto == 0 || r.proto == kProtoTcp) && chance(2)) {
      r.flag_mask = chance(2) ? kTcpSyn | kTcpAck : static_cast<uint8_t>(below(256) & below(256));
      r.flags = chance(2) ? kTcpSyn & r.flag_mask : static_cast<uint8_t>(r.flag_mask & below(256));
    }
    if (r.proto == kProtoIcmp || r.proto == kProtoIcmp6 || chance(20)) {
      if (chance(2)) r.icmp_type = static_cast<int16_t>(below(4));
      if (chance(4)) r.icmp_code = static_cast<int16_t>(below(3));
    }
    r.state = chance(3) ? StateMode::none : StateMode::keep;
    r.sloppy = chance(4);
    if (chance(8)) r.tos = chance(2) ? 0 : 0x10;
    if (chance(8)) r.prio = chance(2) ? 3 : 5;
    r.any_received_on = !chance(8);
    for (size_t i = 0; i <= 3; ++i) r.received_on.set(i, chance(2));
    if (chance(4)) r.tag = static_cast<TagId>(1 + below(2));
    if (chance(6)) {
      r.tagged = static_cast<TagId>(1 + below(2));
      r.not_tagged = chance(2);
    }
    r.fragment = chance(12);
    if (chance(8)) r.probability = 0x80000000;
    if (chance(12)) {
      r.runtime = std::make_shared<RuleRuntime>();
      r.once = chance(2);
      if (!r.once) r.max_pkt_rate = {2 + below(5), 10};
    }
    if (chance(5)) r.actions.min_ttl = static_cast<uint8_t>(1 + below(200));
    if (chance(5)) r.actions.set_tos = static_cast<int16_t>(below(4) * 8);
    if (r.action != Action::block && chance(8)) {
      (chance(2) ? r.nat_to : r.rdr_to) = testing_rules::translation(af, address(af));
      r.rdr_to.port_low = static_cast<uint16_t>(below(6));
      r.af = af;
    }
    return r;
  }

  void fill(Ruleset& set, uint32_t count, uint32_t around, uint32_t depth) {
    for (uint32_t number = 0; number < count; ++number) {
      const auto at = static_cast<uint32_t>(set.rules.size());
      set.rules.push_back(rule());
      Rule& r = set.rules.back();
      r.number = number;
      r.position = at;
      r.anchor = around;
      // Broad at the front, so that packets have something to be overruled.
      if (!chance(depth == 0 ? 12 : 4) || depth > 3) continue;
      r.action = Action::anchor;
      r.nat_to = r.rdr_to = {};
      if (chance(2)) {
        const uint32_t number_kept = r.number;
        r = testing_rules::rule(Action::anchor);
        r.number = number_kept;
        r.position = at;
        r.anchor = around;
        r.quick = chance(4);
      }
      fill(set, below(12), at, depth + 1);
      set.rules[at].anchor_end = static_cast<uint32_t>(set.rules.size());
    }
  }

  Random random_;
  std::vector<std::shared_ptr<Table>> tables_;
  std::vector<std::shared_ptr<const TableContent>> before_;
};

// What an evaluation has left behind, beyond its decision.
struct Trace {
  std::vector<const Rule*> visited, logged;
  RuleInput input;
  Decision decision;
  uint64_t next_draw = 0;
  std::vector<std::pair<bool, uint64_t>> runtime;
};

std::vector<std::pair<bool, uint64_t>> runtime_of(const Ruleset& set) {
  std::vector<std::pair<bool, uint64_t>> out;
  for (const Rule& r : set.rules)
    if (r.runtime != nullptr) out.emplace_back(r.runtime->expired.load(), r.runtime->rate.load());
  return out;
}
void put_back(const Ruleset& set, const std::vector<std::pair<bool, uint64_t>>& runtime) {
  size_t i = 0;
  for (const Rule& r : set.rules) {
    if (r.runtime == nullptr) continue;
    r.runtime->expired.store(runtime[i].first);
    r.runtime->rate.store(runtime[i++].second);
  }
}

// By the classifier, or plainly when there is none.
Trace run(const Ruleset& set, const Classifier* classifier, const RuleInput& in, uint64_t seed, uint32_t now_s) {
  Trace out;
  Random random(seed);
  RuleEnvironment world;
  world.has_route = [](const void*, Af, const Address& a) { return (a.bytes[3] ^ a.bytes[15]) % 3 != 0; };
  world.urpf_failed = [](const void*, Af, const Address& a, InterfaceId id) { return (a.bytes[1] + id) % 2 != 0; };
  world.random = &random;
  world.now_s = now_s;
  out.input = in;
  out.input.environment = &world;
  int translations = 0;
  const auto on_match = [&](const Rule& r, RuleInput& input) {
    // One in eleven cannot be carried out.
    if (++translations + static_cast<int>(r.position) % 11 == 11) return false;
    if (r.nat_to.enabled) input.src = r.nat_to.pool.entries[0].prefix.addr;
    if (r.rdr_to.enabled) {
      input.dst = r.rdr_to.pool.entries[0].prefix.addr;
      if (r.rdr_to.port_low != 0) input.dport = r.rdr_to.port_low;
    }
    return true;
  };
  const auto on_visit = [&](const Rule& r) { out.visited.push_back(&r); };
  const auto on_log = [&](const Rule& r) { out.logged.push_back(&r); };
  out.decision = classifier != nullptr ? classifier->decide(set, out.input, on_match, on_visit, on_log)
                                       : evaluate_visiting(set, out.input, on_match, on_visit, on_log);
  out.input.environment = nullptr;
  out.next_draw = random.next();
  out.runtime = runtime_of(set);
  return out;
}

void expect_same(const Trace& a, const Trace& b) {
  ASSERT_EQ(a.decision.rule, b.decision.rule) << print_rule(*a.decision.rule) << " / " << print_rule(*b.decision.rule);
  ASSERT_TRUE(std::ranges::equal(a.decision.matched(), b.decision.matched()));
  ASSERT_EQ(a.decision.match_overflow, b.decision.match_overflow);
  ASSERT_EQ(a.decision.nat_rule, b.decision.nat_rule);
  ASSERT_EQ(a.decision.rdr_rule, b.decision.rdr_rule);
  ASSERT_EQ(a.decision.log, b.decision.log);
  ASSERT_EQ(a.decision.log_now, b.decision.log_now);
  ASSERT_EQ(a.decision.log_all, b.decision.log_all);
  ASSERT_EQ(a.decision.actions, b.decision.actions);
  ASSERT_EQ(a.decision.too_deep, b.decision.too_deep);
  ASSERT_EQ(a.decision.translate_failed, b.decision.translate_failed);
  ASSERT_EQ(a.input.tag, b.input.tag);
  ASSERT_EQ(a.input.src, b.input.src);
  ASSERT_EQ(a.input.dst, b.input.dst);
  ASSERT_EQ(a.input.dport, b.input.dport);
  ASSERT_EQ(a.logged, b.logged);
  ASSERT_EQ(a.next_draw, b.next_draw);
  ASSERT_EQ(a.runtime, b.runtime);
  // What the rows leave over are some of all rules, in their order.
  ASSERT_TRUE(std::ranges::is_sorted(b.visited));
  ASSERT_TRUE(std::ranges::includes(a.visited, b.visited));
}

// What is known of the rules' conditions, or nothing.
void note(Ruleset& set, bool known) {
  for (Rule& r : set.rules) {
    r.conditions = kOnAnything;
    r.only_decides = r.only_says_so = false;
    if (known) note_conditions(r);
  }
}

TEST(ClassifierProperty, DecidesAsThePlainEvaluationDoes) {
  size_t by_rule = 0, with_matches = 0, many = 0, in_anchor = 0, translated = 0, drew = 0, failed = 0;
  for (uint64_t seed = 1; seed <= test::rounds(400); ++seed) {
    RichWorld world(seed);
    Ruleset rules = world.ruleset();
    const auto classifier = Classifier::compile(rules);
    ASSERT_NE(classifier, nullptr);
    for (int i = 0; i < 150; ++i) {
      if (i % 25 == 24) world.change_table();
      const RuleInput in = world.packet(rules);
      const uint64_t draw = world.random().next();
      const auto before = runtime_of(rules);
      note(rules, false);
      const Trace plain = run(rules, nullptr, in, draw, static_cast<uint32_t>(i));
      put_back(rules, before);
      note(rules, true);
      const Trace noted = run(rules, nullptr, in, draw, static_cast<uint32_t>(i));
      put_back(rules, before);
      expect_same(plain, noted);
      const Trace compiled = run(rules, classifier.get(), in, draw, static_cast<uint32_t>(i));
      expect_same(plain, compiled);
      if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << ", packet " << i;
      by_rule += plain.decision.rule != &rules.default_rule ? 1 : 0;
      with_matches += plain.decision.match_count > 0 ? 1 : 0;
      many += compiled.visited.size() > 40 ? 1 : 0;
      in_anchor += plain.decision.rule->anchor != kNoRuleNumber ? 1 : 0;
      translated += plain.decision.nat_rule != nullptr || plain.decision.rdr_rule != nullptr ? 1 : 0;
      failed += plain.decision.translate_failed ? 1 : 0;
      drew += plain.next_draw != Random(draw).next() ? 1 : 0;
    }
  }
  EXPECT_GE(by_rule, test::often(20000));
  EXPECT_GE(with_matches, test::often(12000));
  EXPECT_GE(many, test::often(300));
  EXPECT_GE(in_anchor, test::often(3000));
  EXPECT_GE(translated, test::often(3000));
  EXPECT_GE(failed, test::often(80));
  EXPECT_GE(drew, test::often(6000));
}

// More rules that a packet matches than are held at once, some of which change it.
TEST(ClassifierProperty, ManyMatchingRulesAreTakenInTheirOrder) {
  size_t overflowed = 0;
  for (uint64_t seed = 1; seed <= test::rounds(60); ++seed) {
    Random random(seed);
    Ruleset rules;
    for (uint32_t i = 0; i < 900; ++i) {
      Rule r = testing_rules::rule(static_cast<Action>(random.below(3)));
      r.position = r.number = i;
      r.quick = random.below(800) == 0;
      if (random.below(10) == 0) r.tag = static_cast<TagId>(1 + random.below(3));
      if (random.below(3) == 0) r.tagged = static_cast<TagId>(1 + random.below(3));
      if (random.below(3) == 0) r.to.port = {PortOperator::ge, static_cast<uint16_t>(random.below(100)), 0};
      if (random.below(40) == 0) r.probability = 0x80000000;
      if (r.action == Action::match && random.below(60) == 0) r.rdr_to = testing_rules::translation("10.0.0.9");
      r.rdr_to.port_low = r.rdr_to.enabled ? static_cast<uint16_t>(1 + random.below(100)) : uint16_t{0};
      rules.rules.push_back(r);
    }
    const auto classifier = Classifier::compile(rules);
    ASSERT_NE(classifier, nullptr);
    for (int i = 0; i < 20; ++i) {
      const RuleInput in = testing_rules::tcp("10.0.0.5", "198.51.100.7", static_cast<uint16_t>(random.below(120)));
      const uint64_t draw = random.next();
      const Trace plain = run(rules, nullptr, in, draw, 0), compiled = run(rules, classifier.get(), in, draw, 0);
      expect_same(plain, compiled);
      if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << ", packet " << i;
      overflowed += compiled.visited.size() > 300 ? 1 : 0;
    }
  }
  EXPECT_GE(overflowed, test::often(500));
}

}  // namespace
}  // namespace twinwall
