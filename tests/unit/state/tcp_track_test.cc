// The rules of TCP tracking one by one (pf(4)); the recorded kernel covers their interplay in tcp_reference_test.cc.
#include "lib/state/tcp_track.h"

#include <gtest/gtest.h>

#include "tests/unit/state/tcp_flow.h"

namespace twinwall {
namespace {

using test::TcpFlow;

class TcpTrack : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(flow_.open()); }
  TcpResult reset(bool from_client, uint32_t seq) {
    TcpSegment s = flow_.from(from_client, 0, kTcpRst);
    s.seq = seq;
    s.ack = 0;
    return flow_.track(from_client, s);
  }
  TcpFlow flow_{0x1000, 0xffffff00, 7, 1'000'000};
};

TEST(TcpStart, ASynFillsTheInitiatorAndLeavesTheOtherEndOpen) {
  State s;
  tcp_start(s, {.seq = 100, .win = 1001, .flags = kTcpSyn, .wscale = 15}, 50);
  EXPECT_EQ(s.src.seqlo, 100u);
  EXPECT_EQ(s.src.seqhi, 102u);
  EXPECT_EQ(s.src.wscale, kWindowScaleKnown | 14);  // the largest that means anything
  EXPECT_EQ(s.src.max_win, 1);                      // 1001 / 2^14, up
  EXPECT_EQ(s.src.level, kTcpSynSent);
  EXPECT_EQ(s.dst.seqhi, 1u);
  EXPECT_EQ(s.dst.max_win, 1);
  EXPECT_EQ(s.dst.level, kTcpClosed);
  EXPECT_EQ(s.timeout, TimeoutClass::tcp_first);
  EXPECT_EQ(s.last_update, 50u);
  EXPECT_TRUE(tcp_half_open(s));
}

TEST(TcpStart, TheHandshakeTellsWhenItIsComplete) {
  TcpFlow f(1, 2, -1, 1000);
  tcp_start(f.state, {.seq = 1, .win = 1000, .flags = kTcpSyn}, 0);
  TcpResult r = f.track(false, {.seq = 7, .ack = 2, .win = 1000, .flags = kTcpSyn | kTcpAck});
  EXPECT_TRUE(r.levels_changed);
  EXPECT_TRUE(r.half_open_ended);  // the initiator is there
  EXPECT_FALSE(r.both_established_now);
  EXPECT_EQ(f.state.timeout, TimeoutClass::tcp_opening);
  r = f.track(true, {.seq = 2, .ack = 8, .win = 1000, .flags = kTcpAck});
  EXPECT_TRUE(r.both_established_now);
  EXPECT_FALSE(r.half_open_ended);
  EXPECT_EQ(f.state.timeout, TimeoutClass::tcp_established);
  r = f.track(true, {.seq = 2, .ack = 8, .win = 1000, .flags = kTcpAck});
  EXPECT_FALSE(r.both_established_now);
  EXPECT_FALSE(r.levels_changed);
}

TEST_F(TcpTrack, DataPassesBothWaysAndRefreshes) {
  flow_.now += 77;
  EXPECT_TRUE(flow_.data(true, 500));
  EXPECT_TRUE(flow_.data(false, 70000));  // over the turn of the sequence numbers
  EXPECT_TRUE(flow_.ack(true));
  EXPECT_EQ(flow_.state.last_update, flow_.now);
  EXPECT_EQ(flow_.state.dst.seqlo, flow_.server.next);
}

TEST_F(TcpTrack, TheWindowEndsWhereTheOtherEndSaid) {
  ASSERT_TRUE(flow_.ack(true));
  TcpSegment s = flow_.from(false, 1);
  const uint32_t edge = flow_.server.next + ((1'000'000u >> 7) << 7);
  s.seq = edge - 1;
  EXPECT_TRUE(flow_.passes(false, s));
  s.seq = edge;
  EXPECT_FALSE(flow_.passes(false, s));
}

TEST_F(TcpTrack, DataOlderThanAWindowIsRefused) {
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(flow_.data(false, 60000));
    ASSERT_TRUE(flow_.ack(true));
  }
  TcpSegment s = flow_.from(false, 10);
  s.seq = flow_.state.dst.seqlo - (flow_.state.src.max_win << 7);
  EXPECT_TRUE(flow_.passes(false, s));
  s.seq -= 1;
  EXPECT_FALSE(flow_.passes(false, s));
}

TEST_F(TcpTrack, AcksStayNearWhatWasSent) {
  ASSERT_TRUE(flow_.data(false, 1000));
  TcpSegment s = flow_.from(true, 0);
  s.ack = flow_.state.dst.seqlo + kMaxAckWindow;
  EXPECT_TRUE(flow_.passes(true, s));
  s.ack += 1;
  EXPECT_FALSE(flow_.passes(true, s));
  s.ack = flow_.state.dst.seqlo - (kMaxAckWindow << 7);
  EXPECT_TRUE(flow_.passes(true, s));
  s.ack -= 1;
  EXPECT_FALSE(flow_.passes(true, s));
}

