// The same packets, each at whichever worker chance gives it to, as if the adapter knew nothing of connections: one,
// two and four workers on one table come to the same verdicts as one. A packet that arrives where its state is not goes
// to the owner, as the dataplane carries it there.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "lib/net/headers.h"
#include "tests/unit/engine/chaos.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

class Silent final : public EngineHost {
 public:
  Packet* allocate(uint32_t) override { return nullptr; }
  void submit(Packet*) override {}
  void log(const LogRecord&) override {}
};

// What was sent into a node, and when.
struct Capture {
  struct Sent {
    InterfaceId at;
    Frame frame;
    Time when;
  };
  std::vector<Sent> packets;
};

// Chance in the rules, or in what a packet becomes, is each worker's own.
bool leaves_nothing_to_chance(const std::string& rules) {
  for (const char* word : {"modulate", "probability", "random", "reassemble tcp", "synproxy", "once", "rate"})
    if (rules.find(word) != std::string::npos) return false;
  return true;
}

class Workers {
 public:
  Workers(scenario::Node& node, unsigned count, uint64_t seed) : node_(node), spray_(seed) {
    StateTableOptions options;
    options.capacity = 20000;
    options.workers = static_cast<uint8_t>(count);
    options.secret[0] = seed;
    table_ = std::make_unique<StateTable>(options);
    for (uint8_t w = 0; w < count; ++w) {
      EngineOptions o;
      o.worker = w;
      o.workers = static_cast<uint8_t>(count);
      o.hostid = 1;
      o.seed = w;
      o.id_base = uint64_t{w} << 32;
      o.fragment_limit = 256;
      o.sources = &sources_;
      engines_.push_back(std::make_unique<Engine>(o, *table_, host_));
    }
  }

  // The verdict, as text; `handed`: packets that went to another worker.
  std::string verdict(const Capture::Sent& sent) {
    std::vector<uint8_t> memory(128 + sent.frame.size() + 64);
    std::copy(sent.frame.begin(), sent.frame.end(), memory.begin() + 128);
    Packet p;
    p.frame = memory.data() + 128;
    p.headroom = 128;
    p.tailroom = 64;
    p.length = static_cast<uint32_t>(sent.frame.size());
    p.in = sent.at;
    unsigned worker = spray_.below(static_cast<uint32_t>(engines_.size()));
    const View view{&node_.snapshot(), node_.view().neighbors, node_.view().carp};
    for (const auto& e : engines_) e->tick(view, sent.when);
    for (int hops = 0; hops < 3; ++hops) {
      p.fate = Fate::pending;
      Packet* one = &p;
      engines_[worker]->process({&one, 1}, view, sent.when);
      if (p.fate != Fate::handoff) break;
      ++handed;
      worker = p.handoff_to;
    }
    std::string out = std::to_string(static_cast<int>(p.fate));
    if (p.fate == Fate::drop) out += " " + std::string(reason_name(p.reason));
    if (p.fate == Fate::forward || (p.fate == Fate::punt && p.punt == Punt::unresolved)) {
      out += " on " + std::to_string(p.out) + " ";
      for (uint32_t i = kEthernetHeader; i < p.length; ++i) out += std::to_string(p.frame[i]) + ",";
    }
    return out;
  }

  [[nodiscard]] uint64_t states() const { return table_->states(); }
  uint64_t handed = 0;

 private:
  scenario::Node& node_;
  Random spray_;
  Silent host_;
  SourceTable sources_{1000, 1};
  std::unique_ptr<StateTable> table_;
  std::vector<std::unique_ptr<Engine>> engines_;
};

TEST(WorkersProperty, AnyNumberOfThemComesToTheSameVerdicts) {
  uint64_t packets = 0, passed = 0, handed = 0, known = 0, stateless = 0;
  for (uint64_t seed = 1; seed <= test::rounds(60); ++seed) {
    std::string rules;
    for (uint64_t n = 0; rules.empty() || !leaves_nothing_to_chance(rules); ++n)
      rules =
          RandomRules(seed + n * 1000003, {.translate = false, .stateless = seed % 2 == 0, .proxies = false}).ruleset();
    stateless += rules.find("no state") != std::string::npos ? 1 : 0;
    const auto node = make_node(rules);
    ASSERT_NE(node, nullptr);
    Capture capture;
    Chaos chaos(*node, seed * 7919, false);
    for (int i = 0; i < 120; ++i)
      chaos.step([&](const Happening& h) {
        // Pieces stay with whoever has the first: that is the adapter's part.
        if (h.frames.size() != 1) return;
        for (const Frame& f : h.frames) capture.packets.push_back({h.at, f, node->now()});
      });
    std::vector<std::unique_ptr<Workers>> all;
    for (const unsigned count : {1u, 2u, 4u}) all.push_back(std::make_unique<Workers>(*node, count, seed));
    for (size_t i = 0; i < capture.packets.size(); ++i) {
      const std::string alone = all[0]->verdict(capture.packets[i]);
      for (size_t w = 1; w < all.size(); ++w)
        ASSERT_EQ(all[w]->verdict(capture.packets[i]), alone) << "seed " << seed << ", packet " << i << '\n' << rules;
      ++packets;
      passed += alone[0] != std::to_string(static_cast<int>(Fate::drop))[0] ? 1 : 0;
    }
    ASSERT_EQ(all[0]->states(), all[1]->states()) << "seed " << seed;
    ASSERT_EQ(all[0]->states(), all[2]->states()) << "seed " << seed;
    known += all[0]->states();
    ASSERT_EQ(all[0]->handed, 0u);
    handed += all[1]->handed + all[2]->handed;
  }
  EXPECT_GE(packets, test::often(3000));
  EXPECT_GE(passed, test::often(1000));
  EXPECT_GE(handed, test::often(500));
  EXPECT_GE(known, test::often(500));
  EXPECT_GE(stateless, test::often(10));
}

}  // namespace
}  // namespace twinwall::test
