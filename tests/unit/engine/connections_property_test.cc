// Two honest TCP ends talk through random rulesets, over links that lose, repeat and disorder: whatever translates,
// modulates, proxies and scrubs between them, all that they say arrives, both close in peace, and the two states of the
// connection agree after every packet.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "lib/net/headers.h"
#include "tests/unit/engine/random_network.h"
#include "tests/unit/engine/tcp_end.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

struct SeenConnections {
  unsigned demanded = 0, done = 0, translated = 0, crossed = 0, proxied = 0, modulated = 0, compared = 0;
};

class Conversation {
 public:
  Conversation(scenario::Node& node, const Opening& o, uint64_t seed, bool bad_links, SeenConnections& seen)
      : node_(node), random_(seed), at_(o.at), bad_links_(bad_links), repeats_(bad_links), seen_(seen) {
    client_ = std::make_unique<TcpEnd>(
        TcpEnd::Names{o.packet.af, o.packet.src, o.packet.dst, o.packet.word(0), o.packet.word(2)}, random_.next(),
        random_.below(4000));
  }

  void run() {
    client_->connect();
    // The first packet is never lost: what becomes of it tells whether the rules let the connection be.
    collect();
    const bool bad_links = std::exchange(bad_links_, false);
    exchange();
    bad_links_ = bad_links;
    if (server_ == nullptr || !stateful()) return;
    ++seen_.demanded;
    seen_.translated +=
        client_->names().peer != server_->names().self || client_->names().self != server_->names().peer;
    seen_.crossed += client_->names().af != server_->names().af ? 1 : 0;
    seen_.proxied += proxied_ ? 1 : 0;
    for (int round = 0; round < 60 && !over() && complaint().empty(); ++round) {
      node_.advance(1s);
      client_->timeout(1000);
      server_->timeout(1000);
      exchange();
    }
    ASSERT_EQ(complaint(), "");
    ASSERT_FALSE(client_->reset() || server_->reset()) << "a reset";
    ASSERT_TRUE(over()) << "it never ends: client " << client_->done() << ", server " << server_->done();
    EXPECT_EQ(client_->sent(), server_->received());
    EXPECT_EQ(server_->sent(), client_->received());
    ++seen_.done;
  }

  [[nodiscard]] std::string story() const {
    std::string out;
    const size_t from = log_.size() > 60 ? log_.size() - 60 : 0;
    for (size_t i = from; i < log_.size(); ++i)
      out += log_[i].first + (log_[i].second.empty() ? "" : show(log_[i].second)) + "\n";
    return out;
  }

 private:
  struct Flying {
    InterfaceId on;
    Frame frame;
  };

  [[nodiscard]] std::string complaint() const {
    if (!complaint_.empty()) return complaint_;
    if (!client_->complaint().empty()) return "the client says: " + client_->complaint();
    return server_ != nullptr && !server_->complaint().empty() ? "the server says: " + server_->complaint() : "";
  }
  [[nodiscard]] bool over() const { return client_->done() && server_ != nullptr && server_->done(); }

  // What the ends have to say goes on its way.
  void collect() {
    const auto take = [&](TcpEnd& end, InterfaceId on) {
      for (const Datagram& d : end.outbox) {
        if (bad_links_ && random_.below(12) == 0) continue;
        flying_.push_back({on, frame_of(d, node_.interface_mac(on))});
        if (bad_links_ && random_.below(12) == 0) flying_.push_back(flying_.back());
        if (bad_links_ && random_.below(6) == 0 && flying_.size() > 1)
          std::swap(flying_.back(), flying_[random_.below(static_cast<uint32_t>(flying_.size()))]);
      }
      end.outbox.clear();
    };
    take(*client_, at_);
    if (server_ != nullptr) take(*server_, server_at_);
  }

  // Until all are silent.
  void exchange() {
    for (int n = 0; n < 400 && complaint().empty(); ++n) {
      collect();
      if (flying_.empty()) return;
      const Flying next = flying_.front();
      flying_.pop_front();
      log_.emplace_back("in on " + std::to_string(next.on) + ": ", next.frame);
      const auto outcome = node_.inject(next.on, next.frame);
      for (const DropReason r : outcome.drops) log_.emplace_back("  dropped: " + std::string(reason_name(r)), Frame());
      for (InterfaceId on = 1; on <= kNetworks; ++on) {
        std::vector<Frame> frames;
        for (const auto& o : outcome.outputs)
          if (o.interface == on) frames.push_back(o.frame);
        for (const Frame& f : frames) EXPECT_EQ(wrong_parts(f), 0u);
        for (const Frame& f : assembled(frames)) deliver(on, f);
      }
      compare_states();
    }
    flying_.clear();
  }

  void deliver(InterfaceId on, const Frame& frame) {
    log_.emplace_back("  out on " + std::to_string(on) + ": ", frame);
    EXPECT_EQ(wrong_parts(frame), 0u);
    const auto d = read(frame);
    if (!d || d->proto != kProtoTcp) {
      if (server_ != nullptr && stateful()) complaint_ = "something else came out";
      return;
    }
    const auto is_for = [&](const TcpEnd& end, InterfaceId where) {
      const TcpEnd::Names& n = end.names();
      return on == where && d->af == n.af && d->dst == n.self && d->src == n.peer && d->word(2) == n.port &&
             d->word(0) == n.peer_port;
    };
    if (bad_links_ && random_.below(12) == 0) return;
    if (is_for(*client_, at_)) {
      proxied_ = proxied_ || server_ == nullptr;
      return client_->take(*d);
    }
    if (server_ == nullptr && (d->l4[13] & (kTcpSyn | kTcpAck)) == kTcpSyn) {
      server_at_ = on;
      server_ = std::make_unique<TcpEnd>(TcpEnd::Names{d->af, d->dst, d->src, d->word(2), d->word(0)}, random_.next(),
                                         random_.below(4000));
    }
    if (server_ != nullptr && is_for(*server_, server_at_)) return server_->take(*d);
    complaint_ = "a packet for nobody";
  }

