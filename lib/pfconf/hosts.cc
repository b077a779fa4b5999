// Interfaces, protocols, addresses and ports of a rule (pf.conf(5) "PARAMETERS").
#include <fmt/format.h>

#include <algorithm>

#include "lib/config/values.h"
#include "lib/filter/names.h"
#include "lib/net/headers.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

AddressMatch match_prefix(const Prefix& p, bool negate) {
  AddressMatch m;
  m.kind = AddressKind::prefix;
  m.negate = negate;
  m.af = p.af;
  m.prefix = {p.af, p.network(), p.length};
  return m;
}

// Of an IPv4 network the octets that are 0 may be missing at its end.
std::optional<Prefix> read_prefix(std::string_view text) {
  const size_t slash = text.find('/');
  std::string whole(text);
  const auto dots = std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(std::min(slash, text.size())), '.');
  if (slash != std::string_view::npos && text.substr(0, slash).find(':') == std::string_view::npos)
    for (auto n = dots; n < 3; ++n) whole.insert(slash, ".0");
  return parse_prefix(whole);
}

bool Reader::interfaces(config::RuleSpec& r) {
  r.interfaces_at = place(peek());
  if (sees("rdomain")) return unsupported("routing domains");
  return list([&] {
    config::InterfaceSpec spec;
    const bool negate = take("!");
    if (!names_interface(peek()) && !sees("any")) return wrong("an interface");
    const std::string name(next().text);
    if (name == "any") {
      for (const config::Interface& i : c_.config.interfaces) spec.set.set(i.id);
    } else if (const config::Interface* i = c_.config.find_interface(name)) {
      spec.set.set(i->id);
    } else if (const auto group = c_.groups.find(name); group != c_.groups.end()) {
      spec.set = group->second;
    }  // one that is not there never matches
    if (negate)
      for (const config::Interface& i : c_.config.interfaces) spec.set.flip(i.id);
    spec.text = (negate ? "!" : "") + name;
    r.interfaces.push_back(spec);
    return true;
  });
}

bool Reader::protocols(config::RuleSpec& r) {
  r.protocols_at = place(peek());
  return list([&] {
    const Token& t = peek();
    const auto number = config::parse_number(t.text);
    config::ProtocolSpec p;
    if (!t.is_text()) return wrong("a protocol");
    if (const auto named = protocol_by_name(t.text))
      p.proto = *named;
    else if (t.text == "ipv6-icmp")
      p.proto = kProtoIcmp6;
    else if (number && *number >= 1 && *number <= 255)
      p.proto = static_cast<uint8_t>(*number);
    else
      return wrong("a protocol");
    if (p.proto == kProtoIcmp) p.af = Af::inet;
    if (p.proto == kProtoIcmp6) p.af = Af::inet6;
    r.protocols.push_back(p);
    next();
    return true;
  });
}

bool Reader::endpoints(config::RuleSpec& r) {
  if (take("all")) return true;
  for (const auto& [word, e] : {std::pair{"from", &r.from}, std::pair{"to", &r.to}}) {
    if (!take(word)) continue;
    if (!sees("port") && !hosts(*e)) return false;
    if (take("port") && !ports(*e)) return false;
    if (sees("os")) return unsupported("operating system fingerprints");
  }
  return true;
}

bool Reader::hosts(config::EndpointSpec& e) {
  e.addresses_at = place(peek());
  return list([&] { return host(e); });
}

