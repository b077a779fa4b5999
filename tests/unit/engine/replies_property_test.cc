// Random connections through random rulesets: what a state passed is answered, whoever translated it on the way. The
// answer and the ICMP errors about it arrive in the addresses, ports and numbers that their receiver knows.
#include <gtest/gtest.h>

#include <array>

#include "lib/net/headers.h"
#include "lib/scenario/packet_spec.h"
#include "tests/unit/engine/random_network.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

struct SeenReplies {
  unsigned passed = 0, translated = 0, crossed = 0, errors = 0, echoes = 0, handshakes = 0, run_out = 0, large = 0;
};

// The key of the state that passed a packet, as the wire of that interface shows it.
FlowKey wire_key(const Datagram& d, Direction dir) {
  FlowKey k;
  const unsigned s = dir == Direction::in ? 0 : 1;
  k.af = d.af;
  k.proto = d.proto;
  k.addr[s] = d.src;
  k.addr[1 - s] = d.dst;
  if (d.has_ports()) {
    k.port[s] = bswap(d.word(0));
    k.port[1 - s] = bswap(d.word(2));
  } else if (d.is_echo()) {
    k.port[s] = bswap(d.word(4));
    k.port[1 - s] = bswap(uint16_t{d.l4[0]});
  }
  return k;
}

class World {
 public:
  World(uint64_t seed, SeenReplies& seen) : seed_(seed), traffic_(seed * 7919), seen_(seen) {
    rules_ = RandomRules(seed, {.proxies = false}).ruleset();
    node_ = make_node(rules_);
  }
  [[nodiscard]] bool ready() const { return node_ != nullptr; }

  // One connection: opened, opened again, answered, complained about from both ends.
  void connection() {
    Opening o = traffic_.opening();
    const bool large = o.packet.proto != kProtoTcp && traffic_.random().below(6) == 0;
    if (large) enlarge(o.packet);
    last_.clear();
    const auto out = send(o.at, o.packet);
    if (!out) return;
    const auto there = read(out->frame);
    // A reset or an error of the node's own is no packet that passed.
    if (!there || there->src == o.packet.dst || !held(o.at, o.packet, out->interface, *there)) return;
    ++seen_.passed;
    seen_.translated += there->src != o.packet.src || there->dst != o.packet.dst ? 1 : 0;
    seen_.crossed += there->af != o.packet.af ? 1 : 0;
    seen_.large += large ? 1 : 0;
    seen_.echoes += o.packet.is_echo() ? 1 : 0;
    expect_same_words(o.packet, *there);

    const auto again = send(o.at, o.packet);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->interface, out->interface);
    expect_same_ends(*there, *read(again->frame));