  [[nodiscard]] const State* state_of(const TcpEnd::Names& n, InterfaceId on, Direction dir) const {
    FlowKey k;
    k.af = n.af;
    k.proto = kProtoTcp;
    k.addr[0] = n.self;
    k.port[0] = bswap(n.port);
    k.addr[1] = n.peer;
    k.port[1] = bswap(n.peer_port);
    const State* const s = node_.table().find(k, Side::wire, on);
    return s != nullptr && s->direction == dir ? s : nullptr;
  }
  [[nodiscard]] const State* first() const { return state_of(client_->names(), at_, Direction::in); }
  [[nodiscard]] const State* second() const { return state_of(server_->names(), server_at_, Direction::out); }
  [[nodiscard]] bool stateful() const {
    if (first() == nullptr) return false;
    return client_->names().af != server_->names().af || second() != nullptr;
  }

  // The states of the two hooks have seen the same packets.
  void compare_states() {
    if (server_ == nullptr || !complaint().empty()) return;
    const State* const in = first();
    const State* const out = client_->names().af == server_->names().af ? second() : nullptr;
    if (in == nullptr || out == nullptr || ((in->flags | out->flags) & kStateSloppy) != 0) return;
    if (in->src.level >= kTcpProxySrc) return;
    ++seen_.compared;
    seen_.modulated += in->src.seqdiff != 0 && in->src.seqlo != 0 && !proxied_ ? 1 : 0;
    const auto differ = [&](const std::string& what, uint64_t a, uint64_t b) {
      if (a != b) complaint_ = "the states disagree on " + what + ": " + std::to_string(a) + ", " + std::to_string(b);
    };
    differ("the client's level", in->src.level, out->src.level);
    differ("the server's level", in->dst.level, out->dst.level);
    // A proxy has spoken with the server for itself.
    if (proxied_) return;
    differ("the time", in->last_update, out->last_update);
    differ("the timeout", static_cast<uint64_t>(in->timeout), static_cast<uint64_t>(out->timeout));
    differ("packets", in->packets(0), out->packets(0));
    differ("answers", in->packets(1), out->packets(1));
    // Each is in the numbers of the end that it is nearer to.
    differ("the client's place", in->src.seqlo + in->src.seqdiff, out->src.seqlo);
    differ("the client's room", in->src.seqhi + in->src.seqdiff, out->src.seqhi);
    differ("the client's window", in->src.max_win, out->src.max_win);
    differ("the client's scale", in->src.wscale, out->src.wscale);
    differ("the server's window", in->dst.max_win, out->dst.max_win);
    differ("the server's scale", in->dst.wscale, out->dst.wscale);
    if (in->dst.seqlo == 0) return;
    differ("the server's place", in->dst.seqlo, out->dst.seqlo + out->dst.seqdiff);
    // As PF has it, a repeated SYN gives the silent server room from zero on, in either state's own numbers.
    if (repeats_ && out->dst.seqdiff != 0) return;
    differ("the server's room", in->dst.seqhi, out->dst.seqhi + out->dst.seqdiff);
  }

  scenario::Node& node_;
  Random random_;
  InterfaceId at_, server_at_ = kNoInterface;
  bool bad_links_, repeats_;
  SeenConnections& seen_;
  std::unique_ptr<TcpEnd> client_, server_;
  std::deque<Flying> flying_;
  bool proxied_ = false;
  std::string complaint_;
  std::vector<std::pair<std::string, Frame>> log_;
};

void talk(bool bad_links, uint64_t first_seed, SeenConnections& seen) {
  for (uint64_t seed = first_seed; seed < first_seed + test::rounds(150); ++seed) {
    const std::string rules = RandomRules(seed, {}).ruleset();
    const auto node = make_node(rules);
    ASSERT_NE(node, nullptr);
    RandomTraffic traffic(seed * 104729);
    for (int i = 0; i < 12; ++i) {
      Conversation c(*node, traffic.opening(kProtoTcp), seed * 1000 + static_cast<uint64_t>(i), bad_links, seen);
      c.run();
      ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed << "." << i << "\n"
                                                  << rules << c.story() << show_states(*node);
    }
  }
}

// The rulesets are such that nothing was left out.
void expect_all_exercised(const SeenConnections& seen) {
  EXPECT_EQ(seen.done, seen.demanded);
  EXPECT_GE(seen.demanded, test::often(500));
  EXPECT_GE(seen.translated, test::often(100));
  EXPECT_GE(seen.crossed, test::often(20));
  EXPECT_GE(seen.proxied, test::often(75));
  EXPECT_GE(seen.modulated, test::often(125));
  EXPECT_GE(seen.compared, test::often(10000));
}

TEST(ConnectionsProperty, HonestEndsAlwaysGetThrough) {
  SeenConnections seen;
  talk(false, 1, seen);
  expect_all_exercised(seen);
}

TEST(ConnectionsProperty, HonestEndsGetThroughOverBadLinks) {
  SeenConnections seen;
  talk(true, 1001, seen);
  expect_all_exercised(seen);
}

}  // namespace
}  // namespace twinwall::test
