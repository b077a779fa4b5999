// Machines on one wire, driven by random events on a virtual clock: what must hold whatever happens.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "lib/base/random.h"
#include "lib/carp/vhost.h"

namespace twinwall::carp {

namespace {

constexpr Time kWireStart{std::chrono::hours(1)};
constexpr Duration kWireDelay = 1ms;

struct Node {
  Vhost machine;
  bool alive = true;
};

struct InFlight {
  Time at;
  size_t to;
  Af af;
  Advertised values;
};

// Nodes on one wire that can be cut. Every advertisement reaches every other living node after the wire's delay.
class Wire {
 public:
  explicit Wire(std::vector<VhostConfig> configs) {
    for (const auto& c : configs) nodes_.push_back({Vhost(c)});
    for (size_t i = 0; i < nodes_.size(); ++i) act(i, nodes_[i].machine.start(now_));
  }

  void act(size_t from, const Actions& actions) {
    auto& machine = nodes_[from].machine;
    log_.push_back({now_ - kWireStart, from, static_cast<int>(machine.role()), actions.cause});
    check(actions, machine);
    if (actions.send_bow_out) send(from, machine.bow_out());
    if (actions.send_advert) send(from, machine.advertised());
  }

  void run(Duration time) {
    const Time end = now_ + time;
    while (step(end)) watch();
    advance(end);
    watch();
  }

  void kill(size_t i) { nodes_[i].alive = false; }
  void cut(bool cut) { cut_ = cut; }
  Vhost& operator[](size_t i) { return nodes_[i].machine; }
  [[nodiscard]] bool alive(size_t i) const { return nodes_[i].alive; }
  [[nodiscard]] Time now() const { return now_; }
  [[nodiscard]] size_t masters() const {
    return static_cast<size_t>(std::count_if(
        nodes_.begin(), nodes_.end(), [](const Node& n) { return n.alive && n.machine.role() == Role::master; }));
  }
  // The longest time more than one node was master while they could hear each other.
  [[nodiscard]] Duration longest_double() const { return longest_double_; }

  struct Line {
    Duration t;
    size_t node;
    int role;
    Cause cause;
    friend bool operator==(const Line&, const Line&) = default;
  };
  [[nodiscard]] const std::vector<Line>& log() const { return log_; }

 private:
  // What no event may ever ask for.
  static void check(const Actions& a, const Vhost& m) {
    EXPECT_TRUE(!a.announce || a.send_advert);
    EXPECT_TRUE(!a.send_advert || m.role() == Role::master);
    EXPECT_TRUE(!a.send_bow_out || m.role() != Role::master);
    EXPECT_EQ(a.role_changed, a.cause != Cause::none);
    EXPECT_EQ(m.next_deadline() == Time::max(), m.role() == Role::init);
  }

  void send(size_t from, const Advertised& values) {
    if (!nodes_[from].alive || cut_) return;
    const auto families = nodes_[from].machine.config().families;
    for (size_t to = 0; to < nodes_.size(); ++to) {
      if (to == from) continue;
      if (families.inet) wire_.push_back({now_ + kWireDelay, to, Af::inet, values});
      if (families.inet6) wire_.push_back({now_ + kWireDelay, to, Af::inet6, values});
    }
  }

  bool step(Time end) {
    Time next = wire_.empty() ? Time::max() : wire_.front().at;
    for (const auto& n : nodes_)
      if (n.alive) next = std::min(next, n.machine.next_deadline());
    if (next > end) return false;
    advance(next);
    if (!wire_.empty() && wire_.front().at <= now_) {
      const auto frame = wire_.front();
      wire_.pop_front();
      if (nodes_[frame.to].alive && !cut_)
        act(frame.to, nodes_[frame.to].machine.receive(now_, frame.af, frame.values));
      return true;
    }
    for (size_t i = 0; i < nodes_.size(); ++i)
      if (nodes_[i].alive && nodes_[i].machine.next_deadline() <= now_) act(i, nodes_[i].machine.deadline(now_));
    return true;
  }

  void advance(Time to) { now_ = std::max(now_, to); }

  void watch() {
    if (masters() < 2 || cut_) {
      double_since_ = Time::max();
    } else if (double_since_ == Time::max()) {
      double_since_ = now_;
    } else {
      longest_double_ = std::max(longest_double_, now_ - double_since_);
    }
  }

