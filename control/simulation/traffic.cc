#include "control/simulation/traffic.h"

#include <algorithm>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/scenario/node.h"

namespace twinwall::simulation {

namespace {

constexpr uint32_t kSegment = 1200;
constexpr uint32_t kServersV4 = 0xc6120000;  // 198.18.0.0/15, RFC 2544
constexpr size_t kMaxConnections = 60000;
constexpr uint16_t kServerPort = 80;
constexpr uint32_t kClientHosts = 40;
constexpr Duration kFirstTimeout = 1s;
constexpr unsigned kMostTries = 8;
constexpr Duration kQuickPause = 50ms;

uint32_t between(Random& random, uint32_t least, uint32_t most) { return least + random.below(most - least + 1); }

Address server_v6(ConnectionId id) {
  Address a;
  a.bytes = {0x20, 0x01, 0x0d, 0xb8, 0xff};
  a.bytes[14] = static_cast<uint8_t>(id >> 8);
  a.bytes[15] = static_cast<uint8_t>(id);
  return a;
}

}  // namespace

struct Traffic::Segment {
  uint8_t flags = 0;
  uint32_t seq = 0, ack = 0, length = 0;
};

Traffic::Traffic(World& world, const TrafficPlan& plan, uint64_t seed, TrafficListener& listener)
    : world_(world), plan_(plan), random_(seed), listener_(listener) {}

std::optional<ConnectionId> Traffic::server_of(Af af, const Address& address) {
  if (af == Af::inet) {
    const uint32_t offset = address.v4_host() - kServersV4;
    return offset <= UINT16_MAX ? std::optional(offset) : std::nullopt;
  }
  const ConnectionId id = load_be16(address.bytes.data() + 14);
  return address == server_v6(id) ? std::optional(id) : std::nullopt;
}

void Traffic::start(Time end) {
  end_ = end;
  open_next();
}

void Traffic::open_next() {
  const auto pause = std::chrono::duration_cast<std::chrono::milliseconds>(plan_.between).count();
  const Time when = world_.now() + std::chrono::milliseconds(random_.below(static_cast<uint32_t>(2 * pause + 1)));
  if (when >= end_ || connections_.size() >= kMaxConnections) return;
  world_.at(when, [this] {
    open();
    open_next();
  });
}

void Traffic::open() {
  Connection& c = connections_.emplace_back();
  c.id = static_cast<ConnectionId>(connections_.size() - 1);
  c.tcp = random_.below(4) != 0;
  c.af = plan_.v6 && random_.below(3) == 0 ? Af::inet6 : Af::inet;
  const uint32_t host = random_.below(kClientHosts);
  if (c.af == Af::inet) {
    c.client = {Af::inet, Address::v4(plan_.clients_v4 + host)};
    c.server = {Af::inet, Address::v4(kServersV4 + c.id)};
  } else {
    c.client = {Af::inet6, plan_.clients_v6};
    c.client.addr.bytes[15] = static_cast<uint8_t>(100 + host);
    c.server = {Af::inet6, server_v6(c.id)};
  }
  c.client_port = static_cast<uint16_t>(1024 + c.id);
  c.server_port = c.tcp ? kServerPort : 53;
  c.exchanges = between(random_, 1, 12);
  ++counters_.opened;
  if (!c.tcp) return exchange(c);
  for (auto& e : c.ends) e.next = e.acked = random_.next32();
  Connection::End& me = c.ends[kClient];
  listener_.sent(c);
  send(c, kClient, kTcpSyn, me.next, 0);
  ++me.next;
  arm(c, kFirstTimeout);
}

// --- frames --------------------------------------------------------------------------------------------------------

void Traffic::send(Connection& c, unsigned end, uint8_t flags, uint32_t seq, uint32_t length) {
  const bool v4 = c.af == Af::inet;
  const size_t ip = v4 ? kIpv4Header : kIpv6Header;
  const size_t transport = c.tcp ? kTcpHeader : kUdpHeader;
  frame_.assign(kEthernetHeader + ip + transport + length, 0);
  uint8_t* f = frame_.data();
  const bool client = end == kClient;
  const IpAddress& source = client ? c.client : c.server;
  const IpAddress& destination = client ? c.server : c.seen_client;
  const Mac to = client ? plan_.inside_router : plan_.outside_router;
  const Mac from = client ? scenario::Node::neighbor_mac(c.client) : plan_.gateway;
  std::copy(to.bytes.begin(), to.bytes.end(), f);
  std::copy(from.bytes.begin(), from.bytes.end(), f + 6);
  store_be16(f + 12, v4 ? kEtherTypeIpv4 : kEtherTypeIpv6);
  uint8_t* h = f + kEthernetHeader;
  const auto l4_length = static_cast<uint16_t>(transport + length);
  const uint8_t proto = c.tcp ? kProtoTcp : kProtoUdp;
  if (v4) {
    h[0] = 0x45;
    store_be16(h + 2, static_cast<uint16_t>(ip + l4_length));
    store_be16(h + 4, static_cast<uint16_t>(random_.next32()));
    store_be16(h + 6, kIpv4DontFragment);
    h[8] = 64;
    h[9] = proto;
    std::copy_n(source.addr.bytes.begin(), 4, h + 12);
    std::copy_n(destination.addr.bytes.begin(), 4, h + 16);
    store_raw(h + 10, checksum(h, kIpv4Header));
  } else {
    h[0] = 0x60;
    store_be16(h + 4, l4_length);
    h[6] = proto;
    h[7] = 64;
    std::copy_n(source.addr.bytes.begin(), 16, h + 8);
    std::copy_n(destination.addr.bytes.begin(), 16, h + 24);
  }
  uint8_t* t = h + ip;
  store_be16(t, client ? c.client_port : c.server_port);
  store_be16(t + 2, client ? c.server_port : c.seen_port);
  if (c.tcp) {
    store_be32(t + 4, seq);
    if ((flags & kTcpAck) != 0) store_be32(t + 8, c.ends[end].expected);
    t[12] = 0x50;
    t[13] = flags;
    store_be16(t + 14, 65535);
  } else {
    store_be16(t + 4, l4_length);
  }
  const size_t at = c.tcp ? 16 : 6;
  const uint8_t* const addresses = v4 ? h + 12 : h + 8;
  const uint16_t sum = l4_checksum(c.af, addresses, addresses + address_length(c.af), proto, t, l4_length);
  store_raw(t + at, sum == 0 && !c.tcp ? uint16_t{0xffff} : sum);
  ++counters_.segments;
  world_.send_from_host(client ? plan_.inside : plan_.outside, frame_);
}

void Traffic::arrived(LinkId link, Bytes frame) {
  const uint16_t type = load_be16(frame.data() + 12);
  const bool v4 = type == kEtherTypeIpv4;
  if (!v4 && type != kEtherTypeIpv6) return;
  const size_t ip = v4 ? kIpv4Header : kIpv6Header;
  if (frame.size() < kEthernetHeader + ip + kUdpHeader) return;
  const uint8_t* h = frame.data() + kEthernetHeader;
  const uint8_t proto = v4 ? h[9] : h[6];
  const bool tcp = proto == kProtoTcp;
  if ((!tcp && proto != kProtoUdp) || (tcp && frame.size() < kEthernetHeader + ip + kTcpHeader)) return;
  const bool at_server = link == plan_.outside;
  const uint8_t* const server = v4 ? h + (at_server ? 16 : 12) : h + (at_server ? 24 : 8);
  const uint8_t* const other = v4 ? h + (at_server ? 12 : 16) : h + (at_server ? 8 : 24);
  const ConnectionId id = v4 ? load_be32(server) - kServersV4 : ConnectionId{load_be16(server + 14)};
  if (id >= connections_.size()) return;
  Connection& c = connections_[id];
  if (c.af != (v4 ? Af::inet : Af::inet6) || c.tcp != tcp || c.phase == Connection::Phase::over) return;
  const uint8_t* t = h + ip;
  if (at_server) {
    c.seen_client = {c.af, {}};
    std::copy_n(other, address_length(c.af), c.seen_client.addr.bytes.begin());
    c.seen_port = load_be16(t);
  }
  Segment s;
  const size_t total = v4 ? load_be16(h + 2) : kIpv6Header + load_be16(h + 4);
  if (tcp) {
    s.flags = t[13];
    s.seq = load_be32(t + 4);
    s.ack = load_be32(t + 8);
    s.length = static_cast<uint32_t>(total - ip - kTcpHeader);
  }
  c.heard = world_.now();
  segment(c, at_server ? kServer : kClient, s);
}

// --- what the ends do ----------------------------------------------------------------------------------------------

void Traffic::arm(Connection& c, Duration after) {
  const uint64_t number = ++c.timer;
  world_.at(world_.now() + after, [this, id = c.id, number] { timer(id, number); });
}

void Traffic::timer(ConnectionId id, uint64_t number) {
  Connection& c = connections_[id];
  if (c.timer != number || c.phase == Connection::Phase::over) return;
  const bool waits = c.tcp ? outstanding(c, kClient) || outstanding(c, kServer) : c.ends[kClient].to_send != 0;
  if (!waits) return next_exchange(c);
  if (!listener_.unanswered(c) || ++c.tries > kMostTries) {
    c.phase = Connection::Phase::over;
    ++counters_.given_up;
    return;
  }
  ++counters_.repeated;
  listener_.sent(c);
  repeat(c);
  arm(c, kFirstTimeout * (1 << std::min(c.tries, 4u)));
}

void Traffic::repeat(Connection& c) {
  if (!c.tcp) return send(c, kClient, 0, 0, 40);
  for (const unsigned end : {kClient, kServer}) {
    const Connection::End& e = c.ends[end];
    if (!outstanding(c, end)) continue;
    if (c.phase == Connection::Phase::opening) {
      if (end == kClient) send(c, kClient, kTcpSyn, e.acked, 0);
      continue;  // the server answers the SYN that comes again
    }
    const uint32_t left = e.next - e.acked;
    const bool fin = e.fin_sent && left == 1;
    const uint8_t flags = fin ? kTcpFin | kTcpAck : kTcpPush | kTcpAck;
    send(c, end, flags, e.acked, fin ? 0 : std::min(left - (e.fin_sent ? 1 : 0), kSegment));
  }
}

// A request of the client, answered by the server.
void Traffic::exchange(Connection& c) {
  if (c.exchanges == 0) return next_exchange(c);
  --c.exchanges;
  if (!c.tcp) {
    c.ends[kClient].to_send = 1;
    listener_.sent(c);
    arm(c, kFirstTimeout);
    return send(c, kClient, 0, 0, 40);
  }
  const bool bulky = random_.below(6) == 0;
  c.ends[kClient].to_send = between(random_, 1, kSegment);
  c.ends[kServer].to_send = bulky ? kSegment * between(random_, 2, plan_.bulk) : between(random_, 1, 3 * kSegment);
  listener_.sent(c);
  arm(c, kFirstTimeout);
  send_data(c, kClient);
}

void Traffic::send_data(Connection& c, unsigned end) {
  Connection::End& e = c.ends[end];
  for (unsigned burst = 0; e.to_send != 0 && burst < plan_.bulk; ++burst) {
    const uint32_t length = std::min(e.to_send, kSegment);
    send(c, end, kTcpPush | kTcpAck, e.next, length);
    e.next += length;
    e.to_send -= length;
  }
}

void Traffic::next_exchange(Connection& c) {
  if (c.exchanges != 0) return exchange(c);
  if (!c.tcp) {
    c.phase = Connection::Phase::over;
    ++counters_.closed;
    return;
  }
  const uint32_t how = random_.below(8);
  if (how == 0) {  // it simply falls silent
    c.phase = Connection::Phase::over;
    return;
  }
  if (how == 1) {
    send(c, kClient, kTcpRst | kTcpAck, c.ends[kClient].next, 0);
    c.phase = Connection::Phase::over;
    ++counters_.closed;
    return;
  }
  c.phase = Connection::Phase::closing;
  Connection::End& me = c.ends[kClient];
  me.fin_sent = true;
  listener_.sent(c);
  send(c, kClient, kTcpFin | kTcpAck, me.next, 0);
  ++me.next;
  arm(c, kFirstTimeout);
}

void Traffic::segment(Connection& c, unsigned end, const Segment& s) {
  if (!c.tcp) {
    if (end == kServer) return send(c, kServer, 0, 0, 60);
    if (c.ends[kClient].to_send == 0) return;  // answered twice
    c.ends[kClient].to_send = 0;
    if (c.phase == Connection::Phase::opening) {
      c.phase = Connection::Phase::open;
      c.opened = world_.now();
      listener_.established(c);
    }
    return settle(c);
  }
  Connection::End& me = c.ends[end];
  if ((s.flags & kTcpRst) != 0) return;  // of a box that does not know the connection: the other end knows better
  if ((s.flags & kTcpSyn) != 0) {
    if (end == kServer) {
      // One that was held up somewhere (RFC 5961 section 4).
      if (c.phase != Connection::Phase::opening) return send(c, kServer, kTcpAck, me.next, 0);
      me.expected = s.seq + 1;
      send(c, kServer, kTcpSyn | kTcpAck, me.acked, 0);
      if (me.next == me.acked) ++me.next;
      return;
    }
    if (c.phase != Connection::Phase::opening || s.ack != me.next) return send(c, kClient, kTcpAck, me.next, 0);
    me.expected = s.seq + 1;
    me.acked = s.ack;
    c.ends[kServer].acked = c.ends[kServer].next;  // with this ACK; should it be lost, data brings it
    c.phase = Connection::Phase::open;
    c.opened = world_.now();
    ++counters_.established;
    listener_.established(c);
    send(c, kClient, kTcpAck, me.next, 0);
    return settle(c);
  }
  if ((s.flags & kTcpAck) != 0 && static_cast<int32_t>(s.ack - me.acked) > 0 &&
      static_cast<int32_t>(s.ack - me.next) <= 0) {
    me.acked = s.ack;
    if (c.tries != 0 && outstanding(c, end)) {  // more was lost than this
      c.tries = 1;
      repeat(c);
    }
  }
  const bool fin = (s.flags & kTcpFin) != 0;
  if (s.length != 0 || fin) {
    if (s.seq == me.expected) {
      me.expected += s.length + (fin ? 1 : 0);
      if (fin) me.fin_heard = true;
    }
    if (end == kServer && me.fin_heard && !me.fin_sent) {
      me.fin_sent = true;
      send(c, end, kTcpFin | kTcpAck, me.next, 0);
      ++me.next;
    } else if (end == kServer && me.to_send != 0 && s.length != 0) {
      send_data(c, end);
    } else {
      send(c, end, kTcpAck, me.next, 0);
    }
  }
  if (me.to_send != 0 && !outstanding(c, end)) send_data(c, end);
  if (!outstanding(c, kClient) && !outstanding(c, kServer) && c.ends[kServer].to_send == 0) settle(c);
}

// Everything was answered: what follows, follows after a pause.
void Traffic::settle(Connection& c) {
  c.tries = 0;
  listener_.answered(c);
  if (c.phase == Connection::Phase::closing) {
    c.phase = Connection::Phase::over;
    ++counters_.closed;
    return;
  }
  const Duration pause = random_.below(3) == 0 ? std::chrono::milliseconds(random_.below(40000))
                                               : kQuickPause + std::chrono::milliseconds(random_.below(1000));
  arm(c, pause);
}

}  // namespace twinwall::simulation
