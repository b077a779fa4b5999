#include "lib/engine/rewrite.h"

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

// Offset of the transport checksum from l4, or -1 when the protocol has none that covers addresses or ports.
int checksum_offset(const Packet& p) {
  switch (p.proto) {
    case kProtoTcp: return 16;
    case kProtoUdp: return 6;
    case kProtoIcmp6: return 2;
    case kProtoIcmp: return 2;
    default: return -1;
  }
}

bool has_pseudo_header(uint8_t proto) { return proto == kProtoTcp || proto == kProtoUdp || proto == kProtoIcmp6; }

void adjust_transport(Packet& p, const void* before, const void* after, size_t length) {
  const int offset = checksum_offset(p);
  if (offset < 0) return;
  uint8_t* field = p.transport() + offset;
  const auto old = load_raw<uint16_t>(field);
  if (p.proto == kProtoUdp && old == 0) return;  // sent without a checksum (IPv4): stays so
  uint16_t sum = checksum_adjust(old, before, after, length);
  if (p.proto == kProtoUdp && sum == 0) sum = 0xffff;
  store_raw(field, sum);
}

void set_address(Packet& p, size_t offset, Address& current, const Address& wanted) {
  if (current == wanted) return;
  uint8_t* field = p.ip() + offset;
  const size_t n = address_length(p.af);
  if (p.af == Af::inet) {
    uint8_t* sum = p.ip() + 10;
    store_raw(sum, checksum_adjust(load_raw<uint16_t>(sum), field, wanted.bytes.data(), n));
  }
  if (has_pseudo_header(p.proto)) adjust_transport(p, field, wanted.bytes.data(), n);
  std::memcpy(field, wanted.bytes.data(), n);
  current = wanted;
}

void set_word(Packet& p, size_t offset, uint16_t& current, uint16_t wanted) {
  if (current == wanted) return;
  uint8_t* field = p.transport() + offset;
  adjust_transport(p, field, &wanted, 2);
  store_raw(field, wanted);
  current = wanted;
}

}  // namespace

// The checksum covers words at even offsets: what begins or ends inside one is changed together with its neighbour.
void patch_tcp(Packet& p, size_t offset, const void* value, size_t length) {
  constexpr size_t kLongest = 16;
  uint8_t* const t = p.transport();
  const size_t first = offset & ~size_t{1}, last = (offset + length + 1) & ~size_t{1};
  if (length > kLongest - 2) return;
  uint8_t before[kLongest];
  std::memcpy(before, t + first, last - first);
  std::memcpy(t + offset, value, length);
  store_raw(t + 16, checksum_adjust(load_raw<uint16_t>(t + 16), before, t + first, last - first));
}

bool is_echo(const Packet& p) {
  if (p.proto == kProtoIcmp) return p.icmp_type == kIcmpEchoRequest || p.icmp_type == kIcmpEchoReply;
  return p.proto == kProtoIcmp6 && (p.icmp_type == kIcmp6EchoRequest || p.icmp_type == kIcmp6EchoReply);
}

void rewrite(Packet& p, const Endpoints& to) {
  set_address(p, p.af == Af::inet ? 12 : 8, p.src, to.src);
  set_address(p, p.af == Af::inet ? 16 : 24, p.dst, to.dst);
  if (p.proto == kProtoTcp || p.proto == kProtoUdp) {
    set_word(p, 0, p.sport, to.sport);
    set_word(p, 2, p.dport, to.dport);
  } else if (is_echo(p)) {
    set_word(p, 4, p.icmp_id, to.icmp_id);
  }
}

}  // namespace twinwall
