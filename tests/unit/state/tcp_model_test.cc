// The tracker and a model written apart from it judge random conversations alike, segment by segment: with lost,
// repeated, late, forged and impossible segments, with and without window scaling, modulated, sloppy, picked up in the
// middle, reset, closed and opened again.
#include "tests/unit/state/tcp_model.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "lib/state/ordinary.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

// Two ends that mostly do as they should.
class Conversation {
 public:
  explicit Conversation(uint64_t seed) : random_(seed) {
    for (Speaker& s : ends_) {
      // Often just before the numbers wrap, and at the value that stands for "not heard".
      s.isn = s.next = one_in(4) ? 0u - below(100000) : one_in(40) ? 0u : random_.next32();
      s.scale = one_in(3) ? int8_t{-1} : static_cast<int8_t>(below(16));
      s.window = one_in(3) ? below(3) : below(2) != 0 ? below(65536) : below(2000);
    }
  }

  Random& random() { return random_; }
  uint32_t below(uint32_t n) { return random_.below(n); }
  bool one_in(uint32_t n) { return below(n) == 0; }

  TcpSegment first() {
    if (!one_in(5)) return greeting(true, kTcpSyn);
    ends_[0].next += below(3000);
    return segment(true, kTcpAck);
  }

  TcpSegment any(bool client) {
    Speaker& from = ends_[client ? 0 : 1];
    switch (below(24)) {
      case 0: return greeting(client, kTcpSyn);
      case 1: return greeting(client, kTcpSyn | kTcpAck);
      case 2: return changed(segment(client, kTcpRst | (one_in(2) ? kTcpAck : 0)), 3);
      case 3: return changed(segment(client, kTcpAck | kTcpFin), 1);
      case 4: return keepalive(client);
      case 5: return changed(segment(client, kTcpAck), 70000);
      case 6: return changed(segment(client, kTcpAck), 0xffffffff);
      case 7: return rubbish(client);
      case 8: {  // much passes unseen
        from.next += below(100000) << below(8);
        return segment(client, kTcpAck);
      }
      case 9: {
        TcpSegment s = segment(client, kTcpAck);
        s.ack += one_in(2) ? below(140000) : 0u - below(140000);
        return s;
      }
      default: {
        if (!from.greeted && (client || ends_[0].greeted))
          return greeting(client, client ? kTcpSyn : kTcpSyn | kTcpAck);
        const bool fin = one_in(12);
        TcpSegment s = segment(client, fin ? kTcpAck | kTcpFin : kTcpAck);
        from.next += s.payload + (fin ? 1 : 0);
        return s;
      }
    }
  }

 private:
  struct Speaker {
    uint32_t isn = 0, next = 0;
    int8_t scale = -1;
    uint32_t window = 0;
    bool greeted = false;
  };

  TcpSegment greeting(bool client, uint8_t flags) {
    Speaker& from = ends_[client ? 0 : 1];
    const Speaker& to = ends_[client ? 1 : 0];
    TcpSegment s = segment(client, flags);
    if (one_in(6)) from.isn = from.next = random_.next32();  // another connection
    s.seq = from.isn;
    s.payload = one_in(20) ? below(100) : 0;
    s.wscale = one_in(10) ? int8_t{-1} : from.scale;
    s.ack = (flags & kTcpAck) != 0 ? (one_in(8) ? random_.next32() : to.isn + 1) : 0;
    from.next = from.isn + 1;
    from.greeted = true;
    return s;
  }

  TcpSegment segment(bool client, uint8_t flags) {
    Speaker& from = ends_[client ? 0 : 1];
    if (one_in(10)) from.window = below(65536);
    TcpSegment s;
    s.seq = from.next;
    s.ack = (flags & kTcpAck) != 0 || one_in(2) ? ends_[client ? 1 : 0].next : 0;
    s.win = static_cast<uint16_t>(from.window);
    s.flags = flags;
    s.payload = one_in(2) ? 0 : below(one_in(4) ? 70000 : 1461);
    return s;
  }

  TcpSegment changed(TcpSegment s, uint32_t by) {
    s.seq += one_in(2) ? below(by) : 0u - below(by);
    return s;
  }
  TcpSegment keepalive(bool client) {
    TcpSegment s = segment(client, kTcpAck);
    s.seq -= 1;
    s.payload = below(2);
    return s;
  }
  // Only what the checks in front of the tracker let through.
  TcpSegment rubbish(bool client) {
    TcpSegment s = changed(segment(client, static_cast<uint8_t>(below(64))), 100000);
    s.ack = one_in(3) ? 0 : random_.next32();
    if ((s.flags & kTcpSyn) != 0) s.flags &= static_cast<uint8_t>(~(kTcpFin | kTcpRst));
    if ((s.flags & (kTcpSyn | kTcpRst)) == 0) s.flags |= kTcpAck;
    if ((s.flags & kTcpAck) == 0) s.flags &= static_cast<uint8_t>(~(kTcpFin | kTcpPush | kTcpUrg));
    s.wscale = one_in(2) ? int8_t{-1} : static_cast<int8_t>(below(16));
    return s;
  }

  Random random_;
  std::array<Speaker, 2> ends_;
};

std::string text(const TcpSegment& s) {
  return fmt::format("flags {:#04x} seq {} ack {} win {} payload {} wscale {}", s.flags, s.seq, s.ack, s.win, s.payload,
                     s.wscale);
}

