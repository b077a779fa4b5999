#include "lib/engine/state_record.h"

#include <algorithm>

#include "lib/net/headers.h"
#include "lib/pfsync/slices.h"

namespace twinwall {

namespace {

pfsync::KeyRecord key_record(const FlowKey& k) {
  pfsync::KeyRecord out;
  out.addr[0] = k.addr[0];
  out.addr[1] = k.addr[1];
  out.port[0] = k.port[0];
  out.port[1] = k.port[1];
  out.rdomain = k.rdomain;
  out.af = k.af;
  return out;
}

uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  return x;
}

}  // namespace

pfsync::PeerRecord peer_record(const Peer& p) {
  pfsync::PeerRecord out;
  out.seqlo = p.seqlo;
  out.seqhi = p.seqhi;
  out.seqdiff = p.seqdiff;
  out.max_win = p.max_win;
  out.mss = p.mss;
  out.level = p.level;
  out.wscale = p.wscale;
  return out;
}

void apply_peer(const pfsync::PeerRecord& from, bool reanchor, Peer& to) {
  to.seqlo = from.seqlo;
  to.seqhi = from.seqhi;
  to.seqdiff = from.seqdiff;
  to.max_win = from.max_win;
  to.mss = from.mss;
  to.level = from.level;
  to.wscale = from.wscale;
  to.reanchor = reanchor && from.level >= kTcpEstablished && from.level < kTcpTimeWait ? 1 : 0;
}

void fill_update(const State& s, uint32_t now_s, uint32_t timeout_s, pfsync::StateRecord& r, const TwinLine* lead) {
  r.id = s.id;
  r.creator = s.creator;
  r.src = peer_record(s.src);
  r.dst = peer_record(s.dst);
  uint32_t end = s.last_update + timeout_s;
  if (lead != nullptr) {
    const auto put = [lead](unsigned i, pfsync::PeerRecord& p) {
      p.seqlo = lead->moving.seqlo[i];
      p.seqhi = lead->moving.seqhi[i];
      p.max_win = lead->moving.max_win[i];
    };
    put(lead->moving.turned, r.src);
    put(1u - lead->moving.turned, r.dst);
    end = lead->last_update + timeout_s;
  }
  r.expire = static_cast<int32_t>(end - now_s) > 0 ? end - now_s : 0;
  r.timeout = static_cast<uint8_t>(s.timeout);
  r.state_flags = s.flags & kStateWireFlags;
}

void fill_record(const State& s, std::span<const InterfaceInfo> interfaces, uint32_t now_s, uint32_t timeout_s,
                 pfsync::StateRecord& r, const TwinLine* lead) {
  r = {};
  fill_update(s, now_s, timeout_s, r, lead);
  const auto name = [&](InterfaceId id, std::string_view none) {
    const bool known = id != kNoInterface && id <= interfaces.size();
    return pfsync::make_name(known ? std::string_view(interfaces[id - 1u].name) : none);
  };
  r.ifname = name(s.interface, "all");
  r.freebsd.orig_ifname = name(s.created_on, "all");
  r.wire = key_record(s.wire);
  r.stack = key_record(s.stack);
  r.rule = s.rule_number;
  r.creation = now_s - s.creation;
  for (unsigned slot = 0; slot < 2; ++slot) {
    r.packets[slot] = s.packets(slot) + (lead != nullptr ? lead->moving.packets_of(slot ^ lead->moving.turned) : 0);
    r.bytes[slot] = s.bytes(slot) + (lead != nullptr ? lead->moving.bytes[slot ^ lead->moving.turned] : 0);
  }
  // As OpenBSD fills it: the far side of the hook has no routing table of its own.
  r.rtable[s.direction == Direction::in ? 1 : 0] = 0;
  r.max_mss = s.max_mss;
  r.af = s.wire.af;
  r.proto = s.wire.proto;
  r.direction = static_cast<uint8_t>(s.direction);
  r.log = s.log & kLogWireBits;
  r.min_ttl = s.min_ttl;
  r.set_tos = s.set_tos;
}

uint64_t digest_identity(const State& s) {
  uint64_t sum = pfsync::slice_mix(s.id, uint64_t{s.creator} << 8 | static_cast<uint64_t>(s.direction));
  for (const FlowKey* key : {&s.wire, &s.stack})
    for (size_t i = 0; i < sizeof(FlowKey) / 8; ++i)
      sum = pfsync::slice_mix(sum, load_raw<uint64_t>(reinterpret_cast<const char*>(key) + i * 8));
  return sum;
}

uint8_t owner_of(const pfsync::StateRecord& record, unsigned workers) {
  if (workers <= 1) return 0;
  uint64_t end[2];
  for (int i = 0; i < 2; ++i) {
    const auto& a = record.stack.addr[i].bytes;
    end[i] = mix(load_raw<uint64_t>(a.data()) ^ mix(load_raw<uint64_t>(a.data() + 8) + record.stack.port[i]));
  }
  return static_cast<uint8_t>(mix(end[0] + end[1]) % workers);  // the same whichever end comes first
}

}  // namespace twinwall
