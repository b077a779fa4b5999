#include "lib/net/ip_packet.h"

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

std::optional<IpPacket> open_ipv4(Bytes p) {
  if (p.size() < kIpv4Header) return std::nullopt;
  const size_t header = size_t{4} * (p[0] & 0x0f);
  const size_t total = load_be16(&p[2]);
  const uint16_t fragment = load_be16(&p[6]) & (kIpv4MoreFragments | kIpv4FragmentOffset);
  if (header < kIpv4Header || total < header || total > p.size() || fragment != 0) return std::nullopt;
  return IpPacket{
      {Af::inet, Address::v4_wire(&p[12])}, {Af::inet, Address::v4_wire(&p[16])}, p[9], p[8], p.first(header),
      p.subspan(header, total - header)};
}

std::optional<IpPacket> open_ipv6(Bytes p) {
  if (p.size() < kIpv6Header) return std::nullopt;
  const size_t length = load_be16(&p[4]);
  if (length > p.size() - kIpv6Header) return std::nullopt;
  return IpPacket{
      {Af::inet6, Address::v6_wire(&p[8])}, {Af::inet6, Address::v6_wire(&p[24])}, p[6], p[7], p.first(kIpv6Header),
      p.subspan(kIpv6Header, length)};
}

void write_ipv4(const IpHeader& h, Writer& w) {
  const size_t start = w.position();
  w.u8(0x45);
  w.u8(h.tos);
  w.be16(static_cast<uint16_t>(kIpv4Header + h.payload_length));
  w.be16(h.id);
  w.be16(kIpv4DontFragment);
  w.u8(h.hop_limit);
  w.u8(h.proto);
  w.be16(0);
  w.bytes(Bytes(h.source.addr.bytes).first(4));
  w.bytes(Bytes(h.destination.bytes).first(4));
  if (!w.ok()) return;
  uint8_t* const at = w.written().data() + start;
  store_raw(at + 10, checksum(at, kIpv4Header));
}

void write_ipv6(const IpHeader& h, Writer& w) {
  w.be32(0x60000000u | uint32_t{h.tos} << 20);
  w.be16(h.payload_length);
  w.u8(h.proto);
  w.u8(h.hop_limit);
  w.bytes(h.source.addr.bytes);
  w.bytes(h.destination.bytes);
}

}  // namespace

std::optional<IpPacket> open_ip(Bytes packet) {
  if (packet.empty()) return std::nullopt;
  if (packet[0] >> 4 == 4) return open_ipv4(packet);
  if (packet[0] >> 4 == 6) return open_ipv6(packet);
  return std::nullopt;
}

void write_ip_header(const IpHeader& header, Writer& w) {
  if (header.source.af == Af::inet)
    write_ipv4(header, w);
  else
    write_ipv6(header, w);
}

}  // namespace twinwall
