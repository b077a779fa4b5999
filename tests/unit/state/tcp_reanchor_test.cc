// Connections in full flight that are taken over with knowledge a second old.
#include "lib/state/tcp_reanchor.h"

#include <gtest/gtest.h>

#include "lib/base/random.h"
#include "tests/unit/state/tcp_flow.h"

namespace twinwall {
namespace {

using test::TcpFlow;

constexpr uint32_t kMss = 1448;

struct Case {
  int8_t wscale;    // of both ends, -1: none
  uint32_t window;  // bytes
  uint32_t stale;   // bytes that passed since the peer's last word
  uint32_t server_isn;
};

class Takeover : public testing::TestWithParam<Case> {
 protected:
  Takeover() : flow_(0x10000000, GetParam().server_isn, GetParam().wscale, GetParam().window) {}

  // A download that runs, then `stale` more bytes that only the dead peer saw.
  void download() {
    ASSERT_TRUE(flow_.open());
    ASSERT_TRUE(flow_.data(true, 100));
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(flow_.data(false, kMss));
      ASSERT_TRUE(flow_.ack(true));
    }
    strict_ = flow_.state;
    flow_.take_over();
    flow_.unseen(false, GetParam().stale);
    flow_.now += 1;
  }

  // Data and ACKs with a window in flight; every segment has to pass.
  void goes_on(int rounds) {
    const uint32_t flight = std::min<uint32_t>(GetParam().window / kMss, 20);
    for (int r = 0; r < rounds; ++r) {
      for (uint32_t i = 0; i < flight; ++i) ASSERT_TRUE(flow_.passes(false, flow_.send(false, kMss))) << r << " " << i;
      flow_.deliver(false);
      ASSERT_TRUE(flow_.ack(true)) << r;
    }
  }

  void settles() {
    flow_.now += tcp::kSettleSeconds;
    goes_on(1);
    EXPECT_TRUE(flow_.settled());
    goes_on(3);
    // An exact reset ends it again.
    EXPECT_TRUE(flow_.passes(false, flow_.from(false, 0, kTcpRst)));
    EXPECT_EQ(flow_.state.src.level, kTcpTimeWait);
  }

  // What the rule without re-anchoring says of the same segment.
  bool strictly(bool from_client, const TcpSegment& s) {
    State copy = strict_;
    return tcp_track(copy, from_client, s, flow_.now).verdict == TcpVerdict::pass;
  }

  bool beyond_strict() const {
    return GetParam().stale > (65535u << 14) || GetParam().stale > GetParam().window + 70000;
  }

  TcpFlow flow_;
  State strict_;
};

TEST_P(Takeover, DataFirst) {
  download();
  const TcpSegment first = flow_.from(false, kMss);
  if (beyond_strict()) {
    EXPECT_FALSE(strictly(false, first));
  }
  goes_on(200);
  settles();
}

TEST_P(Takeover, AckFirst) {
  download();
  if (beyond_strict()) {
    EXPECT_FALSE(strictly(true, flow_.from(true, 0)));
  }
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(flow_.ack(true));  // duplicates
  if (beyond_strict()) {                                     // what is acknowledged must have been sent
    EXPECT_EQ(flow_.state.dst.seqlo, flow_.server.next);
  }
  goes_on(200);
  settles();
}

TEST_P(Takeover, MiddleOfAFlightFirst) {
  download();
  // A flight is on its way; its first half passed the peer and is lost, the second half comes here.
  const uint32_t flight = std::min<uint32_t>(GetParam().window / kMss, 40);
  const uint32_t lost_at = flow_.server.next;
  for (uint32_t i = 0; i < flight / 2; ++i) flow_.send(false, kMss);
  for (uint32_t i = flight / 2; i < flight; ++i) {
    ASSERT_TRUE(flow_.passes(false, flow_.send(false, kMss))) << i;
    ASSERT_TRUE(flow_.ack(true)) << i;  // duplicate ACKs of what is in order
  }
  // The receiver's ACKs bring the retransmission.
  const uint32_t next = flow_.server.next;
  for (uint32_t at = lost_at; at != lost_at + flight / 2 * kMss; at += kMss) {
    flow_.server.next = at;
    ASSERT_TRUE(flow_.passes(false, flow_.from(false, kMss)));
  }
  flow_.server.next = next;
  flow_.deliver(false);
  ASSERT_TRUE(flow_.ack(true));
  goes_on(100);
  settles();
}

TEST_P(Takeover, RetransmissionAfterASilence) {
  download();
  // Everything in flight is lost; the sender's timer runs out and it starts again at the first unacknowledged byte.
  const uint32_t unacknowledged = flow_.server.next - std::min<uint32_t>(GetParam().window, 40 * kMss);
  const uint32_t next = flow_.server.next;
  flow_.client.received = unacknowledged;
  flow_.now += 2;
  flow_.server.next = unacknowledged;
  ASSERT_TRUE(flow_.passes(false, flow_.send(false, kMss)));
  flow_.client.received = flow_.server.next;
  ASSERT_TRUE(flow_.ack(true));
  flow_.server.next = next;
  flow_.client.received = next;
  ASSERT_TRUE(flow_.ack(true));
  goes_on(100);
  settles();
}

TEST_P(Takeover, BothDirectionsFast) {
  download();
  flow_.unseen(true, GetParam().stale / 2 + 500000);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(flow_.passes(i % 2 == 0, flow_.send(i % 2 == 0, kMss))) << i;
    flow_.deliver(i % 2 == 0);
  }
  flow_.now += tcp::kSettleSeconds;
  ASSERT_TRUE(flow_.data(true, 100));
  ASSERT_TRUE(flow_.data(false, 100));
  EXPECT_TRUE(flow_.settled());
  EXPECT_EQ(flow_.state.src.seqlo, flow_.client.next);
  EXPECT_EQ(flow_.state.dst.seqlo, flow_.server.next);
}