    Datagram answer = answer_to(*there, traffic_.payload(300));
    if (large) enlarge(answer);
    const auto back = send(out->interface, answer);
    ASSERT_TRUE(back) << "no answer";
    EXPECT_EQ(back->interface, o.at);
    const auto here = read(back->frame);
    ASSERT_TRUE(here);
    expect_same_ends(answer_to(o.packet, {}), *here);
    expect_same_words(answer, *here);
    if (here->proto == kProtoTcp) {
      ++seen_.handshakes;
      EXPECT_EQ(here->number(8), o.packet.number(4) + 1);
    }
    run_out(o.at, o.packet);
    run_out(out->interface, answer);
    complain(out->interface, out->frame, o.at, o.packet);
    complain(o.at, back->frame, out->interface, answer);
  }

  [[nodiscard]] std::string story() const {
    std::string out = "seed " + std::to_string(seed_) + "\n" + rules_;
    for (const auto& [what, frame] : last_) out += what + (frame.empty() ? "" : show(frame)) + "\n";
    return out + show_states(*node_);
  }

 private:
  struct Sent {
    InterfaceId interface;
    Frame frame;
  };

  // What came out, if it was one frame.
  std::optional<Sent> send(InterfaceId at, const Datagram& d) {
    const Frame frame = frame_of(d, node_->interface_mac(at));
    last_.emplace_back("in on " + std::to_string(at) + ": ", frame);
    std::array<std::vector<Frame>, kNetworks + 1> out;
    for (const Frame& piece : scenario::split_frame(frame, kPiece)) {
      const auto outcome = node_->inject(at, piece);
      for (const auto& o : outcome.outputs) {
        last_.emplace_back("  out on " + std::to_string(o.interface) + ": ", o.frame);
        EXPECT_EQ(wrong_parts(o.frame), 0u);
        out[o.interface].push_back(o.frame);
      }
      for (const DropReason r : outcome.drops) last_.emplace_back("  dropped: " + std::string(reason_name(r)), Frame());
    }
    std::optional<Sent> sent;
    for (InterfaceId i = 1; i <= kNetworks; ++i)
      for (const Frame& f : assembled(out[i])) {
        EXPECT_EQ(wrong_parts(f), 0u);
        if (sent) return {};
        sent = Sent{i, f};
      }
    return sent;
  }

  // Too large to go in one piece.
  void enlarge(Datagram& d) {
    const Frame more = traffic_.payload(2500);
    d.l4.insert(d.l4.end(), kPiece, 0x55);
    d.l4.insert(d.l4.end(), more.begin(), more.end());
    if (d.proto == kProtoUdp) d.set_word(4, static_cast<uint16_t>(d.l4.size()));
    d.df = false;
    d.id = ++datagrams_;
    put_sum(d);
  }

  // Did states pass it on both sides?
  bool held(InterfaceId in, const Datagram& before, InterfaceId out, const Datagram& after) {
    const State* const first = node_->table().find(wire_key(before, Direction::in), Side::wire, in);
    if (first == nullptr || first->direction != Direction::in) return false;
    if (before.af != after.af) return true;
    const State* const second = node_->table().find(wire_key(after, Direction::out), Side::wire, out);
    return second != nullptr && second->direction == Direction::out && !rivalled(*first, *second);
  }

  // Two connections between the same ends, one begun by each: what is said in the one may be taken for the other's.
  bool rivalled(const State& first, const State& second) {
    for (const State* s : node_->states()) {
      if (s == &first || s == &second) continue;
      for (const FlowKey* mine : {&first.stack, &second.stack})
        if (s->stack == *mine || s->wire == *mine) return true;
    }
    return false;
  }

  void expect_same_ends(const Datagram& want, const Datagram& got) {
    EXPECT_EQ(to_string(got.af, got.src), to_string(want.af, want.src));
    EXPECT_EQ(to_string(got.af, got.dst), to_string(want.af, want.dst));
    EXPECT_EQ(got.proto, want.proto);
    if (got.has_ports()) {
      EXPECT_EQ(got.word(0), want.word(0));
      EXPECT_EQ(got.word(2), want.word(2));
    }
    if (got.proto == kProtoIcmp || got.proto == kProtoIcmp6) {
      EXPECT_EQ(got.l4[0], want.l4[0]);
      EXPECT_EQ(got.word(4), want.word(4));
    }
  }

  void expect_same_words(const Datagram& before, const Datagram& after) {
    EXPECT_EQ(before.payload(), after.payload());
  }

  // An ICMP error about what a host got comes to who had sent it, and quotes what that one had sent.
  void complain(InterfaceId at, const Frame& got, InterfaceId to, const Datagram& sent) {
    const Datagram received = *read(got);
    const bool by_router = traffic_.random().below(2) == 1;
    const Address router = parse_ip(received.af == Af::inet ? "172.31.0.9" : "2001:db8:ff::9")->addr;
    const bool v4 = received.af == Af::inet;
    const uint8_t type = v4 ? kIcmpUnreachable : kIcmp6Unreachable, code = v4 ? 1 : 0;
    const size_t quoted = received.proto == kProtoGre ? traffic_.random().below(30) : 8 + traffic_.random().below(200);
    const Datagram error = icmp_error(got, by_router ? router : received.dst, type, code, quoted);
    const auto out = send(at, error);
    ASSERT_TRUE(out) << "the error is lost";
    ++seen_.errors;
    EXPECT_EQ(out->interface, to);
    const auto came = read(out->frame);
    ASSERT_TRUE(came);
    // Whoever speaks of a translated destination is hidden behind it, a router too.
    const bool hidden = received.af != sent.af || received.dst != sent.dst || !by_router;
    EXPECT_EQ(to_string(came->af, came->src), to_string(came->af, hidden ? sent.dst : router));
    expect_error_about(sent, *came);
  }

  // The same packet, but at the end of its life: the node itself complains.
  void run_out(InterfaceId at, Datagram d) {
    d.ttl = 1;
    const auto out = send(at, d);
    if (!out) return;  // what crosses families is told by the rules' leave
    const auto came = read(out->frame);
    // A rule may have given it more time.
    if (!came || (came->proto != kProtoIcmp && came->proto != kProtoIcmp6) || !quote_of(*came)) return;
    ++seen_.run_out;
    EXPECT_EQ(out->interface, at);
    expect_error_about(d, *came);
  }

  void expect_error_about(const Datagram& sent, const Datagram& came) {
    EXPECT_EQ(to_string(came.af, came.dst), to_string(sent.af, sent.src));
    const auto quote = quote_of(came);
    ASSERT_TRUE(quote);
    EXPECT_EQ(to_string(quote->af, quote->src), to_string(sent.af, sent.src));
    EXPECT_EQ(to_string(quote->af, quote->dst), to_string(sent.af, sent.dst));
    EXPECT_EQ(quote->proto, sent.proto);
    if (sent.has_ports()) {
      EXPECT_EQ(quote->number(0), sent.number(0)) << "ports";
    }
    if (sent.proto == kProtoTcp) {
      EXPECT_EQ(quote->number(4), sent.number(4)) << "sequence";
    }
    if (sent.is_echo()) {
      EXPECT_EQ(quote->l4[0], sent.l4[0]);
      EXPECT_EQ(quote->word(4), sent.word(4));
    }
  }

  static constexpr size_t kPiece = 1400;
  uint64_t seed_;
  uint16_t datagrams_ = 0;
  RandomTraffic traffic_;
  SeenReplies& seen_;
  std::string rules_;
  std::vector<std::pair<std::string, Frame>> last_;  // what happened to the connection
  std::unique_ptr<scenario::Node> node_;
};

TEST(RepliesProperty, WhatAStatePassedIsAnsweredInItsOwnAddresses) {
  SeenReplies seen;
  for (uint64_t seed = 1; seed <= test::rounds(160); ++seed) {
    World world(seed, seen);
    ASSERT_TRUE(world.ready());
    for (int i = 0; i < 40; ++i) {
      world.connection();
      ASSERT_FALSE(HasFailure()) << world.story();
    }
  }
  // The rulesets are such that all of it was exercised.
  EXPECT_GE(seen.passed, test::often(2000));
  EXPECT_GE(seen.translated, test::often(400));
  EXPECT_GE(seen.crossed, test::often(75));
  EXPECT_GE(seen.errors, test::often(4000));
  EXPECT_GE(seen.echoes, test::often(300));
  EXPECT_GE(seen.handshakes, test::often(600));
  EXPECT_GE(seen.run_out, test::often(2000));
  EXPECT_GE(seen.large, test::often(200));
}

}  // namespace
}  // namespace twinwall::test
