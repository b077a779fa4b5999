#include "lib/filter/evaluate.h"

#include <algorithm>
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

bool in_table(const Table& table, const RuleInput& input, const Address& address) noexcept {
  const bool found = table.contains(input.af, address);
  if (const RuleEnvironment* const world = input.environment; world != nullptr && world->tables != nullptr) {
    TableCounters& counters = world->tables[table.slot];
    (found ? counters.match : counters.nomatch).add();
  }
  return found;
}

bool address_matches(const AddressMatch& match, const RuleInput& input, const Address& address) noexcept {
  if (match.kind == AddressKind::any) return !match.negate;
  const Af af = input.af;
  const RuleEnvironment* const world = input.environment;
  switch (match.kind) {
    case AddressKind::table: return in_table(*match.table, input, address) != match.negate;
    case AddressKind::no_route:
      return world != nullptr && world->has_route(world->context, af, address) == match.negate;
    case AddressKind::urpf_failed:
      return world != nullptr && world->urpf_failed(world->context, af, address, input.received_on) != match.negate;
    case AddressKind::any:
    case AddressKind::prefix:
    case AddressKind::range: break;
  }
  if (match.af != af) return false;  // of the other family: neither the address nor its negation
  const bool inside = match.kind == AddressKind::prefix ? same_prefix(match.prefix.addr, address, match.prefix.length)
                                                        : match.low <= address && address <= match.high;
  return inside != match.negate;
}

bool tests_icmp(const Rule& rule) noexcept { return rule.icmp_type >= 0 || rule.icmp_code >= 0; }

