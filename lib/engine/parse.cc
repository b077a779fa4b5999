#include "lib/engine/parse.h"

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

// PF walks at most this many headers before the transport's.
constexpr int kMaxHeaders = 19;

enum OptionFlags : uint8_t { kRouterAlert = 1, kOtherOption = 2 };

constexpr uint8_t kOptEnd = 0, kOptNop = 1, kOptRouterAlert = 148;                        // RFC 791, 2113
constexpr uint8_t kOpt6Pad1 = 0, kOpt6PadN = 1, kOpt6RouterAlert = 5, kOpt6Jumbo = 0xc2;  // RFC 8200, 2711, 2675
constexpr uint8_t kMldQuery = 130, kMldReport = 131, kMldDone = 132, kMld2Report = 143;

}  // namespace

DropReason walk_v4_options(const uint8_t* options, size_t length, uint8_t& flags) {
  if (length == 0) return kParsed;
  bool named = false;
  for (size_t i = 0; i < length;) {
    const uint8_t type = options[i];
    if (type == kOptEnd) break;
    if (type == kOptNop) {
      ++i;
      continue;
    }
    if (i + 1 >= length || options[i + 1] < 2 || i + options[i + 1] > length) return DropReason::ip_option;
    flags |= type == kOptRouterAlert ? kRouterAlert : kOtherOption;
    named = true;
    i += options[i + 1];
  }
  if (!named) flags |= kOtherOption;  // nothing but padding counts as an option too
  return kParsed;
}

