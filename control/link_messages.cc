#include "control/link_messages.h"

#include "lib/net/checksum.h"

namespace twinwall {
namespace {

constexpr uint8_t kOptionSourceLinkLayer = 1;
constexpr uint8_t kOptionTargetLinkLayer = 2;
constexpr size_t kDiscoveryFixed = 24;  // type, code, checksum, flags, target
constexpr size_t kLinkLayerOption = 8;

Mac read_mac(Reader& r) {
  const Bytes b = r.bytes(6);
  return b.empty() ? Mac{} : Mac::from_wire(b.data());
}

bool can_be_told(const Mac& mac) {
  if (!mac.is_group()) return mac != Mac{};
  Mac shared = virtual_mac(mac.bytes[5]);
  shared.bytes[0] |= 1;
  return mac == shared;
}

Address read_v4(Reader& r) {
  const Bytes b = r.bytes(4);
  return b.empty() ? Address{} : Address::v4_wire(b.data());
}

void write_ethernet(Writer& w, const Mac& destination, const Mac& source, uint16_t type) {
  w.bytes(destination.bytes);
  w.bytes(source.bytes);
  w.be16(type);
}

// The options behind the fixed part; only link-layer addresses of the wanted kind are of interest.
DiscoveryFault parse_options(Bytes options, uint8_t wanted, DiscoveryMessage& out) {
  Reader r(options);
  while (r.left() != 0) {
    const uint8_t kind = r.u8();
    const size_t length = size_t{r.u8()} * 8;
    if (!r.ok() || length == 0) return DiscoveryFault::option;
    const Bytes body = r.bytes(length - 2);
    if (!r.ok()) return DiscoveryFault::option;
    if (kind != wanted || length != kLinkLayerOption) continue;
    const Mac mac = Mac::from_wire(body.data());
    if (!can_be_told(mac)) return DiscoveryFault::value;
    out.link_layer = mac;
  }
  return DiscoveryFault::none;
}

// RFC 4861 sections 7.1.1 and 7.1.2, apart from lengths and checksum.
DiscoveryFault judge(const DiscoveryMessage& m) {
  if (is_multicast(Af::inet6, m.target) || is_multicast(Af::inet6, m.source)) return DiscoveryFault::value;
  if (m.type == kIcmp6NeighborSolicit && m.source.is_zero()) {
    const bool to_group = m.destination == solicited_node(m.target);
    if (!to_group || m.link_layer) return DiscoveryFault::value;
  }
  if (m.type == kIcmp6NeighborAdvert && m.solicited && is_multicast(Af::inet6, m.destination))
    return DiscoveryFault::value;
  return DiscoveryFault::none;
}

}  // namespace

std::string_view fault_text(DiscoveryFault fault) {
  switch (fault) {
    case DiscoveryFault::none: return "none";
    case DiscoveryFault::not_discovery: return "other";
    case DiscoveryFault::hop_limit: return "hop-limit";
    case DiscoveryFault::checksum: return "checksum";
    case DiscoveryFault::length: return "length";
    case DiscoveryFault::value: return "value";
    case DiscoveryFault::option: return "option";
  }
  return "unknown";
}

std::optional<ArpMessage> parse_arp(Bytes arp) {
  Reader r(arp);
  const uint16_t hardware = r.be16();
  const uint16_t protocol = r.be16();
  const uint8_t hardware_length = r.u8();
  const uint8_t protocol_length = r.u8();
  ArpMessage m;
  m.operation = r.be16();
  m.sender_mac = read_mac(r);
  m.sender = read_v4(r);
  m.target_mac = read_mac(r);
  m.target = read_v4(r);
  if (!r.ok() || hardware != 1 || protocol != kEtherTypeIpv4 || hardware_length != 6 || protocol_length != 4)
    return std::nullopt;
  if (m.operation != kArpRequest && m.operation != kArpReply) return std::nullopt;
  if (!can_be_told(m.sender_mac)) return std::nullopt;
  if (is_multicast(Af::inet, m.sender) || m.sender == Address::v4(0xffffffff)) return std::nullopt;
  return m;
}

size_t build_arp(const Mac& ethernet_destination, const Mac& ethernet_source, const ArpMessage& message,
                 MutableBytes out) {
  Writer w(out);
  write_ethernet(w, ethernet_destination, ethernet_source, kEtherTypeArp);
  w.be16(1);
  w.be16(kEtherTypeIpv4);
  w.u8(6);
  w.u8(4);
  w.be16(message.operation);
  w.bytes(message.sender_mac.bytes);
  w.bytes(Bytes(message.sender.bytes).first(4));
  w.bytes(message.target_mac.bytes);
  w.bytes(Bytes(message.target.bytes).first(4));
  return w.ok() ? w.position() : 0;
}

DiscoveryFault parse_discovery(Bytes ip, DiscoveryMessage& out) {
  if (ip.size() < kIpv6Header + kIcmpHeader || (ip[0] >> 4) != 6) return DiscoveryFault::length;
  const size_t length = load_be16(&ip[4]);
  if (length > ip.size() - kIpv6Header) return DiscoveryFault::length;
  // Extension headers have no place here; a fragment header would even be forbidden.
  if (ip[6] != kProtoIcmp6) return DiscoveryFault::value;
  const Bytes icmp = ip.subspan(kIpv6Header, length);
  if (icmp.size() < kIcmpHeader) return DiscoveryFault::length;
  const uint8_t type = icmp[0];
  if (type != kIcmp6NeighborSolicit && type != kIcmp6NeighborAdvert) return DiscoveryFault::not_discovery;
  if (ip[7] != 255) return DiscoveryFault::hop_limit;
  if (icmp[1] != 0) return DiscoveryFault::value;
  if (icmp.size() < kDiscoveryFixed) return DiscoveryFault::length;
  if (l4_checksum(Af::inet6, &ip[8], &ip[24], kProtoIcmp6, icmp.data(), icmp.size()) != 0)
    return DiscoveryFault::checksum;
  DiscoveryMessage m;
  m.type = type;
  m.source = Address::v6_wire(&ip[8]);
  m.destination = Address::v6_wire(&ip[24]);
  m.target = Address::v6_wire(&icmp[8]);
  if (type == kIcmp6NeighborAdvert) {
    m.router = (icmp[4] & 0x80) != 0;
    m.solicited = (icmp[4] & 0x40) != 0;
    m.override_entry = (icmp[4] & 0x20) != 0;
  }
  const uint8_t wanted = type == kIcmp6NeighborSolicit ? kOptionSourceLinkLayer : kOptionTargetLinkLayer;
  const DiscoveryFault fault = parse_options(icmp.subspan(kDiscoveryFixed), wanted, m);
  if (fault != DiscoveryFault::none) return fault;
  out = m;
  return judge(m);
}

size_t build_discovery(const Mac& ethernet_destination, const Mac& ethernet_source, const DiscoveryMessage& message,
                       MutableBytes out) {
  const size_t icmp_length = kDiscoveryFixed + (message.link_layer ? kLinkLayerOption : 0);
  Writer w(out);
  write_ethernet(w, ethernet_destination, ethernet_source, kEtherTypeIpv6);
  w.be32(0x60000000);
  w.be16(static_cast<uint16_t>(icmp_length));
  w.u8(kProtoIcmp6);
  w.u8(255);
  w.bytes(message.source.bytes);
  w.bytes(message.destination.bytes);
  w.u8(message.type);
  w.u8(0);
  w.be16(0);
  const bool advert = message.type == kIcmp6NeighborAdvert;
  const unsigned flags =
      advert ? (message.router ? 0x80u : 0u) | (message.solicited ? 0x40u : 0u) | (message.override_entry ? 0x20u : 0u)
             : 0u;
  w.u8(static_cast<uint8_t>(flags));
  w.zeros(3);
  w.bytes(message.target.bytes);
  if (message.link_layer) {
    w.u8(advert ? kOptionTargetLinkLayer : kOptionSourceLinkLayer);
    w.u8(1);
    w.bytes(message.link_layer->bytes);
  }
  if (!w.ok()) return 0;
  uint8_t* icmp = &out[kEthernetHeader + kIpv6Header];
  store_raw(icmp + 2, l4_checksum(Af::inet6, message.source.bytes.data(), message.destination.bytes.data(), kProtoIcmp6,
                                  icmp, icmp_length));
  return w.position();
}

}  // namespace twinwall