  std::vector<Node> nodes_;
  std::deque<InFlight> wire_;
  std::vector<Line> log_;
  Time now_ = kWireStart;
  Time double_since_ = Time::max();
  Duration longest_double_{};
  bool cut_ = false;
};

VhostConfig member(uint8_t advskew, bool preempt = false, bool both = false) {
  return {.advbase = 1, .advskew = advskew, .preempt = preempt, .families = {.inet = true, .inet6 = both}};
}

TEST(Pair, TheBetterNodeBecomesMasterAndTheOtherStays) {
  Wire w({member(0), member(100)});
  w.run(10s);
  EXPECT_EQ(w[0].role(), Role::master);
  EXPECT_EQ(w[1].role(), Role::backup);
  EXPECT_EQ(w[1].transitions_to_master(), 0u);
}

TEST(Pair, ADeadMasterIsReplacedAfterTheMasterDownTime) {
  Wire w({member(0), member(100)});
  w.run(std::chrono::milliseconds(10100));
  w.kill(0);
  w.run(std::chrono::milliseconds(3200));
  EXPECT_EQ(w.masters(), 0u) << "the last advertisement left at 10.0 s";
  w.run(200ms);
  EXPECT_EQ(w[1].role(), Role::master);
}

TEST(Pair, APlannedHandOverTakesOneAdvertisement) {
  Wire w({member(0, true), member(100, true)});
  w.run(10s);
  w.act(0, w[0].set_demotion(w.now(), 240));
  w.run(2 * kWireDelay);
  EXPECT_EQ(w[0].role(), Role::backup);
  EXPECT_EQ(w[1].role(), Role::master);
  w.run(20s);
  EXPECT_EQ(w[1].role(), Role::master);
  w.act(0, w[0].set_demotion(w.now(), 0));
  w.run(2s);
  EXPECT_EQ(w[0].role(), Role::master) << "it preempts when it is whole again";
}

TEST(Pair, AShutdownIsTakenOverAtOnce) {
  Wire w({member(0), member(100)});
  w.run(10s);
  w.act(0, w[0].shutdown(w.now()));
  w.run(2 * kWireDelay);
  EXPECT_EQ(w[1].role(), Role::master);
}

TEST(Pair, AfterASplitTheBetterOneRemains) {
  Wire w({member(0, true), member(100, true)});
  w.run(10s);
  w.cut(true);
  w.run(10s);
  EXPECT_EQ(w.masters(), 2u);
  w.cut(false);
  w.run(2s);
  EXPECT_EQ(w[0].role(), Role::master);
  EXPECT_EQ(w[1].role(), Role::backup);
}

TEST(Pair, EqualSkewsStillLeaveOneMaster) {
  Wire w({member(50), member(50)});
  w.run(30s);
  EXPECT_LE(w.masters(), 1u);
}

TEST(Pair, AFreebsdPeerAndATwinwallAgree) {
  auto freebsd = member(90, true);
  freebsd.rules = Rules::freebsd;
  Wire w({member(10, true), freebsd});
  w.run(10s);
  EXPECT_EQ(w[0].role(), Role::master);
  w.act(0, w[0].shutdown(w.now()));
  w.run(2 * kWireDelay);
  EXPECT_EQ(w[1].role(), Role::master) << "a bow-out looks too slow to FreeBSD";
  w.act(0, w[0].start(w.now()));
  w.run(3s);
  EXPECT_EQ(w[0].role(), Role::master);
  EXPECT_EQ(w[1].role(), Role::backup);
}

// A random event at one node; the wire stays whole unless the test cuts it.
void random_event(Wire& w, Random& random, size_t nodes) {
  const size_t i = random.below(static_cast<uint32_t>(nodes));
  auto& m = w[i];
  const auto now = w.now();
  switch (random.below(9)) {
    case 0: w.act(i, m.link_down(now)); break;
    case 1: w.act(i, m.link_up(now)); break;
    case 2: w.act(i, m.shutdown(now)); break;
    case 3: w.act(i, m.start(now)); break;
    case 4: w.act(i, m.set_demotion(now, static_cast<int>(random.below(3)))); break;
    case 5: {
      auto c = m.config();
      c.preempt = random.below(2) == 0;
      c.advskew = static_cast<uint8_t>(i * 64 + random.below(64));
      w.act(i, m.configure(now, c));
      break;
    }
    case 6: w.act(i, m.peer_lost(now)); break;
    case 7: w.act(i, m.hand_over(now)); break;
    case 8: w.act(i, m.deadline(now)); break;
    default: break;
  }
}

Wire simulate(uint64_t seed, size_t nodes, int events) {
  std::vector<VhostConfig> configs;
  for (size_t i = 0; i < nodes; ++i)
    configs.push_back(member(static_cast<uint8_t>(i * 64), seed % 2 == 0, seed % 3 == 0));
  Wire w(configs);
  Random random(seed);
  for (int i = 0; i < events; ++i) {
    random_event(w, random, nodes);
    w.run(std::chrono::milliseconds(random.below(4000)));
  }
  return w;
}

// One of two masters that hear each other hears the other within the other's interval, and the two standings can not
// both be the worse one.
TEST(RandomEvents, TwoMastersNeverLastBeyondOneAdvertisementInterval) {
  const Duration longest_interval = 1s + std::chrono::microseconds(1000000 * 255 / 256);
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const size_t nodes = 2 + seed % 2;
    const auto w = simulate(seed, nodes, 60);
    EXPECT_LE(w.longest_double(), longest_interval + 2 * kWireDelay) << "seed " << seed;
  }
}

TEST(RandomEvents, AQuietWireSettlesOnOneMaster) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const size_t nodes = 2 + seed % 2;
    auto w = simulate(seed, nodes, 40);
    for (size_t i = 0; i < nodes; ++i) {
      w.act(i, w[i].link_up(w.now()));
      w.act(i, w[i].start(w.now()));
    }
    w.run(15s);
    EXPECT_EQ(w.masters(), 1u) << "seed " << seed;
  }
}

TEST(RandomEvents, TheSameSeedGivesTheSameRun) {
  for (uint64_t seed = 1; seed <= 20; ++seed) EXPECT_EQ(simulate(seed, 3, 40).log(), simulate(seed, 3, 40).log());
}

}  // namespace

}  // namespace twinwall::carp
