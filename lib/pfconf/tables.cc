// Tables, pools, and the addresses of interfaces in brackets (pf.conf(5) "TABLES", "Address Pools").
#include <fmt/format.h>

#include <algorithm>

#include "lib/config/values.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

namespace {

constexpr size_t kMaxTableName = 31;

Prefix host_prefix(const IpAddress& ip) { return {ip.af, ip.addr, static_cast<uint8_t>(address_bits(ip.af))}; }

}  // namespace

bool Reader::table_name(std::string& out) {
  if (!expect("<")) return false;
  if (peek().kind != Token::Kind::word || peek().text.size() > kMaxTableName) return wrong("the name of a table");
  out = std::string(next().text);
  return expect(">");
}

bool Reader::table() {
  std::string name;
  if (!table_name(name)) return false;
  const std::shared_ptr<Table> t = c_.table(name);
  t->declared = true;
  while (!at_line_end()) {
    if (take("persist")) {
      t->persist = true;
    } else if (take("const")) {
      t->constant = true;
    } else if (take("counters")) {
      t->counters = true;
    } else if (sees("file")) {
      return unsupported("tables from files");
    } else if (sees("{")) {
      t->addressed = true;
      if (!list([&] { return table_entry(*t); })) return false;
    } else {
      return wrong("an option of the table");
    }
  }
  return true;
}

bool Reader::table_entry(Table& table) {
  TableEntry e;
  e.negate = take("!");
  if (sees("(")) return unsupported("dynamic interface addresses in tables");
  const std::string_view text = peek().text;
  if (peek().kind != Token::Kind::word) return wrong("an address");
  if (const auto prefix = parse_prefix(text)) {
    e.prefix = *prefix;
    table.add_entry(e);
  } else {
    bool any = false;
    for (const config::Interface& i : c_.config.interfaces) {
      if (text != "self" && i.name != text) continue;
      for (const Prefix& p : i.addresses) table.add_entry({host_prefix(p.address()), e.negate});
      any = true;
    }
    if (!any) return wrong("an address or an interface");
  }
  next();
  return true;
}

bool Reader::dynamic_interface(std::string& text, std::vector<Prefix>& out) {
  if (!expect("(")) return false;
  const std::string whole(peek().text);
  if (peek().kind != Token::Kind::word) return wrong("an interface");
  std::string_view rest = whole;
  const std::string name(rest.substr(0, rest.find(':')));
  bool network = false, broadcast = false, first_only = false;
  for (size_t colon = rest.find(':'); colon != std::string_view::npos;) {
    const size_t end = rest.find(':', colon + 1);
    const std::string_view part = rest.substr(colon + 1, end == std::string_view::npos ? end : end - colon - 1);
    if (part == "network")
      network = true;
    else if (part == "broadcast")
      broadcast = true;
    else if (part == "0")
      first_only = true;
    else
      return part == "peer" ? unsupported(":peer") : wrong("an interface");
    colon = end;
  }
  next();
  if (!expect(")")) return false;
  text = "(" + whole + ")";
  for (const config::Interface& i : c_.config.interfaces) {
    const auto group = c_.groups.find(name);
    if (name != "self" && i.name != name && (group == c_.groups.end() || !group->second[i.id])) continue;
    bool v4 = false, v6 = false;
    for (const Prefix& p : i.addresses) {
      bool& seen = p.af == Af::inet ? v4 : v6;
      if (first_only && seen) continue;
      seen = true;
      if (broadcast && p.af == Af::inet)
        out.push_back(host_prefix({p.af, p.broadcast()}));
      else if (network && !is_link_local(p.af, p.addr))
        out.push_back({p.af, p.network(), p.length});
      else if (!broadcast && !network)
        out.push_back(host_prefix(p.address()));
    }
  }
  return true;
}

bool Reader::pool_hosts(config::PoolSpec& pool) {
  return list([&] { return pool_host(pool); });
}

bool Reader::pool_host(config::PoolSpec& pool) {
  if (pool.table != nullptr) return wrong("nothing beside the table");
  if (sees("<")) {
    std::string name;
    if (!table_name(name)) return false;
    if (!pool.entries.empty()) return wrong("a table that stands alone before it");
    pool.table = c_.table(name);
    return true;
  }
  if (sees("(")) {
    std::string text;
    std::vector<Prefix> addresses;
    if (!dynamic_interface(text, addresses)) return false;
    for (const Prefix& p : addresses)
      if (!is_link_local(p.af, p.addr)) pool.entries.push_back({p, 1});
    if (!pool.type) pool.type = PoolType::round_robin;
    return true;
  }
  const std::string_view text = peek().text;
  const auto prefix = peek().kind == Token::Kind::word ? parse_prefix(text) : std::nullopt;
  if (prefix) {
    pool.entries.push_back({Prefix{prefix->af, prefix->network(), prefix->length}, 1});
  } else {
    const config::Interface* i = c_.config.find_interface(text.substr(0, text.find(':')));
    if (i == nullptr) return wrong("an address");
    for (const Prefix& p : i->addresses)
      if (!is_link_local(p.af, p.addr)) pool.entries.push_back({host_prefix(p.address()), 1});
  }
  next();
  if (!take("weight")) return true;
  const auto weight = number("a weight", 1, 65535);
  if (weight) pool.entries.back().weight = static_cast<uint16_t>(*weight);
  return weight.has_value();
}

// One option; false without a complaint when the next word is none.
bool Reader::pool_options(config::PoolSpec& pool) {
  static constexpr std::pair<std::string_view, PoolType> kTypes[] = {{"bitmask", PoolType::bitmask},
                                                                     {"random", PoolType::random},
                                                                     {"source-hash", PoolType::source_hash},
                                                                     {"round-robin", PoolType::round_robin},
                                                                     {"least-states", PoolType::least_states}};
  if (take("sticky-address")) return pool.sticky = true;
  for (const auto& [word, type] : kTypes) {
    if (!take(word)) continue;
    pool.type = type;
    return type != PoolType::source_hash || source_hash(pool);
  }
  return false;
}

// The key: "0x" and 32 digits, or any word, whose MD5 it is then.
bool Reader::source_hash(config::PoolSpec& pool) {
  const Token& t = peek();
  static constexpr std::string_view kNext[] = {"static-port", "sticky-address", "port",     "label", "tag",   "keep",
                                               "no",          "modulate",       "synproxy", "set",   "scrub", "to",
                                               "rdr-to",      "nat-to"};
  const bool other = t.kind != Token::Kind::word && t.kind != Token::Kind::quoted;
  if (other || std::find(std::begin(kNext), std::end(kNext), t.text) != std::end(kNext)) return true;
  const auto key = config::pool_key(t.text);
  if (!key) return wrong("a key: 0x and 32 hexadecimal digits, or a word");
  pool.key = *key;
  pool.key_given = true;
  next();
  return true;
}

}  // namespace twinwall::pfconf
