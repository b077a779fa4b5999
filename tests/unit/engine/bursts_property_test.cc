// A burst is worth what its packets are one by one: the same come out, the same states hold the same, and the same is
// counted, whatever stands beside what in it.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/net/headers.h"
#include "tests/unit/engine/random_network.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

// Nothing in them is drawn by lot, or goes by the order in which states are made.
constexpr const char* kCertainRules[] = {
    "pass keep state\n",
    "set state-policy if-bound\npass keep state\n",
    "set skip on { in0 out0 }\npass keep state\n",
    "set skip on out0\npass keep state\n",
    "pass no state\n",
    "match out on out0 inet from any to any nat-to 192.0.2.2 static-port\npass keep state\n",
    "pass in\npass out\npass out on out0 inet from any to any nat-to 192.0.2.2 static-port\n",
    "match proto udp\nmatch in proto tcp\npass keep state\nblock in proto udp to port 7\n",
    "pass in on in0 inet from any to 198.51.100.7 rdr-to 198.51.100.9\npass keep state (sloppy)\npass out\n",
};

class Mute final : public EngineHost {
 public:
  Packet* allocate(uint32_t) override { return nullptr; }
  void submit(Packet*) override {}
  void log(const LogRecord&) override {}
};

// An engine that is given packets in pieces of a size.
class Half {
 public:
  Half(scenario::Node& node, size_t most) : node_(node), most_(most) {
    StateTableOptions t;
    t.capacity = 5000;
    table_ = std::make_unique<StateTable>(t);
    EngineOptions o;
    o.hostid = 1;
    o.fragment_limit = 64;
    engine_ = std::make_unique<Engine>(o, *table_, host_);
  }

  // What became of each.
  std::vector<std::string> process(InterfaceId at, const std::vector<Frame>& frames, Time now) {
    constexpr size_t kRoom = 128;
    std::vector<Frame> memory;
    std::vector<Packet> packets(frames.size());
    std::vector<Packet*> burst;
    memory.reserve(frames.size());
    for (size_t i = 0; i < frames.size(); ++i) {
      memory.emplace_back(kRoom, 0);
      memory[i].insert(memory[i].end(), frames[i].begin(), frames[i].end());
      Packet& p = packets[i];
      p.frame = memory[i].data() + kRoom;
      p.headroom = kRoom;
      p.length = static_cast<uint32_t>(frames[i].size());
      p.in = at;
      burst.push_back(&p);
    }
    const View view = node_.view();
    for (size_t from = 0; from < burst.size(); from += most_)
      engine_->process({&burst[from], std::min(most_, burst.size() - from)}, view, now);
    engine_->tick(view, now);
    std::vector<std::string> out;
    for (const Packet& p : packets) {
      std::string text = std::to_string(static_cast<int>(p.fate));
      if (p.fate == Fate::drop) text += " " + std::string(reason_name(p.reason));
      if (p.fate == Fate::forward || p.fate == Fate::punt)
        text += " on " + std::to_string(p.out) + " " + show({p.frame, p.frame + p.length});
      out.push_back(text);
    }
    return out;
  }

  // Everything that is kept, but for the states' ids and whose of twins it is.
  std::vector<std::string> state() {
    engine_->settle();
    std::vector<std::string> out;
    table_->walk(0, 0, table_->capacity(), [&](State& s) {
      State shown = s;
      shown.id = 0;
      std::string line = scenario::print_state(shown, node_.snapshot().interfaces);
      for (const Peer* p : {&s.src, &s.dst})
        for (const uint32_t n : {p->seqlo, p->seqhi, uint32_t{p->max_win}, uint32_t{p->level}})
          line += " " + std::to_string(n);
      for (const unsigned slot : {0u, 1u})
        line += " " + std::to_string(s.packets(slot)) + " " + std::to_string(s.bytes(slot));
      out.push_back(line);
    });
    std::sort(out.begin(), out.end());
    const EngineCounters& c = engine_->counters();
    const auto put = [&](const std::string& what, const Counter& n) {
      out.push_back(what + " " + std::to_string(n.get()));
    };
    for (const Rule& r : node_.snapshot().rules.rules)
      for (size_t d = 0; d < 2; ++d) {
        put("packets of rule " + std::to_string(r.number), c.rules[r.slot].packets[d]);
        put("bytes of rule " + std::to_string(r.number), c.rules[r.slot].bytes[d]);
      }
    for (InterfaceId i = 1; i <= kNetworks; ++i)
      for (const auto& direction : c.interfaces[i].hook)
        for (const auto& family : direction)
          for (const auto& pair : family) {
            put("packets on " + std::to_string(i), pair.packets);
            put("bytes on " + std::to_string(i), pair.bytes);
          }
    put("forwarded", c.forwarded);
    put("punted", c.punted);
    put("packets", c.packets);
    put("searches", table_->counters(0).searches);
    for (size_t i = 0; i < c.drops.size(); ++i) put("drops " + std::to_string(i), c.drops[i]);
    return out;
  }
  [[nodiscard]] uint64_t fast() const { return engine_->counters().fast.get(); }

 private:
  scenario::Node& node_;
  size_t most_;
  Mute host_;
  std::unique_ptr<StateTable> table_;
  std::unique_ptr<Engine> engine_;
};

