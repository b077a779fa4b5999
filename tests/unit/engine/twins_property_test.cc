// Long conversations through a node with the short ways and one without, packet by packet: what comes out, what is
// counted, what is told to a peer and what the states hold is the same, however twins are joined and parted meanwhile.
#include <gtest/gtest.h>

#include <algorithm>

#include "lib/net/headers.h"
#include "tests/unit/engine/random_network.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

constexpr const char* kRulesets[] = {
    "pass keep state\n",
    "set state-policy if-bound\npass keep state\n",
    "match out on out0 inet from any to any nat-to 192.0.2.2\nmatch in on in0 tag seen\npass keep state\n",
    "pass in\npass out\npass out on out0 inet from any to any nat-to 192.0.2.2\n",
    "pass in keep state (no-sync)\npass out inet nat-to 192.0.2.2\npass out inet6\n",
    "pass in on in0 inet proto tcp from any to 198.51.100.7 rdr-to 198.51.100.9\npass keep state (sloppy)\npass out\n",
    "match proto udp\nmatch in proto tcp\nanchor \"a\" in {\n  pass keep state\n}\npass out keep state\n",
};

// One conversation, as its ends see it.
struct Talk {
  bool tcp = false;
  Datagram forth, back;  // what the ends send, without numbers; `back` once the first packet has come through
  InterfaceId there = kNoInterface;
  uint32_t sent[2] = {1000, 50000};  // next numbers of client and server
  unsigned shift = 0;
  bool open = false;
};

class Pair {
 public:
  Pair(const std::string& rules, bool sync) : nodes_{make_node(rules, true, sync), make_node(rules, false, sync)} {}

  // What came out of both, which is the same.
  std::vector<scenario::Outcome::Output> inject(InterfaceId at, const Frame& frame) {
    const auto a = nodes_[0]->inject(at, frame), b = nodes_[1]->inject(at, frame);
    EXPECT_EQ(a.drops, b.drops) << show(frame);
    EXPECT_EQ(a.outputs.size(), b.outputs.size()) << show(frame);
    for (size_t i = 0; i < std::min(a.outputs.size(), b.outputs.size()); ++i) {
      EXPECT_EQ(a.outputs[i].interface, b.outputs[i].interface);
      EXPECT_EQ(a.outputs[i].frame, b.outputs[i].frame) << show(a.outputs[i].frame) << "\n" << show(b.outputs[i].frame);
    }
    return a.outputs;
  }
  void advance(Duration by) { EXPECT_EQ(told(*nodes_[0], by), told(*nodes_[1], by)); }
  void kill(const StateFilter& filter) { EXPECT_EQ(nodes_[0]->kill(filter), nodes_[1]->kill(filter)); }

  void compare() {
    const auto a = nodes_[0]->states(), b = nodes_[1]->states();
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(text(*a[i]), text(*b[i]));
    const EngineCounters &ca = nodes_[0]->engine().counters(), &cb = nodes_[1]->engine().counters();
    for (const Rule& r : nodes_[0]->snapshot().rules.rules)
      for (const size_t d : {0u, 1u}) {
        EXPECT_EQ(ca.rules[r.slot].packets[d].get(), cb.rules[r.slot].packets[d].get()) << "rule " << r.number;
        EXPECT_EQ(ca.rules[r.slot].bytes[d].get(), cb.rules[r.slot].bytes[d].get()) << "rule " << r.number;
      }
    for (InterfaceId i = 1; i <= kNetworks; ++i)
      for (const size_t d : {0u, 1u})
        for (const size_t af : {0u, 1u})
          EXPECT_EQ(ca.interfaces[i].hook[d][af][0].bytes.get(), cb.interfaces[i].hook[d][af][0].bytes.get());
    EXPECT_EQ(ca.forwarded.get(), cb.forwarded.get());
    EXPECT_EQ(ca.punted.get(), cb.punted.get());
    EXPECT_EQ(nodes_[0]->table().counters(0).searches.get(), nodes_[1]->table().counters(0).searches.get());
  }

  // How often a state stood for two in the table as it is now, before anybody looks.
  [[nodiscard]] unsigned twins() { return static_cast<unsigned>(nodes_[0]->engine().twins()); }
  [[nodiscard]] scenario::Node& node() { return *nodes_[0]; }

 private:
  static std::string text(const State& s) {
    std::string out =
        std::to_string(s.id) + " " + std::to_string(s.last_update) + " " + std::to_string(static_cast<int>(s.timeout));
    for (const Peer* p : {&s.src, &s.dst})
      for (const uint32_t n : {p->seqlo, p->seqhi, uint32_t{p->max_win}, uint32_t{p->level}, uint32_t{p->wscale}})
        out += " " + std::to_string(n);
    for (const unsigned slot : {0u, 1u})
      out += " " + std::to_string(s.packets(slot)) + " " + std::to_string(s.bytes(slot));
    return out;
  }
  static std::vector<std::string> told(scenario::Node& node, Duration by) {
    std::vector<std::string> out;
    for (const Delta& d : node.advance(by).deltas) {
      const auto& r = d.record;
      if (d.action == SyncQueue::del_c) {  // nothing else is said of what is gone
        out.push_back("gone " + std::to_string(r.id));
        continue;
      }
      std::string text = std::to_string(static_cast<int>(d.action)) + " " + std::to_string(r.id) + " " +
                         std::to_string(r.src.seqlo) + " " + std::to_string(r.dst.seqhi) + " " +
                         std::to_string(r.expire);
      if (d.bytes() == sizeof d) text += " " + std::to_string(r.packets[0]) + " " + std::to_string(r.bytes[1]);
      out.push_back(text);
    }
    std::sort(out.begin(), out.end());  // which of a connection's states goes first means nothing
    return out;
  }

