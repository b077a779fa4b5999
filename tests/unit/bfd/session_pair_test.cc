// Two sessions on a bad link: packets are lost, delayed past each other and doubled, at random and repeatably; what
// must hold whatever the link does, and what must hold once it is good again.
#include <gtest/gtest.h>

#include <optional>
#include <queue>

#include "lib/bfd/auth.h"
#include "lib/bfd/session.h"

namespace twinwall::bfd {
namespace {

struct Link {
  unsigned loss = 0, doubling = 0;  // percent
  Duration delay_max = 1ms;
  bool cut = false;
  int deaf = -1;  // what is sent to this end is lost
};

using LinkBytes = std::array<uint8_t, kPacketMax>;

AuthKey link_key() {
  AuthKey k;
  k.secret = {'s', 'e', 'c', 'r', 'e', 't'};
  return k;
}

struct End {
  End(Time now, const SessionConfig& c, uint32_t discriminator, uint64_t seed)
      : session(now, c, discriminator, seed), auth(link_key(), static_cast<uint32_t>(seed * 77777)) {}
  Session session;
  Authenticator auth;
  Time last_sent{};
  Duration allowed{};  // the least gap since then
  bool sent_any = false;
};

class BfdPair : public testing::TestWithParam<unsigned> {
 protected:
  struct InFlight {
    Time at;
    uint64_t order;
    int to;
    LinkBytes wire;
    friend bool operator>(const InFlight& a, const InFlight& b) {
      return a.at != b.at ? a.at > b.at : a.order > b.order;
    }
  };

  BfdPair() : random(GetParam()) {
    for (int i = 0; i < 2; ++i)
      ends[i].emplace(now, SessionConfig{random_interval(), static_cast<uint8_t>(2 + random.below(4))},
                      1 + random.next32() / 2, random.next());
  }

  Duration random_interval() { return std::chrono::milliseconds(10 + random.below(200)); }

  void transmit(int from, bool final, bool urgent) {
    End& e = *ends[from];
    // Periodic packets keep their distance whatever was received.
    if (!urgent && e.sent_any) {
      ASSERT_GE(now - e.last_sent, e.allowed * 3 / 4 - 1us);
    }
    Packet p = e.session.next_packet(now, final).packet;
    ASSERT_FALSE(p.poll && p.final);
    ASSERT_NE(p.my_discriminator, 0u);
    if (p.state != State::up) {
      ASSERT_GE(p.desired_min_tx, 1'000'000u) << "slow unless Up";
    }
    e.last_sent = now;
    e.sent_any = true;
    e.allowed = e.session.transmit_interval();
    p.authenticated = true;
    p.length = kPacketMax;
    LinkBytes wire;
    ASSERT_TRUE(build(p, wire));
    ASSERT_TRUE(e.auth.sign(wire, true));
    if (link.cut || link.deaf == 1 - from || random.below(100) < link.loss) return;
    const unsigned copies = random.below(100) < link.doubling ? 2 : 1;
    for (unsigned i = 0; i < copies; ++i) {
      const Duration delay = 10us + Duration(random.below(static_cast<uint32_t>(link.delay_max.count())));
      wires.push({now + delay, order++, 1 - from, wire});
    }
  }

  void carry_out(int end, const Actions& a, bool urgent) {
    if (a.changed) {
      ++changes[end];
      if (a.from == State::up) ++losses;
    }
    if (a.send) transmit(end, a.final, urgent || a.changed);
    End& e = *ends[end];
    e.allowed = std::min(e.allowed, e.session.transmit_interval());  // a shorter one is honoured at once
  }

  void arrive(const InFlight& f) {
    End& e = *ends[f.to];
    Packet p;
    ASSERT_EQ(parse(f.wire, p), Verdict::accept);
    if (p.your_discriminator != 0 && p.your_discriminator != e.session.discriminator()) return;
    if (e.auth.check(f.wire, p) != Verdict::accept) return;  // overtaken or doubled
    carry_out(f.to, e.session.receive(now, p), true);
  }

  void run(Duration d) {
    const Time end = now + d;
    for (;;) {
      Time next = std::min(ends[0]->session.next_deadline(), ends[1]->session.next_deadline());
      if (!wires.empty()) next = std::min(next, wires.top().at);
      if (next > end) break;
      ASSERT_GE(next, now) << "nothing is left undone in the past";
      now = next;
      while (!wires.empty() && wires.top().at <= now) {
        const InFlight f = wires.top();
        wires.pop();
        arrive(f);
      }
      for (int i = 0; i < 2; ++i)
        if (ends[i]->session.next_deadline() <= now) carry_out(i, ends[i]->session.deadline(now), false);
      if (HasFatalFailure()) return;
    }
    now = end;
  }

