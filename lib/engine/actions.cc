#include "lib/engine/actions.h"

#include "lib/engine/rewrite.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

// A 16-bit word of the IPv4 header at an even offset.
void put_ipv4_word(uint8_t* header, size_t offset, uint16_t value) {
  uint8_t word[2];
  store_be16(word, value);
  store_raw(header + 10, checksum_adjust(load_raw<uint16_t>(header + 10), header + offset, word, 2));
  store_be16(header + offset, value);
}

void set_tos(Packet& p, uint8_t tos) {
  uint8_t* const h = p.ip();
  if (p.af == Af::inet) {
    const auto wanted = static_cast<uint8_t>((tos & 0xfc) | (h[1] & 0x03));
    if (wanted != h[1]) put_ipv4_word(h, 0, static_cast<uint16_t>(h[0] << 8 | wanted));
  } else {
    // The traffic class lies across the first two bytes, its ECN bits in the second.
    const auto word = static_cast<uint16_t>((load_be16(h) & 0xf03f) | (tos & 0xfc) << 4);
    store_be16(h, word);
  }
  p.tos = tos & 0xfc;
}

void raise_ttl(Packet& p, uint8_t least) {
  if (p.ttl >= least) return;
  uint8_t* const h = p.ip();
  if (p.af == Af::inet)
    put_ipv4_word(h, 8, static_cast<uint16_t>(least << 8 | h[9]));
  else
    h[7] = least;
  p.ttl = least;
}

// The MSS option of any segment, wherever it lies: at an odd offset its two bytes belong to different words of the
// checksum.
void lower_mss(Packet& p, uint16_t most) {
  if (p.proto != kProtoTcp || p.is_fragment) return;
  uint8_t* const t = p.transport();
  const size_t end = static_cast<size_t>(t[12] >> 4) * 4;
  for (size_t i = kTcpHeader; i < end;) {
    if (t[i] == 0) return;
    if (t[i] == 1) {
      ++i;
      continue;
    }
    if (i + 1 >= end || t[i + 1] < 2 || i + t[i + 1] > end) return;
    if (t[i] == 2 && t[i + 1] == 4) {
      if (load_be16(t + i + 2) <= most) return;
      uint8_t value[2];
      store_be16(value, most);
      return patch_tcp(p, i + 2, value, sizeof value);
    }
    i += t[i + 1];
  }
}

}  // namespace

void apply_actions(Packet& p, const PacketActions& a, uint16_t random_id) {
  if (a.max_mss != 0) lower_mss(p, a.max_mss);
  if (p.af == Af::inet && a.no_df && (load_be16(p.ip() + 6) & kIpv4DontFragment) != 0)
    put_ipv4_word(p.ip(), 6, static_cast<uint16_t>(load_be16(p.ip() + 6) & ~kIpv4DontFragment));
  if (a.min_ttl != 0) raise_ttl(p, a.min_ttl);
  if (a.set_tos >= 0) set_tos(p, static_cast<uint8_t>(a.set_tos));
  if (p.af == Af::inet && a.random_id && !p.is_fragment) put_ipv4_word(p.ip(), 4, random_id);
}

}  // namespace twinwall
