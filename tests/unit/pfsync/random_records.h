// Records with random values in every field that a format carries, and small helpers for the pfsync tests.
#pragma once

#include <string_view>
#include <vector>

#include "lib/base/random.h"
#include "lib/pfsync/builder.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

inline void fill(Random& random, MutableBytes out) {
  for (auto& byte : out) byte = static_cast<uint8_t>(random.next());
}

inline PeerRecord random_peer(Random& r) {
  PeerRecord p;
  p.scrub_flags = static_cast<uint16_t>(r.below(2));
  p.scrub_ttl = static_cast<uint8_t>(r.next());
  p.scrub_valid = static_cast<uint8_t>(r.next());
  p.scrub_ts_mod = r.next32();
  p.seqlo = r.next32();
  p.seqhi = r.next32();
  p.seqdiff = r.next32();
  p.max_win = static_cast<uint16_t>(r.next());
  p.mss = static_cast<uint16_t>(r.next());
  p.level = static_cast<uint8_t>(r.next());
  p.wscale = static_cast<uint8_t>(r.next());
  return p;
}

inline Af random_af(Random& r) { return r.below(2) == 0 ? Af::inet : Af::inet6; }

inline KeyRecord random_key(Random& r, StateFormat format, Af af) {
  KeyRecord k;
  for (size_t i = 0; i < 2; ++i) {
    fill(r, k.addr[i].bytes);
    k.port[i] = static_cast<uint16_t>(r.next());
  }
  k.af = af;
  if (format == StateFormat::openbsd) k.rdomain = static_cast<uint16_t>(r.next());
  return k;
}

template <size_t N>
std::array<char, N> random_text(Random& r) {
  std::array<char, N> out{};
  const size_t length = r.below(N);
  for (size_t i = 0; i < length; ++i) out[i] = static_cast<char>('a' + r.below(26));
  return out;
}

inline void random_extras(Random& r, StateFormat format, StateRecord& s) {
  s.rt = static_cast<uint8_t>(r.next());
  s.min_ttl = static_cast<uint8_t>(r.next());
  s.set_tos = static_cast<uint8_t>(r.next());
  s.max_mss = static_cast<uint16_t>(r.next());
  s.state_flags = static_cast<uint16_t>(r.next());
  for (auto& prio : s.set_prio) prio = static_cast<uint8_t>(r.next());
  s.rtable[0] = s.rtable[1] = static_cast<int32_t>(r.next32());
  if (format == StateFormat::openbsd) {
    s.rtable[1] = static_cast<int32_t>(r.next32());
    return;
  }
  FreebsdFields& f = s.freebsd;
  for (auto* field : {&f.qid, &f.pqid, &f.dnpipe, &f.dnrpipe}) *field = static_cast<uint16_t>(r.next());
  f.rt_ifname = random_text<kIfNameSize>(r);
  if (format == StateFormat::v1400) return;
  f.orig_ifname = random_text<kIfNameSize>(r);
  f.tagname = random_text<kTagNameSize>(r);
  f.rt_af = random_af(r);
  f.stack_proto = static_cast<uint8_t>(1 + r.below(255));
}

// Everything that survives the format; the rest is at its default.
inline StateRecord random_state(Random& r, StateFormat format) {
  StateRecord s;
  s.id = r.next();
  s.creator = r.next32();
  s.ifname = random_text<kIfNameSize>(r);
  s.af = random_af(r);
  const bool own_stack = format == StateFormat::openbsd || format == StateFormat::v1500;
  s.wire = random_key(r, format, format == StateFormat::openbsd ? random_af(r) : s.af);
  s.stack = random_key(r, format, own_stack ? random_af(r) : s.af);
  s.src = random_peer(r);
  s.dst = random_peer(r);
  fill(r, s.rt_addr.bytes);
  for (auto* field : {&s.rule, &s.anchor, &s.nat_rule, &s.creation, &s.expire}) *field = r.next32();
  for (size_t i = 0; i < 2; ++i) {
    s.packets[i] = r.next();
    s.bytes[i] = r.next();
  }
  for (auto* field : {&s.proto, &s.direction, &s.log, &s.timeout}) *field = static_cast<uint8_t>(r.next());
  s.state_flags = static_cast<uint8_t>(r.next());
  if (format != StateFormat::v1500) {
    s.sync_flags = static_cast<uint8_t>(r.next());
    s.updates = static_cast<uint8_t>(r.next());
  }
  if (format != StateFormat::v1301) random_extras(r, format, s);
  return s;
}

inline UpdateRecord random_update(Random& r) {
  UpdateRecord u;
  u.id = r.next();
  u.creator = r.next32();
  u.src = random_peer(r);
  u.dst = random_peer(r);
  u.expire = r.next32();
  u.timeout = static_cast<uint8_t>(r.next());
  u.state_flags = static_cast<uint8_t>(r.next());
  return u;
}

// A state that every receiver takes: an established TCP connection from 10.0.0.1:40000 to 192.0.2.1:443.
inline StateRecord ordinary_state(uint64_t id = 0x1122334455667788) {
  StateRecord s;
  s.id = id;
  s.creator = 0xa1b2c3d4;
  s.ifname = make_name("all");
  s.af = Af::inet;
  s.proto = 6;
  s.direction = 1;
  s.timeout = 2;
  s.wire.addr[0] = Address::v4(0x0a000001);
  s.wire.addr[1] = Address::v4(0xc0000201);
  s.wire.port[0] = bswap(uint16_t{40000});
  s.wire.port[1] = bswap(uint16_t{443});
  s.wire.af = Af::inet;
  s.stack = s.wire;
  s.src.level = s.dst.level = 4;
  s.creation = 10;
  s.expire = 86000;
  return s;
}

inline PacketOptions options_for(System system) {
  PacketOptions o;
  o.system = system;
  o.format = default_format(system);
  o.source = *parse_ip("192.0.2.10");
  o.destination = {Af::inet, Address::v4(kGroupV4)};
  return o;
}

inline constexpr System kSystems[] = {System::openbsd73, System::openbsd74, System::freebsd13, System::freebsd14,
                                      System::freebsd15};
inline constexpr StateFormat kFormats[] = {StateFormat::openbsd, StateFormat::v1301, StateFormat::v1400,
                                           StateFormat::v1500};

}  // namespace twinwall::pfsync