TEST_F(TcpTrack, WithoutScalingOnOneSideNobodyScales) {
  TcpFlow f(1000, 2000, 7, 60000);
  f.server.wscale = -1;
  tcp_start(f.state, {.seq = 1000, .win = 60000, .flags = kTcpSyn, .wscale = 7}, 0);
  ASSERT_TRUE(f.passes(false, {.seq = 2000, .ack = 1001, .win = 100, .flags = kTcpSyn | kTcpAck}));
  EXPECT_EQ(f.state.src.wscale, 0);
  EXPECT_EQ(f.state.src.max_win, 60032);  // as announced, to the scale's grain
}

TEST_F(TcpTrack, AResetMustHitThePositionGiveOrTakeOne) {
  ASSERT_TRUE(flow_.data(true, 100));
  const uint32_t at = flow_.state.src.seqlo;
  EXPECT_EQ(reset(true, at + 2).verdict, TcpVerdict::drop_mismatch);
  EXPECT_EQ(reset(true, at - 2).verdict, TcpVerdict::drop_mismatch);
  EXPECT_EQ(flow_.state.src.level, kTcpEstablished);
  EXPECT_EQ(reset(true, at + 1).verdict, TcpVerdict::pass);
  EXPECT_EQ(flow_.state.src.level, kTcpTimeWait);
  EXPECT_EQ(flow_.state.dst.level, kTcpTimeWait);
  EXPECT_EQ(flow_.state.timeout, TimeoutClass::tcp_closed);
}

TEST_F(TcpTrack, TheCloseGoesThroughItsLevels) {
  const auto levels = [this] { return std::pair<int, int>(flow_.state.src.level, flow_.state.dst.level); };
  ASSERT_TRUE(flow_.passes(true, flow_.send(true, 10, kTcpAck | kTcpFin)));
  flow_.deliver(true);
  EXPECT_EQ(levels(), std::pair(7, 4));
  EXPECT_EQ(flow_.state.timeout, TimeoutClass::tcp_closing);
  ASSERT_TRUE(flow_.ack(false));
  EXPECT_EQ(levels(), std::pair(9, 4));
  ASSERT_TRUE(flow_.data(false, 5000));  // half closed
  ASSERT_TRUE(flow_.passes(false, flow_.send(false, 0, kTcpAck | kTcpFin)));
  flow_.deliver(false);
  EXPECT_EQ(levels(), std::pair(9, 7));
  EXPECT_EQ(flow_.state.timeout, TimeoutClass::tcp_finwait);
  ASSERT_TRUE(flow_.ack(true));
  EXPECT_EQ(levels(), std::pair(9, 9));
  EXPECT_EQ(flow_.state.timeout, TimeoutClass::tcp_closed);
}

TEST_F(TcpTrack, AfterTheCloseStragglersPassWithoutProlongingIt) {
  ASSERT_TRUE(reset(true, flow_.state.src.seqlo).verdict == TcpVerdict::pass);
  const uint32_t last = flow_.state.last_update;
  flow_.now += 10;
  TcpSegment s = flow_.from(false, 100);
  s.seq += 1'000'000;  // beyond the window, but not by more than the allowance
  EXPECT_TRUE(flow_.passes(false, s));
  EXPECT_EQ(flow_.state.last_update, last);
  s.seq += 200'000;
  EXPECT_FALSE(flow_.passes(false, s));
}

TEST_F(TcpTrack, ASynOnAnEstablishedConnectionIsChallenged) {
  ASSERT_TRUE(flow_.data(true, 100));
  ASSERT_TRUE(flow_.data(false, 200));
  TcpResult r = flow_.track(true, {.seq = 12345, .win = 100, .flags = kTcpSyn});
  EXPECT_EQ(r.verdict, TcpVerdict::challenge_ack);
  EXPECT_EQ(r.answer_seq, flow_.server.next);
  EXPECT_EQ(r.answer_ack, flow_.client.next);
  EXPECT_EQ(flow_.state.src.level, kTcpEstablished);
  // The rebooted client answers with a reset that fits.
  EXPECT_EQ(reset(true, r.answer_ack).verdict, TcpVerdict::pass);
  r = flow_.track(true, {.seq = 12345, .win = 100, .flags = kTcpSyn});
  EXPECT_EQ(r.verdict, TcpVerdict::reuse);
}

TEST_F(TcpTrack, ARepeatedSynOfTheHandshakePasses) {
  TcpFlow f(1000, 2000, -1, 60000);
  const TcpSegment syn{.seq = 1000, .win = 60000, .flags = kTcpSyn};
  tcp_start(f.state, syn, 0);
  EXPECT_TRUE(f.passes(true, syn));
}

