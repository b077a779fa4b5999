#include "app/bench/traffic.h"

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall::bench {

namespace {

constexpr uint32_t kFirstClient = 0x0a800000;  // 10.128.0.0, one address a flow
constexpr uint32_t kServer = 0xc6120000;       // 198.18.0.0 and up: one server for
constexpr uint32_t kFlowsOfServer = 8192;      // so many flows, fewer than a translated source has ports
constexpr uint32_t kOuter = 0xc0000202;        // 192.0.2.2, of translated sources
constexpr uint16_t kClientPort = 40000;
constexpr uint16_t kServerPort = 80;
constexpr size_t kFrame = 60;
constexpr uint32_t kClientSeq = 1000;
constexpr uint32_t kServerSeq = 500000;

struct TcpFields {
  uint32_t seq = 0, ack = 0;
  uint8_t flags = 0;
};

TcpFields tcp_fields(Step step) {
  switch (step) {
    case Step::open: return {kClientSeq, 0, kTcpSyn};
    case Step::answer: return {kServerSeq, kClientSeq + 1, kTcpSyn | kTcpAck};
    case Step::acknowledge:
    case Step::established: break;
  }
  return {kClientSeq + 1, kServerSeq + 1, kTcpAck};
}

}  // namespace

Traffic::Traffic(size_t burst, const Macs& macs) : macs_(macs), memory_(burst * kRoom), packets_(burst) {}

Packet* Traffic::make(size_t i, uint32_t flow, Proto proto, Step step, uint16_t outer_port) {
  Packet& p = packets_[i];
  p.frame = memory_.data() + i * kRoom + kHeadroom;
  p.headroom = kHeadroom;
  p.length = kFrame;
  p.tailroom = static_cast<uint32_t>(kRoom - kHeadroom - kFrame);
  const bool back = step == Step::answer;
  p.in = back ? InterfaceId{2} : InterfaceId{1};

  uint8_t* f = p.frame;
  std::memset(f, 0, kFrame);
  std::memcpy(f, (back ? macs_.wan : macs_.lan).bytes.data(), 6);
  f[6] = 0x02;
  f[11] = 0x99;
  store_be16(f + 12, kEtherTypeIpv4);
  uint8_t* h = f + kEthernetHeader;
  const size_t l4 = proto == Proto::udp ? kUdpHeader + 18 : kTcpHeader;
  h[0] = 0x45;
  store_be16(h + 2, static_cast<uint16_t>(kIpv4Header + l4));
  h[8] = 64;
  h[9] = proto == Proto::udp ? kProtoUdp : kProtoTcp;
  const uint32_t client = outer_port != 0 ? kOuter : kFirstClient + flow;
  const uint16_t client_port = outer_port != 0 ? outer_port : kClientPort;
  const uint32_t server = kServer + flow / kFlowsOfServer;
  store_be32(h + 12, back ? server : client);
  store_be32(h + 16, back ? client : server);
  store_raw(h + 10, checksum(h, kIpv4Header));
  uint8_t* t = h + kIpv4Header;
  store_be16(t, back ? kServerPort : client_port);
  store_be16(t + 2, back ? client_port : kServerPort);
  if (proto == Proto::udp) {
    store_be16(t + 4, static_cast<uint16_t>(l4));
    store_raw(t + 6, l4_checksum(Af::inet, h + 12, h + 16, kProtoUdp, t, l4));
  } else {
    const TcpFields fields = tcp_fields(step);
    store_be32(t + 4, fields.seq);
    store_be32(t + 8, fields.ack);
    t[12] = 0x50;
    t[13] = fields.flags;
    store_be16(t + 14, 65535);
    store_raw(t + 16, l4_checksum(Af::inet, h + 12, h + 16, kProtoTcp, t, l4));
  }
  return &p;
}

}  // namespace twinwall::bench
