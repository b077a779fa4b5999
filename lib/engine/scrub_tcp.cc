// scrub (reassemble tcp): TTLs that never fall, timestamps that tell nothing of the host and must be plausible
// (pf.conf(5) "reassemble tcp"; PAWS is RFC 7323 section 5).
#include "lib/engine/engine_impl.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

enum ScrubFlag : uint8_t {
  kKnown = 0x01,       // this end has been heard
  kTimestamps = 0x02,  // it sent one in its SYN
  kPaws = 0x04,        // and has had one echoed
  kPawsIdled = 0x08,   // silent for so long that its clock may have come round
  kDataStamped = 0x10,
  kDataPlain = 0x20,
};

constexpr uint8_t kTimestampOption = 8;
constexpr uint32_t kFastestClock = 1100;  // ticks a second
constexpr uint64_t kSecond = 1'000'000;
constexpr uint64_t kLongestIdle = 24ull * 86400 * kSecond;
constexpr uint32_t kLongestConnection = 12u * 86400;

bool before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

struct Stamp {
  bool seen = false, twice = false;
  size_t at = 0;  // of the value, from the TCP header
  uint32_t value = 0, echo = 0;
};

Stamp find_stamp(const Packet& p) {
  Stamp s;
  const uint8_t* const t = p.transport();
  const size_t end = static_cast<size_t>(t[12] >> 4) * 4;
  for (size_t i = kTcpHeader; i + 1 < end;) {
    if (t[i] == 0) break;
    if (t[i] == 1) {
      ++i;
      continue;
    }
    if (t[i + 1] < 2 || i + t[i + 1] > end) break;
    if (t[i] == kTimestampOption && t[i + 1] == 10) {
      s.twice = s.seen;
      s.seen = true;
      s.at = i + 2;
      s.value = load_be32(t + i + 2);
      s.echo = load_be32(t + i + 6);
    }
    i += t[i + 1];
  }
  return s;
}

void patch_stamp(Packet& p, size_t at, uint32_t value) {
  uint8_t bytes[4];
  store_be32(bytes, value);
  patch_tcp(p, at, bytes, sizeof bytes);
}

void keep_ttl(Packet& p, ScrubRecord& r) {
  r.ttl = std::max(r.ttl, p.ttl);
  if (p.ttl == r.ttl) return;
  PacketActions a;
  a.min_ttl = r.ttl;
  apply_actions(p, a, 0);
}

// Neither older than what the other end has had echoed, nor younger than any clock could have become; and echoing
// nothing that was never sent.
bool plausible(const Stamp& s, const ScrubRecord& from, const ScrubRecord& to, uint64_t now_us, uint32_t slack_s) {
  const uint64_t gone = now_us - from.last_packet_us;
  const auto ticks =
      static_cast<uint32_t>((gone / kSecond + slack_s) * kFastestClock + gone % kSecond / (kSecond / kFastestClock));
  if (before(s.value, to.tsecr) || before(from.tsval + ticks, s.value)) return false;
  return s.echo == 0 || (!before(to.tsval, s.echo) && !before(s.echo, to.tsval_first));
}

void remember(const Stamp& s, ScrubRecord& from, uint64_t now_us) {
  if (!s.seen || (from.flags & (kPawsIdled | kTimestamps)) != kTimestamps) return;
  const bool armed = (from.flags & kPaws) != 0;
  from.last_packet_us = now_us;
  if (!armed || !before(s.value, from.tsval)) from.tsval = s.value;
  if (s.echo == 0) return;
  if (!armed || !before(s.echo, from.tsecr)) from.tsecr = s.echo;
  if (!armed && (from.tsval_first == 0 || before(s.value, from.tsval_first))) from.tsval_first = s.value;
  from.flags |= kPaws;
}

}  // namespace

void Engine::Impl::begin_scrub(State& s, const Packet& p, bool forward) {
  ScrubRecord& from = rest_of(s).scrub[forward ? 0 : 1];
  if ((from.flags & kKnown) != 0) return;
  from = ScrubRecord{};
  from.flags = kKnown;
  from.ttl = p.ttl;
  const Stamp stamp = (p.tcp_flags & kTcpSyn) != 0 ? find_stamp(p) : Stamp{};
  if (!stamp.seen) return;
  from.flags |= kTimestamps;
  from.ts_offset = random_secret();
  from.tsval = from.tsval_first = stamp.value;
  from.tsecr = stamp.echo;
  from.last_packet_us = static_cast<uint64_t>(now.time_since_epoch() / 1us);
}

bool Engine::Impl::track_scrubbed(Packet& p, State& s, bool forward, TcpResult& result) {
  const Peer src = s.src, dst = s.dst;
  const uint32_t update = s.last_update;
  const TimeoutClass timeout = s.timeout;
  if ((forward ? s.src : s.dst).seqlo == 0) begin_scrub(s, p, forward);
  result = tcp_track(s, forward, segment_of(p), now_s);
  if (result.verdict != TcpVerdict::pass) return true;
  if (scrub_tcp(s, p, forward, src.level >= kTcpEstablished && dst.level >= kTcpEstablished)) return true;
  s.src = src;
  s.dst = dst;
  s.last_update = update;
  s.timeout = timeout;
  return false;
}

bool Engine::Impl::scrub_tcp(State& s, Packet& p, bool forward, bool established) {
  StateRest& rest = rest_of(s);
  ScrubRecord& from = rest.scrub[forward ? 0 : 1];
  ScrubRecord& to = rest.scrub[forward ? 1 : 0];
  if ((from.flags & kKnown) != 0) keep_ttl(p, from);
  Stamp stamp;
  if (((from.flags | to.flags) & kTimestamps) != 0) stamp = find_stamp(p);
  if (stamp.twice) return false;
  if (stamp.seen) {
    if (stamp.value != 0 && (from.flags & kTimestamps) != 0) patch_stamp(p, stamp.at, stamp.value + from.ts_offset);
    if (stamp.echo != 0 && (to.flags & kTimestamps) != 0) {
      stamp.echo -= to.ts_offset;
      patch_stamp(p, stamp.at + 4, stamp.echo);
    }
  }
  const auto now_us = static_cast<uint64_t>(now.time_since_epoch() / 1us);
  if ((from.flags & kPaws) != 0 &&
      (now_us - from.last_packet_us > kLongestIdle || now_s - s.creation > kLongestConnection)) {
    for (ScrubRecord* r : {&from, &to}) r->flags = static_cast<uint8_t>((r->flags & ~kPaws) | kPawsIdled);
  }
  if ((from.flags & to.flags & kPaws) != 0) {
    constexpr auto kSlack = static_cast<size_t>(TimeoutClass::ts_diff);
    const Rule* const rule = find_rule(s);
    const uint32_t own = rule != nullptr ? rule->timeouts[kSlack] : 0;
    const uint32_t slack = own != 0 ? own : snapshot->timeouts[kSlack];
    if (stamp.seen) {
      if (established && !plausible(stamp, from, to, now_us, slack)) return false;
    } else if ((p.tcp_flags & kTcpRst) == 0 && p.payload > 0 && (from.flags & kDataStamped) != 0) {
      return false;
    }
  }
  if (p.payload > 0 && (from.flags & (kDataStamped | kDataPlain)) == 0)
    from.flags |= stamp.seen ? kDataStamped : kDataPlain;
  remember(stamp, from, now_us);
  return true;
}

}  // namespace twinwall
