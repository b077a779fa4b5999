#include "lib/engine/icmp_quote.h"

#include "lib/engine/parse.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

bool is_icmp_error(const Packet& p) {
  if (p.proto == kProtoIcmp) {
    return p.icmp_type == kIcmpUnreachable || p.icmp_type == kIcmpSourceQuench || p.icmp_type == kIcmpRedirect ||
           p.icmp_type == kIcmpTimeExceeded || p.icmp_type == kIcmpParameterProblem;
  }
  return p.proto == kProtoIcmp6 && p.icmp_type >= kIcmp6Unreachable && p.icmp_type <= kIcmp6ParameterProblem;
}

namespace {

DropReason parse_quoted_v4(Quote& q) {
  if (q.available < kIpv4Header) return DropReason::too_short;
  const size_t header = (q.ip[0] & 0x0fu) * 4;
  if ((q.ip[0] >> 4) != 4 || header < kIpv4Header || header > q.available) return DropReason::too_short;
  if ((load_be16(q.ip + 6) & kIpv4FragmentOffset) != 0) return DropReason::fragment;
  uint8_t options = 0;
  if (const DropReason r = walk_v4_options(q.ip + kIpv4Header, header - kIpv4Header, options); r != kParsed) return r;
  q.proto = q.ip[9];
  q.src = Address::v4_wire(q.ip + 12);
  q.dst = Address::v4_wire(q.ip + 16);
  size_t offset = header;
  for (int n = 0; q.proto == kProtoAh; ++n) {
    if (n >= 19) return DropReason::ip_option;
    if (offset + 8 > q.available) return DropReason::too_short;
    q.proto = q.ip[offset];
    offset += (q.ip[offset + 1] + 2u) * 4;
  }
  if (offset > q.available) return DropReason::too_short;
  q.l4 = q.ip + offset;
  q.l4_available = q.available - offset;
  return kParsed;
}

DropReason parse_quoted_v6(Quote& q) {
  if (q.available < kIpv6Header || (q.ip[0] >> 4) != 6) return DropReason::too_short;
  q.proto = q.ip[6];
  q.src = Address::v6_wire(q.ip + 8);
  q.dst = Address::v6_wire(q.ip + 24);
  size_t offset = kIpv6Header;
  for (int n = 0;; ++n) {
    const bool extension = q.proto == kProtoHopByHop || q.proto == kProtoRouting || q.proto == kProtoFragment ||
                           q.proto == kProtoAh || q.proto == kProtoDestOpts;
    if (!extension) break;
    if (n >= 19) return DropReason::ip_option;
    if (offset + 8 > q.available) return DropReason::too_short;
    const uint8_t* h = q.ip + offset;
    if (q.proto == kProtoFragment) {
      if ((load_be16(h + 2) & 0xfff8) != 0) return DropReason::fragment;
      offset += 8;
    } else {
      offset += q.proto == kProtoAh ? (h[1] + 2u) * 4 : (h[1] + 1u) * 8;
    }
    q.proto = h[0];
  }
  if (offset > q.available) return DropReason::too_short;
  q.l4 = q.ip + offset;
  q.l4_available = q.available - offset;
  return kParsed;
}

}  // namespace

DropReason parse_quote(Packet& error, Quote& q) {
  if (error.l4_length < kIcmpHeader) return DropReason::too_short;
  q.ip = error.transport() + kIcmpHeader;
  q.available = error.l4_length - kIcmpHeader;
  const DropReason r = error.af == Af::inet ? parse_quoted_v4(q) : parse_quoted_v6(q);
  if (r != kParsed) return r;
  switch (q.proto) {
    case kProtoTcp:
    case kProtoUdp:
      if (q.l4_available < 8) return DropReason::too_short;
      q.sport = load_raw<uint16_t>(q.l4);
      q.dport = load_raw<uint16_t>(q.l4 + 2);
      return kParsed;
    case kProtoSctp:
      if (q.l4_available < 8) return kParsed;
      q.sport = load_raw<uint16_t>(q.l4);
      q.dport = load_raw<uint16_t>(q.l4 + 2);
      return kParsed;
    case kProtoIcmp:
    case kProtoIcmp6:
      if (q.l4_available < 8) return DropReason::too_short;
      q.icmp_type = q.l4[0];
      q.icmp_id = load_raw<uint16_t>(q.l4 + 4);
      return kParsed;
    default: return kParsed;
  }
}

