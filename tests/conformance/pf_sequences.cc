#include "tests/conformance/pf_sequences.h"

#include <algorithm>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall::conformance::pf {

namespace {

constexpr uint8_t kSack = 5, kTimestamp = 8;

// A TCP segment inside a packet, or inside what an ICMP error quotes.
struct Segment {
  size_t ip = 0, tcp = 0;
  size_t icmp = 0;       // of the error around it; 0: none
  size_t available = 0;  // bytes from `tcp` on
  TcpEnd src, dst;
};

bool find_tcp(const std::vector<uint8_t>& p, size_t at, Segment& s) {
  if (p.size() < at + kIpv4Header) return false;
  const bool v4 = p[at] >> 4 == 4;
  if (!v4 && p.size() < at + kIpv6Header) return false;
  const size_t header = v4 ? (p[at] & 15) * size_t{4} : kIpv6Header;
  if (p[at + (v4 ? 9 : 6)] != kProtoTcp || p.size() < at + header + 8) return false;
  if (v4 && (load_be16(&p[at + 6]) & kIpv4FragmentOffset) != 0) return false;
  s.ip = at;
  s.tcp = at + header;
  s.available = p.size() - s.tcp;
  const auto address = [&](size_t v4_offset, size_t v6_offset) {
    return v4 ? IpAddress{Af::inet, Address::v4_wire(&p[at + v4_offset])}
              : IpAddress{Af::inet6, Address::v6_wire(&p[at + v6_offset])};
  };
  s.src = {address(12, 8), load_be16(&p[s.tcp])};
  s.dst = {address(16, 24), load_be16(&p[s.tcp + 2])};
  return true;
}

bool find_quoted(const std::vector<uint8_t>& p, Segment& s) {
  if (p.size() < kIpv4Header) return false;
  const bool v4 = p[0] >> 4 == 4;
  const size_t header = v4 ? (p[0] & 15) * size_t{4} : kIpv6Header;
  if (p.size() < header + kIcmpHeader) return false;
  const uint8_t type = p[header];
  const bool error = v4 ? p[9] == kProtoIcmp && (type == kIcmpUnreachable || type == kIcmpTimeExceeded ||
                                                 type == kIcmpParameterProblem || type == kIcmpSourceQuench)
                        : p[6] == kProtoIcmp6 && type >= 1 && type <= 4;
  if (!error || !find_tcp(p, header + kIcmpHeader, s)) return false;
  s.icmp = header;
  return true;
}

// fn(kind, offset of its value from the segment, length of it)
template <class Fn>
void each_option(const std::vector<uint8_t>& p, const Segment& s, Fn&& fn) {
  if (s.available < kTcpHeader) return;
  const size_t end = std::min<size_t>((p[s.tcp + 12] >> 4) * size_t{4}, s.available);
  for (size_t i = kTcpHeader; i + 1 < end;) {
    const uint8_t kind = p[s.tcp + i];
    if (kind == 0) return;
    if (kind == 1) {
      ++i;
      continue;
    }
    const size_t length = p[s.tcp + i + 1];
    if (length < 2 || i + length > end) return;
    fn(kind, i + 2, length - 2);
    i += length;
  }
}

// Adds to a number of the segment; a TCP checksum that was right stays so, and an error's follows.
void add(std::vector<uint8_t>& p, const Segment& s, size_t offset, uint32_t value) {
  if (value == 0) return;
  const std::vector<uint8_t> before = p;
  store_be32(&p[s.tcp + offset], load_be32(&p[s.tcp + offset]) + value);
  const size_t sum = s.icmp != 0 ? s.icmp + 2 : s.tcp + 16;
  const size_t from = (s.icmp != 0 ? s.icmp : s.tcp);
  if (s.icmp == 0 && s.available < kTcpHeader) return;
  const size_t length = (p.size() - from) & ~size_t{1};
  store_raw(&p[sum], checksum_adjust(load_raw<uint16_t>(&before[sum]), &before[from], &p[from], length));
}

uint8_t flags_of(const std::vector<uint8_t>& p, const Segment& s) {
  return s.available > 13 ? p[s.tcp + 13] : uint8_t{0};
}

}  // namespace

Sequences::Numbering Sequences::nearest(const TcpEnd& viewer, const TcpEnd& sender, uint32_t value, bool own) const {
  const auto it = numberings_.find({viewer, sender});
  if (it == numberings_.end() || it->second.empty()) return {};
  const auto far = [&](const Numbering& n) {
    const auto d = static_cast<int32_t>(value - (own ? n.own : n.recorded));
    return d < 0 ? -static_cast<int64_t>(d) : int64_t{d};
  };
  return *std::min_element(it->second.begin(), it->second.end(),
                           [&](const Numbering& a, const Numbering& b) { return far(a) < far(b); });
}

void Sequences::learn(const std::vector<uint8_t>& recorded, const std::vector<uint8_t>& own) {
  Segment r, o;
  if (!enabled_ || !find_tcp(recorded, 0, r) || !find_tcp(own, 0, o) || recorded.size() != own.size()) return;
  if (!(r.src == o.src) || !(r.dst == o.dst)) return;
  Numbering n{load_be32(&recorded[r.tcp + 4]), load_be32(&own[o.tcp + 4]), 0};
  const uint8_t flags = flags_of(own, o);
  if ((flags & kTcpRst) != 0) return;  // it may repeat what its receiver said
  auto& known = numberings_[{o.dst, o.src}];
  const bool again = std::any_of(known.begin(), known.end(),
                                 [&](const Numbering& k) { return k.recorded == n.recorded && k.own == n.own; });
  if (again || (!known.empty() && (flags & kTcpSyn) == 0)) return;
  uint32_t recorded_ts = 0, own_ts = 0;
  each_option(recorded, r, [&](uint8_t kind, size_t at, size_t length) {
    if (kind == kTimestamp && length == 8) recorded_ts = load_be32(&recorded[r.tcp + at]);
  });
  each_option(own, o, [&](uint8_t kind, size_t at, size_t length) {
    if (kind == kTimestamp && length == 8) own_ts = load_be32(&own[o.tcp + at]);
  });
  n.timestamp = own_ts - recorded_ts;
  known.push_back(n);
}

