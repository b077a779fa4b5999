// OpenBSD's full state, 264 bytes, of wire version 6.
#include <cstring>

#include "lib/pfsync/wire_parts.h"

namespace twinwall::pfsync::parts {
namespace {

constexpr size_t kWireKey = 24, kStackKey = 64, kMiddle = 104;

void read_key(const uint8_t* p, KeyRecord& out) {
  read_endpoints(p, out);
  out.rdomain = load_be16(p + 36);
  out.af = read_af(Dialect::openbsd, p[38]);
}

void write_key(const KeyRecord& r, uint8_t* p) {
  write_endpoints(r, p);
  store_be16(p + 36, r.rdomain);
  p[38] = write_af(Dialect::openbsd, r.af);
  p[39] = 0;
}

}  // namespace

bool decode_openbsd(Bytes in, StateRecord& out) {
  if (in.size() < kOpenbsdStateSize) return false;
  const uint8_t* p = in.data();
  out.id = load_be64(p);
  std::memcpy(out.ifname.data(), p + 8, kIfNameSize);
  read_key(p + kWireKey, out.wire);
  read_key(p + kStackKey, out.stack);
  read_middle(p + kMiddle, out);
  out.creator = load_be32(p + 236);
  out.rtable[0] = static_cast<int32_t>(load_be32(p + 240));
  out.rtable[1] = static_cast<int32_t>(load_be32(p + 244));
  out.max_mss = load_be16(p + 248);
  out.af = read_af(Dialect::openbsd, p[250]);
  out.proto = p[251];
  out.direction = p[252];
  out.log = p[253];
  out.rt = p[254];
  out.timeout = p[255];
  out.sync_flags = p[256];
  out.updates = p[257];
  out.min_ttl = p[258];
  out.set_tos = p[259];
  out.state_flags = load_be16(p + 260);
  out.set_prio[0] = p[262];
  out.set_prio[1] = p[263];
  out.freebsd = FreebsdFields{};
  return true;
}

bool encode_openbsd(const StateRecord& r, MutableBytes out) {
  if (out.size() < kOpenbsdStateSize) return false;
  uint8_t* p = out.data();
  store_be64(p, r.id);
  std::memcpy(p + 8, r.ifname.data(), kIfNameSize);
  write_key(r.wire, p + kWireKey);
  write_key(r.stack, p + kStackKey);
  write_middle(r, p + kMiddle);
  store_be32(p + 236, r.creator);
  store_be32(p + 240, static_cast<uint32_t>(r.rtable[0]));
  store_be32(p + 244, static_cast<uint32_t>(r.rtable[1]));
  store_be16(p + 248, r.max_mss);
  p[250] = write_af(Dialect::openbsd, r.af);
  p[251] = r.proto;
  p[252] = r.direction;
  p[253] = r.log;
  p[254] = r.rt;
  p[255] = r.timeout;
  p[256] = r.sync_flags;
  p[257] = r.updates;
  p[258] = r.min_ttl;
  p[259] = r.set_tos;
  store_be16(p + 260, r.state_flags);
  p[262] = r.set_prio[0];
  p[263] = r.set_prio[1];
  return true;
}

}  // namespace twinwall::pfsync::parts
