// The recorded TCP cases of an OpenBSD kernel, segment by segment through tcp_start() and tcp_track() alone: verdicts,
// answers, levels and windows must be the recorded ones.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "lib/net/headers.h"
#include "lib/state/tcp_track.h"

namespace twinwall {
namespace {

using nlohmann::json;

std::vector<uint8_t> from_hex(const std::string& hex) {
  std::vector<uint8_t> out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  return out;
}

struct Parsed {
  Address src, dst;
  uint16_t sport = 0, dport = 0;  // network order
  uint8_t proto = 0;
  TcpSegment segment;
};

// Well-formed IPv4 only: the recordings are.
Parsed parse(const uint8_t* p) {
  Parsed out;
  const size_t header = (p[0] & 0xf) * 4u;
  out.proto = p[9];
  out.src = Address::v4_wire(p + 12);
  out.dst = Address::v4_wire(p + 16);
  const uint8_t* t = p + header;
  out.sport = load_raw<uint16_t>(t);
  out.dport = load_raw<uint16_t>(t + 2);
  out.segment.seq = load_be32(t + 4);
  if (out.proto != kProtoTcp) return out;
  out.segment.ack = load_be32(t + 8);
  out.segment.flags = t[13];
  out.segment.win = load_be16(t + 14);
  const size_t offset = (t[12] >> 4) * 4u;
  out.segment.payload = static_cast<uint32_t>(load_be16(p + 2) - header - offset);
  for (size_t i = kTcpHeader; i < offset && t[i] != 0;) {
    if (t[i] == 1) {
      ++i;
      continue;
    }
    if (t[i] == 3) out.segment.wscale = static_cast<int8_t>(t[i + 2]);
    i += t[i + 1];
  }
  return out;
}

// What stands before the tracker in the packet path: pf-style flag normalisation. False: drop.
bool normalise(uint8_t& flags) {
  if ((flags & kTcpSyn) != 0) {
    if ((flags & kTcpRst) != 0) return false;
    flags &= static_cast<uint8_t>(~kTcpFin);
  } else if ((flags & (kTcpAck | kTcpRst)) == 0) {
    return false;
  }
  return (flags & kTcpAck) != 0 || (flags & (kTcpFin | kTcpPush | kTcpUrg)) == 0;
}

FlowKey key_of(const Address& src, uint16_t sport, const Address& dst, uint16_t dport, bool in) {
  FlowKey k;
  k.af = Af::inet;
  k.proto = kProtoTcp;
  k.addr[in ? 0 : 1] = src;
  k.port[in ? 0 : 1] = sport;
  k.addr[in ? 1 : 0] = dst;
  k.port[in ? 1 : 0] = dport;
  return k;
}

const char* level_name(uint8_t level) {
  static const char* const names[] = {"CLOSED",     "LISTEN",  "SYN_SENT", "SYN_RCVD",   "ESTABLISHED", "CLOSE_WAIT",
                                      "FIN_WAIT_1", "CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT"};
  return level < std::size(names) ? names[level] : "?";
}

std::string end_text(const FlowKey& k, int i) {
  return fmt::format("{}:{}", to_string(Af::inet, k.addr[i]), bswap(k.port[i]));
}

std::string window_text(const Peer& p, bool scaled) {
  const std::string window = fmt::format("[{} + {}]", p.seqlo, p.seqhi - p.seqlo);
  return scaled ? fmt::format("{} wscale {}", window, p.wscale & kWindowScaleMask) : window;
}

// The two lines that the system's own tool prints of a state.
std::string state_text(const State& s) {
  const bool in = s.direction == Direction::in;
  const Peer& left = in ? s.dst : s.src;
  const Peer& right = in ? s.src : s.dst;
  const bool scaled = s.src.wscale != 0 && s.dst.wscale != 0;
  return fmt::format("all tcp {} {} {}       {}:{}\n{}  {}", end_text(s.wire, 1), in ? "<-" : "->", end_text(s.wire, 0),
                     level_name(left.level), level_name(right.level), window_text(left, scaled),
                     window_text(right, scaled));
}

class Replay {
 public:
  explicit Replay(const json& ruleset) {
    for (const std::string line : ruleset) {
      if (line.starts_with("pass in on vio0")) pass_[0] = true;
      if (line.starts_with("pass out on vio0")) pass_[1] = true;
      if (line.find("flags any") != std::string::npos) flags_any_ = true;
      if (line.find("sloppy") != std::string::npos) sloppy_ = true;
      if (line.find("tcp.closed 2, tcp.finwait 3, tcp.first 3, tcp.opening 3") != std::string::npos) {
        timeouts_[static_cast<size_t>(TimeoutClass::tcp_closed)] = 2;
        for (const auto c : {TimeoutClass::tcp_finwait, TimeoutClass::tcp_first, TimeoutClass::tcp_opening})
          timeouts_[static_cast<size_t>(c)] = 3;
      }
    }
  }

  struct Outcome {
    bool pass = false;
    int answers = 0;
    uint8_t flags = 0;
    uint32_t seq = 0, ack = 0;
  };