TEST_P(Takeover, CloseRightAfterIt) {
  download();
  ASSERT_TRUE(flow_.passes(false, flow_.send(false, kMss, kTcpAck | kTcpFin)));
  flow_.deliver(false);
  EXPECT_EQ(flow_.state.dst.level, kTcpClosing);
  ASSERT_TRUE(flow_.ack(true));
  EXPECT_EQ(flow_.state.dst.level, kTcpFinWait2);
  ASSERT_TRUE(flow_.passes(true, flow_.send(true, 0, kTcpAck | kTcpFin)));
  flow_.deliver(true);
  ASSERT_TRUE(flow_.ack(false));
  EXPECT_EQ(flow_.state.src.level, kTcpFinWait2);
  EXPECT_EQ(flow_.state.timeout, TimeoutClass::tcp_closed);
}

INSTANTIATE_TEST_SUITE_P(Speeds, Takeover,
                         testing::Values(Case{-1, 65535, 10, 0x20000000}, Case{-1, 65535, 5'000'000, 0x20000000},
                                         Case{2, 200'000, 40'000'000, 0xfffff000}, Case{7, 500'000, 0, 0x20000000},
                                         Case{7, 6'000'000, 125'000'000, 0x7ffff000},
                                         Case{8, 16'000'000, 300'000'000, 0xf0000000},
                                         Case{14, 1'000'000'000, 1'000'000'000, 0x80000000},
                                         Case{7, 8'000'000, 1'050'000'000, 0xe0000000}));

class Settling : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(flow_.open());
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(flow_.data(false, kMss));
      ASSERT_TRUE(flow_.ack(true));
    }
    flow_.take_over();
  }
  // Forged to look like the end's, `ahead` of its true place.
  TcpSegment forged(bool is_client, uint32_t seq_ahead, uint32_t ack_ahead, uint8_t flags = kTcpAck) {
    TcpSegment s = flow_.from(is_client, 1, flags);
    s.seq += seq_ahead;
    s.ack += ack_ahead;
    return s;
  }
  bool established() const {
    return flow_.state.src.level == kTcpEstablished && flow_.state.dst.level == kTcpEstablished;
  }

  TcpFlow flow_{0x10000000, 0x20000000, 7, 1'000'000};
};

TEST_F(Settling, WindowsThatNeedNoMoveSettleWithTheFirstSegmentOfEachEnd) {
  ASSERT_TRUE(flow_.data(false, 10));
  EXPECT_FALSE(flow_.settled());
  const TcpResult r = flow_.track(true, flow_.from(true, 0));
  EXPECT_EQ(r.verdict, TcpVerdict::pass);
  EXPECT_FALSE(r.reanchored);
  EXPECT_TRUE(flow_.settled());
}

TEST_F(Settling, KeepalivesPassAndSettle) {
  TcpSegment keepalive = flow_.from(false, 0);
  keepalive.seq -= 1;
  EXPECT_TRUE(flow_.passes(false, keepalive));
  EXPECT_TRUE(flow_.ack(true));
  EXPECT_TRUE(flow_.settled());
}