  std::unique_ptr<scenario::Node> nodes_[2];
};

class LongTalks {
 public:
  LongTalks(uint64_t seed, const std::string& rules) : pair_(rules, seed % 2 == 0), random_(seed) {}

  unsigned run() {
    unsigned twins = 0;
    for (int step = 0; step < 400 && !testing::Test::HasFailure(); ++step) {
      const uint32_t what = random_.below(100);
      if (talks_.empty() || (what < 4 && talks_.size() < 6)) {
        begin();
      } else if (what < 88) {
        for (uint32_t n = 1 + random_.below(8); n > 0; --n) speak(any());
      } else if (what < 92) {
        pair_.advance(random_.below(3) == 0 ? Duration(std::chrono::seconds(1 + random_.below(40))) : Duration(300ms));
      } else if (what < 95) {
        disturb(any());
      } else if (what < 97) {
        pair_.compare();
      } else {
        StateFilter filter;
        filter.port = any().forth.word(0);
        if (random_.below(3) == 0) pair_.kill(filter);
      }
      twins += pair_.twins();
    }
    pair_.compare();
    return twins;
  }

 private:
  Talk& any() { return talks_[random_.below(static_cast<uint32_t>(talks_.size()))]; }

  void begin() {
    Talk t;
    t.tcp = random_.below(2) == 0;
    Datagram& d = t.forth;
    d.af = random_.below(3) == 0 ? Af::inet6 : Af::inet;
    d.src = parse_ip(d.af == Af::inet ? "10.0.0.7" : "fd00:a::7")->addr;
    d.dst = parse_ip(d.af == Af::inet ? "198.51.100.7" : "2001:db8:c::7")->addr;
    d.proto = t.tcp ? kProtoTcp : kProtoUdp;
    d.l4.resize(t.tcp ? kTcpHeader : kUdpHeader);
    d.set_word(0, next_port_++);
    d.set_word(2, 80);
    t.shift = random_.below(8);
    if (!t.tcp) {
      (void)send(t, true, 0, 0, 0);
    } else {
      (void)send(t, true, kTcpSyn, 0, 0);
      ++t.sent[0];
      if (t.there != kNoInterface) (void)send(t, false, kTcpSyn | kTcpAck, 0, 0);
      ++t.sent[1];
      (void)send(t, true, kTcpAck, 0, 0);
    }
    if (t.there != kNoInterface) talks_.push_back(t);
  }

  // Learns where the first packet comes out, and as what.
  bool send(Talk& t, bool forth, uint8_t flags, size_t length, int32_t off, std::optional<Mac> to = {}) {
    Datagram d = forth ? t.forth : t.back;
    if (t.tcp) {
      const bool syn = (flags & kTcpSyn) != 0;
      d.set_number(4, t.sent[forth ? 0 : 1] + static_cast<uint32_t>(off));
      d.set_number(8, (flags & kTcpAck) != 0 ? t.sent[forth ? 1 : 0] : 0);
      d.l4[12] = syn ? 0x60 : 0x50;
      d.l4[13] = flags;
      d.set_word(14, static_cast<uint16_t>(1000 + random_.below(60000)));
      if (syn) d.l4.insert(d.l4.end(), {1, 3, 3, static_cast<uint8_t>(t.shift)});
    } else {
      d.set_word(4, static_cast<uint16_t>(8 + length));
    }
    d.l4.resize(d.l4.size() + length, 0x61);
    put_sum(d);
    if (!t.tcp && d.af == Af::inet && random_.below(4) == 0) d.set_word(6, 0);  // sent without a checksum
    const InterfaceId at = forth ? kInside : t.there;
    const auto out = pair_.inject(at, frame_of(d, to.value_or(pair_.node().interface_mac(at))));
    if (forth && t.there == kNoInterface && out.size() == 1) {
      const auto seen = read(out[0].frame);
      t.there = out[0].interface;
      t.back = t.forth;
      t.back.src = seen->dst;
      t.back.dst = seen->src;
      t.back.set_word(0, seen->word(2));
      t.back.set_word(2, seen->word(0));
    }
    return !out.empty();
  }

  void speak(Talk& t) {
    const bool forth = random_.below(2) == 0;
    const size_t length = random_.below(4) == 0 ? 0 : random_.below(700);
    if (send(t, forth, kTcpAck, length, 0) && t.tcp) t.sent[forth ? 0 : 1] += static_cast<uint32_t>(length);
  }

  void disturb(Talk& t) {
    const bool forth = random_.below(2) == 0;
    switch (random_.below(6)) {
      case 0: (void)send(t, forth, kTcpAck, 10, static_cast<int32_t>(random_.next32())); break;
      case 1: (void)send(t, forth, kTcpAck, 100, -2000); break;
      case 2: (void)send(t, forth, kTcpSyn, 0, 77); break;
      case 3: (void)send(t, forth, kTcpFin | kTcpAck, 0, 0); break;
      case 4: (void)send(t, forth, kTcpRst, 0, 0); break;
      case 5: (void)send(t, forth, kTcpAck, 10, 0, kBroadcastMac); break;
    }
  }

  Pair pair_;
  Random random_;
  std::vector<Talk> talks_;
  uint16_t next_port_ = 20000;
};

TEST(TwinsProperty, NobodyCanTellThatTheyAre) {
  unsigned twins = 0;
  for (uint64_t seed = 1; seed <= test::rounds(60) && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    twins += LongTalks(seed, kRulesets[seed / 2 % std::size(kRulesets)]).run();
  }
  EXPECT_GE(twins, test::often(2000));
}

}  // namespace
}  // namespace twinwall::test
