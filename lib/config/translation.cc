// nat-to, rdr-to and binat-to (pf.conf(5) "TRANSLATION").
#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

std::optional<uint16_t> real_port(std::string_view text) {
  const auto port = parse_port(text);
  return port && *port != 0 ? port : std::nullopt;
}

// Where "A:B" or "A-B" is cut; a service's name may hold '-'.
size_t split_at(std::string_view text) {
  const size_t colon = text.find(':');
  return colon == std::string_view::npos && !real_port(text) ? text.find('-') : colon;
}

void read_nat_port(Context& c, const Node& n, TranslationSpec& t) {
  t.port_at = &n;
  const auto text = read_text(c, n, "port");
  if (!text) return;
  const size_t split = split_at(*text);
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
  const std::string_view all(*text);
  const size_t split = split_at(all);
  const auto low = real_port(trim(all.substr(0, split)));
  if (low && split == std::string_view::npos) {
    t.port_low = t.port_high = *low;
    return;
  }
  if (low && trim(all.substr(split + 1)) == "*") {
    t.port_low = t.port_high = *low;
    t.port_to_end = true;
    return;
  }
  const auto high = split == std::string_view::npos ? std::nullopt : real_port(trim(all.substr(split + 1)));
  if (!low || !high || *low > *high) {
    c.error(n,
            fmt::format("'port' is '{}': write a port, a range such as 8080:8090, or 8080:* for as many ports as 'to' "
                        "has",
                        *text));
    return;
  }
  t.port_low = *low;
  t.port_high = *high;
}

void read_sticky(Context& c, const Node& n, TranslationSpec& t) { assign(t.sticky, read_bool(c, n, "sticky")); }

constexpr Key<TranslationSpec> kNatKeys[] = {
    {"address", [](Context& c, const Node& n, TranslationSpec& t) { read_targets(c, n, "nat-to", t); }, true},
    {"port", read_nat_port},
    {"static-port",
     [](Context& c, const Node& n, TranslationSpec& t) { assign(t.static_port, read_bool(c, n, "static-port")); }},
    {"pool", [](Context& c, const Node& n, TranslationSpec& t) { read_pool_type(c, n, t); }},
    {"sticky", read_sticky},
    {"key", [](Context& c, const Node& n, TranslationSpec& t) { read_pool_key(c, n, t); }},
};

constexpr Key<TranslationSpec> kRdrKeys[] = {
    {"address", [](Context& c, const Node& n, TranslationSpec& t) { read_targets(c, n, "rdr-to", t); }, true},
    {"port", read_rdr_port},
    {"pool", [](Context& c, const Node& n, TranslationSpec& t) { read_pool_type(c, n, t); }},
    {"sticky", read_sticky},
    {"key", [](Context& c, const Node& n, TranslationSpec& t) { read_pool_key(c, n, t); }},
};

template <size_t N>
void read_translation(Context& c, const Node& node, std::string_view what, const Key<TranslationSpec> (&keys)[N],
                      TranslationSpec& out) {
  out.at = &node;
  if (node.is_mapping())
    read_mapping(c, node, fmt::format("'{}'", what), keys, out);
  else
    read_targets(c, node, what, out);
  settle_pool(c, out, what);
}

}  // namespace

void read_nat_to(Context& c, const Node& node, RuleSpec& rule) {
  read_translation(c, node, "nat-to", kNatKeys, rule.nat_to);
}

void read_rdr_to(Context& c, const Node& node, RuleSpec& rule) {
  read_translation(c, node, "rdr-to", kRdrKeys, rule.rdr_to);
}

void read_binat_to(Context& c, const Node& node, RuleSpec& rule) {
  rule.binat_to.at = &node;
  read_targets(c, node, "binat-to", rule.binat_to);
}

// Here because its `from` takes what nat-to takes.
void read_af_to_from(Context& c, const Node& node, TranslationSpec& out) {
  read_translation(c, node, "from", kNatKeys, out);
}

}  // namespace twinwall::config
