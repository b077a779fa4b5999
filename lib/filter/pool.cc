#include "lib/filter/pool.h"

#include <algorithm>
#include <numeric>

#include "lib/base/siphash.h"

namespace twinwall {

namespace {

constexpr uint64_t kManyAddresses = uint64_t{1} << 62;

size_t family(Af af) { return af == Af::inet ? 0 : 1; }

// How many addresses a prefix has; more than 2^62 count as so many.
uint64_t size_of(const Prefix& p) {
  const unsigned host_bits = address_bits(p.af) - p.length;
  return host_bits >= 62 ? kManyAddresses : uint64_t{1} << host_bits;
}

Address nth_address(const Prefix& p, uint64_t n) {
  Address a = p.network();
  for (size_t i = address_length(p.af); n != 0 && i-- > 0; n >>= 8) {
    n += a.bytes[i];
    a.bytes[i] = static_cast<uint8_t>(n);
  }
  return a;
}

// The network part of the pool, the host part of another address.
Address with_host_part(const Prefix& pool, const Address& host) {
  Address out = pool.network();
  for (unsigned bit = pool.length; bit < address_bits(pool.af); ++bit)
    out.bytes[bit / 8] = static_cast<uint8_t>(out.bytes[bit / 8] | (host.bytes[bit / 8] & (0x80u >> bit % 8)));
  return out;
}

Address random_host(const Prefix& p, Random& random) {
  Address host;
  store_raw(host.bytes.data(), random.next());
  store_raw(host.bytes.data() + 8, random.next());
  return with_host_part(p, host);
}

// The address behind `a`; behind the prefix's last comes its first.
Address following(const Prefix& p, Address a) {
  for (size_t i = address_length(p.af); i-- > 0;)
    if (++a.bytes[i] != 0) break;
  return with_host_part(p, a);
}

// PF reads the digits of a key as four words, which its machines keep with the low byte first. Without a given key one
// is drawn, once for all workers.
SipKey key_of(const Pool& pool, Random& random) {
  const auto half = [&pool](size_t at) {
    return uint64_t{load_be32(&pool.key[at + 4])} << 32 | load_be32(&pool.key[at]);
  };
  if (pool.key_given || pool.state == nullptr) return {half(0), half(8)};
  uint64_t key[2];
  for (size_t i = 0; i < 2; ++i) {
    key[i] = pool.state->drawn_key[i].load(std::memory_order_relaxed);
    const uint64_t mine = random.next() | 1;
    if (key[i] == 0 && pool.state->drawn_key[i].compare_exchange_strong(key[i], mine, std::memory_order_relaxed))
      key[i] = mine;
  }
  return {key[0], key[1]};
}

// PF lays the hash out as its machines do: the low byte first; for IPv6 its complement follows, halves exchanged.
Address source_hash(const Pool& pool, const PoolChoices& c, Af af, const Address& source, Random& random) {
  const uint64_t h = siphash24(key_of(pool, random), source.bytes.data(), address_length(af));
  const std::vector<PoolEntry>& entries = c.entries[family(af)];
  if (c.is_list) {
    const uint64_t n = h % c.of_both;
    return entries[n < entries.size() ? n : 0].prefix.network();
  }
  Address host;
  const auto put = [&](size_t at, uint64_t word) {
    for (size_t i = 0; i < 4; ++i) host.bytes[at + i] = static_cast<uint8_t>(word >> (8 * i));
  };
  put(0, h);
  if (af == Af::inet6) {
    put(4, h >> 32);
    put(8, ~h >> 32);
    put(12, ~h);
  }
  return with_host_part(entries[0].prefix, host);
}

// The classic weighted round: in each turn the entries that weigh at least what the turn asks, and each turn asks less.
Address weighted_turn(PoolState& state, const PoolChoices& c, size_t f) {
  const std::vector<PoolEntry>& entries = c.entries[f];
  uint64_t old = state.next[f].load(std::memory_order_relaxed);
  for (;;) {
    auto place = static_cast<uint32_t>(old);  // entry + 1
    auto asked = static_cast<int64_t>(old >> 32);
    do {
      if (place >= entries.size()) place = 0;
      if (place == 0) {
        asked -= c.step[f];
        if (asked <= 0) asked = c.heaviest[f];
      }
      ++place;
    } while (entries[place - 1].weight < asked);  // the heaviest is always enough
    const uint64_t next = static_cast<uint64_t>(asked) << 32 | place;
    if (state.next[f].compare_exchange_weak(old, next, std::memory_order_relaxed))
      return entries[place - 1].prefix.network();
  }
}

Address next_in_turn(PoolState& state, const PoolChoices& c, size_t f) {
  if (c.step[f] != 0) return weighted_turn(state, c, f);
  const std::vector<PoolEntry>& entries = c.entries[f];
  uint64_t total = 0;
  for (const PoolEntry& e : entries) total = std::min(total + size_of(e.prefix), kManyAddresses);
  uint64_t n = state.next[f].fetch_add(1, std::memory_order_relaxed) % total;
  for (const PoolEntry& e : entries) {
    const uint64_t size = size_of(e.prefix);
    if (n < size) return nth_address(e.prefix, n);
    n -= size;
  }
  return entries[0].prefix.network();
}

// From where the last search ended, once round: the fewest connections for its weight, the earlier of equals. An entry
// without connections ends the search.
Address least_loaded(PoolState& state, const PoolChoices& c, size_t f) {
  const std::vector<PoolEntry>& entries = c.entries[f];
  const auto load = [&](size_t i) -> uint64_t {
    const uint64_t n = state.states[f][i].load(std::memory_order_relaxed);
    return c.step[f] != 0 ? n * 65535 / entries[i].weight : n;
  };
  const size_t start = state.next[f].load(std::memory_order_relaxed) % entries.size();
  size_t best = start, i = start;
  uint64_t least = load(start);
  do {
    i = i + 1 == entries.size() ? 0 : i + 1;
    const uint64_t other = load(i);
    if (other < least) {
      least = other;
      best = i;
    }
  } while (i != start && least > 0);
  state.next[f].store(i, std::memory_order_relaxed);
  return entries[best].prefix.network();
}

Address draw(const PoolChoices& c, size_t f, Random& random, const PoolSearch& search) {
  const std::vector<PoolEntry>& entries = c.entries[f];
  if (!c.is_list) {
    const Prefix& p = entries[0].prefix;
    return search.tries == 0 ? random_host(p, random) : following(p, search.last);
  }
  const auto n = static_cast<uint32_t>(entries.size());
  return random_host(entries[random.below(n)].prefix, random);
}

}  // namespace

void Pool::seal() {
  auto c = std::make_shared<PoolChoices>();
  c->is_list = table != nullptr || entries.size() > 1;
  const auto add = [&](const PoolEntry& e) {
    ++c->of_both;
    c->entries[family(e.prefix.af)].push_back({{e.prefix.af, e.prefix.network(), e.prefix.length}, e.weight});
  };
  if (table != nullptr) {
    for (const TableEntry& e : table->entries())
      if (!e.negate) add({e.prefix, 1});
  } else {
    for (const PoolEntry& e : entries) add(e);
  }
  for (size_t f = 0; f < 2; ++f) {
    auto& list = c->entries[f];
    std::stable_sort(list.begin(), list.end(), [](const PoolEntry& a, const PoolEntry& b) {
      return a.prefix.addr == b.prefix.addr ? a.prefix.length < b.prefix.length : a.prefix.addr < b.prefix.addr;
    });
    const auto same = [](const PoolEntry& a, const PoolEntry& b) { return a.prefix == b.prefix; };
    const auto before = list.size();
    list.erase(std::unique(list.begin(), list.end(), same), list.end());
    c->of_both -= static_cast<uint32_t>(before - list.size());
    const bool weighted = std::any_of(list.begin(), list.end(), [](const PoolEntry& e) { return e.weight != 1; });
    for (const PoolEntry& e : list) {
      if (!weighted) break;
      c->heaviest[f] = std::max(c->heaviest[f], e.weight);
      c->step[f] = std::gcd(c->step[f], e.weight);
    }
    if (state != nullptr && type == PoolType::least_states)
      state->states[f] = std::make_unique<std::atomic<uint32_t>[]>(list.size());
  }
  choices = std::move(c);
}

bool choose_address(const Pool& pool, Af af, const Address& source, const Address& original, Random& random,
                    PoolSearch& search, Address& out) noexcept {
  const size_t f = family(af);
  if (pool.choices == nullptr || pool.choices->entries[f].empty()) return false;
  const PoolChoices& c = *pool.choices;
  const bool others =
      pool.type == PoolType::random || pool.type == PoolType::round_robin || pool.type == PoolType::least_states;
  if (search.tries != 0 && (!others || search.tries >= PoolSearch::kMostTries)) return false;
  switch (pool.state == nullptr ? pool.type == PoolType::bitmask ? PoolType::bitmask : PoolType::none : pool.type) {
    case PoolType::none: out = c.entries[f][0].prefix.network(); break;
    case PoolType::bitmask: out = with_host_part(c.entries[f][0].prefix, original); break;
    case PoolType::random: out = draw(c, f, random, search); break;
    case PoolType::source_hash: out = source_hash(pool, c, af, source, random); break;
    case PoolType::round_robin: out = next_in_turn(*pool.state, c, f); break;
    case PoolType::least_states: out = least_loaded(*pool.state, c, f); break;
  }
  if (search.tries++ == 0) {
    search.first = out;
  } else if (pool.type != PoolType::random || !c.is_list) {
    if (out == search.first) return false;
  }
  search.last = out;
  return true;
}

bool pool_contains(const Pool& pool, Af af, const Address& address) noexcept {
  if (pool.choices == nullptr) return false;
  const auto& entries = pool.choices->entries[family(af)];
  return std::any_of(entries.begin(), entries.end(), [&](const PoolEntry& e) { return e.prefix.contains(address); });
}

void count_pool_state(const Pool& pool, Af af, const Address& address, bool begins) noexcept {
  if (pool.choices == nullptr || pool.state == nullptr || pool.type != PoolType::least_states) return;
  const size_t f = family(af);
  const auto& entries = pool.choices->entries[f];
  // In the order of their addresses: the last that begins at or before it.
  auto it = std::upper_bound(entries.begin(), entries.end(), address,
                             [](const Address& a, const PoolEntry& e) { return a < e.prefix.addr; });
  if (it == entries.begin() || !(--it)->prefix.contains(address)) return;
  auto& n = pool.state->states[f][static_cast<size_t>(it - entries.begin())];
  if (begins) {
    n.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  // A new ruleset's pool begins at nothing while connections of the old one still end.
  uint32_t old = n.load(std::memory_order_relaxed);
  while (old != 0 && !n.compare_exchange_weak(old, old - 1, std::memory_order_relaxed)) {}
}

}  // namespace twinwall
