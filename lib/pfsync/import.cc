#include "lib/pfsync/import.h"

#include <algorithm>

#include "lib/net/headers.h"
#include "lib/state/state.h"

namespace twinwall::pfsync {
namespace {

constexpr uint8_t kHighestLevel = kTcpProxyDst;

bool is_ip(Af af) { return af == Af::inet || af == Af::inet6; }

bool peers_ok(System system, uint8_t timeout, const PeerRecord& src, const PeerRecord& dst) {
  return timeout < timeout_limit(system) && src.level <= kHighestLevel && dst.level <= kHighestLevel;
}

bool terminated(const IfName& name) { return std::ranges::find(name, '\0') != name.end(); }

// Rules of FreeBSD's releases that OpenBSD has no counterpart of.
ImportReason freebsd_objection(const ImportContext& c, const StateRecord& r) {
  const FreebsdFields& f = r.freebsd;
  if (c.system == System::freebsd15) {
    if (!terminated(r.ifname) || !terminated(f.rt_ifname) || !terminated(f.orig_ifname))
      return ImportReason::unterminated_name;
    if (r.proto == kProtoSctp && (r.src.scrub_valid == 0 || r.dst.scrub_valid == 0))
      return ImportReason::sctp_without_scrub;
    if (r.rtable[0] >= 0 && static_cast<uint32_t>(r.rtable[0]) >= c.routing_tables)
      return ImportReason::unknown_routing_table;
  }
  if (!c.interface_known) return ImportReason::unknown_interface;
  if (c.system == System::freebsd15 && c.format == StateFormat::v1500) {
    const bool floating = r.interface_name() == "all";
    if (!c.orig_interface_known && !floating) return ImportReason::unknown_interface;
    if (!c.route_interface_known && !name_text(f.rt_ifname).empty()) return ImportReason::unknown_interface;
  }
  const bool lacks_route = c.format == StateFormat::v1301 && !r.rt_addr.is_zero() && c.system != System::freebsd13;
  if (lacks_route && !(c.ruleset_equal && c.rule_names_one_route)) return ImportReason::no_route;
  return ImportReason::none;
}

ImportReason objection(const ImportContext& c, const StateRecord& r) {
  if (r.creator == 0) return ImportReason::creator_zero;
  if (dialect_of(c.system) == Dialect::freebsd) {
    const ImportReason reason = freebsd_objection(c, r);
    if (reason != ImportReason::none) return reason;
  } else if (r.af == Af::none) {
    return ImportReason::no_family;
  }
  if (!state_values_ok(c.system, ItemKind::ins, r)) return ImportReason::bad_values;
  if (r.direction != 1 && r.direction != 2) return ImportReason::bad_direction;
  return ImportReason::none;
}

bool silent(ImportReason r) { return r == ImportReason::unknown_interface || r == ImportReason::no_family; }

uint32_t choose_rule(const ImportContext& c, const StateRecord& r) {
  if (c.system == System::openbsd74 || !c.ruleset_equal) return kNoRuleNumber;
  if (r.anchor != kNoRuleNumber || r.rule >= c.rules.size()) return kNoRuleNumber;
  return r.rule;
}

// ICMP is ICMPv6 on the other side of a translation between families.
uint8_t proto_for(Af af, uint8_t proto) {
  if (proto == kProtoIcmp && af == Af::inet6) return kProtoIcmp6;
  if (proto == kProtoIcmp6 && af == Af::inet) return kProtoIcmp;
  return proto;
}

FlowKey make_key(const StateRecord& r, const KeyRecord& k, Dialect dialect) {
  FlowKey out;
  out.af = k.af == Af::none ? r.af : k.af;
  out.proto = proto_for(out.af, r.proto);
  out.rdomain = k.rdomain;
  for (size_t i = 0; i < 2; ++i) {
    // Bytes behind an IPv4 address must be zero for keys to compare equal, whatever the sender left there.
    out.addr[i] = Address::from_wire(out.af, k.addr[i].bytes.data());
    out.port[i] = k.port[i];
  }
  // FreeBSD keeps the echo id in both slots; here, as on OpenBSD, the responder's slot holds the request's type.
  const bool icmp = out.proto == kProtoIcmp || out.proto == kProtoIcmp6;
  if (icmp && dialect == Dialect::freebsd && k.port[0] == k.port[1]) {
    const uint16_t type = out.proto == kProtoIcmp ? kIcmpEchoRequest : kIcmp6EchoRequest;
    out.port[1 - initiator_slot(r.direction)] = bswap(type);
  }
  return out;
}

}  // namespace

bool state_values_ok(System system, ItemKind kind, const StateRecord& r) {
  if (kind == ItemKind::del) return true;
  if (!peers_ok(system, r.timeout, r.src, r.dst)) return false;
  if (kind != ItemKind::ins) return true;
  if (r.direction > 2 || !is_ip(r.af)) return false;
  if (dialect_of(system) == Dialect::freebsd) return true;
  const bool none_given = r.wire.af == Af::none && r.stack.af == Af::none;
  return none_given || (is_ip(r.wire.af) && is_ip(r.stack.af));
}

TimeoutClass common_class(uint8_t timeout) {
  constexpr TimeoutClass kSctp[] = {TimeoutClass::tcp_first, TimeoutClass::tcp_opening, TimeoutClass::tcp_established,
                                    TimeoutClass::tcp_closing, TimeoutClass::tcp_closed};
  if (timeout < kTimeoutClasses) return static_cast<TimeoutClass>(timeout);
  return kSctp[std::min<size_t>(timeout - kTimeoutClasses, std::size(kSctp) - 1)];
}

bool update_values_ok(System system, const UpdateRecord& r) { return peers_ok(system, r.timeout, r.src, r.dst); }

const char* reason_text(ImportReason r) {
  switch (r) {
    case ImportReason::none: return "";
    case ImportReason::creator_zero: return "creator id 0";
    case ImportReason::unknown_interface: return "unknown interface";
    case ImportReason::no_family: return "no address family";
    case ImportReason::bad_values: return "impossible values";
    case ImportReason::bad_direction: return "no direction";
    case ImportReason::no_route: return "route without interface";
    case ImportReason::unterminated_name: return "interface name without end";
    case ImportReason::sctp_without_scrub: return "SCTP without scrub data";
    case ImportReason::unknown_routing_table: return "unknown routing table";
  }
  return "";
}

Import import_state(const ImportContext& c, const StateRecord& r) {
  Import out;
  out.reason = objection(c, r);
  if (out.reason != ImportReason::none) {
    out.result = silent(out.reason) ? ImportResult::skip : ImportResult::refuse;
    return out;
  }
  out.result = ImportResult::store;
  out.rule = choose_rule(c, r);
  out.timeout = common_class(r.timeout);
  const size_t cls = static_cast<size_t>(out.timeout);
  const uint32_t own = out.rule != kNoRuleNumber ? c.rules[out.rule].timeouts[cls] : 0;
  const int64_t whole = own != 0 ? own : (*c.timeouts)[cls];
  const int64_t now = c.now;
  out.creation = now - r.creation;
  out.last_activity = r.expire == 0 ? now : now - (whole - r.expire);
  out.wire = make_key(r, r.wire, dialect_of(c.system));
  out.stack = make_key(r, r.stack, dialect_of(c.system));
  out.two_keys = !(out.wire == out.stack);
  out.acknowledge = (r.state_flags & kStateAckWanted) != 0;
  out.flags = r.state_flags & static_cast<uint16_t>(~kStateAckWanted);
  out.announce = (r.state_flags & kStateNoSync) == 0;
  return out;
}

}  // namespace twinwall::pfsync
