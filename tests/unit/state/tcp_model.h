// PF's TCP tracker once more, written from its description alone (pf(4), and the behaviour that OpenBSD's shows from
// outside): one condition a line, no sharing with lib/state but the names of levels and flags.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "lib/net/headers.h"
#include "lib/state/tcp_track.h"

namespace twinwall::test {

class TcpModel {
 public:
  struct End {
    uint32_t lo = 0, hi = 0, diff = 0;
    uint32_t max_win = 0;
    int level = 0;
    std::optional<unsigned> scale;  // offered
  };
  struct Word {
    TcpVerdict verdict = TcpVerdict::pass;
    uint32_t seq = 0, ack = 0;  // of what is sent back
    bool loose = false;         // passed only because an end is unheard or done
    bool both_established = false, half_open_ended = false;
  };

  End initiator, responder;
  bool sloppy = false;
  TimeoutClass timeout = TimeoutClass::tcp_first;
  uint32_t updated = 0;

  void start(const TcpSegment& s, uint32_t now) {
    initiator = responder = End{};
    initiator.lo = s.seq;
    initiator.hi = s.seq + s.payload + 1 + (has(s, kTcpSyn) ? 1 : 0) + (has(s, kTcpFin) ? 1 : 0);
    if (has(s, kTcpSyn)) initiator.scale = offer(s);
    initiator.max_win = divided_up(std::max<uint32_t>(s.win, 1), initiator.scale.value_or(0));
    initiator.level = 2;
    responder.hi = 1;
    responder.max_win = 1;
    timeout = TimeoutClass::tcp_first;
    updated = now;
  }

  Word see(bool from_initiator, const TcpSegment& s, uint32_t now) {
    End& from = from_initiator ? initiator : responder;
    End& to = from_initiator ? responder : initiator;
    Word w;
    if (has(s, kTcpSyn) && !has(s, kTcpAck)) {
      if (from.level >= 9 && to.level >= 9) {
        w.verdict = TcpVerdict::reuse;
        return w;
      }
      if (from.level >= 4 && to.level >= 4) {
        w.verdict = TcpVerdict::challenge_ack;
        w.seq = to.lo;
        w.ack = from.lo;
        return w;
      }
    }
    const int initiator_was = initiator.level;
    const bool established_before = initiator.level == 4 && responder.level == 4;
    if (sloppy)
      follow_levels(from, to, s, now);
    else
      follow(from, to, s, now, w);
    w.both_established = !established_before && initiator.level == 4 && responder.level == 4;
    const auto half = [](int level) { return level != 0 && level < 4; };
    w.half_open_ended = half(initiator_was) && !half(initiator.level);
    return w;
  }

  // A segment that an ICMP error quotes, sent by that end.
  [[nodiscard]] bool may_be_quoted(bool from_initiator, uint32_t seq) const {
    if (sloppy) return true;
    const End& from = from_initiator ? initiator : responder;
    const End& to = from_initiator ? responder : initiator;
    const uint32_t own = seq - from.diff;
    const unsigned shift = from.scale && to.scale ? *to.scale : 0;
    return not_after(from.lo - (to.max_win << shift), own) && not_after(own, from.hi);
  }

 private:
  static constexpr uint32_t kMaxAckWindow = 67035;
  static bool has(const TcpSegment& s, uint8_t flag) { return (s.flags & flag) != 0; }
  static bool not_after(uint32_t a, uint32_t b) { return a == b || (b - a) < 0x80000000u || b - a == 0x80000000u; }
  static uint32_t divided_up(uint32_t n, unsigned shift) {
    const uint32_t unit = uint32_t{1} << shift;
    return n / unit + (n % unit != 0 ? 1 : 0);
  }
  static std::optional<unsigned> offer(const TcpSegment& s) {
    if (s.wscale < 0) return {};
    return s.wscale > 14 ? 14u : static_cast<unsigned>(s.wscale);
  }

