#include "lib/engine/flow.h"

#include "lib/net/headers.h"

namespace twinwall {

namespace {

// 16-bit fold of the xor of an IPv6 address' four words, as PF keys neighbour discovery and MLD.
uint16_t fold_address(const uint8_t* a) {
  uint32_t x = 0;
  for (int i = 0; i < 4; ++i) x ^= load_raw<uint32_t>(a + i * 4);
  return static_cast<uint16_t>((x >> 16) ^ x);
}

}  // namespace

IcmpFlow icmp_flow(Af af, uint8_t type, uint16_t id) {
  if (af == Af::inet) {
    switch (type) {
      case 8: return {8, id, false, false};
      case 0: return {8, id, true, false};
      case 13: return {13, id, false, false};
      case 14: return {13, id, true, false};
      case 15: return {15, id, false, false};
      case 16: return {15, id, true, false};
      case 17: return {17, id, false, false};
      case 18: return {17, id, true, false};
      case 33: return {33, 0, false, false};
      case 34: return {33, 0, true, false};
      case 35: return {35, 0, false, false};
      case 36: return {35, 0, true, false};
      case 10: return {10, 0, false, false};
      case 9: return {10, 0, true, false};
      default: return {type, 0, false, true};
    }
  }
  switch (type) {
    case 128: return {128, id, false, false};
    case 129: return {128, id, true, false};
    case 130:
    case 131: return {130, id, false, false};
    case 139: return {139, 0, false, false};
    case 140: return {139, 0, true, false};
    case 201: return {201, 0, false, false};
    case 200: return {201, 0, true, false};
    case kIcmp6NeighborSolicit: return {135, id, false, false};
    case kIcmp6NeighborAdvert: return {135, id, true, false};
    default: return {type, 0, false, true};
  }
}

IcmpFlow icmp_flow(const Packet& p) {
  const auto type = static_cast<uint8_t>(p.icmp_type);
  uint16_t id = p.icmp_id;
  if (p.af == Af::inet6) {
    const bool keyed_by_address =
        type == kIcmp6NeighborSolicit || type == kIcmp6NeighborAdvert || type == 130 || type == 131;
    if (keyed_by_address) id = fold_address(p.transport() + 8);
  }
  return icmp_flow(p.af, type, id);
}

FlowKey other_flow_key(const Packet& p, Direction dir) {
  FlowKey key;
  const unsigned s = dir == Direction::in ? 0 : 1;  // the sender's slot
  key.af = p.af;
  key.proto = p.proto;
  key.addr[s] = p.src;
  key.addr[1 - s] = p.dst;
  if (p.proto == kProtoIcmp || p.proto == kProtoIcmp6) {
    const IcmpFlow f = icmp_flow(p);
    const unsigned requester = f.reply ? 1 - s : s;
    key.port[requester] = f.id;
    key.port[1 - requester] = bswap(f.virtual_type);
    if (p.icmp_type == kIcmp6NeighborSolicit && p.proto == kProtoIcmp6) {
      key.addr[1 - s] = Address::v6_wire(p.transport() + 8);
    } else if (p.icmp_type == kIcmp6NeighborAdvert && p.proto == kProtoIcmp6) {
      key.addr[s] = Address::v6_wire(p.transport() + 8);
    }
  }
  return key;
}

FlowKey without_ports(FlowKey key) {
  key.port[0] = key.port[1] = 0;
  return key;
}

FlowKey quoted_key(Af af, const Quote& quote, Direction error_dir) {
  FlowKey key;
  // The sender of the quoted packet sits where the error goes to.
  const unsigned s = error_dir == Direction::in ? 1 : 0;
  key.af = af;
  key.proto = quote.proto;
  key.addr[s] = quote.src;
  key.addr[1 - s] = quote.dst;
  if (keyed_by_ports(quote.proto)) {
    key.port[s] = quote.sport;
    key.port[1 - s] = quote.dport;
  } else if (quote.proto == kProtoIcmp || quote.proto == kProtoIcmp6) {
    const IcmpFlow f = icmp_flow(af, quote.icmp_type, quote.icmp_id);
    const unsigned requester = f.reply ? 1 - s : s;
    key.port[requester] = f.id;
    key.port[1 - requester] = bswap(f.virtual_type);
  }
  return key;
}

}  // namespace twinwall
