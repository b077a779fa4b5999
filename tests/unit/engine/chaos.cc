#include "tests/unit/engine/chaos.h"

#include <algorithm>

#include "lib/net/headers.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::test {

namespace {

constexpr size_t kMemory = 24;
constexpr size_t kV4 = kEthernetHeader + kIpv4Header, kV6 = kEthernetHeader + kIpv6Header;

bool is_v4(const Frame& f) { return f.size() >= kV4 && load_be16(&f[12]) == kEtherTypeIpv4; }

void put_header_sum(Frame& f) {
  const size_t header = (f[kEthernetHeader] & 0xfu) * 4;
  if (header < kIpv4Header || kEthernetHeader + header > f.size()) return;
  store_be16(&f[24], 0);
  const auto from = f.begin() + kEthernetHeader;
  store_be16(&f[24], plain_sum(Frame(from, from + static_cast<std::ptrdiff_t>(header))));
}

// No two datagrams are taken for one.
void number_piece(Frame& f, uint16_t id) {
  if (!is_v4(f)) {
    if (f[kEthernetHeader + 6] == kProtoFragment) store_be32(&f[kV6 + 4], id);
    return;
  }
  store_be16(&f[18], id);
  put_header_sum(f);
}

}  // namespace

void Chaos::step(const Watch& watch) {
  const uint32_t what = below(100);
  if (what < 30 || heard_.empty()) {
    const Opening o = traffic_.opening(chance(3) ? kProtoTcp : uint8_t{0});
    Datagram d = o.packet;
    if (chance(8)) d.ttl = static_cast<uint8_t>(1 + below(3));
    if (d.proto == kProtoUdp && chance(8)) {
      d.l4.resize(8 + 1400 + below(4000));
      d.set_word(4, static_cast<uint16_t>(d.l4.size()));
      put_sum(d);
    }
    if (d.proto == kProtoUdp && d.af == Af::inet && chance(8)) d.set_word(6, 0);
    send(o.at, frame_of(d, node_.interface_mac(o.at)), watch);
  } else if (what < 80) {
    // Mostly what came just now, so that conversations come to something.
    const Heard heard = chance(3) ? heard_[below(static_cast<uint32_t>(heard_.size()))] : heard_.back();
    answer(heard, watch);
  } else if (what < 90) {
    const Heard heard = heard_[below(static_cast<uint32_t>(heard_.size()))];
    complain(heard, watch);
  } else if (what < 94 && !repeated_.empty()) {
    const Heard again = repeated_[below(static_cast<uint32_t>(repeated_.size()))];
    send(again.on, again.frame, watch);
  } else {
    Happening h;
    h.outcome = node_.advance(std::chrono::milliseconds(below(3000)));
    watch(h);
  }
}

void Chaos::answer(const Heard& heard, const Watch& watch) {
  const auto d = read(heard.frame);
  if (!d || (d->has_ports() && d->l4.size() < d->header())) return;
  if ((d->proto == kProtoIcmp || d->proto == kProtoIcmp6) && !d->is_echo()) return;
  Datagram a = answer_to(*d, traffic_.payload(300));
  if (a.proto == kProtoTcp) {
    const uint32_t mood = below(16);
    uint8_t& flags = a.l4[13];
    if (mood == 0) flags |= kTcpRst;
    if (mood == 1 || mood == 2) flags |= kTcpFin;
    if (mood == 3) flags = static_cast<uint8_t>(below(256));
    if (mood == 4) a.set_number(4, traffic_.random().next32());
    if (mood == 5) a.set_number(8, traffic_.random().next32());
    if (mood > 10 && (flags & kTcpSyn) == 0) {
      const Frame data = traffic_.payload(300);
      a.l4.insert(a.l4.end(), data.begin(), data.end());
    }
    put_sum(a);
  }
  send(heard.on, frame_of(a, node_.interface_mac(heard.on)), watch);
}

void Chaos::complain(const Heard& heard, const Watch& watch) {
  const auto d = read(heard.frame);
  if (!d) return;
  static constexpr uint8_t kTypes4[] = {kIcmpUnreachable, kIcmpTimeExceeded, kIcmpParameterProblem, kIcmpSourceQuench};
  const bool v4 = d->af == Af::inet;
  const uint8_t type = v4 ? kTypes4[below(4)] : static_cast<uint8_t>(1 + below(4));
  const Address router = parse_ip(v4 ? "172.31.0.9" : "2001:db8:ff::9")->addr;
  const Datagram e = icmp_error(heard.frame, chance(2) ? d->dst : router, type, static_cast<uint8_t>(below(14)),
                                d->l4.size() < 8 || chance(3) ? below(300) : 8);
  send(heard.on, frame_of(e, node_.interface_mac(heard.on)), watch);
}