  Outcome step(const json& step) {
    now_ += step.value("wait_before_s", 0u);
    expire();
    const bool in = step.at("from") == "client";
    const std::vector<uint8_t> packet = from_hex(step.at("sent"));
    Parsed p = parse(packet.data());
    if (p.proto == kProtoIcmp) return icmp(packet.data() + kIpv4Header + kIcmpHeader, in);
    if (!normalise(p.segment.flags)) return {};
    const FlowKey key = key_of(p.src, p.sport, p.dst, p.dport, in);
    if (const auto it = find(key); it != states_.end()) {
      const TcpResult r = tcp_track(*it, in == (it->direction == Direction::in), p.segment, now_);
      switch (r.verdict) {
        case TcpVerdict::pass: return {.pass = true};
        case TcpVerdict::drop_mismatch: return {};
        case TcpVerdict::drop_and_reset: return {.answers = 1, .flags = kTcpRst, .seq = r.answer_seq};
        case TcpVerdict::challenge_ack:
          return {.answers = 1, .flags = kTcpAck, .seq = r.answer_seq, .ack = r.answer_ack};
        case TcpVerdict::reuse: dead_.push_back(state_text(*it)); states_.erase(it);
      }
    }
    if (!pass_[in ? 0 : 1]) return {};
    if (!flags_any_ && (p.segment.flags & (kTcpSyn | kTcpAck)) != kTcpSyn) return {};
    State s;
    s.wire = s.stack = key;
    s.direction = in ? Direction::in : Direction::out;
    if (sloppy_) s.flags = kStateSloppy;
    tcp_start(s, p.segment, now_);
    states_.push_back(s);
    return {.pass = true};
  }

  // The recorded table: our states, and nothing else but those that were replaced and not yet swept.
  void compare(const json& recorded) {
    ASSERT_EQ(recorded.size() % 3, 0u);  // two lines and the id
    std::multiset<std::string> expected;
    for (size_t i = 0; i < recorded.size(); i += 3) expected.insert(lines(recorded, i));
    for (const State& s : states_) {
      const auto it = expected.find(state_text(s));
      EXPECT_TRUE(it != expected.end()) << "ours:\n" << state_text(s) << "\nrecorded: " << recorded.dump(1);
      if (it != expected.end()) expected.erase(it);
    }
    for (const std::string& text : expected)
      EXPECT_TRUE(std::find(dead_.begin(), dead_.end(), text) != dead_.end()) << "only recorded:\n" << text;
  }

 private:
  static std::string lines(const json& recorded, size_t i) {
    return fmt::format("{}\n{}", recorded[i].get<std::string>(), recorded[i + 1].get<std::string>());
  }

  std::vector<State>::iterator find(const FlowKey& key) {
    return std::find_if(states_.begin(), states_.end(), [&](const State& s) { return s.wire == key; });
  }

  void expire() {
    std::erase_if(states_, [&](const State& s) {
      return s.last_update + scaled_timeout(s.timeout, timeouts_, nullptr, states_.size(), 0) <= now_;
    });
  }

  Outcome icmp(const uint8_t* quote, bool in) {
    const Parsed q = parse(quote);
    const auto it = find(key_of(q.src, q.sport, q.dst, q.dport, !in));
    if (it == states_.end()) return {};
    return {.pass = tcp_quoted_sequence_fits(*it, in != (it->direction == Direction::in), q.segment.seq)};
  }

  std::vector<State> states_;
  std::vector<std::string> dead_;
  bool pass_[2] = {false, false};
  bool flags_any_ = false;
  bool sloppy_ = false;
  Timeouts timeouts_ = kDefaultTimeouts;
  uint32_t now_ = 1000;
};

bool beyond_tracking(const json& ruleset) {
  for (const std::string line : ruleset)
    for (const char* word : {"modulate", "synproxy", "reassemble tcp", "block return"})
      if (line.find(word) != std::string::npos) return true;
  return false;
}

TEST(TcpReference, EveryRecordedSegmentHasTheRecordedEffect) {
  std::ifstream file(std::string(TWINWALL_TEST_DATA) + "/captures/ref-tcp-window-cases.json");
  ASSERT_TRUE(file.is_open());
  const json recording = json::parse(file);
  int cases = 0, segments = 0, answers = 0;
  for (const json& c : recording.at("cases")) {
    if (beyond_tracking(c.at("ruleset"))) continue;
    ++cases;
    Replay replay(c.at("ruleset"));
    int n = 0;
    for (const json& step : c.at("steps")) {
      SCOPED_TRACE(fmt::format("{} step {}", c.at("name").get<std::string>(), n++));
      ++segments;
      const Replay::Outcome outcome = replay.step(step);
      EXPECT_EQ(outcome.pass, step.at("verdict") == "pass");
      const json back = step.value("sent_back", json::array());
      EXPECT_EQ(static_cast<size_t>(outcome.answers), back.size());
      for (const std::string hex : back) {
        const std::vector<uint8_t> packet = from_hex(hex);
        const TcpSegment answer = parse(packet.data()).segment;
        EXPECT_EQ(answer.flags, outcome.flags);
        EXPECT_EQ(answer.seq, outcome.seq);
        EXPECT_EQ(answer.ack, outcome.ack);
        ++answers;
      }
      replay.compare(step.at("states_after"));
      if (HasFailure()) return;  // what follows depends on it
    }
  }
  RecordProperty("cases", cases);
  RecordProperty("segments", segments);
  EXPECT_GE(cases, 75);
  EXPECT_GE(segments, 1000);
  EXPECT_GE(answers, 20);
}

}  // namespace
}  // namespace twinwall
