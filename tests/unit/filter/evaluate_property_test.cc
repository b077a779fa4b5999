// Random rulesets and packets: the evaluator decides as a second formulation does that shares nothing with it but the
// types. That one follows the text of pf.conf(5): first the list of all rules that match, bit by bit and test by test,
// then the verdict from the list.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "lib/base/random.h"
#include "lib/filter/evaluate.h"
#include "lib/filter/print.h"
#include "tests/unit/filter/rules.h"
#include "tests/unit/filter/tables.h"
#include "tests/unit/rounds.h"

namespace twinwall {
namespace {

using testing_tables::bit;

bool naive_address(const AddressMatch& m, Af af, const Address& a) {
  if (m.kind == AddressKind::any) return true;
  if (m.kind == AddressKind::table) {
    const TableEntry* best = nullptr;
    for (const TableEntry& e : m.table->entries()) {
      bool holds = e.prefix.af == af;
      for (unsigned i = 0; holds && i < e.prefix.length; ++i) holds = bit(e.prefix.addr, i) == bit(a, i);
      if (holds && (best == nullptr || e.prefix.length >= best->prefix.length)) best = &e;
    }
    const bool in_table = best != nullptr && !best->negate;
    return m.negate ? !in_table : in_table;
  }
  if (m.af != af) return false;
  bool inside = true;
  if (m.kind == AddressKind::prefix) {
    for (unsigned i = 0; i < m.prefix.length; ++i)
      if (bit(m.prefix.addr, i) != bit(a, i)) inside = false;
  } else {
    for (unsigned i = 0; i < address_bits(af); ++i)  // below the low end?
      if (bit(a, i) != bit(m.low, i)) {
        if (!bit(a, i)) inside = false;
        break;
      }
    for (unsigned i = 0; i < address_bits(af); ++i)  // above the high end?
      if (bit(a, i) != bit(m.high, i)) {
        if (bit(a, i)) inside = false;
        break;
      }
  }
  return m.negate ? !inside : inside;
}

bool naive_port(const PortMatch& m, int p) {
  const int a = m.a, b = m.b;
  switch (m.op) {
    case PortOperator::any: return true;
    case PortOperator::eq: return p == a;
    case PortOperator::ne: return !(p == a);
    case PortOperator::lt: return p - a < 0;
    case PortOperator::le: return p - a <= 0;
    case PortOperator::gt: return p - a > 0;
    case PortOperator::ge: return p - a >= 0;
    case PortOperator::range: return !(p < a) && !(p > b);
    case PortOperator::inside: return a < p && p < b;
    case PortOperator::outside: return !(a <= p && p <= b);
  }
  return false;
}

bool naive_match(const Rule& r, const RuleInput& in) {
  const bool tcp = in.proto == 6, udp = in.proto == 17;
  const bool icmp = in.proto == 1 || in.proto == 58;
  const bool wants_ports = r.from.port.op != PortOperator::any || r.to.port.op != PortOperator::any;
  const bool wants_icmp = r.icmp_type != -1 || r.icmp_code != -1;
  std::vector<bool> tests;
  tests.push_back(r.any_interface || r.interfaces.test(in.interface));
  tests.push_back(r.direction == Direction::both || r.direction == in.direction);
  tests.push_back(r.af == Af::none || r.af == in.af);
  tests.push_back(r.proto == 0 || r.proto == in.proto);
  tests.push_back(naive_address(r.from.address, in.af, in.src));
  tests.push_back(naive_address(r.to.address, in.af, in.dst));
  tests.push_back(r.tos == -1 || r.tos == in.tos);
  tests.push_back(r.prio == -1 || r.prio == in.prio);
  tests.push_back(r.any_received_on || r.received_on.test(in.received_on));
  if (r.tagged != 0) tests.push_back(r.not_tagged ? in.tag != r.tagged : in.tag == r.tagged);
  tests.push_back(!r.fragment || in.is_fragment);
  if (in.is_fragment) {
    tests.push_back(!wants_ports);
    tests.push_back(!wants_icmp);
    tests.push_back(!tcp || r.flag_mask == 0);
  } else {
    if (wants_ports)
      tests.push_back((tcp || udp) && naive_port(r.from.port, in.sport) && naive_port(r.to.port, in.dport));
    if (tcp)
      for (int i = 0; i < 8; ++i)
        if ((r.flag_mask >> i & 1) != 0) tests.push_back((r.flags >> i & 1) == (in.tcp_flags >> i & 1));
    if (wants_icmp)
      tests.push_back(icmp && (r.icmp_type == -1 || r.icmp_type == in.icmp_type) &&
                      (r.icmp_code == -1 || r.icmp_code == in.icmp_code));
    if (icmp && in.icmp_is_reply && r.action == Action::pass && r.state != StateMode::none) tests.push_back(r.sloppy);
  }
  return std::all_of(tests.begin(), tests.end(), [](bool ok) { return ok; });
}

void translate(const Rule& r, RuleInput& in) {
  if (r.nat_to.enabled) in.src = r.nat_to.pool.entries[0].prefix.addr;
  if (r.rdr_to.enabled) {
    in.dst = r.rdr_to.pool.entries[0].prefix.addr;
    if (r.rdr_to.port_low != 0) in.dport = r.rdr_to.port_low;
  }
}

struct Verdict {
  const Rule* rule = nullptr;
  const Rule* nat = nullptr;
  const Rule* rdr = nullptr;
  bool log = false, log_all = false;
  std::vector<const Rule*> matches;
};

Verdict naive_evaluate(const Ruleset& set, RuleInput in) {
  std::vector<const Rule*> matching;
  for (const Rule& r : set.rules) {
    if (!naive_match(r, in)) continue;
    matching.push_back(&r);
    if (r.tag != 0) in.tag = r.tag;
    if (r.action == Action::match) translate(r, in);
    if (r.quick) break;
  }
  Verdict v;
  v.rule = &set.default_rule;
  for (const Rule* r : matching) {
    if (r->action == Action::match)
      v.matches.push_back(r);
    else
      v.rule = r;
  }
  std::vector<const Rule*> effective = v.matches;
  effective.push_back(v.rule);
  for (const Rule* r : effective) {
    v.log = v.log || r->log;
    v.log_all = v.log_all || r->log_all;
    if (r->action == Action::block) continue;
    if (r->nat_to.enabled) v.nat = r;
    if (r->rdr_to.enabled) v.rdr = r;
  }
  return v;
}

// Small worlds, so that rules and packets meet often.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {}

