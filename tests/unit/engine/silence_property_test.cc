// Random traffic through random rulesets with all kinds of limits: at any time every counter is what counting the
// states gives, and when all hosts have fallen silent nothing is left of them.
#include <gtest/gtest.h>

#include <map>

#include "lib/frag/reassembly.h"
#include "lib/net/headers.h"
#include "lib/state/tcp_track.h"
#include "tests/unit/engine/chaos.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

// In front of all others; what they count can be told from the states.
constexpr const char* kCounted = "match in proto udp\nmatch out inet6\nmatch proto tcp\n";
constexpr size_t kInUdp = 0, kOutInet6 = 1, kTcp = 2;

std::string counted_ruleset(const std::string& rules) {
  // Behind the tables and options, which come first.
  size_t at = 0;
  while (rules.compare(at, 5, "table") == 0 || rules.compare(at, 3, "set") == 0) at = rules.find('\n', at) + 1;
  return rules.substr(0, at) + kCounted + rules.substr(at);
}

struct SeenBooks {
  unsigned states = 0, sources = 0, fragments = 0, pools = 0, connections = 0, overloads = 0, limited = 0;
};

class Books {
 public:
  Books(scenario::Node& node, SeenBooks& seen) : node_(node), seen_(seen) {}

  // Everything that is counted, against what there is.
  void audit() {
    const EngineCounters& c = node_.engine().counters();
    const StateTable& table = node_.table();
    std::map<RuleSlot, uint64_t> by_rule, by_limit;
    uint64_t half_open = 0, in_udp = 0, out_inet6 = 0, tcp = 0, references = 0, connections = 0, n = 0;
    for (const State* s : node_.states()) {
      ++n;
      ++by_rule[s->rule];
      const FlowKey& as_it_came = s->direction == Direction::in ? s->wire : s->stack;
      in_udp += s->direction == Direction::in && as_it_came.proto == kProtoUdp ? 1 : 0;
      out_inet6 += s->direction == Direction::out && as_it_came.af == Af::inet6 ? 1 : 0;
      tcp += as_it_came.proto == kProtoTcp ? 1 : 0;
      half_open += s->wire.proto == kProtoTcp && tcp_half_open(*s) ? 1 : 0;
      if ((s->flags & kStateRest) == 0) continue;
      const StateRest& rest = table.rest(*s);
      for (const SourceNodeIndex node : rest.source_nodes) references += node != kNoSourceNode ? 1 : 0;
      connections += rest.source_nodes[0] != kNoSourceNode && s->tcp_est ? 1 : 0;
      by_limit[s->rule] += rest.counted_by_rule ? 1 : 0;
    }
    EXPECT_EQ(table.states(), n);
    EXPECT_EQ(table.counters(0).current.get(), n);
    EXPECT_EQ(table.counters(0).inserts.get() - table.counters(0).removals.get(), n);
    EXPECT_EQ(c.half_open.get(), half_open);
    EXPECT_EQ(table.counters(0).half_open.get(), half_open);
    const auto& rules = node_.snapshot().rules.rules;
    for (const Rule& r : rules) {
      if (r.action == Action::match) continue;
      EXPECT_EQ(c.rules[r.slot].states.get(), by_rule[r.slot]) << "of rule " << r.number;
      EXPECT_EQ(node_.engine().sources().states_of(r.slot), by_limit[r.slot]) << "of rule " << r.number;
    }
    EXPECT_EQ(c.rules[rules[kInUdp].slot].states.get(), in_udp);
    EXPECT_EQ(c.rules[rules[kOutInet6].slot].states.get(), out_inet6);
    EXPECT_EQ(c.rules[rules[kTcp].slot].states.get(), tcp);
    audit_sources(references, connections);
    const FragmentCounters& f = node_.engine().fragments();
    EXPECT_EQ(f.inserts.get() - f.removals.get(), f.current.get());
    EXPECT_LE(f.datagrams.get(), f.current.get());
    seen_.states += n != 0 ? 1 : 0;
    seen_.fragments += f.current.get() != 0 ? 1 : 0;
    seen_.pools += pooled() != 0 ? 1 : 0;
    seen_.connections += connections != 0 ? 1 : 0;
  }

