// The addresses that nat-to, rdr-to, af-to and the routing options choose from (pf.conf(5) "Address Pools").
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/random.h"
#include "lib/filter/table.h"
#include "lib/net/address.h"

namespace twinwall {

// `none`: the single address as it is.
enum class PoolType : uint8_t { none, bitmask, random, source_hash, round_robin, least_states };

struct PoolEntry {
  Prefix prefix;
  uint16_t weight = 1;
  friend bool operator==(const PoolEntry&, const PoolEntry&) = default;
};

// What a pool chooses from, once everything is read: its own entries or the table's, by family and in the order of
// their addresses, as PF's tables walk.
struct PoolChoices {
  std::vector<PoolEntry> entries[2];  // [0] IPv4, [1] IPv6
  uint32_t of_both = 0;               // entries of both families, as source-hash counts those of a table
  bool is_list = false;               // a table or more than one entry; else one prefix
  // Of each family, for weighted round-robin; 0: all weigh the same.
  uint16_t heaviest[2] = {0, 0};
  uint16_t step[2] = {0, 0};  // the weights' greatest common divisor
};

// What changes in a pool while it is used: shared by all workers, written only when a connection begins or ends.
struct PoolState {
  // round-robin: how many were handed out; with weights the place in the round (entry + 1 | weight asked << 32).
  // least-states: the entry at which the next search begins.
  std::atomic<uint64_t> next[2]{};
  std::atomic<uint64_t> drawn_key[2]{};                           // of source-hash without a key; 0: not drawn yet
  std::unique_ptr<std::atomic<uint32_t>[]> states[2] = {{}, {}};  // least-states: of each entry
};

struct Pool {
  std::vector<PoolEntry> entries;      // of one family; or else
  std::shared_ptr<const Table> table;  // its positive entries, in their order
  PoolType type = PoolType::none;
  bool sticky = false;                         // a source keeps its address while it has states
  std::array<uint8_t, 16> key{};               // of source-hash
  bool key_given = false;                      // else random at each load
  std::shared_ptr<PoolState> state;            // null unless the type needs one
  std::shared_ptr<const PoolChoices> choices;  // null until seal()

  // Once its entries and its table are complete.
  void seal();

  [[nodiscard]] bool empty() const { return entries.empty() && table == nullptr; }
  // The one address it stands for; only where it is a single host.
  [[nodiscard]] bool single() const {
    return entries.size() == 1 && entries[0].prefix.length == address_bits(entries[0].prefix.af);
  }
  // What was written, not what has become of it.
  friend bool operator==(const Pool& a, const Pool& b) {
    return a.entries == b.entries && a.table == b.table && a.type == b.type && a.sticky == b.sticky && a.key == b.key;
  }
};

// One connection's search for an address. When the first one cannot be used the next call gives another, of the types
// that have others, until all were tried or kMostTries were.
struct PoolSearch {
  static constexpr unsigned kMostTries = 64;
  unsigned tries = 0;
  Address first, last;
};

// An address of family `af` from a sealed pool. `source`: the connection's, for source-hash; `original`: what is being
// replaced, whose host part bitmask keeps. False: there is none, or no other.
[[nodiscard]] bool choose_address(const Pool& pool, Af af, const Address& source, const Address& original,
                                  Random& random, PoolSearch& search, Address& out) noexcept;
// Whether the pool (still) has the address: a source's remembered one may have gone.
[[nodiscard]] bool pool_contains(const Pool& pool, Af af, const Address& address) noexcept;
// least-states: a connection to the address begins or ends.
void count_pool_state(const Pool& pool, Af af, const Address& address, bool begins) noexcept;

}  // namespace twinwall
