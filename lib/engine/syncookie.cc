// set syncookies: while they are on, every SYN is answered before states and rules are asked (pf.conf(5)).
#include "lib/engine/engine_impl.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr uint16_t kLeastMss = 512;

}  // namespace

void Engine::Impl::note_half_open(bool more) {
  Counter& shared = table.counters(options.worker).half_open;
  if (more) {
    counters.half_open.add();
    shared.add();
  } else {
    counters.half_open.sub();
    shared.sub();
  }
}

uint64_t Engine::Impl::half_open_total() const {
  uint64_t n = 0;
  for (uint8_t w = 0; w < table.workers(); ++w) n += table.counters(w).half_open.get();
  return n;
}

bool Engine::Impl::cookies_wanted() {
  if (snapshot->syncookies == config::Syncookies::always) return true;
  cookies.set_thresholds(snapshot->syncookies_start, snapshot->syncookies_end);
  const uint64_t before = cookies.floods();
  const bool flooded = cookies.flooded(half_open_total());
  if (cookies.floods() != before) counters.limits[static_cast<size_t>(LimitCounter::synfloods)].add();
  return flooded;
}

void Engine::Impl::rotate_cookies() {
  if (options.worker == 0) cookies.rotate(now_s, half_open_total());
}

void Engine::Impl::send_cookie(const Packet& p) {
  const TcpSegment s = segment_of(p);
  const uint16_t mss = std::max(s.mss, kLeastMss);
  TcpReply r{p.dst,
             p.src,
             p.dport,
             p.sport,
             cookies.make(flow_key(p, Direction::in), s.seq, mss, s.wscale),
             s.seq + 1,
             kTcpSyn | kTcpAck,
             0,
             64};
  r.mss = mss;
  send_tcp(p.af, r, p.in, false);
  counters.limits[static_cast<size_t>(LimitCounter::syncookies_sent)].add();
}

bool Engine::Impl::accept_cookie(Packet& p, InterfaceId interface, HookResult& result) {
  if (cookies.in_flight() == 0) return false;
  const uint32_t seq = load_be32(p.transport() + 4), ack = load_be32(p.transport() + 8);
  const Syncookies::Checked c = cookies.check(flow_key(p, Direction::in), seq - 1, ack - 1);
  if (!c.valid) return false;
  counters.limits[static_cast<size_t>(LimitCounter::syncookies_validated)].add();
  Packet* q = host.allocate(kEthernetHeader + 128);
  if (q == nullptr) {
    counters.drops[static_cast<size_t>(DropReason::no_buffer)].add();
    return false;
  }
  TcpReply syn{p.src, p.dst, p.sport, p.dport, seq - 1, 0, kTcpSyn, load_be16(p.transport() + 14), p.ttl};
  syn.mss = c.mss;
  const size_t n = build_tcp(MutableBytes(q->frame + kEthernetHeader, 128), p.af, syn, next_ip_id++);
  q->af = p.af;
  q->l3 = kEthernetHeader;
  q->length = static_cast<uint32_t>(kEthernetHeader + n);
  q->in = p.in;
  q->from_cookie = true;
  bool made = false;
  if (n != 0 && parse_ip(*q) == kParsed) {
    const HookResult r = filter(*q, Direction::in, interface, kNoState);
    if (r.fate == Fate::pending && r.state != nullptr) {
      State& s = *r.state;
      if (counts_half_open(s)) note_half_open(false);
      s.src.level = kTcpProxyDst;
      s.src.seqhi = s.dst.seqhi = ack - 1;
      s.src.seqlo = seq - 1;
      result = proxy(p, s, Direction::in);
      made = true;
    }
  }
  q->fate = Fate::held;
  host.submit(q);
  return made;
}

}  // namespace twinwall
