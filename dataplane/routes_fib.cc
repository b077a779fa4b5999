#include "dataplane/routes_fib.h"

#include <fmt/core.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_memory.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <set>
#include <vector>

namespace twinwall {
namespace {

constexpr size_t kLookupBurst = 32;
constexpr uint32_t kMaxTbl8 = 1u << 20;
// An entry holds a next hop or the number of a group, and one bit to tell which.
constexpr uint64_t kOneByteMax = 127;
constexpr uint64_t kTwoByteMax = 32767;

// Unique in this process: two tables live side by side while a reload is under way.
std::string unique_name(const char* family) {
  static std::atomic<unsigned> next{0};
  return fmt::format("tw_{}_{}", family, next.fetch_add(1));
}

std::vector<RouteEntry> of_family(std::span<const RouteEntry> entries, Af af) {
  std::vector<RouteEntry> out;
  std::set<std::pair<Address, uint8_t>> seen;
  for (RouteEntry e : entries) {
    if (e.prefix.af != af) continue;
    e.prefix.addr = e.prefix.network();
    if (seen.emplace(e.prefix.addr, e.prefix.length).second) out.push_back(e);
  }
  return out;
}

uint64_t largest_hop(std::span<const RouteEntry> entries) {
  uint64_t largest = 0;
  for (const auto& e : entries) largest = std::max<uint64_t>(largest, e.next_hop);
  return largest;
}

// Groups of 256 for what is longer than 24 bits: at most one for each further byte of each prefix.
uint32_t tbl8_groups(std::span<const RouteEntry> entries) {
  uint64_t groups = 1;
  for (const auto& e : entries)
    if (e.prefix.length > 24) groups += (e.prefix.length - 24u + 7u) / 8u;
  return static_cast<uint32_t>(std::min<uint64_t>(groups, kMaxTbl8));
}

rte_fib* make_v4(std::span<const RouteEntry> entries) {
  rte_fib_conf conf{};
  conf.type = RTE_FIB_DIR24_8;
  conf.default_nh = kNoNextHop;
  conf.max_routes = static_cast<int>(entries.size() * 2 + 16);
  conf.dir24_8.num_tbl8 = tbl8_groups(entries);
  const uint64_t largest = std::max<uint64_t>(largest_hop(entries), conf.dir24_8.num_tbl8);
  conf.dir24_8.nh_sz = largest <= kOneByteMax   ? RTE_FIB_DIR24_8_1B
                       : largest <= kTwoByteMax ? RTE_FIB_DIR24_8_2B
                                                : RTE_FIB_DIR24_8_4B;
  rte_fib* const fib = rte_fib_create(unique_name("fib4").c_str(), SOCKET_ID_ANY, &conf);
  if (fib == nullptr) return nullptr;
  for (const auto& e : entries) {
    if (rte_fib_add(fib, e.prefix.addr.v4_host(), e.prefix.length, e.next_hop) != 0) {
      rte_fib_free(fib);
      return nullptr;
    }
  }
  return fib;
}

rte_fib6* make_v6(std::span<const RouteEntry> entries) {
  rte_fib6_conf conf{};
  conf.type = RTE_FIB6_TRIE;
  conf.default_nh = kNoNextHop;
  conf.max_routes = static_cast<int>(entries.size() * 2 + 16);
  conf.trie.num_tbl8 = tbl8_groups(entries);
  const uint64_t largest = std::max<uint64_t>(largest_hop(entries), conf.trie.num_tbl8);
  conf.trie.nh_sz = largest <= kTwoByteMax ? RTE_FIB6_TRIE_2B : RTE_FIB6_TRIE_4B;
  rte_fib6* const fib = rte_fib6_create(unique_name("fib6").c_str(), SOCKET_ID_ANY, &conf);
  if (fib == nullptr) return nullptr;
  for (const auto& e : entries) {
    std::array<uint8_t, 16> address = e.prefix.addr.bytes;
    if (rte_fib6_add(fib, address.data(), e.prefix.length, e.next_hop) != 0) {
      rte_fib6_free(fib);
      return nullptr;
    }
  }
  return fib;
}

}  // namespace

std::unique_ptr<const FibRouteTable> FibRouteTable::make(std::span<const RouteEntry> entries) {
  auto table = std::unique_ptr<FibRouteTable>(new FibRouteTable());
  const auto v4 = of_family(entries, Af::inet);
  const auto v6 = of_family(entries, Af::inet6);
  if (!v4.empty() && (table->v4_ = make_v4(v4)) == nullptr) return nullptr;
  if (!v6.empty() && (table->v6_ = make_v6(v6)) == nullptr) return nullptr;
  return table;
}

FibRouteTable::~FibRouteTable() {
  rte_fib_free(v4_);
  rte_fib6_free(v6_);
}

void FibRouteTable::lookup_v4(std::span<const uint32_t> addresses, NextHopIndex* hops) const {
  if (v4_ == nullptr) {
    std::fill_n(hops, addresses.size(), kNoNextHop);
    return;
  }
  std::array<uint64_t, kLookupBurst> found;
  for (size_t at = 0; at < addresses.size(); at += kLookupBurst) {
    const size_t n = std::min(kLookupBurst, addresses.size() - at);
    std::array<uint32_t, kLookupBurst> keys;  // DPDK wants them where it may write
    std::copy_n(&addresses[at], n, keys.begin());
    (void)rte_fib_lookup_bulk(v4_, keys.data(), found.data(), static_cast<int>(n));
    for (size_t i = 0; i < n; ++i) hops[at + i] = static_cast<NextHopIndex>(found[i]);
  }
}

void FibRouteTable::lookup(Af af, std::span<const Address* const> addresses, NextHopIndex* hops) const {
  if (af == Af::inet) {
    std::array<uint32_t, kLookupBurst> keys;
    for (size_t at = 0; at < addresses.size(); at += kLookupBurst) {
      const size_t n = std::min(kLookupBurst, addresses.size() - at);
      for (size_t i = 0; i < n; ++i) keys[i] = addresses[at + i]->v4_host();
      lookup_v4({keys.data(), n}, hops + at);
    }
    return;
  }
  if (v6_ == nullptr) {
    std::fill_n(hops, addresses.size(), kNoNextHop);
    return;
  }
  std::array<uint64_t, kLookupBurst> found;
  for (size_t at = 0; at < addresses.size(); at += kLookupBurst) {
    const size_t n = std::min(kLookupBurst, addresses.size() - at);
    uint8_t keys[kLookupBurst][RTE_FIB6_IPV6_ADDR_SIZE];
    for (size_t i = 0; i < n; ++i) std::memcpy(keys[i], addresses[at + i]->bytes.data(), sizeof keys[i]);
    (void)rte_fib6_lookup_bulk(v6_, keys, found.data(), static_cast<int>(n));
    for (size_t i = 0; i < n; ++i) hops[at + i] = static_cast<NextHopIndex>(found[i]);
  }
}

uint64_t FibRouteTable::memory(unsigned tables) {
  constexpr uint64_t kV4 = uint64_t{16} << 20, kV6 = uint64_t{32} << 20, kRest = uint64_t{1} << 20;
  return tables * (kV4 + kV6 + kRest);
}

std::unique_ptr<const RouteTable> make_fib_routes(std::span<const RouteEntry> entries) {
  if (auto table = FibRouteTable::make(entries)) return table;
  spdlog::warn("routes: no memory for the fast route table ({} routes); the plain one is used, forwarding is slower",
               entries.size());
  return make_plain_routes(entries);
}

}  // namespace twinwall
