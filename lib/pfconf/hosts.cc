// Interfaces, protocols, addresses and ports of a rule (pf.conf(5) "PARAMETERS").
#include <fmt/format.h>

#include "lib/config/values.h"
#include "lib/filter/names.h"
#include "lib/net/headers.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

namespace {

AddressMatch match_prefix(const Prefix& p, bool negate) {
  AddressMatch m;
  m.kind = AddressKind::prefix;
  m.negate = negate;
  m.af = p.af;
  m.prefix = {p.af, p.network(), p.length};
  return m;
}

Prefix whole(const IpAddress& ip) { return {ip.af, ip.addr, static_cast<uint8_t>(address_bits(ip.af))}; }

}  // namespace

bool Reader::interfaces(config::RuleSpec& r) {
  r.interfaces_at = place(peek());
  if (sees("rdomain")) return unsupported("routing domains");
  return list([&] {
    config::InterfaceSpec spec;
    const bool negate = take("!");
    if (peek().kind != Token::Kind::word) return wrong("an interface");
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
    if (t.kind != Token::Kind::word) return wrong("a protocol");
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
    std::vector<Prefix> addresses;
    if (!dynamic_interface(text, addresses)) return false;
    AddressMatch m;
    m.kind = AddressKind::table;
    m.negate = negate;
    const auto table = c_.table(text);
    if (!table->declared)
      for (const Prefix& p : addresses) table->add_entry({p, false});
    table->declared = true;
    m.table = table;
    e.addresses.push_back(m);
    return true;
  }
  const Token& t = peek();
  if (t.kind != Token::Kind::word) return wrong("an address");
  if (t.text == "any") {
    if (negate) return wrong("an address after '!'");
    e.addresses.emplace_back();
    next();
    return true;
  }
  if (t.text == "route") return unsupported("route labels");
  for (const auto& [word, kind] :
       {std::pair{"no-route", AddressKind::no_route}, std::pair{"urpf-failed", AddressKind::urpf_failed}})
    if (t.text == word) {
      AddressMatch m;
      m.kind = kind;
      m.negate = negate;
      e.addresses.push_back(m);
      next();
      return true;
    }
  if (peek(1).text == "-" && peek(1).kind == Token::Kind::word) {
    const auto low = parse_ip(t.text), high = parse_ip(peek(2).text);
    if (!low || !high || low->af != high->af || high->addr < low->addr) return wrong("a range of addresses");
    AddressMatch m;
    m.kind = AddressKind::range;
    m.negate = negate;
    m.af = low->af;
    m.low = low->addr;
    m.high = high->addr;
    e.addresses.push_back(m);
    for (int i = 0; i < 3; ++i) next();
    return true;
  }
  if (const auto prefix = parse_prefix(t.text)) {
    e.addresses.push_back(match_prefix(*prefix, negate));
    next();
    return true;
  }
  return interface_host(e, t.text, negate);
}

// "vio0", "vio0:network", "vio0:0", "self": addresses as they are when the file is read.
bool Reader::interface_host(config::EndpointSpec& e, std::string_view text, bool negate) {
  std::string_view name = text.substr(0, text.find(':'));
  const std::string_view part = name.size() == text.size() ? "" : text.substr(name.size() + 1);
  if (!part.empty() && part != "network" && part != "0") return wrong("an address");
  const size_t before = e.addresses.size();
  for (const config::Interface& i : c_.config.interfaces) {
    if (name != "self" && i.name != name) continue;
    bool v4 = false, v6 = false;
    for (const Prefix& p : i.addresses) {
      bool& seen = p.af == Af::inet ? v4 : v6;
      if (part == "0" && seen) continue;
      seen = true;
      e.addresses.push_back(match_prefix(part == "network" ? p : whole(p.address()), negate));
    }
  }
  if (e.addresses.size() == before) return wrong("an address or an interface that has one");
  next();
  return true;
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
      if (peek().kind != Token::Kind::word || !port_number(peek().text, m.a)) return wrong("a port");
      next();
      e.ports.push_back(m);
      return true;
    }
  if (peek().kind != Token::Kind::word) return wrong("a port");
  const std::string_view text = peek().text;
  const size_t colon = text.find(':');
  if (text == "any") {
    m.op = PortOperator::any;
  } else if (colon != std::string_view::npos) {
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
    if (!port_number(peek().text, m.b) || m.a > m.b || (inside && m.a == m.b)) return wrong("a larger port");
    next();
  }
  e.ports.push_back(m);
  return true;
}

}  // namespace twinwall::pfconf
