// nat-to and rdr-to: which addresses and ports a new connection gets (pf.conf(5) "Translation").
#include "lib/engine/engine_impl.h"
#include "lib/engine/flow.h"
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

constexpr uint32_t kPortsASecond = 1u << 18;  // looked at by all searches of a second, but for
constexpr uint32_t kPortsAlways = 64;         // the first of each

bool has_ports(const Packet& p) { return p.proto == kProtoTcp || p.proto == kProtoUdp; }

// A range p:q starts again with p behind q; beyond the last port it goes on with 1, as PF computes it.
uint16_t redirected_port(const Rule& rule, uint16_t dport) {
  const Translation& t = rule.rdr_to;
  if (t.port_high == t.port_low) return t.port_low;
  const auto size = static_cast<uint16_t>(t.port_high - t.port_low + 1);
  const int steps = (int{dport} - int{rule.to.port.a}) % (size == 0 ? 1 : int{size});
  auto port = static_cast<uint32_t>(steps + int{t.port_low});
  if (port > 65535) port -= 65535;
  return static_cast<uint16_t>(port);
}

}  // namespace

bool Engine::Impl::map_address(const Rule& rule, const Pool& pool, SourcePurpose purpose, Af af, const Address& source,
                               const Address& original, PoolSearch& search, Address& out) {
  if (!pool.sticky || pool.type == PoolType::none || pool.type == PoolType::bitmask)
    return choose_address(pool, af, source, original, random, search, out);
  SourceNodeIndex& node = pending.nodes[static_cast<size_t>(purpose)];
  const Rule*& of = pending.rules[static_cast<size_t>(purpose)];
  const auto give_back = [&](bool forget) {
    if (node == kNoSourceNode) return;
    if (forget) sources.detach(node);
    sources.release(node, false, now_s, false, now_s);
    node = kNoSourceNode;
  };
  const SourceKey key{rule.slot, purpose, af, source};
  if (of != &rule) give_back(false);  // an earlier rule's
  of = &rule;
  pending.any = true;
  if (search.tries == 0 && node == kNoSourceNode) {
    if (const SourceResult known = sources.find(key, out); known.node != kNoSourceNode) {
      node = known.node;
      if (pool_contains(pool, af, out)) {
        search.first = search.last = out;
        ++search.tries;
        return true;
      }
      give_back(true);
    }
  }
  if (!choose_address(pool, af, source, original, random, search, out)) return false;
  give_back(true);  // the remembered one was of no use
  const SourceResult made = sources.acquire(key, rule.slot, {rule.limits.max_src_nodes, 0, {}}, &out, now_s);
  if (made.outcome == SourceOutcome::max_nodes) counters.limits[static_cast<size_t>(LimitCounter::src_nodes)].add();
  node = made.node;
  return node != kNoSourceNode;
}

// The candidate is free when no state would be found for the replies: the peer's address and port are part of the key,
// so one external port serves many destinations.
bool Engine::Impl::choose_port(const Rule& rule, const Packet& p, FlowKey& key, unsigned s, Translation5& to) {
  const bool echo = is_echo(p);
  const auto is_free = [&](uint16_t port) {
    key.port[s] = bswap(port);
    return !table.key_in_use(key);
  };
  const auto take = [&](uint16_t port) {
    (echo ? to.icmp_id : to.sport) = bswap(port);
    return true;
  };
  // Without ports there is one connection between two addresses. The ports of SCTP stay: its checksum is a CRC of the
  // whole packet, and its ends may tell each other their ports. Neither a state with them nor one without may be there.
  if (!has_ports(p) && !echo) {
    key.port[s] = p.sport;
    return !table.key_in_use(key) && !table.key_in_use(without_ports(key));
  }
  const Translation& t = rule.nat_to;
  PortRange range;
  if (echo) {
    range = {1, 65535};
  } else if (t.static_port) {
    return is_free(bswap(p.sport)) && take(bswap(p.sport));
  } else if (t.port_low != 0) {
    range = {t.port_low, t.port_high != 0 ? t.port_high : t.port_low};
    if (range.low == range.high) return is_free(range.low) && take(range.low);
  }

  if (port_search.second != now_s) {
    port_search.second = now_s;
    port_search.looked_at = 0;
  }
  key.port[s] = 0;
  const uint64_t hash = table.hash_key(key, Side::wire) ^ (uint64_t{range.low} << 16 | range.high);
  PortSearch::Full& full = port_search.full[hash % port_search.full.size()];
  const uint64_t removed = table.counters(options.worker).removals.get();
  if (full.key == hash && full.second == now_s && full.removals == removed) return false;

  const uint32_t span = static_cast<uint32_t>(range.high) - range.low + 1;
  const uint32_t cut = range.low + random.below(span);
  for (uint32_t n = 0; n < span; ++n) {
    if (n >= kPortsAlways && ++port_search.looked_at > kPortsASecond) {
      counters.nat_search_cut.add();
      return false;
    }
    // Up from the cut, then down from it.
    const uint32_t up = range.high - cut + 1;
    const auto port = static_cast<uint16_t>(n < up ? cut + n : cut - 1 - (n - up));
    if ((echo || !reserved_port(p.proto, port)) && is_free(port)) return take(port);
  }
  full = {hash, now_s, removed};
  return false;
}

bool Engine::Impl::translate_source(const Rule& rule, const Packet& p, Direction dir, Translation5& to) {
  const Address source = to.src;
  const bool echo = is_echo(p);
  const bool icmp = p.proto == kProtoIcmp || p.proto == kProtoIcmp6;
  PoolSearch search;
  while (map_address(rule, rule.nat_to.pool, SourcePurpose::nat, p.af, source, source, search, to.src)) {
    if (icmp && !echo) return true;
    FlowKey key;
    const unsigned s = dir == Direction::in ? 0 : 1;
    key.af = p.af;
    key.proto = p.proto;
    key.addr[s] = to.src;
    key.addr[1 - s] = to.dst;
    key.port[1 - s] = echo ? bswap(icmp_flow(p).virtual_type) : to.dport;
    if (choose_port(rule, p, key, s, to)) return true;
  }
  counters.nat_exhausted.add();
  return false;
}

bool Engine::Impl::translate(const Rule& nat, const Rule& rdr, bool do_nat, bool do_rdr, const Packet& p, Direction dir,
                             Translation5& to) {
  if (do_rdr) {
    PoolSearch search;
    const Address original = to.dst;
    if (!map_address(rdr, rdr.rdr_to.pool, SourcePurpose::rdr, p.af, to.src, original, search, to.dst)) return false;
    if (rdr.rdr_to.port_low != 0 && has_ports(p)) to.dport = bswap(redirected_port(rdr, bswap(to.dport)));
    if (rdr.rdr_to.pool.type == PoolType::least_states) {
      pending.pools[1] = &rdr;
      pending.any = true;
    }
  }
  if (!do_nat) return true;
  if (!translate_source(nat, p, dir, to)) return false;
  if (nat.nat_to.pool.type == PoolType::least_states) {
    pending.pools[0] = &nat;
    pending.any = true;
  }
  return true;
}

}  // namespace twinwall
