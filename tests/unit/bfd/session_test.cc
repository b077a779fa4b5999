// The machine: every transition, timers and their bounds, polls, and what an interval's change may do.
#include "lib/bfd/session.h"

#include <gtest/gtest.h>

namespace twinwall::bfd {
namespace {

constexpr SessionConfig kFast{50ms, 3};
constexpr uint32_t kOurs = 11, kTheirs = 22;

uint32_t us(Duration d) {
  return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(d).count());
}

class BfdSession : public testing::Test {
 protected:
  // What the peer says.
  Packet says(State state, Duration interval = 50ms, uint8_t multiplier = 3) const {
    Packet p;
    p.state = state;
    p.detect_multiplier = multiplier;
    p.length = kMandatoryLength;
    p.my_discriminator = kTheirs;
    p.your_discriminator = kOurs;
    p.desired_min_tx = p.required_min_rx = us(interval);
    return p;
  }
  Actions hear(const Packet& p) { return sent(s.receive(now, p)); }
  Actions hear(State state) { return hear(says(state)); }
  // Carries out what was asked for.
  Actions sent(const Actions& a) {
    if (a.send) last = s.next_packet(now, a.final).packet;
    return a;
  }
  Actions at(Time t) {
    now = t;
    return sent(s.deadline(now));
  }
  void reach(State state) {
    sent(s.deadline(now));
    if (state == State::down) return;
    hear(State::down);
    if (state == State::up) {
      hear(State::init);
      Packet f = says(State::up);
      f.final = true;
      hear(f);  // answers the poll that coming up begins
    }
    ASSERT_EQ(s.state(), state);
  }
  // The time of the next periodic packet, the peer being heard meanwhile.
  Duration next_gap(State peer) {
    const Time from = now;
    for (;;) {
      hear(peer);
      const Time due = std::min(s.next_deadline(), now + 20ms);
      if (at(due).send) return now - from;
    }
  }

