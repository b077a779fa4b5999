// Two nodes with the same seed and the same packets are the same byte for byte: what leaves, what is dropped and
// logged, every counter and every state. Whatever a run shows can be shown again.
#include <gtest/gtest.h>

#include "lib/frag/reassembly.h"
#include "lib/net/headers.h"
#include "tests/unit/engine/chaos.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

// One run, written down.
class Record {
 public:
  explicit Record(uint64_t seed, bool fast_path = true, bool classifier = true) {
    const std::string rules = RandomRules(seed, {.stateless = true,
                                                 .limits = true,
                                                 .routes = true,
                                                 .short_times = seed % 2 == 0,
                                                 .counting = seed % 3 == 0})
                                  .ruleset();
    node_ = make_node(rules, fast_path, false, classifier);
    if (node_ == nullptr) return;
    Chaos chaos(*node_, seed * 49979687, true);
    for (int i = 0; i < 200; ++i) chaos.step([&](const Happening& h) { write(h); });
    write_counters();
    for (const State* s : node_->states()) write(*s);
    fast = node_->engine().counters().fast.get();
    first = node_->engine().counters().first.get();
  }

  // By the line, so that a difference can be read.
  std::vector<std::string> lines;
  std::vector<uint64_t> evaluations;  // by rule
  uint64_t fast = 0, first = 0;       // packets that took the fast path, and first ones that took theirs
  uint64_t by_entry = 0;              // packets that entries of tables counted

 private:
  void write(const Happening& h) {
    for (const Frame& f : h.frames) lines.push_back("in " + std::to_string(h.at) + " " + hex(f));
    for (const auto& o : h.outcome.outputs) lines.push_back("out " + std::to_string(o.interface) + " " + hex(o.frame));
    for (const DropReason r : h.outcome.drops) lines.push_back("dropped " + std::string(reason_name(r)));
    for (const LogRecord& l : h.outcome.logs)
      lines.push_back("logged " + std::to_string(l.rule_number) + " " + std::to_string(l.length) + " " +
                      to_string(l.af, l.src) + " " + to_string(l.af, l.new_src) + " " +
                      hex(Frame(l.packet, l.packet + l.captured)));
  }

  void write_counters() {
    const EngineCounters& c = node_->engine().counters();
    const auto put = [&](const std::string& what, const Counter& n) {
      lines.push_back(what + " " + std::to_string(n.get()));
    };
    for (size_t i = 0; i < c.drops.size(); ++i) put("drops " + std::to_string(i), c.drops[i]);
    for (size_t i = 0; i < c.limits.size(); ++i) put("limit " + std::to_string(i), c.limits[i]);
    for (const Rule& r : node_->snapshot().rules.rules) {
      const RuleCounters& rc = c.rules[r.slot];
      const std::string rule = "rule " + std::to_string(r.number);
      evaluations.push_back(rc.evaluations.get());
      put(rule + " states", rc.states);
      put(rule + " creations", rc.creations);
      for (size_t d = 0; d < 2; ++d) {
        put(rule + " packets", rc.packets[d]);
        put(rule + " bytes", rc.bytes[d]);
      }
    }
    for (InterfaceId i = 1; i <= kNetworks; ++i)
      for (const auto& direction : c.interfaces[i].hook)
        for (const auto& family : direction)
          for (const auto& pair : family) {
            put("packets on " + std::to_string(i), pair.packets);
            put("bytes on " + std::to_string(i), pair.bytes);
          }
    for (const Counter* n : {&c.packets, &c.forwarded, &c.punted, &c.half_open, &c.icmp_sent, &c.icmp_limited,
                             &c.echo_replies, &c.expired, &c.killed, &c.logged, &c.nat_exhausted})
      put("counter", *n);
    for (const auto& table : node_->snapshot().rules.tables) {
      const TableContent& content = *table->content();
      content.each_number([&](EntryCounts::Number n) {
        const EntryCounts::Traffic traffic = content.counts()->traffic(n);
        for (size_t d = 0; d < 2; ++d)
          for (size_t f = 0; f < 3; ++f) {
            by_entry += traffic.packets[d][f];
            lines.push_back("entry " + std::to_string(n) + " " + std::to_string(traffic.packets[d][f]) + " " +
                            std::to_string(traffic.bytes[d][f]));
          }
      });
    }
    const StateTableCounters& t = node_->table().counters(0);
    for (const Counter* n : {&t.searches, &t.inserts, &t.removals, &t.collisions}) put("table", *n);
    const FragmentCounters& f = node_->engine().fragments();
    for (const Counter* n : {&f.searches, &f.inserts, &f.removals, &f.current}) put("fragments", *n);
  }

