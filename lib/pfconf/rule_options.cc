// What follows the addresses of a rule: conditions, state, translation, routing, scrub (pf.conf(5) "PARAMETERS",
// "STATEFUL TRACKING OPTIONS", "TRANSLATION", "ROUTING").
#include <fmt/format.h>

#include <cmath>

#include "lib/config/values.h"
#include "lib/filter/names.h"
#include "lib/net/headers.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

using config::RuleSpec;

bool Reader::filter_options(RuleSpec& r) {
  while (!at_line_end())
    if (!filter_option(r)) return false;
  return true;
}

bool Reader::filter_option(RuleSpec& r) {
  static constexpr std::pair<std::string_view, std::string_view> kFeatures[] = {{"user", "user"},
                                                                                {"group", "group"},
                                                                                {"rtable", "routing tables"},
                                                                                {"divert-to", "divert"},
                                                                                {"divert-packet", "divert"},
                                                                                {"divert-reply", "divert"},
                                                                                {"queue", "queues"},
                                                                                {"max-pkt-size", "max-pkt-size"}};
  take(",");
  const config::Node* at = place(peek());
  if (take("flags")) return flags(r);
  if (take("icmp-type")) return icmp_types(r, Af::inet);
  if (take("icmp6-type")) return icmp_types(r, Af::inet6);
  if (sees("no") || sees("keep") || sees("modulate") || sees("synproxy")) return state(r);
  if (take("allow-opts")) {
    r.allow_opts = true;
    r.allow_opts_at = at;
    return true;
  }
  if (take("fragment")) {
    r.fragment = true;
    r.fragment_at = at;
    return true;
  }
  if (take("once")) {
    r.once = true;
    r.once_at = at;
    return true;
  }
  if (take("label")) return label(r);
  if (take("tag")) return name_of(r.tag, "a tag");
  if (take("tagged")) return name_of(r.tagged, "a tag");
  if (take("!")) return negated_option(r);
  if (take("received-on")) return received_on(r, false);
  if (take("tos")) return tos(r.tos);
  if (take("prio")) {
    const auto n = number("a priority", 0, 7);
    if (n) r.prio = static_cast<int8_t>(*n);
    return n.has_value();
  }
  if (take("probability")) return probability(r.probability);
  if (take("max-pkt-rate")) return rate(r.max_pkt_rate);
  if (take("set")) return set_options(r);
  if (take("scrub")) return scrub(r);
  if (take("nat-to")) return translation(r.nat_to, true);
  if (take("rdr-to")) return translation(r.rdr_to, false);
  if (take("binat-to")) {
    if (!translation(r.binat_to, false)) return false;
    // The kernel maps host by host only where it is told to.
    if (!r.binat_to.type) r.binat_to.type = PoolType::none;
    return true;
  }
  if (take("af-to")) return af_to(r);
  if (take("route-to")) return route(r, RouteKind::route_to);
  if (take("reply-to")) return route(r, RouteKind::reply_to);
  if (take("dup-to")) return route(r, RouteKind::dup_to);
  for (const auto& [word, feature] : kFeatures)
    if (sees(word)) return unsupported(feature);
  return wrong("an option of the rule");
}

bool Reader::negated_option(RuleSpec& r) {
  if (take("tagged")) {
    r.not_tagged = true;
    return name_of(r.tagged, "a tag");
  }
  if (take("received-on")) return received_on(r, true);
  return wrong("'tagged' or 'received-on'");
}

bool Reader::name_of(std::string& out, std::string_view what) {
  constexpr size_t kMaxName = 63;
  const Token& t = peek();
  if ((t.kind != Token::Kind::word && t.kind != Token::Kind::quoted) || t.text.empty() || t.text.size() > kMaxName)
    return wrong(what);
  out = std::string(t.text);
  next();
  return true;
}

bool Reader::received_on(RuleSpec& r, bool negate) {
  config::InterfaceSpec spec;
  const std::string name(peek().text);
  if (peek().kind != Token::Kind::word) return wrong("an interface");
  if (name == "any") {
    for (const config::Interface& i : c_.config.interfaces) spec.set.set(i.id);
  } else if (const config::Interface* i = c_.config.find_interface(name)) {
    spec.set.set(i->id);
  } else if (const auto group = c_.groups.find(name); group != c_.groups.end()) {
    spec.set = group->second;
  }
  if (negate)
    for (const config::Interface& i : c_.config.interfaces) spec.set.flip(i.id);
  spec.text = (negate ? "!" : "") + name;
  r.received_on = spec;
  next();
  return true;
}

// A name, or a number in decimal or 0x…
bool Reader::tos(int16_t& out) {
  const std::string_view text = peek().text;
  if (peek().kind != Token::Kind::word) return wrong("a type of service");
  const auto named = tos_by_name(text);
  const auto number = config::parse_number(text);
  if (!named && (!number || *number > 255)) return wrong("a type of service");
  out = named ? *named : static_cast<int16_t>(*number);
  next();
  return true;
}