  Time now{std::chrono::hours(1)};
  Session s{now, kFast, kOurs, 1};
  Packet last;
};

TEST_F(BfdSession, BeginsDownAndSpeaksAtOnce) {
  EXPECT_EQ(s.state(), State::down);
  EXPECT_EQ(s.next_deadline(), now);
  const Outgoing out = s.next_packet(now, false);
  EXPECT_TRUE(out.changed);
  EXPECT_EQ(out.packet, (Packet{.state = State::down,
                                .detect_multiplier = 3,
                                .length = 24,
                                .my_discriminator = kOurs,
                                .desired_min_tx = 1'000'000,
                                .required_min_rx = 50'000}));
  EXPECT_FALSE(s.next_packet(now, false).changed);
}

// RFC 5880 section 6.8.6: every state against every state received.
TEST_F(BfdSession, TransitionTable) {
  using S = State;
  struct Row {
    S own, heard, then;
    Diag diag;
  };
  const Row rows[] = {
      {S::down, S::admin_down, S::down, Diag::none},
      {S::down, S::down, S::init, Diag::none},
      {S::down, S::init, S::up, Diag::none},
      {S::down, S::up, S::down, Diag::none},
      {S::init, S::admin_down, S::down, Diag::neighbor_signaled_down},
      {S::init, S::down, S::init, Diag::none},
      {S::init, S::init, S::up, Diag::none},
      {S::init, S::up, S::up, Diag::none},
      {S::up, S::admin_down, S::down, Diag::neighbor_signaled_down},
      {S::up, S::down, S::down, Diag::neighbor_signaled_down},
      {S::up, S::init, S::up, Diag::none},
      {S::up, S::up, S::up, Diag::none},
  };
  for (const Row& r : rows) {
    s = Session(now, kFast, kOurs, 1);
    reach(r.own);
    const Actions a = hear(r.heard);
    EXPECT_EQ(s.state(), r.then) << to_string(r.own) << " hears " << to_string(r.heard);
    EXPECT_EQ(s.diag(), r.diag);
    EXPECT_EQ(a.changed, r.then != r.own);
    EXPECT_EQ(a.send, r.then != r.own) << "a change is told at once, nothing else is";
    if (a.changed) {
      EXPECT_EQ(a.from, r.own);
    }
  }
}

TEST_F(BfdSession, AdminDownHearsNothingAndGoesOnSayingSo) {
  reach(State::up);
  const Actions a = sent(s.shut_down(now, Diag::administratively_down));
  EXPECT_TRUE(a.changed && a.send);
  EXPECT_EQ(last.state, State::admin_down);
  EXPECT_EQ(last.diag, Diag::administratively_down);
  EXPECT_EQ(last.desired_min_tx, 1'000'000u);
  EXPECT_TRUE(s.shut_down(now, Diag::none).none()) << "only once";
  for (const State state : {State::admin_down, State::down, State::init, State::up}) EXPECT_TRUE(hear(state).none());
  EXPECT_EQ(s.state(), State::admin_down);
  const Duration gap = s.next_deadline() - now;
  EXPECT_GE(gap, 750ms);
  EXPECT_LE(gap, 1s);
  EXPECT_TRUE(at(s.next_deadline()).send);
  EXPECT_EQ(s.state(), State::admin_down);
}

TEST_F(BfdSession, DownIsSlowAndJittered) {
  reach(State::down);
  Duration least = 10s, most{};
  for (int i = 0; i < 500; ++i) {
    const Duration gap = s.next_deadline() - now;
    least = std::min(least, gap);
    most = std::max(most, gap);
    ASSERT_TRUE(at(s.next_deadline()).send);
  }
  EXPECT_GE(least, 750ms);
  EXPECT_LT(least, 800ms);
  EXPECT_LE(most, 1s);
  EXPECT_GT(most, 950ms);
}

TEST_F(BfdSession, UpIsFastAndJittered) {
  reach(State::up);
  EXPECT_EQ(s.transmit_interval(), 50ms);
  Duration least = 10s, most{};
  for (int i = 0; i < 500; ++i) {
    const Duration gap = next_gap(State::up);
    least = std::min(least, gap);
    most = std::max(most, gap);
  }
  EXPECT_GE(least, 37ms);
  EXPECT_LT(least, 40ms);
  EXPECT_LE(most, 50ms);
}

TEST_F(BfdSession, WithMultiplierOneTheIntervalIsNeverFull) {
  s = Session(now, {50ms, 1}, kOurs, 1);
  reach(State::up);
  for (int i = 0; i < 500; ++i) {
    const Duration gap = next_gap(State::up);
    ASSERT_GE(gap, 37ms);
    ASSERT_LE(gap, 45ms);
  }
}

TEST_F(BfdSession, SlowerOfBothIsTheInterval) {
  reach(State::up);
  hear(says(State::up, 200ms));
  EXPECT_EQ(s.transmit_interval(), 200ms);
  EXPECT_EQ(s.detection_time(), 600ms);
  hear(says(State::up, 10ms, 5));
  EXPECT_EQ(s.transmit_interval(), 50ms) << "honoured at once";
  EXPECT_LE(s.next_deadline(), now + 50ms);
  EXPECT_EQ(s.detection_time(), 250ms) << "the peer's multiplier, our interval";
}

TEST_F(BfdSession, PeerThatWantsNothingGetsNothing) {
  reach(State::up);
  Packet p = says(State::up);
  p.required_min_rx = 0;
  hear(p);
  EXPECT_EQ(s.transmit_interval(), Duration::zero());
  EXPECT_EQ(s.next_deadline(), now + 150ms) << "only the detection time runs";
  hear(State::up);
  EXPECT_LE(s.next_deadline(), now + 50ms);
}

TEST_F(BfdSession, PeerInDemandModeIsNotSentToWhileBothAreUp) {
  reach(State::up);
  Packet p = says(State::up);
  p.demand = true;
  hear(p);
  EXPECT_EQ(s.transmit_interval(), Duration::zero());
  sent(s.configure(now, {100ms, 3}));
  EXPECT_NE(s.transmit_interval(), Duration::zero()) << "a poll is sent all the same";
  p.state = State::down;
  EXPECT_TRUE(hear(p).send);
  EXPECT_EQ(s.transmit_interval(), 1s);
}

TEST_F(BfdSession, SilenceForTheDetectionTimeIsDown) {
  reach(State::up);
  hear(State::up);
  const Time due = now + 150ms;
  while (s.next_deadline() < due) ASSERT_FALSE(at(s.next_deadline()).changed);
  const Actions a = at(due);
  EXPECT_TRUE(a.changed && a.send);
  EXPECT_EQ(s.state(), State::down);
  EXPECT_EQ(s.diag(), Diag::detection_time_expired);
  EXPECT_EQ(last.state, State::down);
  EXPECT_EQ(last.diag, Diag::detection_time_expired);
  EXPECT_EQ(last.your_discriminator, 0u) << "the peer is unknown again";
  EXPECT_EQ(last.desired_min_tx, 1'000'000u);
  EXPECT_FALSE(last.poll);
  EXPECT_EQ(s.detection_time(), Duration::zero());
}

TEST_F(BfdSession, InitTimesOutToo) {
  reach(State::init);
  while (!at(s.next_deadline()).changed) ASSERT_EQ(s.state(), State::init);
  EXPECT_EQ(s.state(), State::down);
}

TEST_F(BfdSession, LateCallerWaitsOneIntervalMoreButNotTwo) {
  reach(State::up);
  hear(State::up);
  const Time heard = now;
  EXPECT_FALSE(at(heard + 150ms + 51ms).changed) << "it was held up itself";
  EXPECT_FALSE(at(heard + 150ms + 100ms).changed);
  EXPECT_TRUE(at(heard + 150ms + 101ms).changed);
}

TEST_F(BfdSession, LateCallerThatHearsThePeerStaysUp) {
  reach(State::up);
  EXPECT_FALSE(at(now + 400ms).changed);
  hear(State::up);
  EXPECT_FALSE(at(now + 149ms).changed);
  EXPECT_TRUE(at(now + 1ms).changed) << "punctual again: no grace";
}

TEST_F(BfdSession, LostLinkIsDownAtOnce) {
  reach(State::down);
  EXPECT_TRUE(s.link_down(now).none());
  reach(State::up);
  const Actions a = sent(s.link_down(now));
  EXPECT_TRUE(a.changed && a.send);
  EXPECT_EQ(s.state(), State::down);
  EXPECT_EQ(s.diag(), Diag::path_down);
}

TEST_F(BfdSession, PollIsAnsweredAtOnceInEveryState) {
  for (const State state : {State::down, State::init, State::up}) {
    s = Session(now, kFast, kOurs, 1);
    reach(state);
    Packet p = says(state == State::up ? State::up : State::admin_down);
    p.poll = true;
    const Actions a = hear(p);
    EXPECT_TRUE(a.send && a.final) << to_string(state);
    EXPECT_TRUE(last.final);
    EXPECT_FALSE(last.poll) << "never both";
  }
}

TEST_F(BfdSession, ComingUpPollsUntilItIsAnswered) {
  sent(s.deadline(now));
  hear(State::down);
  EXPECT_FALSE(last.poll);
  hear(State::init);
  EXPECT_EQ(last.state, State::up);
  EXPECT_TRUE(last.poll) << "the interval fell from a second";
  EXPECT_EQ(last.desired_min_tx, 50'000u);
  hear(State::up);
  at(s.next_deadline());
  EXPECT_TRUE(last.poll);
  Packet f = says(State::up);
  f.final = true;
  hear(f);
  EXPECT_FALSE(s.polling());
  at(s.next_deadline());
  EXPECT_FALSE(last.poll);
}

TEST_F(BfdSession, SlowerPacketsWaitForTheAnswer) {
  reach(State::up);
  sent(s.configure(now, {200ms, 3}));
  EXPECT_EQ(s.transmit_interval(), 50ms);
  EXPECT_EQ(s.detection_time(), 600ms) << "more patience is taken at once";
  at(s.next_deadline());
  EXPECT_TRUE(last.poll);
  EXPECT_EQ(last.desired_min_tx, 200'000u);
  Packet f = says(State::up);
  f.final = true;
  hear(f);
  EXPECT_EQ(s.transmit_interval(), 200ms);
}

TEST_F(BfdSession, LessPatienceWaitsForTheAnswer) {
  reach(State::up);
  sent(s.configure(now, {20ms, 3}));
  hear(says(State::up, 20ms));
  EXPECT_EQ(s.transmit_interval(), 20ms) << "faster packets do not";
  EXPECT_EQ(s.detection_time(), 150ms);
  Packet f = says(State::up, 20ms);
  f.final = true;
  hear(f);
  EXPECT_EQ(s.detection_time(), 60ms);
}

TEST_F(BfdSession, ChangeDuringAPollIsPolledForAgain) {
  reach(State::up);
  sent(s.configure(now, {200ms, 3}));
  sent(s.configure(now, {100ms, 3}));
  Packet f = says(State::up);
  f.final = true;
  hear(f);
  EXPECT_TRUE(s.polling());
  EXPECT_EQ(s.transmit_interval(), 50ms);
  hear(f);
  EXPECT_FALSE(s.polling());
  EXPECT_EQ(s.transmit_interval(), 100ms);
}

TEST_F(BfdSession, NewMultiplierIsSaid) {
  reach(State::up);
  sent(s.configure(now, {50ms, 9}));
  EXPECT_FALSE(s.polling());
  at(s.next_deadline());
  EXPECT_EQ(last.detect_multiplier, 9);
}

TEST_F(BfdSession, AnswerToNoQuestionChangesNothing) {
  reach(State::up);
  Packet f = says(State::up);
  f.final = true;
  EXPECT_TRUE(hear(f).none());
  EXPECT_FALSE(s.polling());
}

TEST_F(BfdSession, IntervalsAsLongAsTheWireAllowsDoNotOverflow) {
  reach(State::down);
  Packet p = says(State::down);
  p.desired_min_tx = p.required_min_rx = UINT32_MAX;
  p.detect_multiplier = 255;
  hear(p);
  EXPECT_EQ(s.detection_time(), 255 * std::chrono::microseconds(UINT32_MAX));
  EXPECT_GT(s.next_deadline(), now);
}

}  // namespace
}  // namespace twinwall::bfd
