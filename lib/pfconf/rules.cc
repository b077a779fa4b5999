// pass, block, match and antispoof (pf.conf(5) "PACKET FILTERING", "TRANSLATION").
#include <fmt/format.h>

#include "lib/config/values.h"
#include "lib/filter/names.h"
#include "lib/net/headers.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

using config::RuleKind;
using config::RuleSpec;

bool Reader::rule(RuleKind kind) {
  RuleSpec r;
  r.at = place(peek());
  r.kind = kind;
  if (kind == RuleKind::block && !block_reply(r)) return false;
  if (!head(r)) return false;
  if (take("inet"))
    r.af = Af::inet;
  else if (take("inet6"))
    r.af = Af::inet6;
  if (take("proto") && !protocols(r)) return false;
  if (!endpoints(r) || !filter_options(r)) return false;
  finish_rule(r);
  return true;
}

void Reader::finish_rule(RuleSpec& r) {
  if (r.flags_at != nullptr && r.protocols.empty()) r.flags_at = nullptr;  // they are tested on TCP only
  r.rdr_to.port_at = nullptr;  // PF allows a port without a protocol: it is of TCP and UDP only
  if (config::check_rule(c_, r)) config::expand_rule(c_, r, defaults_, c_.config.rules);
}

// Direction, log, quick, on.
bool Reader::head(RuleSpec& r) {
  r.direction_at = place(peek());
  if (take("in"))
    r.direction = Direction::in;
  else if (take("out"))
    r.direction = Direction::out;
  if (take("log") && !log(r)) return false;
  r.quick = take("quick");
  return !take("on") || interfaces(r);
}

bool Reader::log(RuleSpec& r) {
  r.log = true;
  if (!take("(")) return true;
  while (!sees(")")) {
    if (sees("matches") || sees("user") || sees("to")) return unsupported("log options");
    if (!take("all")) return wrong("'all'");
    r.log_all = true;
    take(",");
  }
  return expect(")");
}

bool Reader::block_reply(RuleSpec& r) {
  const config::Node* at = place(peek());
  if (take("drop")) {
    r.reply.reply = BlockReply::drop;
  } else if (take("return")) {
    r.reply.reply = BlockReply::return_any;
  } else if (take("return-rst")) {
    r.reply.reply = BlockReply::return_rst;
    if (take("(")) {
      if (!expect("ttl")) return false;
      const auto ttl = number("a TTL", 0, 255);
      if (!ttl || !expect(")")) return false;
      r.reply.ttl = static_cast<uint8_t>(*ttl);
    }
  } else if (sees("return-icmp") || sees("return-icmp6")) {
    const Af af = next().text == "return-icmp6" ? Af::inet6 : Af::inet;
    r.reply.reply = BlockReply::return_icmp;
    if (!unreachable_codes(r, af)) return false;
  } else {
    return true;
  }
  r.reply.at = at;
  return true;
}

bool Reader::unreachable_codes(RuleSpec& r, Af af) {
  if (!take("(")) return true;
  if (!code_of(af, af == Af::inet ? r.reply.icmp_code : r.reply.icmp6_code)) return false;
  if (take(",")) {
    if (af == Af::inet6) return wrong("')'");
    if (!code_of(Af::inet6, r.reply.icmp6_code)) return false;
  }
  return expect(")");
}

bool Reader::code_of(Af af, uint8_t& out) {
  const Token& t = peek();
  if (t.kind != Token::Kind::word) return wrong("a code of \"unreachable\"");
  const auto named = icmp_code_by_name(af, af == Af::inet ? kIcmpUnreachable : kIcmp6Unreachable, t.text);
  const auto number = config::parse_number(t.text);
  if (!named && (!number || *number > 255)) return wrong("a code of \"unreachable\"");
  out = named ? *named : static_cast<uint8_t>(*number);
  next();
  return true;
}

bool Reader::antispoof() {
  RuleSpec r;
  r.at = place(peek());
  r.kind = RuleKind::antispoof;
  if (take("log") && !log(r)) return false;
  r.quick = take("quick");
  if (!expect("for")) return false;
  r.for_at = place(peek());
  const bool good = list([&] {
    if (sees("(")) return unsupported("dynamic interface addresses");
    const config::Interface* i = c_.config.find_interface(peek().text);
    if (i == nullptr) return wrong("an interface");
    r.antispoof_for.push_back(i->id);
    next();
    return true;
  });
  if (!good) return false;
  if (take("inet"))
    r.af = Af::inet;
  else if (take("inet6"))
    r.af = Af::inet6;
  if (take("label") && !label(r)) return false;
  r.direction_at = nullptr;
  finish_rule(r);
  return true;
}

// "scrub on IF all fragment reassemble" asks for what is always done here.
bool Reader::freebsd_scrub() {
  RuleSpec r;
  if (!head(r) || !endpoints(r)) return false;
  if (sees("reassemble")) return unsupported("scrub (reassemble tcp)");
  while (!at_line_end()) {
    if (!take("fragment")) return unsupported("scrub");
    if (!take("reassemble")) return unsupported("scrub");
  }
  return true;
}

bool Reader::filter_options(RuleSpec& r) {
  while (!at_line_end())
    if (!filter_option(r)) return false;
  return true;
}