namespace {

// Changes `length` bytes of the quote; the error's own checksum follows.
void change_quoted(Packet& error, uint8_t* field, const void* value, size_t length) {
  uint8_t* sum = error.transport() + 2;
  // The quote starts at an even offset of the ICMP message, and so does every field changed here.
  store_raw(sum, checksum_adjust(load_raw<uint16_t>(sum), field, value, length));
  std::memcpy(field, value, length);
}

void change_quoted_address(Packet& error, Quote& q, size_t offset, Address& current, const Address& wanted) {
  if (current == wanted) return;
  uint8_t* field = q.ip + offset;
  const size_t n = address_length(error.af);
  if (error.af == Af::inet) {
    const uint16_t sum = checksum_adjust(load_raw<uint16_t>(q.ip + 10), field, wanted.bytes.data(), n);
    change_quoted(error, q.ip + 10, &sum, 2);
  }
  change_quoted(error, field, wanted.bytes.data(), n);
  current = wanted;
}

void change_outer_address(Packet& error, size_t offset, Address& current, const Address& wanted) {
  if (current == wanted) return;
  uint8_t* field = error.ip() + offset;
  const size_t n = address_length(error.af);
  uint8_t* sum = error.af == Af::inet ? error.ip() + 10 : error.transport() + 2;
  store_raw(sum, checksum_adjust(load_raw<uint16_t>(sum), field, wanted.bytes.data(), n));
  std::memcpy(field, wanted.bytes.data(), n);
  current = wanted;
}

}  // namespace

void shift_quoted_sequence(Packet& error, Quote& q, uint32_t difference) {
  uint8_t value[4];
  store_be32(value, load_be32(q.l4 + 4) - difference);
  change_quoted(error, q.l4 + 4, value, sizeof value);
}

void rewrite_quote(Packet& error, Quote& q, const FlowKey& to, Direction dir, unsigned request_slot) {
  // The quoted packet travelled against the error: its source sits where the error is going.
  const unsigned outer_src = dir == Direction::in ? 0 : 1;
  const unsigned quoted_src = 1 - outer_src;
  const unsigned quoted_dst = outer_src;
  const size_t src_offset = error.af == Af::inet ? 12 : 8;
  const size_t dst_offset = error.af == Af::inet ? 16 : 24;

  // As PF does, the outer source follows a translated quoted destination: who sent the error stays hidden behind it.
  if (!(q.src == to.addr[quoted_src])) change_outer_address(error, dst_offset, error.dst, to.addr[quoted_src]);
  if (!(q.dst == to.addr[quoted_dst])) change_outer_address(error, src_offset, error.src, to.addr[quoted_dst]);
  change_quoted_address(error, q, src_offset, q.src, to.addr[quoted_src]);
  change_quoted_address(error, q, dst_offset, q.dst, to.addr[quoted_dst]);

  if (q.proto == kProtoTcp || q.proto == kProtoUdp) {
    if (q.sport != to.port[quoted_src]) change_quoted(error, q.l4, &to.port[quoted_src], 2);
    if (q.dport != to.port[quoted_dst]) change_quoted(error, q.l4 + 2, &to.port[quoted_dst], 2);
    if (q.proto == kProtoUdp) {
      const uint16_t none = 0;
      change_quoted(error, q.l4 + 6, &none, 2);
    }
  } else if (q.proto == kProtoIcmp || q.proto == kProtoIcmp6) {
    const bool echo = q.icmp_type == kIcmpEchoRequest || q.icmp_type == kIcmpEchoReply ||
                      q.icmp_type == kIcmp6EchoRequest || q.icmp_type == kIcmp6EchoReply;
    if (echo && q.icmp_id != to.port[request_slot]) change_quoted(error, q.l4 + 4, &to.port[request_slot], 2);
  }
}

}  // namespace twinwall