TEST_F(Settling, SegmentsTooFarFromTheImportedWindowAreRefused) {
  EXPECT_FALSE(flow_.passes(false, forged(false, tcp::kReanchorAhead + 10, 0)));
  EXPECT_FALSE(flow_.passes(false, forged(false, 0u - 1'100'000, 0)));
  EXPECT_FALSE(flow_.passes(false, forged(false, 0x80000000, 0)));
  EXPECT_FALSE(flow_.passes(false, forged(false, 500'000'000, tcp::kReanchorAhead + 10)));
  EXPECT_FALSE(flow_.passes(false, forged(false, 500'000'000, 0x80000000)));
  EXPECT_EQ(flow_.state.dst.seqlo, flow_.server.next);
}

TEST_F(Settling, TheWindowCannotBeLedAwayStepByStep) {
  EXPECT_TRUE(flow_.passes(false, forged(false, 1'000'000'000, 0)));
  EXPECT_FALSE(flow_.passes(false, forged(false, 1'900'000'000, 0)));
  EXPECT_TRUE(flow_.passes(true, forged(true, 0, 1'000'000'000)));
  EXPECT_FALSE(flow_.passes(true, forged(true, 0, 1'900'000'000)));
  EXPECT_TRUE(flow_.data(false, kMss));
  EXPECT_TRUE(flow_.ack(true));
}

TEST_F(Settling, ABareAckMovesItsSendersWindowOnlyToAPlausiblePlace) {
  TcpSegment s = forged(false, 0u - 500'000'000, 0);
  s.payload = 0;
  EXPECT_TRUE(flow_.passes(false, s));  // as PF has it: nothing in it could be out of place
  EXPECT_EQ(flow_.state.dst.seqlo, flow_.server.next);
  s.seq += 1'000'000'000;
  EXPECT_TRUE(flow_.track(false, s).reanchored);
  EXPECT_EQ(flow_.state.dst.seqlo, s.seq);
  EXPECT_TRUE(flow_.track(false, flow_.from(false, 0)).reanchored);  // the true one brings it back
  EXPECT_EQ(flow_.state.dst.seqlo, flow_.server.next);
}

TEST_F(Settling, AnEndThatWasOnlyVouchedForMustStillBeHeard) {
  ASSERT_TRUE(flow_.data(false, kMss));
  TcpSegment s = forged(true, 0, 700'000'000);
  ASSERT_TRUE(flow_.track(true, s).reanchored);
  flow_.now += 10;
  s.seq += 1;
  ASSERT_TRUE(flow_.passes(true, s));
  EXPECT_FALSE(flow_.settled());
  ASSERT_TRUE(flow_.data(false, kMss));  // the true end, where it always was
  EXPECT_EQ(flow_.state.dst.seqlo, flow_.server.next);
}

TEST_F(Settling, BlindResetsNeitherKillNorMove) {
  Random random(1);
  const State before = flow_.state;
  for (int i = 0; i < 100000; ++i) {
    TcpSegment s = flow_.from(i % 2 == 0, 0, i % 3 == 0 ? kTcpRst : kTcpRst | kTcpAck);
    s.seq = random.next32();
    if (s.seq + 1 - (i % 2 == 0 ? flow_.client.next : flow_.server.next) <= 2) continue;
    s.ack = random.next32();
    ASSERT_FALSE(flow_.passes(i % 2 == 0, s));
  }
  EXPECT_TRUE(established());
  EXPECT_EQ(flow_.state.src.seqlo, before.src.seqlo);
  EXPECT_EQ(flow_.state.dst.seqlo, before.dst.seqlo);
}

TEST_F(Settling, TheExactResetOfAnUnmovedConnectionIsBelieved) {
  EXPECT_TRUE(flow_.passes(false, flow_.from(false, 0, kTcpRst)));
  EXPECT_EQ(flow_.state.dst.level, kTcpTimeWait);
}

TEST_F(Settling, MovingTheWindowFirstDoesNotMakeAForgedResetFit) {
  ASSERT_TRUE(flow_.track(false, forged(false, 700'000'000, 500'000'000)).reanchored);
  ASSERT_TRUE(flow_.passes(true, forged(true, 500'000'000, 700'000'001)));
  TcpSegment reset = forged(false, 700'000'001, 500'000'000, kTcpRst);
  reset.payload = 0;
  ASSERT_EQ(flow_.state.dst.seqlo, reset.seq);
  EXPECT_FALSE(flow_.passes(false, reset));
  EXPECT_TRUE(established());
  // The true ends are still heard, and once they are the reset has nothing to hit.
  EXPECT_TRUE(flow_.data(false, kMss));
  EXPECT_TRUE(flow_.ack(true));
  EXPECT_TRUE(flow_.data(true, kMss));
  flow_.now += tcp::kSettleSeconds;
  EXPECT_TRUE(flow_.data(false, kMss));
  EXPECT_TRUE(flow_.ack(true));
  EXPECT_TRUE(flow_.settled());
  EXPECT_FALSE(flow_.passes(false, reset));
  EXPECT_TRUE(established());
}

TEST_F(Settling, ForgeriesInBetweenDoNotStopTheConnection) {
  Random random(7);
  uint32_t lost = 0;
  for (int i = 0; i < 20000; ++i) {
    const bool client = random.below(2) == 0;
    (void)flow_.passes(
        client, forged(client, random.next32(), random.next32(), random.below(4) == 0 ? kTcpAck | kTcpFin : kTcpAck));
    const bool from_client = random.below(3) == 0;
    if (!flow_.passes(from_client, flow_.send(from_client, 1 + random.below(kMss)))) ++lost;
    flow_.deliver(from_client);
    if (i % 100 == 0) ++flow_.now;
  }
  EXPECT_EQ(lost, 0u);
  EXPECT_TRUE(established());
}

TEST_F(Settling, ASynIsChallengedAndMovesNothing) {
  TcpSegment syn{.seq = 0x5000'0000, .win = 65535, .flags = kTcpSyn, .wscale = 2};
  const TcpResult r = flow_.track(true, syn);
  EXPECT_EQ(r.verdict, TcpVerdict::challenge_ack);
  EXPECT_EQ(r.answer_seq, flow_.state.dst.seqlo);
  EXPECT_EQ(r.answer_ack, flow_.state.src.seqlo);
  syn.flags |= kTcpAck;
  EXPECT_FALSE(flow_.passes(true, syn));
  EXPECT_TRUE(flow_.data(false, kMss));
  EXPECT_TRUE(flow_.ack(true));
  EXPECT_TRUE(flow_.settled());
}

TEST_F(Settling, AForgedFinFarFromBothWindowsClosesNothing) {
  EXPECT_TRUE(flow_.passes(false, forged(false, 700'000'000, 500'000'000, kTcpAck | kTcpFin)));
  EXPECT_TRUE(established());
}

TEST_F(Settling, HalfOpenStatesDoNotMove) {
  TcpFlow fresh(1000, 2000, 7, 1'000'000);
  tcp_start(fresh.state, {.seq = 1000, .win = 65535, .flags = kTcpSyn, .wscale = 7}, fresh.now);
  fresh.take_over();
  EXPECT_FALSE(fresh.passes(true, {.seq = 500'000'000, .ack = 1, .win = 100, .flags = kTcpAck, .payload = 100}));
}

TEST_F(Settling, AnEndThatHasSentItsFinHasNothingAhead) {
  ASSERT_TRUE(flow_.passes(true, flow_.send(true, 0, kTcpAck | kTcpFin)));
  flow_.deliver(true);
  ASSERT_TRUE(flow_.ack(false));
  ASSERT_EQ(flow_.state.src.level, kTcpFinWait2);
  flow_.take_over();
  // The other one goes on sending, fast.
  flow_.unseen(false, 200'000'000);
  EXPECT_FALSE(flow_.passes(true, forged(true, 500'000'000, 0)));
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(flow_.data(false, kMss)) << i;
    ASSERT_TRUE(flow_.ack(true)) << i;
  }
}

TEST_F(Settling, ALaterUpdateOfThePeerStartsItAnew) {
  flow_.unseen(false, 100'000'000);
  ASSERT_TRUE(flow_.data(false, kMss));
  flow_.state.dst.seqlo = flow_.server.next + 900'000'000;  // what the peer says now
  flow_.take_over();
  flow_.unseen(false, 1'500'000'000);
  ASSERT_TRUE(flow_.data(false, kMss));
  ASSERT_TRUE(flow_.ack(true));
}

TEST_F(Settling, ErrorsAboutSegmentsOfAFastConnectionFit) {
  EXPECT_TRUE(tcp_quoted_sequence_fits(flow_.state, false, flow_.server.next + 300'000'000));
  EXPECT_FALSE(tcp_quoted_sequence_fits(flow_.state, false, flow_.server.next + 1'500'000'000));
  flow_.state.dst.reanchor = 0;
  EXPECT_FALSE(tcp_quoted_sequence_fits(flow_.state, false, flow_.server.next + 300'000'000));
  EXPECT_TRUE(tcp_quoted_sequence_fits(flow_.state, false, flow_.server.next - 100));
}

}  // namespace
}  // namespace twinwall
