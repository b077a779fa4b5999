#include "lib/pfsync/wire.h"

#include <cstring>

#include "lib/pfsync/wire_parts.h"

namespace twinwall::pfsync {
namespace parts {
namespace {

constexpr uint16_t kScrubTimestamp = 0x0001;

}  // namespace

void read_peer(const uint8_t* p, PeerRecord& out) {
  out.scrub_flags = load_be16(p) & kScrubTimestamp;
  out.scrub_ttl = p[2];
  out.scrub_valid = p[3];
  out.scrub_ts_mod = load_be32(p + 4);
  out.seqlo = load_be32(p + 8);
  out.seqhi = load_be32(p + 12);
  out.seqdiff = load_be32(p + 16);
  out.max_win = load_be16(p + 20);
  out.mss = load_be16(p + 22);
  out.level = p[24];
  out.wscale = p[25];
}

void write_peer(const PeerRecord& r, uint8_t* p) {
  store_be16(p, r.scrub_flags & kScrubTimestamp);
  p[2] = r.scrub_ttl;
  p[3] = r.scrub_valid;
  store_be32(p + 4, r.scrub_ts_mod);
  store_be32(p + 8, r.seqlo);
  store_be32(p + 12, r.seqhi);
  store_be32(p + 16, r.seqdiff);
  store_be16(p + 20, r.max_win);
  store_be16(p + 22, r.mss);
  p[24] = r.level;
  p[25] = r.wscale;
  std::memset(p + 26, 0, 6);
}

void read_endpoints(const uint8_t* p, KeyRecord& out) {
  for (size_t i = 0; i < 2; ++i) {
    std::memcpy(out.addr[i].bytes.data(), p + i * 16, 16);
    out.port[i] = load_raw<uint16_t>(p + 32 + i * 2);
  }
}

void write_endpoints(const KeyRecord& r, uint8_t* p) {
  for (size_t i = 0; i < 2; ++i) {
    std::memcpy(p + i * 16, r.addr[i].bytes.data(), 16);
    store_raw(p + 32 + i * 2, r.port[i]);
  }
}

namespace {
constexpr uint8_t inet6_number(Dialect d) { return d == Dialect::openbsd ? 24 : 28; }
}  // namespace

Af read_af(Dialect dialect, uint8_t byte) {
  if (byte == 0) return Af::none;
  if (byte == 2) return Af::inet;
  return byte == inet6_number(dialect) ? Af::inet6 : kUnknownAf;
}

uint8_t write_af(Dialect dialect, Af af) { return af == Af::inet6 ? inet6_number(dialect) : static_cast<uint8_t>(af); }

void read_middle(const uint8_t* p, StateRecord& out) {
  read_peer(p, out.src);
  read_peer(p + 32, out.dst);
  std::memcpy(out.rt_addr.bytes.data(), p + 64, 16);
  out.rule = load_be32(p + 80);
  out.anchor = load_be32(p + 84);
  out.nat_rule = load_be32(p + 88);
  out.creation = load_be32(p + 92);
  out.expire = load_be32(p + 96);
  for (size_t i = 0; i < 2; ++i) {
    out.packets[i] = load_be64(p + 100 + i * 8);
    out.bytes[i] = load_be64(p + 116 + i * 8);
  }
}

void write_middle(const StateRecord& r, uint8_t* p) {
  write_peer(r.src, p);
  write_peer(r.dst, p + 32);
  std::memcpy(p + 64, r.rt_addr.bytes.data(), 16);
  store_be32(p + 80, r.rule);
  store_be32(p + 84, r.anchor);
  store_be32(p + 88, r.nat_rule);
  store_be32(p + 92, r.creation);
  store_be32(p + 96, r.expire);
  for (size_t i = 0; i < 2; ++i) {
    store_be64(p + 100 + i * 8, r.packets[i]);
    store_be64(p + 116 + i * 8, r.bytes[i]);
  }
}

}  // namespace parts

bool decode_state(StateFormat format, Bytes in, StateRecord& out) {
  return format == StateFormat::openbsd ? parts::decode_openbsd(in, out) : parts::decode_freebsd(format, in, out);
}

bool encode_state(StateFormat format, const StateRecord& r, MutableBytes out) {
  return format == StateFormat::openbsd ? parts::encode_openbsd(r, out) : parts::encode_freebsd(format, r, out);
}

bool decode_update(Bytes in, UpdateRecord& out) {
  if (in.size() < kCompressedSize) return false;
  const uint8_t* p = in.data();
  out.id = load_be64(p);
  parts::read_peer(p + 8, out.src);
  parts::read_peer(p + 40, out.dst);
  out.creator = load_be32(p + 72);
  out.expire = load_be32(p + 76);
  out.timeout = p[80];
  out.state_flags = p[81];
  return true;
}

bool encode_update(const UpdateRecord& r, MutableBytes out) {
  if (out.size() < kCompressedSize) return false;
  uint8_t* p = out.data();
  store_be64(p, r.id);
  parts::write_peer(r.src, p + 8);
  parts::write_peer(r.dst, p + 40);
  store_be32(p + 72, r.creator);
  store_be32(p + 76, r.expire);
  p[80] = r.timeout;
  p[81] = r.state_flags;
  store_be16(p + 82, 0);
  return true;
}

bool decode_id(Bytes in, StateId& out) {
  if (in.size() < kIdSize) return false;
  out.id = load_be64(in.data());
  out.creator = load_be32(in.data() + 8);
  return true;
}

bool encode_id(const StateId& r, MutableBytes out) {
  if (out.size() < kIdSize) return false;
  store_be64(out.data(), r.id);
  store_be32(out.data() + 8, r.creator);
  return true;
}

bool decode_clear(Bytes in, ClearRecord& out) {
  if (in.size() < kClearSize) return false;
  std::memcpy(out.ifname.data(), in.data(), kIfNameSize);
  out.creator = load_be32(in.data() + kIfNameSize);
  return true;
}

bool encode_clear(const ClearRecord& r, MutableBytes out) {
  if (out.size() < kClearSize) return false;
  std::memcpy(out.data(), r.ifname.data(), kIfNameSize);
  store_be32(out.data() + kIfNameSize, r.creator);
  return true;
}

bool decode_bulk(Bytes in, BulkRecord& out) {
  if (in.size() < kBulkSize) return false;
  out.creator = load_be32(in.data());
  out.endtime = load_be32(in.data() + 4);
  out.status = in[8];
  return true;
}

bool encode_bulk(const BulkRecord& r, MutableBytes out) {
  if (out.size() < kBulkSize) return false;
  store_be32(out.data(), r.creator);
  store_be32(out.data() + 4, r.endtime);
  out[8] = r.status;
  std::memset(out.data() + 9, 0, 3);
  return true;
}

namespace {

// A BSD socket address in 28 bytes: length, family, port; then the address at 4 (IPv4) or 8 (IPv6, behind the flow).
void read_sockaddr(Dialect dialect, const uint8_t* p, IpAddress& out) {
  out.af = parts::read_af(dialect, p[1]);
  out.addr = Address{};
  if (out.af == Af::inet) out.addr = Address::v4_wire(p + 4);
  if (out.af == Af::inet6) out.addr = Address::v6_wire(p + 8);
}

void write_sockaddr(Dialect dialect, const IpAddress& a, uint8_t* p) {
  std::memset(p, 0, 28);
  p[1] = parts::write_af(dialect, a.af);
  if (a.af == Af::inet) {
    p[0] = 16;
    std::memcpy(p + 4, a.addr.bytes.data(), 4);
  } else if (a.af == Af::inet6) {
    p[0] = 28;
    std::memcpy(p + 8, a.addr.bytes.data(), 16);
  }
}

}  // namespace

bool decode_tdb(Dialect dialect, Bytes in, TdbRecord& out) {
  const bool openbsd = dialect == Dialect::openbsd;
  if (in.size() < (openbsd ? kOpenbsdTdbSize : kFreebsdTdbSize)) return false;
  const uint8_t* p = in.data();
  out.spi = load_be32(p);
  read_sockaddr(dialect, p + 4, out.dst);
  out.replay = openbsd ? load_be64(p + 32) : load_be32(p + 32);
  const uint8_t* rest = p + (openbsd ? 40 : 36);
  out.bytes = load_be64(rest);
  out.proto = rest[8];
  out.updates = rest[9];
  out.rdomain = openbsd ? load_be16(rest + 10) : uint16_t{0};
  return true;
}

bool encode_tdb(Dialect dialect, const TdbRecord& r, MutableBytes out) {
  const bool openbsd = dialect == Dialect::openbsd;
  if (out.size() < (openbsd ? kOpenbsdTdbSize : kFreebsdTdbSize)) return false;
  uint8_t* p = out.data();
  store_be32(p, r.spi);
  write_sockaddr(dialect, r.dst, p + 4);
  if (openbsd)
    store_be64(p + 32, r.replay);
  else
    store_be32(p + 32, static_cast<uint32_t>(r.replay));
  uint8_t* rest = p + (openbsd ? 40 : 36);
  store_be64(rest, r.bytes);
  rest[8] = r.proto;
  rest[9] = r.updates;
  store_be16(rest + 10, openbsd ? r.rdomain : uint16_t{0});
  return true;
}

}  // namespace twinwall::pfsync
