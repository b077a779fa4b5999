// The addresses that translations and routing options choose from (pf.conf(5) "Address Pools").
#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxPoolEntries = 4096;

void add_target(const Prefix& p, uint16_t weight, PoolSpec& out) {
  const PoolEntry entry{Prefix{p.af, p.network(), p.length}, weight};
  const bool known =
      std::any_of(out.entries.begin(), out.entries.end(), [&](const PoolEntry& e) { return e.prefix == entry.prefix; });
  if (!known) out.entries.push_back(entry);
}

// "wan" or "wan:0": the interface's addresses. Link-local ones are of no use to anybody behind the next router.
void add_interface(Context& c, const Node& node, const Interface& i, bool first_only, uint16_t weight, PoolSpec& out) {
  bool v4 = false, v6 = false;
  for (const Prefix& p : i.addresses) {
    if (is_link_local(p.af, p.addr)) continue;
    bool& seen = p.af == Af::inet ? v4 : v6;
    if (seen && first_only) continue;
    seen = true;
    add_target(host_prefix(p.address()), weight, out);
  }
  if (!v4 && !v6)
    c.error(node,
            fmt::format("interface '{}' has no address to translate to: give it one or write an address", i.name));
}

void read_target(Context& c, const Node& node, std::string_view what, uint16_t weight, PoolSpec& out) {
  const auto whole = read_text(c, node, what);
  if (!whole) return;
  const std::string_view text = trim(*whole);
  if (out.entries.size() >= kMaxPoolEntries) {
    if (out.entries.size() == kMaxPoolEntries)
      c.error(node, fmt::format("'{}' lists more than {} addresses: write networks", what, kMaxPoolEntries));
    return;
  }
  if (text.starts_with('<')) {
    if (auto table = table_reference(c, node, text)) out.table = std::move(table);
    return;
  }
  if (const auto prefix = parse_prefix(text)) {
    if (prefix->length != address_bits(prefix->af)) {
      if (prefix->network() != prefix->addr)
        c.warning(node, fmt::format("{} has bits set behind its prefix length: it stands for {}", text,
                                    to_string(Prefix{prefix->af, prefix->network(), prefix->length})));
      add_target(*prefix, weight, out);
    } else if (const std::string why = not_a_host_address(*prefix);
               !why.empty() && why != "a loopback address") {  // redirecting to a local service is usual
      c.error(node, fmt::format("'{}' cannot translate to {}: it is {}", what, text, why));
    } else {
      add_target(*prefix, weight, out);
    }
    return;
  }
  const bool first_only = text.ends_with(":0");
  const std::string_view name = first_only ? text.substr(0, text.size() - 2) : text;
  if (const Interface* i = c.config.find_interface(name)) {
    add_interface(c, node, *i, first_only, weight, out);
    return;
  }
  std::string hint = did_you_mean(name, interface_names(c));
  if (hint.empty()) hint = ": write an address, a network, a table or the name of an interface";
  c.error(node, fmt::format("'{}' is neither an address nor an interface{}", text, hint));
}

struct Weighted {
  const Node* address = nullptr;
  uint16_t weight = 1;
};
constexpr Key<Weighted> kWeightedKeys[] = {
    {"address", [](Context&, const Node& n, Weighted& w) { w.address = &n; }, true},
    {"weight", [](Context& c, const Node& n, Weighted& w) { assign_number(c, n, "weight", 1, 65535, w.weight); }, true},
};

constexpr Word<PoolType> kTypes[] = {{"bitmask", PoolType::bitmask},
                                     {"random", PoolType::random},
                                     {"source-hash", PoolType::source_hash},
                                     {"round-robin", PoolType::round_robin},
                                     {"least-states", PoolType::least_states}};

}  // namespace

void read_targets(Context& c, const Node& node, std::string_view what, PoolSpec& out) {
  for_each_item(c, node, what, [&](const Node& item) {
    if (!item.is_mapping()) {
      read_target(c, item, what, 1, out);
      return;
    }
    Weighted w;
    read_mapping(c, item, fmt::format("an address of '{}'", what), kWeightedKeys, w);
    if (w.address != nullptr) read_target(c, *w.address, what, w.weight, out);
  });
}

void read_pool_type(Context& c, const Node& node, PoolSpec& out) {
  if (const auto type = read_word(c, node, "pool", kTypes)) out.type = *type;
}

void read_pool_key(Context& c, const Node& node, PoolSpec& out) {
  const auto text = read_text(c, node, "key");
  if (!text) return;
  const auto key = pool_key(*text);
  if (!key) {
    c.error(node, fmt::format("'key' is '{}': write 0x and 32 hexadecimal digits, or any other text", *text));
    return;
  }
  out.key = *key;
  out.key_given = true;
}

void settle_pool(Context& c, const PoolSpec& pool, std::string_view what) {
  if (pool.at == nullptr) return;
  if (pool.table != nullptr && !pool.entries.empty())
    c.error(*pool.at, fmt::format("'{}' takes one table alone, or addresses: remove the one or the other", what));
  if (pool.key_given && pool.type != PoolType::source_hash)
    c.error(*pool.at, fmt::format("'key' is of 'pool: source-hash': remove it from '{}'", what));
}

}  // namespace twinwall::config