// "20%", "0.2".
bool Reader::probability(uint32_t& out) {
  std::string text(peek().text);
  const bool percent = text.ends_with('%');
  if (percent) text.pop_back();
  const auto value = config::parse_fraction(text);
  const double share = value ? *value / (percent ? 100 : 1) : -1;
  if (share < 0 || share > 1) return wrong("a probability such as 20%");
  out = share >= 1 ? 0 : std::max<uint32_t>(1, static_cast<uint32_t>(std::floor(share * 4294967296.0)));
  next();
  return true;
}

// "3/100": so many in so many seconds.
bool Reader::rate(RateLimit& out) {
  const std::string_view text = peek().text;
  const size_t slash = text.find('/');
  if (peek().kind != Token::Kind::word || slash == std::string_view::npos) return wrong("a rate such as 100/10");
  const auto n = config::parse_number(text.substr(0, slash)), seconds = config::parse_number(text.substr(slash + 1));
  if (!n || !seconds || *n == 0 || *n > 4'294'967 || *seconds == 0 || *seconds > 31'536'000)
    return wrong("a rate such as 100/10");
  out = {static_cast<uint32_t>(*n), static_cast<uint32_t>(*seconds)};
  next();
  return true;
}

bool Reader::flags(RuleSpec& r) {
  r.has_flags = true;
  r.flags_at = place(peek());
  if (take("any")) return true;
  const std::string_view text = peek().text;
  const size_t slash = text.find('/');
  if (peek().kind != Token::Kind::word || slash == std::string_view::npos) return wrong("FLAGS/MASK");
  const auto set = tcp_flags_by_letters(text.substr(0, slash)), mask = tcp_flags_by_letters(text.substr(slash + 1));
  if (!set || !mask || (*set & ~*mask) != 0) return wrong("FLAGS/MASK");
  r.flags = *set;
  r.flag_mask = *mask;
  next();
  return true;
}

// The types take the place of the plain protocol: they are expanded inside it.
bool Reader::icmp_types(RuleSpec& r, Af af) {
  const uint8_t proto = af == Af::inet ? kProtoIcmp : kProtoIcmp6;
  if (r.protocols.size() != 1 || r.protocols[0].proto != proto) return wrong("'proto icmp' or 'proto icmp6' before it");
  std::vector<config::ProtocolSpec> types;
  const bool good = list([&] {
    config::ProtocolSpec p = r.protocols[0];
    p.sets_af = true;
    const auto named = icmp_type_by_name(af, peek().text);
    const auto value = config::parse_number(peek().text);
    if (peek().kind != Token::Kind::word || (!named && (!value || *value > 255))) return wrong("an ICMP type");
    const uint8_t type = named ? *named : static_cast<uint8_t>(*value);
    p.icmp_type = type;
    next();
    if (take("code")) {
      const auto code = icmp_code_by_name(af, type, peek().text);
      const auto code_number = config::parse_number(peek().text);
      if (peek().kind != Token::Kind::word || (!code && (!code_number || *code_number > 255)))
        return wrong("a code of this ICMP type");
      p.icmp_code = code ? *code : static_cast<int16_t>(*code_number);
      next();
    }
    types.push_back(p);
    return true;
  });
  r.protocols = std::move(types);
  return good;
}

bool Reader::state(RuleSpec& r) {
  r.state_at = place(peek());
  config::StateSpec s = defaults_.state;
  const std::string_view word = next().text;
  if (!expect("state")) return false;
  s.mode = word == "no"         ? StateMode::none
           : word == "modulate" ? StateMode::modulate
           : word == "synproxy" ? StateMode::synproxy
                                : StateMode::keep;
  if (s.mode != StateMode::none && take("(") && (!state_options(s) || !expect(")"))) return false;
  r.state = s;
  return true;
}

bool Reader::state_options(config::StateSpec& s) {
  do {
    if (sees(")")) break;
    if (!state_option(s)) return false;
  } while (take(","));
  return true;
}

bool Reader::state_option(config::StateSpec& s) {
  if (take("sloppy")) return s.sloppy = true;
  if (take("no-sync")) return s.no_sync = true;
  if (take("if-bound")) {
    s.if_bound = true;
    return true;
  }
  if (take("floating")) {
    s.if_bound = false;
    return true;
  }
  if (take("max")) {
    const auto n = number("a number of states", 1, UINT32_MAX);
    if (n) s.limits.max = *n;
    return n.has_value();
  }
  if (sees("pflow")) return unsupported("pflow");
  if (sees("source-track") || sees("overload") || peek().text.starts_with("max-src-")) return source_option(s);
  const auto c = peek().kind == Token::Kind::word ? timeout_by_name(peek().text) : std::nullopt;
  if (!c || *c == TimeoutClass::interval) return wrong("an option of the state");
  next();
  const auto n = number("a value", 0, 31'536'000);
  if (n) s.timeouts[static_cast<size_t>(*c)] = *n;
  return n.has_value();
}

