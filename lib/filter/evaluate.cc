#include "lib/filter/evaluate.h"

#include <cstring>

namespace twinwall {

namespace {

// The first `length` bits of both are equal.
bool same_prefix(const Address& a, const Address& b, unsigned length) noexcept {
  const uint64_t high = load_be64(a.bytes.data()) ^ load_be64(b.bytes.data());
  if (length == 0) return true;
  if (length <= 64) return (high >> (64 - length)) == 0;
  const uint64_t low = load_be64(a.bytes.data() + 8) ^ load_be64(b.bytes.data() + 8);
  return high == 0 && (length == 128 ? low == 0 : (low >> (128 - length)) == 0);
}

bool address_matches(const AddressMatch& match, Af af, const Address& address) noexcept {
  if (match.kind == AddressKind::any) return !match.negate;
  if (match.af != af) return false;  // of the other family: neither the address nor its negation
  const bool inside = match.kind == AddressKind::prefix ? same_prefix(match.prefix.addr, address, match.prefix.length)
                                                        : match.low <= address && address <= match.high;
  return inside != match.negate;
}

bool has_ports(const Rule& rule) noexcept {
  return rule.from.port.op != PortOperator::any || rule.to.port.op != PortOperator::any;
}

bool tests_icmp(const Rule& rule) noexcept { return rule.icmp_type >= 0 || rule.icmp_code >= 0; }

bool transport_matches(const Rule& rule, const RuleInput& input) noexcept {
  const bool tcp = input.proto == kProtoTcp;
  if (input.is_fragment) return !has_ports(rule) && !tests_icmp(rule) && !(tcp && rule.flag_mask != 0);
  if (tcp && (input.tcp_flags & rule.flag_mask) != rule.flags) return false;
  if (has_ports(rule)) {
    if (!tcp && input.proto != kProtoUdp) return false;
    if (!rule.from.port.matches(input.sport) || !rule.to.port.matches(input.dport)) return false;
  }
  const bool icmp = input.proto == kProtoIcmp || input.proto == kProtoIcmp6;
  if (!icmp) return !tests_icmp(rule);
  if (rule.icmp_type >= 0 && rule.icmp_type != input.icmp_type) return false;
  if (rule.icmp_code >= 0 && rule.icmp_code != input.icmp_code) return false;
  const bool stateful = rule.action == Action::pass && rule.state != StateMode::none;
  return !(input.icmp_is_reply && stateful && !rule.sloppy);
}

}  // namespace

bool rule_matches(const Rule& rule, const RuleInput& input) noexcept {
  if (!rule.any_interface && !(input.interface < kMaxInterfaces && rule.interfaces[input.interface])) return false;
  if (rule.direction != Direction::both && rule.direction != input.direction) return false;
  if (rule.af != Af::none && rule.af != input.af) return false;
  if (rule.proto != 0 && rule.proto != input.proto) return false;
  return address_matches(rule.from.address, input.af, input.src) &&
         address_matches(rule.to.address, input.af, input.dst) && transport_matches(rule, input);
}

void note_match(const Rule& rule, Af af, Decision& decision) noexcept {
  if (decision.match_count < kMaxMatchRules)
    decision.matches[decision.match_count++] = &rule;
  else if (decision.match_overflow != UINT16_MAX)
    ++decision.match_overflow;
  decision.log = decision.log || rule.log;
  decision.log_all = decision.log_all || rule.log_all;
  if (rule.nat_to.enabled && rule.nat_to.has(af)) decision.nat_rule = &rule;
  if (rule.rdr_to.enabled && rule.rdr_to.has(af)) decision.rdr_rule = &rule;
}

void note_decision(const Rule& rule, Af af, Decision& decision) noexcept {
  decision.rule = &rule;
  decision.log = decision.log || rule.log;
  decision.log_all = decision.log_all || rule.log_all;
  if (rule.action != Action::pass) return;
  if (rule.nat_to.enabled && rule.nat_to.has(af)) decision.nat_rule = &rule;
  if (rule.rdr_to.enabled && rule.rdr_to.has(af)) decision.rdr_rule = &rule;
}

Decision evaluate(const Ruleset& ruleset, const RuleInput& input) noexcept {
  RuleInput copy = input;
  return evaluate(ruleset, copy, [](const Rule&, RuleInput&) { return true; });
}

}  // namespace twinwall
