// FreeBSD's full states: a common front of 232 bytes and three tails, named after the releases that brought them.
#include <cstring>

#include "lib/pfsync/wire_parts.h"

namespace twinwall::pfsync::parts {
namespace {

constexpr size_t kFrontWireKey = 24, kFrontStackKey = 60, kFrontMiddle = 96, kCreator = 228, kTail = 232;

void read_front(const uint8_t* p, StateRecord& out) {
  out.id = load_be64(p);
  std::memcpy(out.ifname.data(), p + 8, kIfNameSize);
  read_endpoints(p + kFrontWireKey, out.wire);
  read_endpoints(p + kFrontStackKey, out.stack);
  read_middle(p + kFrontMiddle, out);
  out.creator = load_be32(p + kCreator);
}

void write_front(const StateRecord& r, uint8_t* p) {
  store_be64(p, r.id);
  std::memcpy(p + 8, r.ifname.data(), kIfNameSize);
  write_endpoints(r.wire, p + kFrontWireKey);
  write_endpoints(r.stack, p + kFrontStackKey);
  write_middle(r, p + kFrontMiddle);
  store_be32(p + kCreator, r.creator);
}

// The tails of 1301 and 1400 begin alike, but for state flags of one byte (at 6) against two (at 3).
void read_short_tail(const uint8_t* t, StateRecord& out) {
  out.af = read_af(Dialect::freebsd, t[0]);
  out.proto = t[1];
  out.direction = t[2];
  out.log = t[5];
  out.timeout = t[7];
  out.sync_flags = t[8];
  out.updates = t[9];
  out.wire.af = out.stack.af = out.af;
}

void write_short_tail(const StateRecord& r, uint8_t* t) {
  t[0] = write_af(Dialect::freebsd, r.af);
  t[1] = r.proto;
  t[2] = r.direction;
  t[5] = r.log;
  t[7] = r.timeout;
  t[8] = r.sync_flags;
  t[9] = r.updates;
}

void read_tail_1400(const uint8_t* t, StateRecord& out) {
  read_short_tail(t, out);
  out.state_flags = load_be16(t + 3);
  out.freebsd.qid = load_be16(t + 10);
  out.freebsd.pqid = load_be16(t + 12);
  out.freebsd.dnpipe = load_be16(t + 14);
  out.freebsd.dnrpipe = load_be16(t + 16);
  out.rtable[0] = out.rtable[1] = static_cast<int32_t>(load_be32(t + 18));
  out.min_ttl = t[22];
  out.set_tos = t[23];
  out.max_mss = load_be16(t + 24);
  out.set_prio[0] = t[26];
  out.set_prio[1] = t[27];
  out.rt = t[28];
  std::memcpy(out.freebsd.rt_ifname.data(), t + 29, kIfNameSize);
}

void write_tail_1400(const StateRecord& r, uint8_t* t) {
  write_short_tail(r, t);
  store_be16(t + 3, r.state_flags);
  t[6] = 0;
  store_be16(t + 10, r.freebsd.qid);
  store_be16(t + 12, r.freebsd.pqid);
  store_be16(t + 14, r.freebsd.dnpipe);
  store_be16(t + 16, r.freebsd.dnrpipe);
  store_be32(t + 18, static_cast<uint32_t>(r.rtable[0]));
  t[22] = r.min_ttl;
  t[23] = r.set_tos;
  store_be16(t + 24, r.max_mss);
  t[26] = r.set_prio[0];
  t[27] = r.set_prio[1];
  t[28] = r.rt;
  std::memcpy(t + 29, r.freebsd.rt_ifname.data(), kIfNameSize);
}

void read_tail_1500(const uint8_t* t, StateRecord& out) {
  FreebsdFields& f = out.freebsd;
  std::memcpy(f.tagname.data(), t, kTagNameSize);
  std::memcpy(f.rt_ifname.data(), t + 64, kIfNameSize);
  std::memcpy(f.orig_ifname.data(), t + 80, kIfNameSize);
  out.rtable[0] = out.rtable[1] = static_cast<int32_t>(load_be32(t + 96));
  out.state_flags = load_be16(t + 100);
  f.qid = load_be16(t + 102);
  f.pqid = load_be16(t + 104);
  f.dnpipe = load_be16(t + 106);
  f.dnrpipe = load_be16(t + 108);
  out.max_mss = load_be16(t + 110);
  out.af = out.wire.af = read_af(Dialect::freebsd, t[112]);
  out.stack.af = read_af(Dialect::freebsd, t[113]);
  f.rt_af = read_af(Dialect::freebsd, t[114]);
  out.proto = t[115];
  f.stack_proto = t[116];
  out.log = t[117];
  out.timeout = t[118];
  out.direction = t[119];
  out.rt = t[120];
  out.min_ttl = t[121];
  out.set_tos = t[122];
  out.set_prio[0] = t[123];
  out.set_prio[1] = t[124];
}

void write_tail_1500(const StateRecord& r, uint8_t* t) {
  const FreebsdFields& f = r.freebsd;
  std::memcpy(t, f.tagname.data(), kTagNameSize);
  std::memcpy(t + 64, f.rt_ifname.data(), kIfNameSize);
  std::memcpy(t + 80, f.orig_ifname.data(), kIfNameSize);
  store_be32(t + 96, static_cast<uint32_t>(r.rtable[0]));
  store_be16(t + 100, r.state_flags);
  store_be16(t + 102, f.qid);
  store_be16(t + 104, f.pqid);
  store_be16(t + 106, f.dnpipe);
  store_be16(t + 108, f.dnrpipe);
  store_be16(t + 110, r.max_mss);
  t[112] = write_af(Dialect::freebsd, r.af);
  // A record that came from another format names neither.
  t[113] = write_af(Dialect::freebsd, r.stack.af == Af::none ? r.af : r.stack.af);
  t[114] = write_af(Dialect::freebsd, f.rt_af);
  t[115] = r.proto;
  t[116] = f.stack_proto != 0 ? f.stack_proto : r.proto;
  t[117] = r.log;
  t[118] = r.timeout;
  t[119] = r.direction;
  t[120] = r.rt;
  t[121] = r.min_ttl;
  t[122] = r.set_tos;
  t[123] = r.set_prio[0];
  t[124] = r.set_prio[1];
  std::memset(t + 125, 0, 3);
}

}  // namespace

bool decode_freebsd(StateFormat format, Bytes in, StateRecord& out) {
  if (in.size() < state_size(format)) return false;
  const uint8_t* tail = in.data() + kTail;
  out = StateRecord{};
  read_front(in.data(), out);
  switch (format) {
    case StateFormat::v1301:
      read_short_tail(tail, out);
      out.state_flags = tail[6];
      return true;
    case StateFormat::v1400: read_tail_1400(tail, out); return true;
    case StateFormat::v1500: read_tail_1500(tail, out); return true;
    case StateFormat::openbsd: break;
  }
  return false;
}

bool encode_freebsd(StateFormat format, const StateRecord& r, MutableBytes out) {
  if (out.size() < state_size(format)) return false;
  uint8_t* tail = out.data() + kTail;
  switch (format) {
    case StateFormat::v1301:
      write_front(r, out.data());
      write_short_tail(r, tail);
      tail[3] = tail[4] = 0;
      tail[6] = static_cast<uint8_t>(r.state_flags);
      return true;
    case StateFormat::v1400:
      write_front(r, out.data());
      write_tail_1400(r, tail);
      return true;
    case StateFormat::v1500:
      write_front(r, out.data());
      write_tail_1500(r, tail);
      return true;
    case StateFormat::openbsd: break;
  }
  return false;
}

}  // namespace twinwall::pfsync::parts