namespace {

DropReason walk_v6_options(const Packet& p, const uint8_t* options, size_t length, uint8_t& flags) {
  bool named = false;
  for (size_t i = 0; i < length;) {
    const uint8_t type = options[i];
    if (type == kOpt6Pad1) {
      ++i;
      continue;
    }
    if (i + 2 > length || i + 2u + options[i + 1] > length) return DropReason::ip_option;
    if (type == kOpt6RouterAlert) {
      flags |= kRouterAlert;
      named = true;
    } else if (type == kOpt6Jumbo) {
      // A jumbogram never passes: malformed it is a bad option, well-formed it cannot be filtered.
      const bool well_formed = options[i + 1] == 4 && load_be16(p.ip() + 4) == 0 && load_be32(options + i + 2) > 65535;
      return well_formed ? DropReason::normalize : DropReason::ip_option;
    } else if (type != kOpt6PadN) {
      flags |= kOtherOption;
      named = true;
    }
    i += 2u + options[i + 1];
  }
  if (!named) flags |= kOtherOption;
  return kParsed;
}

// Moves past authentication headers, which are transparent to the filter.
DropReason skip_ah(Packet& p, uint32_t& offset, uint8_t& proto, int& headers) {
  while (proto == kProtoAh) {
    if (++headers > kMaxHeaders) return DropReason::ip_option;
    if (offset + 8 > p.l3_length) return DropReason::too_short;
    const uint8_t* h = p.ip() + offset;
    proto = h[0];
    offset += (h[1] + 2u) * 4;
  }
  return offset > p.l3_length ? DropReason::too_short : kParsed;
}

DropReason parse_v4(Packet& p) {
  const uint32_t available = p.length - p.l3;
  if (available < kIpv4Header) return DropReason::too_short;
  const uint8_t* h = p.ip();
  if ((h[0] >> 4) != 4) return DropReason::bad_header;
  const uint32_t header = (h[0] & 0x0fu) * 4;
  p.l3_length = load_be16(h + 2);
  if (header < kIpv4Header || header > p.l3_length || p.l3_length > available) return DropReason::too_short;
  if (checksum(h, header) != 0) return DropReason::bad_header;
  p.tos = h[1] & 0xfc;
  p.ttl = h[8];
  p.src = Address::v4_wire(h + 12);
  p.dst = Address::v4_wire(h + 16);
  const uint16_t fragment = load_be16(h + 6);
  p.more_fragments = (fragment & kIpv4MoreFragments) != 0;
  p.is_fragment = (fragment & (kIpv4MoreFragments | kIpv4FragmentOffset)) != 0;
  p.first_fragment = p.is_fragment && (fragment & kIpv4FragmentOffset) == 0;

  uint8_t flags = 0;
  if (header > kIpv4Header) {
    if (const DropReason r = walk_v4_options(h + kIpv4Header, header - kIpv4Header, flags); r != kParsed) return r;
  }
  uint32_t offset = header;
  p.proto = h[9];
  if (!p.is_fragment || p.first_fragment) {
    int headers = 0;
    if (const DropReason r = skip_ah(p, offset, p.proto, headers); r != kParsed) return r;
  }
  if (p.proto == kProtoIcmp6) return DropReason::normalize;
  if (p.proto == kProtoIgmp) {
    if (p.dst == Address::v4(0xe0000001) && p.ttl != 1) return DropReason::ip_option;
    flags &= static_cast<uint8_t>(~kRouterAlert);
  }
  p.ip_options = flags != 0;
  p.l4 = static_cast<uint16_t>(p.l3 + offset);
  p.l4_length = p.l3_length - offset;
  return kParsed;
}

struct V6Walk {
  uint32_t offset = kIpv6Header;
  uint8_t proto = 0;
  uint8_t flags = 0;
  bool seen_routing = false;
  bool seen_fragment = false;
  bool stop = false;
};

DropReason walk_v6_fragment(Packet& p, V6Walk& w) {
  if (w.seen_fragment) return DropReason::fragment;
  w.seen_fragment = true;
  if (w.offset + 8 > p.l3_length) return DropReason::too_short;
  const uint8_t* h = p.ip() + w.offset;
  const uint16_t field = load_be16(h + 2);
  w.proto = h[0];
  w.offset += 8;
  if ((field & 0xfff9) == 0) return kParsed;  // atomic (RFC 6946): as if the header were not there
  p.is_fragment = true;
  p.first_fragment = (field & 0xfff8) == 0;
  p.more_fragments = (field & 1) != 0;
  w.stop = !p.first_fragment;
  return kParsed;
}

DropReason walk_v6_header(Packet& p, V6Walk& w, bool first) {
  if (w.proto == kProtoFragment) return walk_v6_fragment(p, w);
  if (w.proto == kProtoHopByHop && !first) return DropReason::ip_option;
  if (w.offset + 8 > p.l3_length) return DropReason::too_short;
  const uint8_t* h = p.ip() + w.offset;
  const uint32_t length = w.proto == kProtoAh ? (h[1] + 2u) * 4 : (h[1] + 1u) * 8;
  if (w.offset + length > p.l3_length) return DropReason::too_short;
  switch (w.proto) {
    case kProtoHopByHop:
      if (const DropReason r = walk_v6_options(p, h + 2, length - 2, w.flags); r != kParsed) return r;
      break;
    case kProtoRouting:
      if (w.seen_routing || h[2] == 0) return DropReason::ip_option;
      w.seen_routing = true;
      w.flags |= kOtherOption;
      break;
    case kProtoDestOpts: w.flags |= kOtherOption; break;
    default: break;  // AH
  }
  w.proto = h[0];
  w.offset += length;
  return kParsed;
}

bool is_extension(uint8_t proto) {
  return proto == kProtoHopByHop || proto == kProtoRouting || proto == kProtoFragment || proto == kProtoAh ||
         proto == kProtoDestOpts;
}

DropReason parse_v6(Packet& p) {
  const uint32_t available = p.length - p.l3;
  if (available < kIpv6Header) return DropReason::too_short;
  const uint8_t* h = p.ip();
  if ((h[0] >> 4) != 6) return DropReason::bad_header;
  p.l3_length = static_cast<uint32_t>(kIpv6Header) + load_be16(h + 4);
  if (p.l3_length > available) return DropReason::too_short;
  p.tos = static_cast<uint8_t>((load_be16(h) >> 4) & 0xfc);
  p.ttl = h[7];
  p.src = Address::v6_wire(h + 8);
  p.dst = Address::v6_wire(h + 24);

  V6Walk w;
  w.proto = h[6];
  int headers = 0;
  while (!w.stop && is_extension(w.proto)) {
    if (++headers > kMaxHeaders) return DropReason::ip_option;
    if (const DropReason r = walk_v6_header(p, w, headers == 1); r != kParsed) {
      // A first fragment too short to hold its next header is opaque: the rest may come in the others.
      if (!(p.first_fragment && r == DropReason::too_short)) return r;
      w.proto = kProtoFragment;
      w.offset = p.l3_length;
      break;
    }
  }
  if (w.proto == kProtoIcmp) return DropReason::normalize;
  p.proto = w.proto;
  p.l4 = static_cast<uint16_t>(p.l3 + w.offset);
  p.l4_length = p.l3_length - w.offset;
  if (p.proto == kProtoIcmp6 && p.l4_length >= 1 && (!p.is_fragment || p.first_fragment)) {
    const uint8_t type = p.transport()[0];
    if (type == kMldQuery || type == kMldReport || type == kMldDone || type == kMld2Report) {
      if (p.ttl != 1 || !is_link_local(Af::inet6, p.src)) return DropReason::ip_option;
      w.flags &= static_cast<uint8_t>(~kRouterAlert);
    }
  }
  p.ip_options = w.flags != 0;
  return kParsed;
}

DropReason parse_icmp(Packet& p) {
  if (p.l4_length < kIcmpHeader) return DropReason::too_short;
  const uint8_t* t = p.transport();
  p.icmp_type = t[0];
  p.icmp_code = t[1];
  p.icmp_id = load_raw<uint16_t>(t + 4);
  if (p.proto != kProtoIcmp6) return kParsed;
  const uint8_t type = t[0];
  const bool long_form =
      type == kMldQuery || type == kMldReport || type == kIcmp6NeighborSolicit || type == kIcmp6NeighborAdvert;
  if (long_form && p.l4_length < 24) return DropReason::too_short;
  if (type >= kIcmp6RouterSolicit && type <= kIcmp6Redirect && p.ttl != 255) return DropReason::normalize;
  return kParsed;
}

DropReason parse_transport(Packet& p) {
  const uint8_t* t = p.transport();
  switch (p.proto) {
    case kProtoTcp: {
      if (p.l4_length < kTcpHeader) return DropReason::too_short;
      p.sport = load_raw<uint16_t>(t);
      p.dport = load_raw<uint16_t>(t + 2);
      p.tcp_flags = t[13];
      const uint32_t header = static_cast<uint32_t>(t[12] >> 4) * 4;
      if (p.dport == 0 || header < kTcpHeader) return DropReason::too_short;
      if (header > p.l4_length && !p.is_fragment) return DropReason::too_short;
      p.payload = header > p.l4_length ? 0 : p.l4_length - header;
      return kParsed;
    }
    case kProtoUdp: {
      if (p.l4_length < kUdpHeader) return DropReason::too_short;
      p.sport = load_raw<uint16_t>(t);
      p.dport = load_raw<uint16_t>(t + 2);
      const uint16_t length = load_be16(t + 4);
      if (p.dport == 0 || length < kUdpHeader) return DropReason::too_short;
      if (length > p.l4_length && !p.is_fragment) return DropReason::too_short;
      return kParsed;
    }
    case kProtoSctp:
      // As other protocols it may be of any length; one without a header of its own has no ports.
      if (p.l4_length < kSctpHeader) return kParsed;
      p.sport = load_raw<uint16_t>(t);
      p.dport = load_raw<uint16_t>(t + 2);
      return kParsed;
    case kProtoIcmp:
    case kProtoIcmp6: return parse_icmp(p);
    default: return kParsed;
  }
}

}  // namespace