  Ruleset ruleset() {
    Ruleset set;
    for (uint32_t n = 1 + random_.below(25); n > 0; --n) {
      set.rules.push_back(rule());
      set.rules.back().number = static_cast<uint32_t>(set.rules.size() - 1);
    }
    return set;
  }

  RuleInput packet() {
    static constexpr uint8_t kProtocols[] = {1, 6, 6, 17, 47, 58};
    RuleInput in;
    in.direction = chance(2) ? Direction::in : Direction::out;
    in.interface = static_cast<InterfaceId>(1 + random_.below(3));
    in.af = chance(3) ? Af::inet6 : Af::inet;
    in.proto = kProtocols[random_.below(6)];
    in.src = address(in.af);
    in.dst = address(in.af);
    in.is_fragment = chance(8);
    in.tos = chance(2) ? 0 : 0x10;
    in.prio = chance(2) ? 3 : 5;
    in.tag = static_cast<TagId>(random_.below(3));
    in.received_on = static_cast<InterfaceId>(1 + random_.below(3));
    if (in.proto == 6 || in.proto == 17) {
      in.sport = port_number();
      in.dport = port_number();
    }
    if (in.proto == 6) in.tcp_flags = static_cast<uint8_t>(random_.below(256));
    if (in.proto == 1 || in.proto == 58) {
      in.icmp_type = static_cast<int16_t>(random_.below(4));
      in.icmp_code = static_cast<int16_t>(random_.below(3));
      in.icmp_is_reply = chance(3);
    }
    return in;
  }