std::vector<uint8_t> Sequences::to_own(const std::vector<uint8_t>& sent) const {
  std::vector<uint8_t> p = sent;
  Segment s;
  if (!enabled_) return p;
  if (find_quoted(p, s)) {
    const Numbering n = nearest(s.dst, s.src, load_be32(&p[s.tcp + 4]), false);
    add(p, s, 4, n.own - n.recorded);
    return p;
  }
  if (!find_tcp(p, 0, s) || s.available < kTcpHeader) return p;
  const Numbering n = nearest(s.src, s.dst, load_be32(&p[s.tcp + 8]), false);
  if ((flags_of(p, s) & kTcpAck) != 0) add(p, s, 8, n.own - n.recorded);
  each_option(sent, s, [&](uint8_t kind, size_t at, size_t length) {
    if (kind == kSack)
      for (size_t edge = at; edge + 4 <= at + length; edge += 4) add(p, s, edge, n.own - n.recorded);
    if (kind == kTimestamp && length == 8 && load_be32(&sent[s.tcp + at + 4]) != 0) add(p, s, at + 4, n.timestamp);
  });
  return p;
}

std::vector<uint8_t> Sequences::to_recorded(const std::vector<uint8_t>& got,
                                            const std::vector<uint8_t>& recorded) const {
  std::vector<uint8_t> p = got;
  Segment s;
  if (!enabled_ || !find_tcp(p, 0, s) || s.available < kTcpHeader) return p;
  const uint32_t seq = load_be32(&p[s.tcp + 4]);
  const Numbering n = nearest(s.dst, s.src, seq, true);
  // Some of what a filter makes is in the sender's own numbers: then it is what was recorded.
  const bool same = recorded.size() == p.size() && load_be32(&recorded[s.tcp + 4]) == seq;
  const bool nothing = seq == 0 && (flags_of(p, s) & kTcpRst) != 0;
  // A bare reset in numbers that were drawn and never sent: nothing to hold it against.
  const bool unseen = flags_of(p, s) == kTcpRst && recorded.size() == p.size() && !numberings_.contains({s.dst, s.src});
  if (unseen)
    add(p, s, 4, load_be32(&recorded[s.tcp + 4]) - seq);
  else if (!same && !nothing)
    add(p, s, 4, n.recorded - n.own);
  // Modulation shifts the field also where nothing is acknowledged.
  if ((flags_of(p, s) & kTcpAck) == 0 && load_be32(&p[s.tcp + 8]) != 0) {
    const Numbering m = nearest(s.src, s.dst, load_be32(&p[s.tcp + 8]), true);
    add(p, s, 8, m.own - m.recorded);
  }
  each_option(got, s, [&](uint8_t kind, size_t at, size_t length) {
    if (kind == kTimestamp && length == 8) add(p, s, at, 0u - n.timestamp);
  });
  return p;
}

State Sequences::to_recorded(const State& own) const {
  State s = own;
  if (!enabled_ || s.wire.proto != kProtoTcp) return s;
  const auto end = [](const FlowKey& k, unsigned slot) { return TcpEnd{{k.af, k.addr[slot]}, bswap(k.port[slot])}; };
  const unsigned client = s.direction == Direction::out ? 1 : 0;
  const FlowKey& near = s.direction == Direction::out ? s.stack : s.wire;  // as the client knows it
  const FlowKey& far = s.direction == Direction::out ? s.wire : s.stack;   // as the server knows it
  const auto of_server = [&](uint32_t value) { return distance(end(near, client), end(near, 1 - client), value); };
  const auto of_client = [&](uint32_t value) { return distance(end(far, 1 - client), end(far, client), value); };
  // One that was killed while it waited has not let a packet through.
  if (s.src.level >= kTcpProxySrc || (s.src.level == 0 && s.packets(0) + s.packets(1) == 0)) {
    s.src.seqhi -= of_server(own.src.seqhi);
    if (s.dst.seqhi != 1) s.dst.seqhi -= of_client(own.dst.seqhi);
  } else if (s.src.seqdiff != 0 || s.dst.seqdiff != 0) {
    if (s.src.seqdiff != 0) s.src.seqdiff -= of_client(own.src.seqlo + own.src.seqdiff);
    // What no host has seen yet cannot be told.
    const bool seen = numberings_.contains({end(near, client), end(near, 1 - client)});
    if (s.dst.seqdiff != 0) s.dst.seqdiff = seen ? s.dst.seqdiff - of_server(own.dst.seqlo + own.dst.seqdiff) : kUnseen;
  } else if (s.direction == Direction::out) {
    const uint32_t d = of_client(own.src.seqlo);
    s.src.seqlo -= d;
    s.src.seqhi -= d;
  } else if (s.dst.seqhi != 1) {
    const uint32_t d = of_server(own.dst.seqlo);
    s.dst.seqlo -= s.dst.seqlo != 0 ? d : 0;
    s.dst.seqhi -= d;
  }
  return s;
}

}  // namespace twinwall::conformance::pf