bool transport_matches(const Rule& rule, const RuleInput& input) noexcept {
  const bool tcp = input.proto == kProtoTcp;
  if (rule.fragment && !input.is_fragment) return false;
  if (input.is_fragment) return !rule.names_ports() && !tests_icmp(rule) && !(tcp && rule.flag_mask != 0);
  if (tcp && (input.tcp_flags & rule.flag_mask) != rule.flags) return false;
  if (rule.names_ports()) {
    if (!tcp && input.proto != kProtoUdp && input.proto != kProtoSctp) return false;
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

bool conditions_hold(const Rule& rule, const RuleInput& input) noexcept {
  const uint8_t on = rule.conditions;
  if ((on & kOnWhere) != 0) {
    if (rule.runtime != nullptr && rule.runtime->expired.load(std::memory_order_relaxed)) return false;
    if (!rule.any_interface && !(input.interface < kMaxInterfaces && rule.interfaces[input.interface])) return false;
    if (rule.direction != Direction::both && rule.direction != input.direction) return false;
  }
  if ((on & kOnKind) != 0) {
    if (rule.af != Af::none && rule.af != input.af) return false;
    if (rule.proto != 0 && rule.proto != input.proto) return false;
  }
  if ((on & kOnAddresses) != 0 &&
      (!address_matches(rule.from.address, input, input.src) || !address_matches(rule.to.address, input, input.dst)))
    return false;
  const bool icmp = input.proto == kProtoIcmp || input.proto == kProtoIcmp6;
  const bool ask = (on & kOnTransport) != 0 || ((on & kOnFlags) != 0 && input.proto == kProtoTcp) ||
                   ((on & kOnReplies) != 0 && icmp);
  if (ask && !transport_matches(rule, input)) return false;
  if ((on & kOnMore) == 0) return true;
  if (rule.tos >= 0 && rule.tos != input.tos) return false;
  if (rule.tagged != 0 && (rule.tagged == input.tag) == rule.not_tagged) return false;
  if (!rule.any_received_on && !(input.received_on < kMaxInterfaces && rule.received_on[input.received_on]))
    return false;
  return rule.prio < 0 || rule.prio == input.prio;
}

namespace {

bool decides_or_ends(const Rule& r) noexcept {
  return (r.action == Action::pass || r.action == Action::block) && r.tag == 0 && r.probability == 0 &&
         r.runtime == nullptr;
}

Verdict verdict_of(const Rule& r) noexcept {
  if (!r.only_says_so || r.counts_entries) return Verdict::more;
  if (r.action == Action::block) return r.reply == BlockReply::drop ? Verdict::drops : Verdict::more;
  const StateLimits& l = r.limits;
  if (r.action != Action::pass || r.af_to != Af::none || r.route.kind != RouteKind::none || r.inspect != nullptr ||
      l.track != SourceTrack::none || l.max != 0)
    return Verdict::more;
  if (r.state == StateMode::none) return Verdict::passes;
  return r.state == StateMode::keep ? Verdict::keeps : Verdict::more;
}

}  // namespace

bool only_decides(const Rule& r) noexcept { return decides_or_ends(r) && !r.quick; }

void note_conditions(Rule& r) noexcept {
  const auto any = [](const AddressMatch& m) { return m.kind == AddressKind::any && !m.negate; };
  const auto note = [&r](bool has, uint8_t condition) {
    if (has) r.conditions |= condition;
  };
  r.conditions = 0;
  note(r.runtime != nullptr || !r.any_interface || r.direction != Direction::both, kOnWhere);
  note(r.af != Af::none || r.proto != 0, kOnKind);
  note(!any(r.from.address) || !any(r.to.address), kOnAddresses);
  note((r.flags | r.flag_mask) != 0, kOnFlags);
  note(r.action == Action::pass && r.state != StateMode::none && !r.sloppy, kOnReplies);
  note(r.fragment || r.names_ports() || tests_icmp(r), kOnTransport);
  note(r.tos >= 0 || r.tagged != 0 || !r.any_received_on || r.prio >= 0, kOnMore);
  r.only_decides = only_decides(r);
  r.only_ends = decides_or_ends(r) && r.quick;
  r.only_says_so = !r.log && !r.log_all && !r.actions.any() && !r.nat_to.enabled && !r.rdr_to.enabled;
  const auto counts = [](const AddressMatch& m) { return m.kind == AddressKind::table && m.table->counters; };
  r.counts_entries = counts(r.from.address) || counts(r.to.address);
  r.verdict = verdict_of(r);
}

bool rate_exceeded(std::atomic<uint64_t>& meter, const RateLimit& limit, uint32_t now_s) noexcept {
  constexpr uint64_t kEvent = 1000;
  const uint64_t most = std::min<uint64_t>(limit.n * kEvent, UINT32_MAX - kEvent);
  uint64_t old = meter.load(std::memory_order_relaxed);
  for (;;) {
    uint64_t count = old & 0xffffffff;
    const uint32_t gone = now_s - static_cast<uint32_t>(old >> 32);
    if (gone >= limit.seconds)
      count = 0;
    else
      count -= count * gone / limit.seconds;
    // What is far beyond the limit need not be counted on: the meter never overflows.
    count = std::min(count + kEvent, most + kEvent);
    if (meter.compare_exchange_weak(old, static_cast<uint64_t>(now_s) << 32 | count, std::memory_order_relaxed))
      return count > most;
  }
}

bool claim(const Rule& rule, const RuleInput& input) noexcept {
  const RuleEnvironment* const world = input.environment;
  if (rule.probability != 0 && world != nullptr && world->random != nullptr &&
      world->random->next32() >= rule.probability)
    return false;
  if (rule.runtime == nullptr || world == nullptr || world->looking) return true;
  if (rule.max_pkt_rate.n != 0 && rate_exceeded(rule.runtime->rate, rule.max_pkt_rate, world->now_s)) return false;
  // Of two workers that get here at once, one has it.
  return !rule.once || !rule.runtime->expired.exchange(true, std::memory_order_relaxed);
}

void note_match(const Rule& rule, Decision& decision) noexcept {
  if (decision.match_count < kMaxMatchRules)
    decision.matches[decision.match_count++] = &rule;
  else if (decision.match_overflow != UINT16_MAX)
    ++decision.match_overflow;
  decision.log = decision.log || rule.log;
  decision.log_all = decision.log_all || rule.log_all;
  decision.actions.merge(rule.actions);
  if (rule.nat_to.enabled) decision.nat_rule = &rule;
  if (rule.rdr_to.enabled) decision.rdr_rule = &rule;
}

void note_decision(const Rule& rule, Decision& decision) noexcept {
  decision.rule = &rule;
  decision.log = decision.log || rule.log;
  decision.log_all = decision.log_all || rule.log_all;
  if (rule.action != Action::pass) return;
  if (rule.actions.any()) decision.actions.merge(rule.actions);
  if (rule.nat_to.enabled) decision.nat_rule = &rule;
  if (rule.rdr_to.enabled) decision.rdr_rule = &rule;
}

Decision evaluate(const Ruleset& ruleset, const RuleInput& input) noexcept {
  RuleInput copy = input;
  return evaluate(ruleset, copy, [](const Rule&, RuleInput&) { return true; });
}

}  // namespace twinwall