// A connection as its ends see it.
struct Dialogue {
  bool tcp = false;
  Datagram forth;
  std::optional<Datagram> back;  // of the server, once it has got something
  uint32_t sent[2] = {1000, 50000};
  unsigned steps = 0;
};

class Talks {
 public:
  Talks(uint64_t seed, const std::string& rules)
      : node_(make_node(rules)), single_(*node_, 1), bursts_(*node_, kBurst), random_(seed) {
    for (uint16_t i = 0; i < 24; ++i) begin(i);
  }

  void run() {
    for (int round = 0; round < 40 && !testing::Test::HasFailure(); ++round) {
      const bool forth = round % 2 == 0;
      std::vector<Frame> frames;
      std::vector<size_t> whose;
      const uint32_t n = 1 + random_.below(kBurst);
      while (frames.size() < n) {
        const uint32_t i = random_.below(static_cast<uint32_t>(talks_.size()));
        if (!forth && !talks_[i].back) {
          if (random_.below(20) == 0) break;  // nobody may have got anything
          continue;
        }
        frames.push_back(speak(talks_[i], forth));
        whose.push_back(i);
      }
      now_ += std::chrono::milliseconds(200);
      const InterfaceId at = forth ? kInside : kOutside;
      const auto a = single_.process(at, frames, now_), b = bursts_.process(at, frames, now_);
      for (size_t i = 0; i < frames.size(); ++i) {
        ASSERT_EQ(a[i], b[i]) << "round " << round << ", " << i << ": " << show(frames[i]);
        if (forth) learn(talks_[whose[i]]);
      }
      ASSERT_EQ(single_.state(), bursts_.state()) << "round " << round;
    }
  }
  [[nodiscard]] uint64_t fast() const { return bursts_.fast(); }

 private:
  void begin(uint16_t number) {
    Dialogue t;
    t.tcp = random_.below(3) != 0;
    Datagram& d = t.forth;
    d.af = random_.below(8) == 0 ? Af::inet6 : Af::inet;
    d.src = parse_ip(d.af == Af::inet ? "10.0.0.7" : "fd00:a::7")->addr;
    d.dst = parse_ip(d.af == Af::inet ? "198.51.100.7" : "2001:db8:c::7")->addr;
    d.proto = t.tcp ? kProtoTcp : kProtoUdp;
    d.l4.resize(t.tcp ? kTcpHeader : kUdpHeader);
    d.set_word(0, static_cast<uint16_t>(20000 + number));
    d.set_word(2, random_.below(10) == 0 ? 7 : 80);
    talks_.push_back(t);
  }

  // Answers are sent to where the rules sent the question: the test knows the rulesets.
  void learn(Dialogue& t) {
    if (t.back) return;
    Datagram d = t.forth;
    std::swap(d.src, d.dst);
    d.set_word(0, t.forth.word(2));
    d.set_word(2, t.forth.word(0));
    t.back = d;
  }

  Frame speak(Dialogue& t, bool forth) {
    Datagram d = forth ? t.forth : *t.back;
    const size_t length = random_.below(3) == 0 ? random_.below(300) : 0;
    if (t.tcp) {
      const unsigned end = forth ? 0 : 1;
      uint8_t flags = kTcpAck;
      if (random_.below(40) == 0) flags = random_.below(2) == 0 ? kTcpRst : kTcpFin | kTcpAck;
      if (t.steps < 2) flags = forth ? kTcpSyn : kTcpSyn | kTcpAck;
      ++t.steps;
      d.set_number(4, t.sent[end] + (random_.below(30) == 0 ? random_.next32() : 0));
      d.set_number(8, (flags & kTcpAck) != 0 ? t.sent[1 - end] : 0);
      d.l4[12] = 0x50;
      d.l4[13] = flags;
      d.set_word(14, static_cast<uint16_t>(1000 + random_.below(60000)));
      t.sent[end] += (flags & kTcpSyn) != 0 ? 1 : static_cast<uint32_t>(length);
    } else {
      d.set_word(4, static_cast<uint16_t>(8 + length));
    }
    d.l4.resize(d.l4.size() + length, 0x61);
    if (random_.below(40) == 0) d.ttl = 1;
    put_sum(d);
    Frame f = frame_of(d, random_.below(50) == 0 ? kBroadcastMac : node_->interface_mac(forth ? kInside : kOutside));
    if (f.size() < 60) f.resize(60);
    if (random_.below(40) == 0) f[14 + random_.below(20)] ^= 1;
    return f;
  }

  std::unique_ptr<scenario::Node> node_;
  Half single_, bursts_;
  Random random_;
  std::vector<Dialogue> talks_;
  Time now_{std::chrono::seconds(1000)};
};

TEST(BurstsProperty, ABurstIsWorthWhatItsPacketsAreOneByOne) {
  uint64_t fast = 0;
  for (uint64_t seed = 1; seed <= test::rounds(160) && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Talks talks(seed, kCertainRules[seed % std::size(kCertainRules)]);
    talks.run();
    fast += talks.fast();
  }
  EXPECT_GE(fast, test::often(20000));
}

}  // namespace
}  // namespace twinwall::test
