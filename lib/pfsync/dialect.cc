#include "lib/pfsync/dialect.h"

#include "lib/net/headers.h"
#include "lib/pfsync/import.h"

namespace twinwall::pfsync {
namespace {

constexpr uint8_t kFreebsdRouteTo = 2;     // 1 is an option that is gone
constexpr uint16_t kCommonFlags = 0x001f;  // what 13 has a bit for
constexpr uint16_t kAllFlags = 0x03ff;     // the bits above are FreeBSD's dummynet

bool is_icmp(uint8_t proto) { return proto == kProtoIcmp || proto == kProtoIcmp6; }

// FreeBSD up to 13 has the echo id at both ends.
void id_at_both_ends(const StateRecord& r, KeyRecord& k) {
  const int i = initiator_slot(r.direction);
  k.port[1 - i] = k.port[i];
}

void type_at_the_responder(const StateRecord& r, KeyRecord& k) {
  if (k.port[0] != k.port[1]) return;
  const Af af = k.af == Af::none ? r.af : k.af;
  k.port[1 - initiator_slot(r.direction)] =
      bswap(static_cast<uint16_t>(af == Af::inet6 ? kIcmp6EchoRequest : kIcmpEchoRequest));
}

}  // namespace

System recognise(Bytes payload, System usual) {
  if (payload.empty()) return usual;
  if (payload[0] == version_byte(Dialect::openbsd))
    return dialect_of(usual) == Dialect::openbsd ? usual : System::openbsd74;
  return payload[0] == version_byte(Dialect::freebsd) ? System::freebsd15 : usual;
}

void to_system(System system, StateRecord& r) {
  if (dialect_of(system) == Dialect::openbsd) return;
  const bool oldest = system == System::freebsd13;
  r.state_flags &= oldest ? kCommonFlags : kAllFlags;
  if (r.rt != 0) {
    r.rt = static_cast<uint8_t>(r.rt + kFreebsdRouteTo - 1);
    r.freebsd.rt_af = r.af;
  }
  // One table for both sides: the kernel's "none given", as this host has no other than the main one.
  r.rtable[0] = r.rtable[1] = -1;
  r.wire.rdomain = r.stack.rdomain = 0;
  if (oldest && is_icmp(r.proto)) {
    id_at_both_ends(r, r.wire);
    id_at_both_ends(r, r.stack);
  }
}

void from_system(System system, StateRecord& r) {
  if (dialect_of(system) == Dialect::openbsd) return;
  r.state_flags &= kAllFlags;
  r.rt = r.rt >= kFreebsdRouteTo ? static_cast<uint8_t>(r.rt - kFreebsdRouteTo + 1) : uint8_t{0};
  r.timeout = static_cast<uint8_t>(common_class(r.timeout));
  if (is_icmp(r.proto)) {
    type_at_the_responder(r, r.wire);
    type_at_the_responder(r, r.stack);
  }
}

void to_system(System system, UpdateRecord& r) {
  if (dialect_of(system) == Dialect::freebsd) r.state_flags = 0;  // padding there
}

void from_system(System system, UpdateRecord& r) {
  if (dialect_of(system) == Dialect::openbsd) return;
  r.state_flags = 0;
  r.timeout = static_cast<uint8_t>(common_class(r.timeout));
}

}  // namespace twinwall::pfsync
