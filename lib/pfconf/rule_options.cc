// What follows the addresses of a rule: conditions, set, scrub (pf.conf(5) "PARAMETERS").
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
  // What cannot be said twice, and as what that is known: of some there is only one of several kinds.
  static constexpr std::pair<std::string_view, std::string_view> kOnce[] = {{"flags", "flags"},
                                                                            {"icmp-type", "icmp-type"},
                                                                            {"icmp6-type", "icmp-type"},
                                                                            {"no", "state"},
                                                                            {"keep", "state"},
                                                                            {"modulate", "state"},
                                                                            {"synproxy", "state"},
                                                                            {"label", "label"},
                                                                            {"tagged", "tagged"},
                                                                            {"received-on", "received-on"},
                                                                            {"tos", "tos"},
                                                                            {"prio", "prio"},
                                                                            {"nat-to", "nat-to"},
                                                                            {"rdr-to", "rdr-to"},
                                                                            {"binat-to", "binat-to"},
                                                                            {"af-to", "af-to"},
                                                                            {"route-to", "route-to"},
                                                                            {"reply-to", "route-to"},
                                                                            {"dup-to", "route-to"},
                                                                            {"scrub", "scrub"},
                                                                            {"max-pkt-rate", "max-pkt-rate"}};
  static constexpr std::pair<std::string_view, std::string_view> kFeatures[] = {{"user", "user"},
                                                                                {"group", "group"},
                                                                                {"rtable", "routing tables"},
                                                                                {"divert-to", "divert"},
                                                                                {"divert-packet", "divert"},
                                                                                {"divert-reply", "divert"},
                                                                                {"max-pkt-size", "max-pkt-size"}};
  take(",");
  const Token& word = sees("!") ? peek(1) : peek();
  for (const auto& [option, name] : kOnce)
    if (word.kind == Token::Kind::word && word.text == option && !first_time(name)) return false;
  for (const auto& [option, feature] : kFeatures)
    if (sees(option)) return unsupported(feature);
  if (without_effect()) return true;
  if (sees("no") || sees("keep") || sees("modulate") || sees("synproxy")) return state(r);
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
  return condition(r);
}

// What is asked of a packet, and what it is given.
bool Reader::condition(RuleSpec& r) {
  const config::Node* at = place(peek());
  if (take("flags")) return flags(r);
  if (take("icmp-type")) return icmp_types(r, Af::inet);
  if (take("icmp6-type")) return icmp_types(r, Af::inet6);
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
  if (!t.is_text() || t.text.empty() || t.text.size() > kMaxName) return wrong(what);
  out = std::string(t.text);
  next();
  return true;
}

bool Reader::received_on(RuleSpec& r, bool negate) {
  config::InterfaceSpec spec;
  const std::string name(peek().text);
  if (!names_interface(peek()) && !sees("any")) return wrong("an interface");
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
  if (!peek().is_text()) return wrong("a type of service");
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
  const auto n = number("how often, as in 100/10:", 1, 4'294'967);
  if (!n || !expect("/")) return false;
  const auto seconds = number("the seconds of 100/10:", 1, 31'536'000);
  if (!seconds) return false;
  out = {*n, *seconds};
  return true;
}

// "S/SA"; "/SA" is none of them.
bool Reader::flags(RuleSpec& r) {
  r.has_flags = true;
  r.flags_at = place(peek());
  if (take("any")) return true;
  const auto letters = [this](uint8_t& out) {
    const auto set = peek().is_text() ? tcp_flags_by_letters(peek().text) : std::nullopt;
    if (!set) return wrong("FLAGS/MASK");
    out = *set;
    next();
    return true;
  };
  if (!sees("/") && !letters(r.flags)) return false;
  if (!expect("/")) return false;
  const Token& mask = peek();
  if (!letters(r.flag_mask)) return false;
  return (r.flags & ~r.flag_mask) == 0 || refuse(fmt::format("flags that are not in their mask '{}'", mask.text));
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
    if (!peek().is_text() || (!named && (!value || *value > 255))) return wrong("an ICMP type");
    const uint8_t type = named ? *named : static_cast<uint8_t>(*value);
    p.icmp_type = type;
    next();
    if (take("code")) {
      const auto code = icmp_code_by_name(af, type, peek().text);
      const auto code_number = config::parse_number(peek().text);
      if (!peek().is_text() || (!code && (!code_number || *code_number > 255)))
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

bool Reader::label(RuleSpec& r) {
  const Token& t = peek();
  if (!t.is_text()) return wrong("a label");
  r.label_at = place(t);
  r.label = std::string(t.text);
  next();
  return true;
}

bool Reader::set_options(RuleSpec& r) {
  r.actions_at = place(peek());
  if (!take("(")) return set_option(r);
  do {
    if (!set_option(r)) return false;
    take(",");
  } while (!take(")"));
  return true;
}

bool Reader::set_option(RuleSpec& r) {
  if (sees("tos")) {
    if (!first_time("set tos")) return false;
    next();
    return tos(r.actions.set_tos);
  }
  if (sees("prio")) {
    if (!first_time("set prio")) return false;
    next();
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
  if (sees("queue")) return mention("set queue") && names_of_queues();
  if (sees("delay")) {
    (void)mention("set delay");
    next();
    return number("milliseconds", 0, 65535).has_value();
  }
  return wrong("'tos' or 'prio'");
}

// "queue std", "queue (std, ack)": which packets pass does not depend on it.
bool Reader::names_of_queues() {
  next();
  const bool pair = take("(");
  do {
    if (!is_name(peek())) return wrong("the name of a queue");
    next();
    take(",");
  } while (pair && !sees(")"));
  return !pair || expect(")");
}

// Options that decide nothing about a packet; true: one was taken.
bool Reader::without_effect() {
  const bool queues = sees("queue");
  if (queues || (dialect_.freebsd && (sees("dnpipe") || sees("dnqueue")))) {
    (void)mention(queues ? "queues" : "dummynet");
    (void)names_of_queues();  // what is wrong with them is told
    return true;
  }
  if (!dialect_.freebsd) return false;
  if (sees("ridentifier") && peek(1).is_text()) {  // a number for logs
    skip(2);
    return true;
  }
  return false;
}

bool Reader::scrub(RuleSpec& r) {
  r.actions_at = place(peek());
  if (!expect("(")) return false;
  while (!sees(")")) {
    if (!first_time(fmt::format("scrub ({})", peek().text)) || !scrub_option(r)) return false;
    take(",");
  }
  return expect(")");
}

bool Reader::scrub_option(RuleSpec& r) {
  if (take("no-df")) return r.actions.no_df = true;
  if (take("random-id")) return r.actions.random_id = true;
  if (take("min-ttl")) {
    const auto n = number("a TTL", 0, 255);
    if (n) r.actions.min_ttl = static_cast<uint8_t>(*n);
    return n.has_value();
  }
  if (take("max-mss")) {
    const auto n = number("a segment size", 1, 65535);
    if (n) r.actions.max_mss = static_cast<uint16_t>(*n);
    return n.has_value();
  }
  if (take("reassemble")) return expect("tcp") && (r.actions.reassemble_tcp = true);
  return wrong("an option of scrub");
}

}  // namespace twinwall::pfconf