// What limits a source.
bool Reader::source_option(config::StateSpec& s) {
  StateLimits& l = s.limits;
  if (take("source-track")) {
    s.source_track = take("rule") ? SourceTrack::rule : SourceTrack::global;
    take("global");
    return true;
  }
  if (take("overload")) return overload(s);
  if (take("max-src-conn-rate")) return rate(l.max_src_conn_rate);
  static constexpr std::pair<std::string_view, uint32_t StateLimits::*> kNumbers[] = {
      {"max-src-nodes", &StateLimits::max_src_nodes},
      {"max-src-states", &StateLimits::max_src_states},
      {"max-src-conn", &StateLimits::max_src_conn}};
  for (const auto& [word, member] : kNumbers) {
    if (!take(word)) continue;
    const auto n = number("a number", 1, UINT32_MAX);
    if (!n) return false;
    l.*member = *n;
    return true;
  }
  return wrong("an option of the state");
}

bool Reader::overload(config::StateSpec& s) {
  std::string name;
  if (!table_name(name)) return false;
  const auto table = c_.table(name);
  table->overload = true;
  s.limits.overload = table;
  if (take("flush")) s.limits.flush = take("global") ? OverloadFlush::global : OverloadFlush::rule;
  return true;
}

bool Reader::label(RuleSpec& r) {
  const Token& t = peek();
  if (t.kind != Token::Kind::word && t.kind != Token::Kind::quoted) return wrong("a label");
  r.label_at = place(t);
  r.label = std::string(t.text);
  next();
  return true;
}

bool Reader::set_options(RuleSpec& r) {
  r.actions_at = place(peek());
  if (!take("(")) return set_option(r);
  while (!sees(")")) {
    if (!set_option(r)) return false;
    take(",");
  }
  return expect(")");
}

bool Reader::set_option(RuleSpec& r) {
  if (take("tos")) return tos(r.actions.set_tos);
  if (take("prio")) {
    const bool pair = take("(");
    const auto first = number("a priority", 0, 7);
    if (!first) return false;
    r.actions.set_prio = r.actions.set_prio_lowdelay = static_cast<int8_t>(*first);
    if (!pair) return true;
    take(",");
    const auto second = number("a priority", 0, 7);
    if (!second) return false;
    r.actions.set_prio_lowdelay = static_cast<int8_t>(*second);
    return expect(")");
  }
  return unsupported("set " + std::string(peek().text));
}

bool Reader::scrub(RuleSpec& r) {
  r.actions_at = place(peek());
  if (!expect("(")) return false;
  while (!sees(")")) {
    if (take("no-df")) {
      r.actions.no_df = true;
    } else if (take("random-id")) {
      r.actions.random_id = true;
    } else if (take("min-ttl")) {
      const auto n = number("a TTL", 0, 255);
      if (!n) return false;
      r.actions.min_ttl = static_cast<uint8_t>(*n);
    } else if (take("max-mss")) {
      const auto n = number("a segment size", 1, 65535);
      if (!n) return false;
      r.actions.max_mss = static_cast<uint16_t>(*n);
    } else if (take("reassemble")) {
      if (!expect("tcp")) return false;
      r.actions.reassemble_tcp = true;
    } else {
      return wrong("an option of scrub");
    }
    take(",");
  }
  return expect(")");
}

bool Reader::translation(config::TranslationSpec& t, bool nat) {
  t.at = place(peek());
  if (!pool_hosts(t)) return false;
  while (!at_line_end()) {
    if (take("port")) {
      if (!translation_port(t, nat)) return false;
    } else if (take("static-port")) {
      t.static_port = true;
    } else if (!pool_options(t)) {
      break;
    }
  }
  return true;
}

bool Reader::translation_port(config::TranslationSpec& t, bool nat) {
  t.port_at = place(peek());
  const std::string_view text = peek().text;
  const size_t colon = text.find(':');
  if (peek().kind != Token::Kind::word) return wrong("a port");
  if (!port_number(text.substr(0, colon), t.port_low)) return wrong("a port");
  t.port_high = t.port_low;
  if (colon != std::string_view::npos) {
    const std::string_view high = text.substr(colon + 1);
    if (!nat && high == "*") t.port_to_end = true;
    // One that wraps is what the kernel prints for a "P:*" that goes beyond the last port.
    else if (!port_number(high, t.port_high) || (nat && t.port_high < t.port_low))
      return wrong("a range of ports");
  }
  next();
  return true;
}

bool Reader::af_to(RuleSpec& r) {
  r.af_to_at = place(peek());
  if (take("inet"))
    r.af_to = Af::inet;
  else if (take("inet6"))
    r.af_to = Af::inet6;
  else
    return wrong("'inet' or 'inet6'");
  if (!expect("from") || !translation(r.af_to_from, true)) return false;
  if (!take("to")) return true;
  r.af_to_to.at = place(peek());
  if (!pool_hosts(r.af_to_to)) return false;
  while (!at_line_end() && pool_options(r.af_to_to)) {}
  return true;
}

bool Reader::route(RuleSpec& r, RouteKind kind) {
  r.route = kind;
  r.route_pool.at = place(peek());
  if (!pool_hosts(r.route_pool)) return false;
  while (!at_line_end() && pool_options(r.route_pool)) {}
  return true;
}

}  // namespace twinwall::pfconf