TEST_F(TcpTrack, AnAnswerToAnotherHandshakeIsResetAndForgotten) {
  TcpFlow f(1000, 2000, -1, 60000);
  tcp_start(f.state, {.seq = 1000, .win = 60000, .flags = kTcpSyn}, 0);
  // Both ends open at once, which leaves both in SYN_SENT …
  const TcpResult other = f.track(false, {.seq = 2000, .win = 60000, .flags = kTcpSyn});
  ASSERT_EQ(other.verdict, TcpVerdict::pass);
  EXPECT_TRUE(other.levels_changed);
  EXPECT_FALSE(other.half_open_ended);
  ASSERT_EQ(f.state.dst.level, kTcpSynSent);
  // … and then something comes that fits neither.
  TcpSegment wrong{.seq = 2001, .ack = 500'000, .win = 100, .flags = kTcpAck, .payload = 1};
  TcpResult r = f.track(false, wrong);
  EXPECT_EQ(r.verdict, TcpVerdict::drop_and_reset);
  EXPECT_EQ(r.answer_seq, 500'000u);
  EXPECT_EQ(f.state.dst.seqlo, 0u);
  EXPECT_EQ(f.state.dst.seqhi, 1u);
  EXPECT_EQ(f.state.dst.max_win, 1);
  EXPECT_EQ(f.state.src.seqlo, 1000u);
}

TEST_F(TcpTrack, KeepalivesPass) {
  ASSERT_TRUE(flow_.data(true, 100));
  TcpSegment s = flow_.from(true, 0);
  s.seq -= 1;
  EXPECT_TRUE(flow_.passes(true, s));
  s.payload = 1;
  EXPECT_TRUE(flow_.passes(true, s));
  EXPECT_EQ(flow_.state.src.seqlo, flow_.client.next);
}

TEST_F(TcpTrack, AConnectionPickedUpInTheMiddleGetsEstablished) {
  TcpFlow f(1000, 2000, -1, 60000);
  f.client.next = 5'000'000;
  f.server.next = 9'000'000;
  f.deliver(true);
  f.deliver(false);
  tcp_start(f.state, f.send(true, 100), 0);
  f.deliver(true);
  EXPECT_EQ(f.state.src.seqhi, 5'000'101u);
  EXPECT_TRUE(f.ack(false));
  EXPECT_TRUE(f.ack(true));
  EXPECT_EQ(f.state.src.level, kTcpEstablished);
  EXPECT_EQ(f.state.dst.level, kTcpEstablished);
  EXPECT_TRUE(f.data(false, 1000));
}

TEST_F(TcpTrack, SloppyMovesLevelsAndLooksAtNothingElse) {
  TcpFlow f(1000, 2000, -1, 60000);
  f.state.flags = kStateSloppy;
  ASSERT_TRUE(f.open());
  EXPECT_TRUE(f.passes(true, {.seq = 0x70000000, .ack = 0x70000000, .win = 1, .flags = kTcpAck, .payload = 1000}));
  EXPECT_TRUE(f.passes(true, {.seq = 0x70000000, .ack = 0x70000000, .flags = kTcpRst}));
  EXPECT_EQ(f.state.dst.level, kTcpTimeWait);
}

TEST_F(TcpTrack, SloppyIsContentWithOneHalf) {
  TcpFlow f(1000, 2000, -1, 60000);
  f.state.flags = kStateSloppy;
  tcp_start(f.state, {.seq = 1000, .win = 60000, .flags = kTcpSyn}, 0);
  const TcpResult r = f.track(true, {.seq = 1001, .ack = 2001, .win = 60000, .flags = kTcpAck});
  EXPECT_TRUE(r.both_established_now);
  EXPECT_TRUE(r.half_open_ended);
  EXPECT_TRUE(f.passes(true, {.seq = 1001, .ack = 2001, .win = 60000, .flags = kTcpAck | kTcpFin}));
  EXPECT_EQ(f.state.dst.level, kTcpClosing);
}

TEST_F(TcpTrack, ModulatedNumbersAreSeenAsTheirSenderMeansThem) {
  flow_.state.src.seqdiff = 0x11111111;
  flow_.state.dst.seqdiff = 0x22222222;
  TcpSegment s = flow_.send(true, 100);
  s.ack += 0x22222222;  // the server's numbers as the client has learnt them
  EXPECT_TRUE(flow_.passes(true, s));
  flow_.deliver(true);
  s = flow_.send(false, 100);
  s.ack += 0x11111111;
  EXPECT_TRUE(flow_.passes(false, s));
  EXPECT_EQ(flow_.state.dst.seqlo, flow_.server.next);
  const TcpResult r = flow_.track(true, {.seq = 1, .win = 1, .flags = kTcpSyn});
  EXPECT_EQ(r.answer_seq, flow_.server.next);  // as PF answers, in the server's own numbers
}

TEST_F(TcpTrack, QuotedSegmentsMustBeInFlight) {
  ASSERT_TRUE(flow_.data(true, 1000));
  EXPECT_TRUE(tcp_quoted_sequence_fits(flow_.state, true, flow_.client.next - 1000));
  EXPECT_TRUE(tcp_quoted_sequence_fits(flow_.state, true, flow_.state.src.seqhi));
  EXPECT_FALSE(tcp_quoted_sequence_fits(flow_.state, true, flow_.state.src.seqhi + 1));
  EXPECT_FALSE(tcp_quoted_sequence_fits(flow_.state, false, flow_.server.next + 0x10000000));
  flow_.state.flags = kStateSloppy;
  EXPECT_TRUE(tcp_quoted_sequence_fits(flow_.state, false, flow_.server.next + 0x10000000));
}

}  // namespace
}  // namespace twinwall