  // Nothing is left.
  void expect_empty() {
    EXPECT_EQ(node_.table().states(), 0u);
    EXPECT_EQ(node_.engine().sources().size(), 0u);
    EXPECT_EQ(node_.engine().fragments().current.get(), 0u);
    EXPECT_EQ(node_.engine().fragments().datagrams.get(), 0u);
    EXPECT_EQ(node_.engine().counters().half_open.get(), 0u);
    EXPECT_EQ(pooled(), 0u);
    EXPECT_EQ(node_.table().load(), 0);
    for (const Rule& r : node_.snapshot().rules.rules)
      EXPECT_EQ(node_.engine().counters().rules[r.slot].states.get(), 0u) << "of rule " << r.number;
    for (const LimitCounter l : {LimitCounter::states, LimitCounter::src_states, LimitCounter::src_nodes})
      seen_.limited += node_.engine().counters().limits[static_cast<size_t>(l)].get() != 0 ? 1 : 0;
    const auto overloads = static_cast<size_t>(LimitCounter::overload_flush);
    seen_.overloads += node_.engine().counters().limits[overloads].get() != 0 ? 1 : 0;
  }

 private:
  void audit_sources(uint64_t references, uint64_t connections) {
    const SourceTable& sources = node_.engine().sources();
    std::vector<SourceView> views;
    for (uint32_t b = 0; b < sources.buckets(); ++b) sources.view_bucket(b, to_seconds(node_.now()), views);
    uint64_t states = 0, connected = 0;
    for (const SourceView& v : views) {
      states += v.states;
      connected += v.connections;
    }
    // A node that nobody finds any more is there until its last state ends.
    EXPECT_GE(sources.size(), views.size());
    EXPECT_LE(sources.size() - views.size(), references - states);
    if (sources.size() == views.size()) {
      EXPECT_EQ(states, references);
    }
    EXPECT_EQ(connected, connections);
    EXPECT_EQ(sources.inserts() - sources.removals(), views.size());
    seen_.sources += views.empty() ? 0 : 1;
  }

  // What the least-states pools think they hold.
  [[nodiscard]] uint64_t pooled() const {
    uint64_t n = 0;
    for (const Rule& r : node_.snapshot().rules.rules)
      for (const Pool* p : {&r.nat_to.pool, &r.rdr_to.pool, &r.route.pool, &r.af_to_to}) {
        if (p->state == nullptr || p->choices == nullptr) continue;
        for (size_t f = 0; f < 2; ++f)
          for (size_t i = 0; p->state->states[f] != nullptr && i < p->choices->entries[f].size(); ++i)
            n += p->state->states[f][i].load();
      }
    return n;
  }

  scenario::Node& node_;
  SeenBooks& seen_;
};

TEST(SilenceProperty, TheBooksAreRightAndInTheEndThereIsNothing) {
  SeenBooks seen;
  for (uint64_t seed = 1; seed <= test::rounds(200); ++seed) {
    const std::string rules = counted_ruleset(
        RandomRules(seed, {.stateless = true, .limits = true, .routes = true, .short_times = true}).ruleset());
    const auto node = make_node(rules);
    ASSERT_NE(node, nullptr);
    Chaos chaos(*node, seed * 32452843, seed % 2 == 0);
    Books books(*node, seen);
    std::string last;
    for (int i = 0; i < 250; ++i) {
      chaos.step([&](const Happening& h) {
        if (i % 5 == 0) books.audit();
        if (HasFailure()) last = show(h);
      });
      ASSERT_FALSE(HasFailure()) << "seed " << seed << "\n" << rules << last << show_states(*node);
      if (i == 200) (void)node->kill({.proto = kProtoUdp});
    }
    // The longest timeout, that of sources behind it, and an interval after each.
    (void)node->advance(60s);
    books.audit();
    books.expect_empty();
    ASSERT_FALSE(HasFailure()) << "seed " << seed << "\n" << rules << show_states(*node);
  }
  // Of every kind there was something to count.
  EXPECT_GE(seen.states, test::often(2000));
  EXPECT_GE(seen.sources, test::often(1750));
  EXPECT_GE(seen.fragments, test::often(300));
  EXPECT_GE(seen.pools, test::often(50));
  EXPECT_GE(seen.connections, test::often(600));
  EXPECT_GE(seen.overloads, test::often(2));
  EXPECT_GE(seen.limited, test::often(20));
}

}  // namespace
}  // namespace twinwall::test