// IPv4 options; hop-by-hop and destination options, routing headers, fragment headers of the whole.
void Chaos::add_options(Frame& frame) {
  static const Frame kOptions4[] = {{1, 1, 1, 1},
                                    {148, 4, 0, 0},
                                    {7, 7, 4, 0, 0, 0, 0, 0},
                                    {131, 7, 4, 192, 0, 2, 20, 0},
                                    {68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                                    {130, 9, 0, 0}};  // the last claims more than there is
  static const Frame kHeaders6[] = {
      {0, 0, 0, 1, 4, 0, 0, 0, 0},  {0, 0, 0, 5, 2, 0, 0, 1, 0},
      {60, 0, 0, 1, 4, 0, 0, 0, 0}, {43, 0, 0, 4, 0, 0, 0, 0, 0},
      {44, 0, 0, 0, 0, 1, 2, 3, 4}, {51, 0, 1, 0, 0, 0, 0, 0, 7}};  // protocol, then the header
  if (is_v4(frame)) {
    if ((frame[kEthernetHeader] & 0xf) != 5) return;
    const Frame& o = kOptions4[below(std::size(kOptions4))];
    frame.insert(frame.begin() + kV4, o.begin(), o.end());
    frame[kEthernetHeader] = static_cast<uint8_t>(frame[kEthernetHeader] + o.size() / 4);
    store_be16(&frame[16], static_cast<uint16_t>(load_be16(&frame[16]) + o.size()));
  } else if (frame.size() >= kV6) {
    Frame h = kHeaders6[below(std::size(kHeaders6))];
    const uint8_t proto = h[0];
    h.erase(h.begin());
    h[0] = std::exchange(frame[kEthernetHeader + 6], proto);
    frame.insert(frame.begin() + kV6, h.begin(), h.end());
    store_be16(&frame[kEthernetHeader + 4], static_cast<uint16_t>(load_be16(&frame[kEthernetHeader + 4]) + h.size()));
  }
  repair(frame);
}

void Chaos::spoil(Frame& frame) {
  for (uint32_t n = 1 + below(3); n > 0; --n) {
    const size_t from = chance(2) ? kEthernetHeader : std::min(kV4, frame.size() - 1);
    const size_t at = from + below(static_cast<uint32_t>(std::min<size_t>(frame.size() - from, 60)));
    frame[at] = chance(3) ? static_cast<uint8_t>(below(4)) : static_cast<uint8_t>(traffic_.random().next32());
  }
  if (!chance(3)) {
    repair(frame);
  } else if (is_v4(frame)) {
    put_header_sum(frame);
  }
}

// Sometimes in another order, sometimes one is missing.
std::vector<Frame> Chaos::pieces_of(const Frame& frame) {
  const size_t length = is_v4(frame) ? load_be16(&frame[16]) : kIpv6Header + load_be16(&frame[kEthernetHeader + 4]);
  // Only what can be cut, and has nothing behind it.
  if (!read(frame) || kEthernetHeader + length != frame.size()) return {frame};
  const auto size = static_cast<size_t>(8u * (1 + below(160)));
  std::vector<Frame> out = scenario::split_frame(frame, size);
  if (out.size() < 2 || out.size() > 60) return {frame};
  if (chance(3))
    for (size_t i = out.size() - 1; i > 0; --i) std::swap(out[i], out[below(static_cast<uint32_t>(i + 1))]);
  if (chance(6)) out.erase(out.begin() + below(static_cast<uint32_t>(out.size())));
  // A piece of another cut: it overlaps, and in IPv6 that is the end of both.
  if (chance(12)) {
    const auto others = scenario::split_frame(frame, size + 8);
    out.insert(out.begin(), others[below(static_cast<uint32_t>(others.size()))]);
  }
  ++datagrams_;
  for (Frame& f : out) number_piece(f, datagrams_);
  return out;
}

void Chaos::send(InterfaceId at, Frame frame, const Watch& watch) {
  if (rubbish_ && chance(8)) add_options(frame);
  if (rubbish_ && chance(6)) spoil(frame);
  Happening h;
  h.at = at;
  h.frames = chance(6) ? pieces_of(frame) : std::vector<Frame>{frame};
  h.whole = frame;
  for (const Frame& f : h.frames) {
    scenario::Outcome one = node_.inject(at, f);
    for (auto& o : one.outputs) h.outcome.outputs.push_back(std::move(o));
    h.outcome.drops.insert(h.outcome.drops.end(), one.drops.begin(), one.drops.end());
    h.outcome.punts.insert(h.outcome.punts.end(), one.punts.begin(), one.punts.end());
    h.outcome.logs.insert(h.outcome.logs.end(), one.logs.begin(), one.logs.end());
  }
  for (const auto& o : h.outcome.outputs) heard_.push_back({o.interface, o.frame});
  repeated_.push_back({at, frame});
  while (heard_.size() > kMemory) heard_.pop_front();
  while (repeated_.size() > kMemory) repeated_.pop_front();
  watch(h);
}

std::string show(const Happening& h) {
  std::string out;
  for (const Frame& f : h.frames) out += "in on " + std::to_string(h.at) + ": " + show(f) + "\n";
  if (h.frames.empty()) out += "time passes\n";
  for (const auto& o : h.outcome.outputs)
    out += "  out on " + std::to_string(o.interface) + ": " + show(o.frame) + "\n";
  for (const DropReason r : h.outcome.drops) out += "  dropped: " + std::string(reason_name(r)) + "\n";
  return out;
}

}  // namespace twinwall::test
