// nat-to, rdr-to and binat-to, and the replies of block rules (pf.conf(5) "Translation", "block").
#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"
#include "lib/filter/names.h"

namespace twinwall::config {

namespace {

// Adds one address; a second one of its family would need a pool.
void add_target(Context& c, const Node& node, const IpAddress& address, TranslationSpec& out) {
  for (const IpAddress& other : out.addresses)
    if (other.af == address.af) {
      c.error(node, fmt::format("a second {} address ({}): pools of addresses are not available in this version, name "
                                "one a family",
                                family_name(address.af), to_string(address)));
      return;
    }
  out.addresses.push_back(address);
}

// "wan" or "wan:0": the interface's addresses. Link-local ones are of no use to anybody behind the next router.
void add_interface(Context& c, const Node& node, const Interface& i, bool first_only, TranslationSpec& out) {
  const size_t before = out.addresses.size();
  bool v4 = false, v6 = false;
  for (const Prefix& p : i.addresses) {
    if (is_link_local(p.af, p.addr)) continue;
    bool& seen = p.af == Af::inet ? v4 : v6;
    if (seen && first_only) continue;
    if (seen) {
      out.ambiguous.push_back({&node, i.id, p.af});
      continue;
    }
    seen = true;
    add_target(c, node, p.address(), out);
  }
  if (out.addresses.size() == before)
    c.error(node,
            fmt::format("interface '{}' has no address to translate to: give it one or write an address", i.name));
}

void read_target(Context& c, const Node& node, std::string_view what, TranslationSpec& out) {
  const auto whole = read_text(c, node, what);
  if (!whole) return;
  std::string_view text = trim(*whole);
  if (text.starts_with('<')) {
    c.error(node, fmt::format("'{}': {}", text, not_available("tables")));
    return;
  }
  if (const auto prefix = parse_prefix(text)) {
    if (prefix->length != address_bits(prefix->af))
      c.error(node, fmt::format("'{}' is a network: pools of addresses are not available in this version, write one "
                                "address",
                                text));
    else if (const std::string why = not_a_host_address(*prefix);
             !why.empty() && why != "a loopback address")  // redirecting to a local service is usual
      c.error(node, fmt::format("'{}' cannot translate to {}: it is {}", what, text, why));
    else
      add_target(c, node, prefix->address(), out);
    return;
  }
  const bool first_only = text.ends_with(":0");
  const std::string_view name = first_only ? text.substr(0, text.size() - 2) : text;
  if (const Interface* i = c.config.find_interface(name)) {
    add_interface(c, node, *i, first_only, out);
    return;
  }
  std::string hint = did_you_mean(name, interface_names(c));
  if (hint.empty()) hint = ": write an address or the name of an interface";
  c.error(node, fmt::format("'{}' is neither an address nor an interface{}", text, hint));
}

void read_targets(Context& c, const Node& node, std::string_view what, TranslationSpec& out) {
  for_each_item(c, node, what, [&](const Node& item) { read_target(c, item, what, out); });
}

void read_sticky(Context& c, const Node& n, TranslationSpec&) {
  const auto value = read_bool(c, n, "sticky");
  if (value && *value) c.error(n, not_available("sticky"));
}

std::optional<uint16_t> real_port(std::string_view text) {
  const auto port = parse_port(text);
  return port && *port != 0 ? port : std::nullopt;
}

void read_nat_port(Context& c, const Node& n, TranslationSpec& t) {
  t.port_at = &n;
  const auto text = read_text(c, n, "port");
  if (!text) return;
  size_t split = text->find(':');
  if (split == std::string::npos && !real_port(*text)) split = text->find('-');
  const std::string_view all(*text);
  const auto low = real_port(trim(all.substr(0, split)));
  const auto high = split == std::string::npos ? low : real_port(trim(all.substr(split + 1)));
  if (!low || !high || *low > *high) {
    c.error(n, fmt::format("'port' is '{}': write a port or a range such as 50001:65535", *text));
    return;
  }
  t.port_low = *low;
  t.port_high = *high;
}

void read_rdr_port(Context& c, const Node& n, TranslationSpec& t) {
  t.port_at = &n;
  const auto text = read_text(c, n, "port");
  if (!text) return;
  const auto port = real_port(trim(*text));
  if (port) {
    t.port_low = t.port_high = *port;
    return;
  }
  if (text->find(':') != std::string::npos)
    c.error(n,
            fmt::format("'{}': a range of ports in 'rdr-to' is not available in this version, write one port", *text));
  else
    c.error(n, fmt::format("'port' is '{}': write a port from 1 to 65535 or the name of a service", *text));
}

constexpr Key<TranslationSpec> kNatKeys[] = {
    {"address", [](Context& c, const Node& n, TranslationSpec& t) { read_targets(c, n, "nat-to", t); }, true},
    {"port", read_nat_port},
    {"static-port",
     [](Context& c, const Node& n, TranslationSpec& t) { assign(t.static_port, read_bool(c, n, "static-port")); }},
    {"sticky", read_sticky},
    {"pool"},
};

constexpr Key<TranslationSpec> kRdrKeys[] = {
    {"address", [](Context& c, const Node& n, TranslationSpec& t) { read_targets(c, n, "rdr-to", t); }, true},
    {"port", read_rdr_port},
    {"sticky", read_sticky},
    {"pool"},
};

constexpr Word<BlockReply> kReplies[] = {{"drop", BlockReply::drop},
                                         {"return", BlockReply::return_any},
                                         {"return-rst", BlockReply::return_rst},
                                         {"return-icmp", BlockReply::return_icmp}};

// A code of "destination unreachable".
void read_unreachable_code(Context& c, const Node& n, Af af, uint8_t& out) {
  const std::string_view what = af == Af::inet ? "icmp-code" : "icmp6-code";
  const auto text = read_text(c, n, what);
  if (!text) return;
  const auto named = icmp_code_by_name(af, af == Af::inet ? 3 : 1, *text);
  const auto number = parse_number(*text);
  if (named)
    out = *named;
  else if (number && *number <= 255)
    out = static_cast<uint8_t>(*number);
  else
    c.error(n, fmt::format("'{}' is '{}': write a code of \"unreachable\" such as {}, or its number", what, *text,
                           af == Af::inet ? "port-unr, host-unr or filter-prohib" : "port-unr, admin-unr or addr-unr"));
}

constexpr Key<ReplySpec> kReplyKeys[] = {
    {"mode",
     [](Context& c, const Node& n, ReplySpec& r) { assign(r.reply, read_word(c, n, "block-policy", kReplies)); }, true},
    {"ttl", [](Context& c, const Node& n, ReplySpec& r) { assign_number(c, n, "ttl", 0, 255, r.ttl); }},
    {"icmp-code", [](Context& c, const Node& n, ReplySpec& r) { read_unreachable_code(c, n, Af::inet, r.icmp_code); }},
    {"icmp6-code",
     [](Context& c, const Node& n, ReplySpec& r) { read_unreachable_code(c, n, Af::inet6, r.icmp6_code); }},
};

}  // namespace

void read_nat_to(Context& c, const Node& node, TranslationSpec& out) {
  out.at = &node;
  if (!node.is_mapping()) {
    read_targets(c, node, "nat-to", out);
    return;
  }
  read_mapping(c, node, "'nat-to'", kNatKeys, out);
  if (out.static_port && out.port_at != nullptr)
    c.error(*out.port_at, "'static-port' keeps the source port: remove it or 'port'");
}

void read_rdr_to(Context& c, const Node& node, TranslationSpec& out) {
  out.at = &node;
  if (node.is_mapping())
    read_mapping(c, node, "'rdr-to'", kRdrKeys, out);
  else
    read_targets(c, node, "rdr-to", out);
}

void read_binat_to(Context& c, const Node& node, TranslationSpec& out) {
  out.at = &node;
  read_target(c, node, "binat-to", out);
}

void read_reply(Context& c, const Node& node, ReplySpec& reply) {
  reply.at = &node;
  if (!node.is_mapping()) {
    assign(reply.reply, read_word(c, node, "block-policy", kReplies));
    return;
  }
  read_mapping(c, node, "'block-policy'", kReplyKeys, reply);
  if (node.find("ttl") != nullptr && reply.reply != BlockReply::return_rst)
    c.error(*node.find("ttl"), "'ttl' is of 'mode: return-rst' only");
  for (const char* key : {"icmp-code", "icmp6-code"})
    if (node.find(key) != nullptr && reply.reply != BlockReply::return_icmp)
      c.error(*node.find(key), fmt::format("'{}' is of 'mode: return-icmp' only", key));
}

}  // namespace twinwall::config