 private:
  bool chance(uint32_t one_in) { return random_.below(one_in) == 0; }
  uint16_t port_number() { return chance(10) ? uint16_t{65535} : static_cast<uint16_t>(random_.below(8)); }

  Address address(Af af) {
    Address a = af == Af::inet ? Address::v4(0x0a000000) : parse_ip("2001:db8::")->addr;
    a.bytes[af == Af::inet ? 3 : 15] = static_cast<uint8_t>(random_.below(8));
    if (chance(4)) a.bytes[1] ^= 1;
    return a;
  }

  AddressMatch address_match(Af af) {
    AddressMatch m;
    if (chance(2)) return m;
    if (chance(5)) {
      m.kind = AddressKind::table;
      m.negate = chance(4);
      m.table = table();
      return m;
    }
    m.af = af;
    m.negate = chance(4);
    if (chance(3)) {
      m.kind = AddressKind::range;
      m.low = address(af);
      m.high = address(af);
      if (m.high < m.low) std::swap(m.low, m.high);
    } else {
      m.kind = AddressKind::prefix;
      const unsigned bits = address_bits(af);
      m.prefix = {af, address(af), static_cast<uint8_t>(chance(4) ? random_.below(bits + 1) : bits - random_.below(4))};
      m.prefix.addr = m.prefix.network();
    }
    return m;
  }

  std::shared_ptr<const Table> table() {
    auto t = std::make_shared<Table>("t");
    for (uint32_t n = random_.below(6); n > 0; --n) {
      const Af af = chance(3) ? Af::inet6 : Af::inet;
      t->add_entry({Prefix{af, address(af), static_cast<uint8_t>(address_bits(af) - random_.below(4))}, chance(3)});
    }
    t->seal(false);
    return t;
  }

  PortMatch port_match() {
    if (chance(2)) return {};
    PortMatch m{static_cast<PortOperator>(random_.below(10)), port_number(), port_number()};
    if (m.a > m.b) std::swap(m.a, m.b);
    return m;
  }

  Translation translation(Af af) {
    Translation t;
    if (!chance(4)) return t;
    t = testing_rules::translation(af, address(af));
    t.port_low = static_cast<uint16_t>(random_.below(6));
    return t;
  }

  Rule rule() {
    static constexpr uint8_t kProtocols[] = {0, 0, 1, 6, 6, 17, 58};
    Rule r;
    r.action = static_cast<Action>(random_.below(3));
    r.direction = static_cast<Direction>(random_.below(3));
    r.quick = chance(6);
    r.log = chance(3);
    r.log_all = r.log && chance(3);
    r.any_interface = chance(2);
    for (size_t i = 1; i <= 3; ++i) r.interfaces.set(i, chance(2));
    r.af = chance(2) ? Af::none : chance(3) ? Af::inet6 : Af::inet;
    r.proto = kProtocols[random_.below(7)];
    const Af af = r.af != Af::none ? r.af : chance(3) ? Af::inet6 : Af::inet;
    r.from.address = address_match(af);
    r.to.address = address_match(af);
    if (r.proto == 6 || r.proto == 17) {
      r.from.port = port_match();
      r.to.port = port_match();
    }
    if ((r.proto == 0 || r.proto == 6) && chance(2)) {
      r.flag_mask = static_cast<uint8_t>(random_.below(256) & random_.below(256));
      r.flags = static_cast<uint8_t>(r.flag_mask & random_.below(256));
    }
    if (r.proto == 1 || r.proto == 58) {
      if (chance(2)) r.icmp_type = static_cast<int16_t>(random_.below(4));
      if (r.icmp_type >= 0 && chance(3)) r.icmp_code = static_cast<int16_t>(random_.below(3));
    }
    r.state = chance(3) ? StateMode::none : StateMode::keep;
    r.sloppy = chance(4);
    if (chance(6)) r.tos = chance(2) ? 0 : 0x10;
    if (chance(6)) r.prio = chance(2) ? 3 : 5;
    r.any_received_on = !chance(6);
    for (size_t i = 1; i <= 3; ++i) r.received_on.set(i, chance(2));
    if (chance(4)) r.tag = static_cast<TagId>(1 + random_.below(2));
    if (chance(6)) {
      r.tagged = static_cast<TagId>(1 + random_.below(2));
      r.not_tagged = chance(2);
    }
    r.fragment = chance(10);
    r.nat_to = translation(af);
    r.rdr_to = translation(af);
    if (r.nat_to.enabled || r.rdr_to.enabled) r.af = af;
    return r;
  }