std::string text(const Peer& p) {
  return fmt::format("level {} lo {} hi {} win {} wscale {:#04x}", p.level, p.seqlo, p.seqhi, p.max_win, p.wscale);
}

std::string text(const TcpModel::End& e) {
  const unsigned scale = e.scale ? kWindowScaleKnown | *e.scale : 0;
  return fmt::format("level {} lo {} hi {} win {} wscale {:#04x}", e.level, e.lo, e.hi, e.max_win, scale);
}

class Both {
 public:
  explicit Both(uint64_t seed) : talk_(seed) {
    state_.wire.proto = state_.stack.proto = kProtoTcp;
    model_.sloppy = talk_.one_in(6);
    if (model_.sloppy) state_.flags = kStateSloppy;
    start(talk_.first());
  }

  // False: they disagree.
  void step(std::array<unsigned, 6>& verdicts) {
    now_ += talk_.below(4);
    const bool client = talk_.below(2) == 1;
    const TcpSegment s = talk_.any(client);
    log_ += fmt::format("{} {}\n", client ? "client" : "server", text(s));
    if (!client && state_.dst.seqlo == 0 && state_.src.seqdiff != 0)
      state_.dst.seqdiff = model_.responder.diff = talk_.random().next32() | 1;
    const TcpSegment on_its_way = modulated(s, client);
    State shortened = state_;
    const bool ordinary =
        tcp_ordinary(on_its_way.flags) && tcp_ordinary(shortened) && tcp_ordinary_fits(shortened, client, on_its_way);
    if (ordinary) tcp_ordinary_take(shortened, client, on_its_way, now_);
    const TcpResult r = tcp_track(state_, client, on_its_way, now_);
    if (ordinary) {
      ++ordinary_;
      ASSERT_EQ(r.verdict, TcpVerdict::pass) << log_;
      ASSERT_FALSE(r.levels_changed || r.both_established_now || r.half_open_ended || r.reanchored) << log_;
      ASSERT_EQ(std::memcmp(&shortened, &state_, sizeof state_), 0) << log_;
    }
    const TcpModel::Word w = model_.see(client, on_its_way, now_);
    ++verdicts[w.loose ? 5 : static_cast<size_t>(w.verdict)];
    ASSERT_EQ(static_cast<int>(r.verdict), static_cast<int>(w.verdict)) << log_;
    ASSERT_EQ(r.answer_seq, w.seq) << log_;
    ASSERT_EQ(r.answer_ack, w.ack) << log_;
    ASSERT_EQ(r.both_established_now, w.both_established) << log_;
    ASSERT_EQ(r.half_open_ended, w.half_open_ended) << log_;
    if (r.verdict == TcpVerdict::reuse) start(s);
    compare();
  }

  [[nodiscard]] uint64_t ordinary() const { return ordinary_; }

 private:
  void start(const TcpSegment& s) {
    log_ += "start " + text(s) + "\n";
    tcp_start(state_, s, now_);
    model_.start(s, now_);
    if (!model_.sloppy && talk_.one_in(3) && (s.flags & kTcpSyn) != 0)
      state_.src.seqdiff = model_.initiator.diff = talk_.random().next32() | 1;
    compare();
  }

  // The numbers that an end hears of the other are the modulated ones, and so it acknowledges those.
  TcpSegment modulated(TcpSegment s, bool client) const {
    s.ack += (client ? state_.dst : state_.src).seqdiff;
    return s;
  }

  void compare() {
    ASSERT_EQ(text(state_.src), text(model_.initiator)) << log_;
    ASSERT_EQ(text(state_.dst), text(model_.responder)) << log_;
    ASSERT_EQ(static_cast<int>(state_.timeout), static_cast<int>(model_.timeout)) << log_;
    ASSERT_EQ(state_.last_update, model_.updated) << log_;
    for (const bool client : {true, false}) {
      const Peer& p = client ? state_.src : state_.dst;
      const uint32_t near =
          p.seqdiff + (talk_.one_in(2) ? p.seqlo - talk_.below(140000) : p.seqhi + talk_.below(3) - 1);
      const uint32_t seq = talk_.one_in(4) ? talk_.random().next32() : near;
      ASSERT_EQ(tcp_quoted_sequence_fits(state_, client, seq), model_.may_be_quoted(client, seq)) << seq << "\n"
                                                                                                  << log_;
    }
  }

  Conversation talk_;
  State state_;
  TcpModel model_;
  uint32_t now_ = 1000;
  uint64_t ordinary_ = 0;  // segments that the short way would have taken too
  std::string log_;
};

TEST(TcpModel, TheTrackerJudgesAsTheModelDoes) {
  uint64_t ordinary = 0;
  std::array<unsigned, 6> verdicts{};  // by TcpVerdict; the last: passed loosely
  for (uint64_t seed = 1; seed <= test::rounds(12000); ++seed) {
    Both both(seed);
    for (int i = 0; i < 40; ++i) {
      both.step(verdicts);
      ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
    ordinary += both.ordinary();
  }
  for (const unsigned n : verdicts) EXPECT_GE(n, test::often(5000));  // each was met often
  EXPECT_GE(ordinary, test::often(5000));
}

}  // namespace
}  // namespace twinwall::test