  [[nodiscard]] bool both(State state) const {
    return ends[0]->session.state() == state && ends[1]->session.state() == state;
  }
  [[nodiscard]] Duration longest_detection() const {
    return std::max(ends[0]->session.detection_time(), ends[1]->session.detection_time());
  }
  // A session that was restarted is unknown to the peer's sequence numbers for twice the detection time.
  void expect_up_soon() {
    run(10s);
    EXPECT_TRUE(both(State::up));
    for (int i = 0; i < 2; ++i) {
      const Session& mine = ends[i]->session;
      const Session& other = ends[1 - i]->session;
      EXPECT_FALSE(mine.polling()) << "the poll was answered";
      EXPECT_EQ(mine.remote().discriminator, other.discriminator());
      const Duration slower = std::max(mine.config().interval, other.config().interval);
      EXPECT_EQ(mine.transmit_interval(), slower);
      EXPECT_EQ(mine.detection_time(), other.config().multiplier * slower);
    }
  }

  Time now{std::chrono::hours(2)};
  Random random;
  std::optional<End> ends[2];
  Link link;
  std::priority_queue<InFlight, std::vector<InFlight>, std::greater<>> wires;
  uint64_t order = 0;
  uint64_t losses = 0;
  uint64_t changes[2] = {0, 0};
};

TEST_P(BfdPair, GoodLinkComesUpOnceAndStays) {
  expect_up_soon();
  run(120s);
  EXPECT_TRUE(both(State::up));
  EXPECT_EQ(losses, 0u);
  EXPECT_LE(changes[0] + changes[1], 4u);
}

TEST_P(BfdPair, CutIsNoticedWithinTheDetectionTimeAndNotBefore) {
  expect_up_soon();
  const Duration detection[2] = {ends[0]->session.detection_time(), ends[1]->session.detection_time()};
  link.cut = true;
  const Duration interval = std::max(ends[0]->session.transmit_interval(), ends[1]->session.transmit_interval());
  run(std::min(detection[0], detection[1]) - interval - 2ms);
  EXPECT_EQ(losses, 0u) << "the last packet was at most one interval old";
  run(interval + std::max(detection[0], detection[1]) - std::min(detection[0], detection[1]) + 5ms);
  EXPECT_TRUE(both(State::down));
  EXPECT_EQ(losses, 2u);
  EXPECT_EQ(ends[0]->session.diag(), Diag::detection_time_expired);
  run(10s);
  EXPECT_TRUE(both(State::down));
  link.cut = false;
  for (auto& end : ends) end->auth.forget();
  expect_up_soon();
}

TEST_P(BfdPair, OneWayLinkLeavesNoEndUp) {
  expect_up_soon();
  // End 1 notices by silence and tells; end 0 follows.
  link.deaf = 1;
  run(20s);
  EXPECT_NE(ends[0]->session.state(), State::up);
  EXPECT_NE(ends[1]->session.state(), State::up);
  link.deaf = -1;
  for (auto& end : ends) end->auth.forget();
  expect_up_soon();
}

TEST_P(BfdPair, BadLinkBreaksNothingForGood) {
  for (int round = 0; round < 6; ++round) {
    link = {random.below(60), random.below(40), std::chrono::milliseconds(1 + random.below(150)), random.below(5) == 0};
    run(std::chrono::milliseconds(500 + random.below(5000)));
    const int who = static_cast<int>(random.below(2));
    End& e = *ends[who];
    if (random.below(3) == 0)
      carry_out(who, e.session.configure(now, {random_interval(), static_cast<uint8_t>(2 + random.below(4))}), false);
    if (random.below(4) == 0) carry_out(who, e.session.link_down(now), true);
    if (random.below(6) == 0)  // a restart: another discriminator, other numbers
      e = End(now, e.session.config(), e.session.discriminator() + 1, random.next());
    if (HasFatalFailure()) return;
    // As whoever runs the sessions does after twice the detection time.
    if (link.cut)
      for (auto& end : ends) end->auth.forget();
  }
  link = {};
  for (auto& end : ends) end->auth.forget();
  run(longest_detection());
  for (auto& end : ends) end->auth.forget();
  expect_up_soon();
}

TEST_P(BfdPair, AdminDownIsHeardAndIsFinal) {
  expect_up_soon();
  carry_out(0, ends[0]->session.shut_down(now, Diag::administratively_down), true);
  run(5ms);
  EXPECT_EQ(ends[1]->session.state(), State::down);
  EXPECT_EQ(ends[1]->session.diag(), Diag::neighbor_signaled_down);
  EXPECT_EQ(ends[1]->session.remote().state, State::admin_down);
  run(20s);
  EXPECT_EQ(ends[0]->session.state(), State::admin_down);
  EXPECT_EQ(ends[1]->session.state(), State::down);
  EXPECT_EQ(losses, 2u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BfdPair, testing::Range(1u, 41u));

}  // namespace
}  // namespace twinwall::bfd
