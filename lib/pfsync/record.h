// A full state as pfsync carries it, decoded: the same for every dialect, in host terms.
//
// Keys keep their slot order (wire first, then stack; see lib/state/flow_key.h). Numbers are host order except ports,
// which stay as in packets.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/net/address.h"

namespace twinwall::pfsync {

inline constexpr size_t kIfNameSize = 16;
inline constexpr size_t kTagNameSize = 64;
using IfName = std::array<char, kIfNameSize>;  // NUL padded

// A family byte of the wire that names neither IPv4 nor IPv6 in its dialect; no record with it passes the value tests.
inline constexpr Af kUnknownAf = static_cast<Af>(0xff);

[[nodiscard]] inline std::string_view name_text(const IfName& name) {
  const std::string_view all(name.data(), name.size());
  return all.substr(0, all.find('\0'));
}
// Cut to fifteen characters, so that a NUL always ends it.
[[nodiscard]] inline IfName make_name(std::string_view text) {
  IfName out{};
  text.copy(out.data(), kIfNameSize - 1);
  return out;
}

struct PeerRecord {
  uint16_t scrub_flags = 0;
  uint8_t scrub_ttl = 0;
  uint8_t scrub_valid = 0;
  uint32_t scrub_ts_mod = 0;
  uint32_t seqlo = 0, seqhi = 0, seqdiff = 0;
  uint16_t max_win = 0, mss = 0;
  uint8_t level = 0, wscale = 0;
  friend bool operator==(const PeerRecord&, const PeerRecord&) = default;
};

struct KeyRecord {
  Address addr[2];
  uint16_t port[2] = {0, 0};  // network order
  uint16_t rdomain = 0;
  Af af = Af::none;  // none: not given, take the state's
  friend bool operator==(const KeyRecord&, const KeyRecord&) = default;
};

// What only FreeBSD's formats carry (1400: queues, pipes and rt_ifname; 1500: all of it).
struct FreebsdFields {
  uint16_t qid = 0, pqid = 0, dnpipe = 0, dnrpipe = 0;
  IfName rt_ifname{}, orig_ifname{};
  std::array<char, kTagNameSize> tagname{};
  Af rt_af = Af::none;
  uint8_t stack_proto = 0;
  friend bool operator==(const FreebsdFields&, const FreebsdFields&) = default;
};

struct StateRecord {
  // First what changes in a state's life (UpdateRecord), so that it can be kept and copied without the rest.
  uint64_t id = 0;
  uint32_t creator = 0;
  uint32_t expire = 0;  // seconds left; 0: none
  PeerRecord src, dst;
  uint8_t timeout = 0;
  uint16_t state_flags = 0;
  IfName ifname{};  // "all": floating
  KeyRecord wire, stack;
  Address rt_addr;
  uint32_t rule = 0xffffffff, anchor = 0xffffffff;
  // No system takes the number of the nat rule from a peer. Inside, and between twinwall nodes, it is what the rule
  // says (a hash); towards others none.
  uint32_t nat_rule = 0xffffffff;
  uint32_t creation = 0;  // age, seconds
  uint64_t packets[2] = {0, 0};
  uint64_t bytes[2] = {0, 0};
  int32_t rtable[2] = {-1, -1};
  uint16_t max_mss = 0;
  Af af = Af::none;  // of the wire key
  uint8_t proto = 0;
  uint8_t direction = 0;  // 1 in, 2 out
  // rt is numbered by dialect: route-to, dup-to, reply-to are 1, 2, 3 on OpenBSD and 2, 3, 4 on FreeBSD.
  uint8_t log = 0, rt = 0, sync_flags = 0, updates = 0, min_ttl = 0, set_tos = 0;
  uint8_t set_prio[2] = {0, 0};
  FreebsdFields freebsd;
  friend bool operator==(const StateRecord&, const StateRecord&) = default;

  [[nodiscard]] std::string_view interface_name() const { return name_text(ifname); }
};

// UPD_C: what changes in a state's life.
struct UpdateRecord {
  uint64_t id = 0;
  uint32_t creator = 0;
  PeerRecord src, dst;
  uint32_t expire = 0;
  uint8_t timeout = 0;
  uint8_t state_flags = 0;
  friend bool operator==(const UpdateRecord&, const UpdateRecord&) = default;
};

// Looks at nothing but the first part of the record.
[[nodiscard]] inline UpdateRecord update_of(const StateRecord& r) {
  UpdateRecord u;
  u.id = r.id;
  u.creator = r.creator;
  u.src = r.src;
  u.dst = r.dst;
  u.expire = r.expire;
  u.timeout = r.timeout;
  u.state_flags = static_cast<uint8_t>(r.state_flags);
  return u;
}

// INS_ACK, UPD_REQ, DEL_C.
struct StateId {
  uint64_t id = 0;
  uint32_t creator = 0;
  friend bool operator==(const StateId&, const StateId&) = default;
};

struct ClearRecord {
  IfName ifname{};  // empty: every interface
  uint32_t creator = 0;
  friend bool operator==(const ClearRecord&, const ClearRecord&) = default;
};

enum class BulkStatus : uint8_t { start = 1, end = 2 };
struct BulkRecord {
  uint32_t creator = 0;
  uint32_t endtime = 0;
  uint8_t status = 0;
  friend bool operator==(const BulkRecord&, const BulkRecord&) = default;
};

// Counters of one security association (IPsec), for pairs that share them.
struct TdbRecord {
  uint32_t spi = 0;
  IpAddress dst;
  uint64_t replay = 0;
  uint64_t bytes = 0;
  uint8_t proto = 0;  // 50 ESP, 51 AH
  uint8_t updates = 0;
  uint16_t rdomain = 0;
  friend bool operator==(const TdbRecord&, const TdbRecord&) = default;
};

}  // namespace twinwall::pfsync
