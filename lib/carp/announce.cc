#include "lib/carp/announce.h"

#include "lib/net/checksum.h"

namespace twinwall::carp {

namespace {

constexpr uint16_t kArpEthernet = 1;
constexpr uint16_t kArpRequest = 1;
constexpr uint32_t kNaRouter = 0x80000000;
constexpr uint32_t kNaOverride = 0x20000000;
constexpr uint8_t kOptionTargetLinkLayer = 2;
constexpr uint16_t kNaLength = 32;

Address all_nodes() {
  Address a;
  a.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01};
  return a;
}

}  // namespace

size_t build_gratuitous_arp(const Mac& virtual_mac, const Mac& ethernet_source, const Address& address,
                            MutableBytes out) {
  Writer w(out);
  w.bytes(kBroadcastMac.bytes);
  w.bytes(ethernet_source.bytes);
  w.be16(kEtherTypeArp);
  w.be16(kArpEthernet);
  w.be16(kEtherTypeIpv4);
  w.u8(6);
  w.u8(4);
  w.be16(kArpRequest);
  w.bytes(virtual_mac.bytes);
  w.bytes(Bytes(address.bytes).first(4));
  w.zeros(6);
  w.bytes(Bytes(address.bytes).first(4));
  return w.ok() ? w.position() : 0;
}

size_t build_unsolicited_na(const Mac& virtual_mac, const Address& source, const Address& target, bool router,
                            MutableBytes out) {
  const Address destination = all_nodes();
  Writer w(out);
  w.bytes(multicast_mac(Af::inet6, destination).bytes);
  w.bytes(virtual_mac.bytes);
  w.be16(kEtherTypeIpv6);
  w.be32(0x60000000);
  w.be16(kNaLength);
  w.u8(kProtoIcmp6);
  w.u8(255);
  w.bytes(source.bytes);
  w.bytes(destination.bytes);
  const size_t icmp = w.position();
  w.u8(kIcmp6NeighborAdvert);
  w.u8(0);
  w.be16(0);
  w.be32(kNaOverride | (router ? kNaRouter : 0));
  w.bytes(target.bytes);
  w.u8(kOptionTargetLinkLayer);
  w.u8(1);
  w.bytes(virtual_mac.bytes);
  if (!w.ok()) return 0;
  const uint16_t sum =
      l4_checksum(Af::inet6, source.bytes.data(), destination.bytes.data(), kProtoIcmp6, &out[icmp], kNaLength);
  store_raw(&out[icmp + 2], sum);
  return w.position();
}

Address link_local_of(const Mac& mac) {
  const auto& m = mac.bytes;
  Address a;
  a.bytes = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(m[0] ^ 2), m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
  return a;
}

}  // namespace twinwall::carp