  void follow(End& from, End& to, const TcpSegment& s, uint32_t now, Word& w) {
    uint32_t seq = s.seq, ack = s.ack - to.diff, win = s.win;
    unsigned sws = 0, dws = 0;
    if (from.scale && to.scale && !has(s, kTcpSyn)) {
      sws = *from.scale;
      dws = *to.scale;
    }
    uint32_t end = seq + s.payload;
    if (has(s, kTcpSyn)) ++end;
    if (from.lo == 0) {  // it has not been heard
      if (has(s, kTcpSyn) && to.scale) {
        from.scale = offer(s);
        if (from.scale) {
          sws = *from.scale;
          dws = *to.scale;
          win = divided_up(win, sws);
        } else {
          to.max_win = std::min(65535u, to.max_win << *to.scale);
          to.scale.reset();
        }
      }
    }
    uint32_t data_end = end;
    if (has(s, kTcpFin)) ++end;
    if (from.lo == 0) {
      from.lo = seq;
      if (from.level < 2) from.level = 2;
      const uint32_t room = end + std::max(1u, to.max_win << dws);
      if (from.hi == 1 || not_after(from.hi, room)) from.hi = room;
      from.max_win = std::max(from.max_win, win);
    }
    if (!has(s, kTcpAck)) ack = to.lo;
    if (s.ack == 0 && has(s, kTcpAck) && has(s, kTcpRst)) ack = to.lo;
    if (to.level < 2) ack = to.lo;
    if (seq == end) seq = end = data_end = from.lo;

    const int64_t skew = static_cast<int32_t>(to.lo - ack);
    const bool near = s.seq == from.lo - 1 || s.seq == from.lo || s.seq == from.lo + 1;
    const bool tight = not_after(data_end, from.hi) && not_after(from.lo - (to.max_win << dws), seq) &&
                       skew >= -int64_t{kMaxAckWindow} && skew <= int64_t{kMaxAckWindow} << sws &&
                       (!has(s, kTcpRst) || near);
    const bool lax = to.level < 2 || to.level >= 9 || from.level >= 9;
    if (!tight && !(lax && not_after(data_end, from.hi + kMaxAckWindow) && not_after(from.lo - kMaxAckWindow, seq)))
      return refuse(from, to, s, w);

    from.max_win = std::max(from.max_win, win);
    if (!not_after(end, from.lo)) from.lo = end;
    if (not_after(to.hi, ack + (win << sws))) to.hi = ack + std::max(win << sws, 1u);
    if (tight && has(s, kTcpSyn) && from.level < 2) from.level = 2;
    if (has(s, kTcpFin) && from.level < 7) from.level = 7;
    if (tight && has(s, kTcpAck)) {
      if (to.level == 2)
        to.level = 4;
      else if (to.level == 7)
        to.level = 9;
    }
    if (has(s, kTcpRst)) from.level = to.level = 10;
    w.loose = !tight;
    if (tight) refresh(now);
  }

  static void refuse(End& from, const End& to, const TcpSegment& s, Word& w) {
    w.verdict = TcpVerdict::drop_mismatch;
    if (from.level != 2 || to.level != 2) return;
    if (!has(s, kTcpRst)) {
      w.verdict = TcpVerdict::drop_and_reset;
      w.seq = s.ack;
    }
    from.lo = 0;
    from.hi = 1;
    from.max_win = 1;
  }

  void follow_levels(End& from, End& to, const TcpSegment& s, uint32_t now) {
    if (has(s, kTcpSyn) && from.level < 2) from.level = 2;
    if (has(s, kTcpFin) && from.level < 7) from.level = 7;
    if (has(s, kTcpAck)) {
      if (to.level == 2)
        to.level = 4;
      else if (to.level == 7)
        to.level = 9;
      else if (from.level == 2 && to.level < 2)  // only one half is seen
        from.level = to.level = 4;
      else if (from.level == 7 && to.level == 4 && to.lo == 0)
        to.level = 7;
    }
    if (has(s, kTcpRst)) from.level = to.level = 10;
    refresh(now);
  }

  void refresh(uint32_t now) {
    const int low = std::min(initiator.level, responder.level), high = std::max(initiator.level, responder.level);
    updated = now;
    timeout = low >= 9    ? TimeoutClass::tcp_closed
              : low >= 7  ? TimeoutClass::tcp_finwait
              : low < 4   ? TimeoutClass::tcp_opening
              : high >= 7 ? TimeoutClass::tcp_closing
                          : TimeoutClass::tcp_established;
  }
};

}  // namespace twinwall::test