DropReason parse_link(Packet& p, LinkType& type) {
  if (p.length < kEthernetHeader) return DropReason::too_short;
  const uint16_t ether_type = load_be16(p.frame + 12);
  p.l3 = kEthernetHeader;
  switch (ether_type) {
    case kEtherTypeIpv4:
      p.af = Af::inet;
      type = LinkType::ip;
      return kParsed;
    case kEtherTypeIpv6:
      p.af = Af::inet6;
      type = LinkType::ip;
      return kParsed;
    case kEtherTypeArp: type = LinkType::arp; return kParsed;
    case kEtherTypeVlan:
    case kEtherTypeQinQ: type = LinkType::other; return DropReason::vlan;
    default: type = LinkType::other; return DropReason::ether_type;
  }
}

DropReason parse_ip(Packet& p) {
  p.is_fragment = p.first_fragment = p.more_fragments = p.ip_options = false;
  p.tcp_flags = 0;
  p.sport = p.dport = 0;
  p.icmp_type = p.icmp_code = -1;
  p.icmp_id = 0;
  p.payload = 0;
  const DropReason r = p.af == Af::inet ? parse_v4(p) : parse_v6(p);
  if (r != kParsed) return r;
  if (p.is_fragment) return kParsed;  // the transport header counts once the datagram is whole
  return parse_transport(p);
}

DropReason normalise_tcp(Packet& p) {
  uint8_t* t = p.transport();
  uint8_t flags = p.tcp_flags;
  if ((flags & kTcpSyn) != 0) {
    if ((flags & kTcpRst) != 0) return DropReason::normalize;
    flags &= static_cast<uint8_t>(~kTcpFin);
  } else if ((flags & (kTcpAck | kTcpRst)) == 0) {
    return DropReason::normalize;
  }
  if ((flags & kTcpAck) == 0 && (flags & (kTcpFin | kTcpPush | kTcpUrg)) != 0) return DropReason::normalize;

  uint8_t before[8];
  std::memcpy(before, t + 12, sizeof before);
  t[12] &= 0xf0;
  t[13] = flags;
  if ((flags & kTcpUrg) == 0) store_raw<uint16_t>(t + 18, 0);
  p.tcp_flags = flags;
  uint8_t after[8];
  std::memcpy(after, t + 12, sizeof after);
  store_raw<uint16_t>(before + 4, 0);  // the checksum field itself is not part of the sum
  store_raw<uint16_t>(after + 4, 0);
  if (std::memcmp(before, after, sizeof before) != 0)
    store_raw(t + 16, checksum_adjust(load_raw<uint16_t>(t + 16), before, after, sizeof before));
  return kParsed;
}

}  // namespace twinwall