  void write(const State& s) {
    std::string line = scenario::print_state(s, node_->snapshot().interfaces);
    for (const Peer* p : {&s.src, &s.dst})
      for (const uint32_t n : {p->seqlo, p->seqhi, p->seqdiff, uint32_t{p->max_win}, uint32_t{p->level}})
        line += " " + std::to_string(n);
    line += " " + std::to_string(s.last_update) + " " + std::to_string(s.creation) + " " + std::to_string(s.id);
    lines.push_back(line);
  }

  static std::string hex(const Frame& f) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (const uint8_t b : f) {
      out += kDigits[b >> 4];
      out += kDigits[b & 15];
    }
    return out;
  }

  std::unique_ptr<scenario::Node> node_;
};

TEST(SameRunProperty, TheFastPathMakesNoDifference) {
  uint64_t fast = 0, first = 0, by_entry = 0;
  for (uint64_t seed = 1000; seed < 1000 + test::rounds(200); ++seed) {
    const Record a(seed, true), b(seed, false);
    ASSERT_EQ(b.fast + b.first, 0u);
    ASSERT_EQ(a.evaluations, b.evaluations) << "seed " << seed;
    ASSERT_EQ(a.lines.size(), b.lines.size()) << "seed " << seed;
    for (size_t i = 0; i < a.lines.size(); ++i) ASSERT_EQ(a.lines[i], b.lines[i]) << "seed " << seed << ", line " << i;
    fast += a.fast;
    first += a.first;
    by_entry += a.by_entry;
  }
  EXPECT_GE(fast, test::often(500));
  EXPECT_GE(first, test::often(100));
  EXPECT_GE(by_entry, test::often(100));
}

TEST(SameRunProperty, CompiledRulesMakeNoDifference) {
  uint64_t spared = 0;
  for (uint64_t seed = 2000; seed < 2000 + test::rounds(150); ++seed) {
    const Record a(seed, true, true), b(seed, true, false);
    ASSERT_EQ(a.lines.size(), b.lines.size()) << "seed " << seed;
    for (size_t i = 0; i < a.lines.size(); ++i) ASSERT_EQ(a.lines[i], b.lines[i]) << "seed " << seed << ", line " << i;
    // Fewer rules are looked at, and none that would not be.
    for (size_t i = 0; i < a.evaluations.size(); ++i) {
      ASSERT_LE(a.evaluations[i], b.evaluations[i]) << "seed " << seed << ", rule " << i;
      spared += b.evaluations[i] - a.evaluations[i];
    }
  }
  EXPECT_GE(spared, test::often(2000));
}

TEST(SameRunProperty, ARunCanBeRepeatedByteForByte) {
  size_t lines = 0;
  for (uint64_t seed = 1; seed <= test::rounds(40); ++seed) {
    const Record a(seed), b(seed);
    ASSERT_EQ(a.evaluations, b.evaluations) << "seed " << seed;
    ASSERT_EQ(a.lines.size(), b.lines.size()) << "seed " << seed;
    for (size_t i = 0; i < a.lines.size(); ++i) ASSERT_EQ(a.lines[i], b.lines[i]) << "seed " << seed << ", line " << i;
    lines += a.lines.size();
  }
  EXPECT_GE(lines, test::often(15000));
}

}  // namespace
}  // namespace twinwall::test