  Random random_;
};

TEST(EvaluateProperty, DecidesAsTheNaiveFormulationDoes) {
  size_t decided_by_rule = 0, with_matches = 0, translated = 0;
  for (uint64_t seed = 1; seed <= test::rounds(4000); ++seed) {
    World world(seed);
    const Ruleset rules = world.ruleset();
    for (int i = 0; i < 25; ++i) {
      const RuleInput in = world.packet();
      RuleInput copy = in;
      const Decision d = evaluate(rules, copy, [](const Rule& r, RuleInput& input) {
        translate(r, input);
        return true;
      });
      const Verdict v = naive_evaluate(rules, in);
      ASSERT_EQ(d.rule, v.rule) << "seed " << seed << ": " << print_rule(*d.rule) << " / " << print_rule(*v.rule);
      ASSERT_EQ(d.nat_rule, v.nat) << "seed " << seed;
      ASSERT_EQ(d.rdr_rule, v.rdr) << "seed " << seed;
      ASSERT_EQ(d.log, v.log) << "seed " << seed;
      ASSERT_EQ(d.log_all, v.log_all) << "seed " << seed;
      ASSERT_EQ(d.match_count + d.match_overflow, v.matches.size()) << "seed " << seed;
      for (size_t k = 0; k < d.match_count; ++k) ASSERT_EQ(d.matches[k], v.matches[k]) << "seed " << seed;
      decided_by_rule += d.rule != &rules.default_rule ? 1 : 0;
      with_matches += d.match_count > 0 ? 1 : 0;
      translated += d.nat_rule != nullptr || d.rdr_rule != nullptr ? 1 : 0;
    }
  }
  EXPECT_GE(decided_by_rule, test::often(20000));  // the worlds are small enough that all of it was exercised
  EXPECT_GE(with_matches, test::often(10000));
  EXPECT_GE(translated, test::often(5000));
}

TEST(EvaluateProperty, IsDeterministicAndLeavesTheRulesetAlone) {
  World world(7);
  const Ruleset rules = world.ruleset();
  for (int i = 0; i < 200; ++i) {
    const RuleInput in = world.packet();
    const Decision a = evaluate(rules, in), b = evaluate(rules, in);
    EXPECT_EQ(a.rule, b.rule);
    EXPECT_EQ(a.match_count, b.match_count);
    EXPECT_EQ(a.nat_rule, b.nat_rule);
  }
}

TEST(EvaluateProperty, AnUnconditionalQuickBlockInFrontDecidesEverything) {
  for (uint64_t seed = 1; seed <= test::rounds(300); ++seed) {
    World world(seed);
    Ruleset rules = world.ruleset();
    Rule first = testing_rules::block();
    first.quick = true;
    rules.rules.insert(rules.rules.begin(), first);
    for (int i = 0; i < 10; ++i) EXPECT_EQ(evaluate(rules, world.packet()).rule, rules.rules.data());
  }
}

}  // namespace
}  // namespace twinwall
