// nat-to and rdr-to: which addresses and ports a new connection gets (pf.conf(5) "Translation").
#include "lib/engine/engine_impl.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr uint16_t kNatPortLow = 50001;
constexpr uint16_t kNatPortHigh = 65535;

// Ports that services of their own use, which PF never hands out.
bool reserved_port(uint8_t proto, uint16_t port) {
  if (proto == kProtoTcp) {
    return port == 587 || (port >= 749 && port <= 751) || port == 853 || port == 871 || port == 2049 ||
           (port >= 6000 && port <= 6010);
  }
  return port == 623 || port == 664 || (port >= 749 && port <= 751) || port == 2049 || port == 3784 || port == 3785 ||
         port == 7784;
}

struct PortRange {
  uint16_t low = kNatPortLow;
  uint16_t high = kNatPortHigh;
};

}  // namespace

// The candidate is free when no state would be found for the replies: the peer's address and port are part of the key,
// so one external port serves many destinations.
bool Engine::Impl::translate(const Rule& nat, const Rule& rdr, bool do_nat, bool do_rdr, const Packet& p, Direction dir,
                             Translation5& to) {
  if (do_rdr) {
    if (!rdr.rdr_to.has(p.af)) return false;
    to.dst = rdr.rdr_to.address(p.af);
    if (rdr.rdr_to.port_low != 0 && (p.proto == kProtoTcp || p.proto == kProtoUdp))
      to.dport = bswap(rdr.rdr_to.port_low);
  }
  if (!do_nat) return true;
  if (!nat.nat_to.has(p.af)) return false;
  to.src = nat.nat_to.address(p.af);

  const bool ports = p.proto == kProtoTcp || p.proto == kProtoUdp;
  const bool echo = is_echo(p);
  const bool icmp = p.proto == kProtoIcmp || p.proto == kProtoIcmp6;
  if (icmp && !echo) return true;

  FlowKey key;
  const unsigned s = dir == Direction::in ? 0 : 1;
  key.af = p.af;
  key.proto = p.proto;
  key.addr[s] = to.src;
  key.addr[1 - s] = to.dst;
  key.port[1 - s] = echo ? bswap(icmp_flow(p).virtual_type) : to.dport;
  // Without ports there is one connection between two addresses.
  if (!ports && !echo) return !table.key_in_use(key);
  const auto is_free = [&](uint16_t port) {
    key.port[s] = bswap(port);
    return !table.key_in_use(key);
  };
  const auto take = [&](uint16_t port) {
    (echo ? to.icmp_id : to.sport) = bswap(port);
    return true;
  };

  PortRange range;
  if (echo) {
    range = {1, 65535};
  } else if (nat.nat_to.static_port) {
    return is_free(bswap(p.sport)) && take(bswap(p.sport));
  } else if (nat.nat_to.port_low != 0) {
    range = {nat.nat_to.port_low, nat.nat_to.port_high != 0 ? nat.nat_to.port_high : nat.nat_to.port_low};
    if (range.low == range.high) return is_free(range.low) && take(range.low);
  }
  const uint32_t span = static_cast<uint32_t>(range.high) - range.low + 1;
  const uint32_t cut = range.low + random.below(span);
  for (uint32_t port = cut; port <= range.high; ++port) {
    const auto candidate = static_cast<uint16_t>(port);
    if ((echo || !reserved_port(p.proto, candidate)) && is_free(candidate)) return take(candidate);
  }
  for (uint32_t port = cut; port-- > range.low;) {
    const auto candidate = static_cast<uint16_t>(port);
    if ((echo || !reserved_port(p.proto, candidate)) && is_free(candidate)) return take(candidate);
  }
  return false;
}

}  // namespace twinwall