bool Reader::host(config::EndpointSpec& e) {
  const bool negate = take("!");
  if (sees("<")) {
    std::string name;
    if (!table_name(name)) return false;
    AddressMatch m;
    m.kind = AddressKind::table;
    m.negate = negate;
    m.table = c_.table(name);
    e.addresses.push_back(m);
    return true;
  }
  if (sees("(")) {
    std::string text;
    InterfacePart part;
    if (!dynamic_interface(text, part)) return false;
    AddressMatch m;
    m.kind = AddressKind::table;
    m.negate = negate;
    m.table = dynamic_table(text, part);
    e.addresses.push_back(m);
    return true;
  }
  if (!peek().is_text()) return wrong("an address");
  if (sees("any")) {
    if (negate) return wrong("an address after '!'");
    e.addresses.emplace_back();
    next();
    return true;
  }
  if (sees("route")) return unsupported("route labels");
  for (const auto& [word, kind] :
       {std::pair{"no-route", AddressKind::no_route}, std::pair{"urpf-failed", AddressKind::urpf_failed}})
    if (take(word)) {
      AddressMatch m;
      m.kind = kind;
      m.negate = negate;
      e.addresses.push_back(m);
      return true;
    }
  if (peek(1).text == "-" && peek(1).kind == Token::Kind::word && peek(2).is_text()) return host_range(e, negate);
  size_t tokens = 0;
  const std::string text = address_text(tokens);
  std::vector<Prefix> addresses;
  if (const auto prefix = read_prefix(text))
    addresses.push_back(*prefix);
  else if (!interface_addresses(text, addresses))
    return false;
  for (const Prefix& p : addresses) e.addresses.push_back(match_prefix(p, negate));
  skip(tokens);
  return true;
}

bool Reader::host_range(config::EndpointSpec& e, bool negate) {
  const auto low = parse_ip(peek().text), high = parse_ip(peek(2).text);
  if (!low || !high || low->af != high->af || high->addr < low->addr) return wrong("a range of addresses");
  AddressMatch m;
  m.kind = AddressKind::range;
  m.negate = negate;
  m.af = low->af;
  m.low = low->addr;
  m.high = high->addr;
  e.addresses.push_back(m);
  skip(3);
  return true;
}

std::string Reader::address_text(size_t& tokens) const {
  std::string text(peek().text);
  const bool length = peek(1).kind == Token::Kind::sign && peek(1).text == "/";
  tokens = length ? 3 : 1;
  if (length) text += fmt::format("/{}", peek(2).text);
  return text;
}

void Reader::skip(size_t tokens) {
  for (; tokens > 0; --tokens) next();
}

bool Reader::ports(config::EndpointSpec& e) {
  e.ports_at = place(peek());
  return list([&] { return port(e); });
}

bool Reader::port_number(std::string_view text, uint16_t& out) {
  const auto n = config::parse_port(text);
  if (n) out = *n;
  return n.has_value();
}

bool Reader::port(config::EndpointSpec& e) {
  static constexpr std::pair<std::string_view, PortOperator> kUnary[] = {
      {"=", PortOperator::eq},  {"!=", PortOperator::ne}, {"<", PortOperator::lt},
      {"<=", PortOperator::le}, {">", PortOperator::gt},  {">=", PortOperator::ge}};
  PortMatch m;
  m.op = PortOperator::eq;
  for (const auto& [sign, op] : kUnary)
    if (sees(sign)) {
      next();
      m.op = op;
      if (!peek().is_text() || !port_number(peek().text, m.a)) return wrong("a port");
      next();
      e.ports.push_back(m);
      return true;
    }
  if (!peek().is_text()) return wrong("a port");
  const std::string_view text = peek().text;
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos) {
    m.op = PortOperator::range;
    if (!port_number(text.substr(0, colon), m.a) || !port_number(text.substr(colon + 1), m.b) || m.a > m.b)
      return wrong("a range of ports");
  } else if (!port_number(text, m.a)) {
    return wrong("a port");
  }
  next();
  if (m.op == PortOperator::eq && (sees("><") || sees("<>"))) {
    const bool inside = next().text == "><";
    m.op = inside ? PortOperator::inside : PortOperator::outside;
    if (!peek().is_text() || !port_number(peek().text, m.b) || m.a > m.b || (inside && m.a == m.b))
      return wrong("a larger port");
    next();
  }
  e.ports.push_back(m);
  return true;
}

}  // namespace twinwall::pfconf
