// Short ways to write rules and packets in tests.
#pragma once

#include <initializer_list>
#include <string_view>

#include "lib/filter/evaluate.h"
#include "lib/filter/rule.h"
#include "lib/net/address.h"

namespace twinwall::testing_rules {

inline Rule rule(Action action) {
  Rule r;
  r.action = action;
  if (action != Action::pass) r.state = StateMode::none;
  return r;
}
inline Rule pass() { return rule(Action::pass); }
inline Rule block() { return rule(Action::block); }
inline Rule match() { return rule(Action::match); }

inline AddressMatch prefix(std::string_view text, bool negate = false) {
  AddressMatch m;
  m.kind = AddressKind::prefix;
  m.negate = negate;
  m.prefix = *parse_prefix(text);
  m.af = m.prefix.af;
  return m;
}
inline AddressMatch range(std::string_view low, std::string_view high) {
  AddressMatch m;
  m.kind = AddressKind::range;
  m.af = parse_ip(low)->af;
  m.low = parse_ip(low)->addr;
  m.high = parse_ip(high)->addr;
  return m;
}
inline PortMatch port(uint16_t number) { return {PortOperator::eq, number, 0}; }

// To one address.
inline Translation translation(Af af, const Address& address) {
  Translation t;
  t.enabled = true;
  t.pool.entries = {{Prefix{af, address, static_cast<uint8_t>(address_bits(af))}, 1}};
  return t;
}
inline Translation translation(std::string_view address) {
  const auto ip = parse_ip(address);
  return translation(ip->af, ip->addr);
}

inline Ruleset ruleset(std::initializer_list<Rule> rules) {
  Ruleset set;
  set.rules = rules;
  for (size_t i = 0; i < set.rules.size(); ++i) set.rules[i].number = set.rules[i].position = static_cast<uint32_t>(i);
  return set;
}

inline RuleInput packet(std::string_view from, std::string_view to, uint8_t proto) {
  RuleInput in;
  in.af = parse_ip(from)->af;
  in.src = parse_ip(from)->addr;
  in.dst = parse_ip(to)->addr;
  in.proto = proto;
  in.interface = 1;
  return in;
}
inline RuleInput tcp(std::string_view from, std::string_view to, uint16_t dport, uint8_t flags = kTcpSyn) {
  RuleInput in = packet(from, to, kProtoTcp);
  in.sport = 40000;
  in.dport = dport;
  in.tcp_flags = flags;
  return in;
}
inline const RuleInput kWeb = tcp("10.0.0.5", "198.51.100.7", 80);
inline RuleInput icmp(std::string_view from, std::string_view to, int16_t type, int16_t code = 0) {
  RuleInput in = packet(from, to, parse_ip(from)->af == Af::inet ? kProtoIcmp : kProtoIcmp6);
  in.icmp_type = type;
  in.icmp_code = code;
  return in;
}

}  // namespace twinwall::testing_rules
