// The addresses that translations and routing options choose from (pf.conf(5) "Address Pools").
#include "lib/config/values.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

bool Reader::pool_hosts(config::PoolSpec& pool) {
  const bool listed = sees("{");
  return list([&] { return pool_host(pool, listed); });
}

bool Reader::pool_host(config::PoolSpec& pool, bool listed) {
  if (dialect_.freebsd && sees("(") && peek(2).is_text()) return routed_host(pool);
  if (listed && (sees("<") || sees("("))) return wrong("an address, as tables and dynamic interfaces stand alone,");
  const size_t before = pool.entries.size();
  if (sees("<")) {
    std::string name;
    if (!table_name(name)) return false;
    pool.table = c_.table(name);
  } else if (sees("(")) {
    std::string text;
    InterfacePart part;
    if (!dynamic_interface(text, part)) return false;
    for (const Prefix& p : addresses_of(part))
      if (!is_link_local(p.af, p.addr)) pool.entries.push_back({p, 1});
  } else if (!pool_addresses(pool)) {
    return false;
  }
  if (!take("weight")) return true;
  const auto weight = number("a weight", 1, 65535);
  if (!weight) return false;
  for (size_t i = before; i < pool.entries.size(); ++i) pool.entries[i].weight = static_cast<uint16_t>(*weight);
  return true;
}

// Link-local addresses of an interface are of no use to anybody behind the next router.
bool Reader::pool_addresses(config::PoolSpec& pool) {
  if (!is_name(peek())) return wrong("an address");
  size_t tokens = 0;
  const std::string text = address_text(tokens);
  std::vector<Prefix> addresses;
  if (const auto prefix = read_prefix(text)) {
    addresses.push_back({prefix->af, prefix->network(), prefix->length});
  } else {
    if (!interface_addresses(text, addresses)) return false;
    std::erase_if(addresses, [](const Prefix& p) { return is_link_local(p.af, p.addr); });
    if (addresses.empty()) return wrong("an address, or an interface that has one of use to others,");
  }
  for (const Prefix& p : addresses) pool.entries.push_back({p, 1});
  skip(tokens);
  return true;
}

// Addresses and options.
bool Reader::pool(config::PoolSpec& pool) {
  pool.at = place(peek());
  const bool dynamic = sees("(") && !(dialect_.freebsd && peek(2).is_text());
  if (!pool_hosts(pool)) return false;
  for (bool taken = true; taken && !at_line_end();) {
    taken = false;
    if (!pool_option(pool, taken)) return false;
  }
  if (dynamic && !pool.type) pool.type = PoolType::round_robin;
  return true;
}

// Takes one option if there is one.
bool Reader::pool_option(config::PoolSpec& pool, bool& taken) {
  static constexpr std::pair<std::string_view, PoolType> kTypes[] = {{"bitmask", PoolType::bitmask},
                                                                     {"random", PoolType::random},
                                                                     {"source-hash", PoolType::source_hash},
                                                                     {"round-robin", PoolType::round_robin},
                                                                     {"least-states", PoolType::least_states}};
  if (sees("sticky-address")) {
    if (pool.sticky) return wrong("'sticky-address' only once");
    next();
    return taken = pool.sticky = true;
  }
  for (const auto& [word, type] : kTypes) {
    if (!sees(word)) continue;
    if (pool.type) return wrong("one way to choose from the pool");
    next();
    pool.type = type;
    taken = true;
    return type != PoolType::source_hash || source_hash(pool);
  }
  return true;
}

// The key: "0x" and 32 digits, or any name, whose MD5 it is then.
bool Reader::source_hash(config::PoolSpec& pool) {
  if (!is_name(peek())) return true;
  const auto key = config::pool_key(peek().text);
  if (!key) return wrong("a key: 0x and 32 hexadecimal digits, or a word");
  pool.key = *key;
  pool.key_given = true;
  next();
  return true;
}

}  // namespace twinwall::pfconf