bool Reader::filter_option(RuleSpec& r) {
  static constexpr std::pair<std::string_view, std::string_view> kFeatures[] = {{"user", "user"},
                                                                                {"group", "group"},
                                                                                {"fragment", "fragment"},
                                                                                {"tag", "tags"},
                                                                                {"tagged", "tags"},
                                                                                {"af-to", "af-to"},
                                                                                {"route-to", "route-to"},
                                                                                {"reply-to", "reply-to"},
                                                                                {"dup-to", "dup-to"},
                                                                                {"scrub", "scrub"},
                                                                                {"tos", "tos"},
                                                                                {"probability", "probability"},
                                                                                {"rtable", "routing tables"},
                                                                                {"divert-to", "divert"},
                                                                                {"divert-packet", "divert"},
                                                                                {"divert-reply", "divert"},
                                                                                {"received-on", "received-on"},
                                                                                {"once", "once"},
                                                                                {"max-pkt-rate", "max-pkt-rate"},
                                                                                {"queue", "queues"},
                                                                                {"prio", "prio"}};
  if (take("flags")) return flags(r);
  if (take("icmp-type")) return icmp_types(r, Af::inet);
  if (take("icmp6-type")) return icmp_types(r, Af::inet6);
  if (sees("no") || sees("keep") || sees("modulate") || sees("synproxy")) return state(r);
  if (take("allow-opts")) {
    r.allow_opts = true;
    r.allow_opts_at = place(peek());
    return true;
  }
  if (take("label")) return label(r);
  if (sees("nat-to") || sees("rdr-to")) {
    const bool nat = next().text == "nat-to";
    return translation(r, nat ? r.nat_to : r.rdr_to, nat);
  }
  if (take("binat-to")) return translation(r, r.binat_to, false);
  if (sees("!") && peek(1).text == "tagged") return unsupported("tags");
  if (sees("!") && peek(1).text == "received-on") return unsupported("received-on");
  if (sees("set")) {
    const std::string what(peek(1).text);
    return unsupported("set " + (what == "(" ? std::string(peek(2).text) : what));
  }
  for (const auto& [word, feature] : kFeatures)
    if (sees(word)) {
      // A one-pass name for what its parenthesis asks for.
      if (word == "scrub" && peek(2).text == "reassemble") return unsupported("scrub (reassemble tcp)");
      return unsupported(feature);
    }
  return wrong("an option of the rule");
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
  if (sees("modulate") || sees("synproxy")) {
    const std::string word(peek().text);
    return unsupported(word + " state");
  }
  const bool none = next().text == "no";
  if (!expect("state")) return false;
  s.mode = none ? StateMode::none : StateMode::keep;
  if (!none && sees("(")) {
    next();
    if (!state_options(s) || !expect(")")) return false;
  }
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
  if (sees("max")) return unsupported("max");
  if (sees("pflow")) return unsupported("pflow");
  for (const std::string_view word : {"source-track", "max-src-nodes", "max-src-states", "max-src-conn",
                                      "max-src-conn-rate", "overload", "src.track"})
    if (sees(word)) return unsupported("source tracking");
  const auto c = peek().kind == Token::Kind::word ? timeout_by_name(peek().text) : std::nullopt;
  if (!c || *c == TimeoutClass::interval) return wrong("an option of the state");
  next();
  const auto n = number("a value", 0, 31'536'000);
  if (n) s.timeouts[static_cast<size_t>(*c)] = *n;
  return n.has_value();
}

bool Reader::label(RuleSpec& r) {
  const Token& t = peek();
  if (t.kind != Token::Kind::word && t.kind != Token::Kind::quoted) return wrong("a label");
  r.label_at = place(t);
  r.label = std::string(t.text);
  next();
  return true;
}

// One address a family; pools are not offered.
bool Reader::translation(RuleSpec& r, config::TranslationSpec& t, bool nat) {
  t.at = place(peek());
  const bool binat = &t == &r.binat_to;
  const bool braces = sees("{");
  const bool good = list([&] {
    if (sees("<")) return unsupported("address pools");
    if (sees("(")) return unsupported("dynamic interface addresses");
    const auto prefix = peek().kind == Token::Kind::word ? parse_prefix(peek().text) : std::nullopt;
    if (!prefix) return wrong("an address");
    if (prefix->length != address_bits(prefix->af))
      return unsupported(binat ? "binat-to of networks" : "address pools");
    t.addresses.push_back(prefix->address());
    next();
    return true;
  });
  if (!good) return false;
  if (braces && t.addresses.size() > 1) return unsupported("address pools");
  if (take("port") && !translation_port(t, nat)) return false;
  if (nat && take("static-port")) t.static_port = true;
  for (const std::string_view word :
       {"bitmask", "random", "source-hash", "round-robin", "least-states", "sticky-address"})
    if (sees(word)) return unsupported("address pools");

  return true;
}

bool Reader::translation_port(config::TranslationSpec& t, bool nat) {
  t.port_at = place(peek());
  const std::string_view text = peek().text;
  const size_t colon = text.find(':');
  if (peek().kind != Token::Kind::word) return wrong("a port");
  if (colon != std::string_view::npos && !nat) return unsupported("rdr-to a range of ports");
  if (!port_number(text.substr(0, colon), t.port_low)) return wrong("a port");
  t.port_high = t.port_low;
  if (colon != std::string_view::npos &&
      (!port_number(text.substr(colon + 1), t.port_high) || t.port_high < t.port_low))
    return wrong("a range of ports");
  next();
  return true;
}

}  // namespace twinwall::pfconf
