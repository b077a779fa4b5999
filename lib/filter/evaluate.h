// PF's rule evaluation in its plainest form: every rule in order, the last match wins, `quick` stops, `match` rules
// accumulate (pf.conf(5) "Packet Filtering").
//
// Pure and reentrant: a const ruleset and a packet's facts in, a decision out. No allocation, no exception. This is the
// yardstick for any compiled classifier, so it prefers being obviously right. Errors: none; a translation that the
// caller cannot carry out ends the evaluation with `translate_failed`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/filter/rule.h"
#include "lib/net/address.h"
#include "lib/net/headers.h"

namespace twinwall {

// What rules can ask about a packet. Ports in host order, 0 where the protocol has none.
struct RuleInput {
  Direction direction = Direction::in;
  InterfaceId interface = kNoInterface;
  Af af = Af::none;
  uint8_t proto = 0;
  uint8_t tcp_flags = 0;
  // A fragment that was not reassembled: it matches by protocol and addresses only, also when it is the first.
  bool is_fragment = false;
  // An answer to a query (echo reply, neighbour advertisement …). No state is made from it, so a stateful pass rule
  // does not match unless it is sloppy. ICMP errors are not replies.
  bool icmp_is_reply = false;
  int16_t icmp_type = -1;
  int16_t icmp_code = -1;
  uint16_t sport = 0;
  uint16_t dport = 0;
  Address src, dst;
};

inline constexpr size_t kMaxMatchRules = 16;

struct Decision {
  const Rule* rule = nullptr;  // the pass or block rule that decided, or the default rule; never null
  // The rule whose translation of this kind holds, null without one. When it is a `match` rule the callback has seen
  // it already; when it is `rule` itself the caller has yet to carry it out.
  const Rule* nat_rule = nullptr;
  const Rule* rdr_rule = nullptr;
  bool log = false;  // of the deciding rule or any matched `match` rule
  bool log_all = false;
  bool translate_failed = false;  // the callback refused: drop the packet, whatever `rule` says
  uint8_t match_count = 0;
  uint16_t match_overflow = 0;  // matched `match` rules for which there was no room below
  std::array<const Rule*, kMaxMatchRules> matches{};

  [[nodiscard]] std::span<const Rule* const> matched() const { return {matches.data(), match_count}; }
};

// True when every condition of the rule holds for the packet.
[[nodiscard]] bool rule_matches(const Rule& rule, const RuleInput& input) noexcept;

// Adds a matched `match` rule to the decision.
void note_match(const Rule& rule, Af af, Decision& decision) noexcept;
// Adds what the deciding rule says on top of the `match` rules.
void note_decision(const Rule& rule, Af af, Decision& decision) noexcept;

// `on_match(const Rule&, RuleInput&) -> bool` is called for every matching `match` rule that translates this family; it
// rewrites the addresses and ports that later rules see, or returns false when it cannot. `on_visit(const Rule&)` is
// called for every rule looked at (PF's "evaluations").
template <class OnMatch, class OnVisit>
[[nodiscard]] Decision evaluate_visiting(const Ruleset& ruleset, RuleInput& input, OnMatch&& on_match,
                                         OnVisit&& on_visit) noexcept {
  Decision decision;
  const Rule* deciding = &ruleset.default_rule;
  for (const Rule& rule : ruleset.rules) {
    on_visit(rule);
    if (!rule_matches(rule, input)) continue;
    if (rule.action == Action::match) {
      note_match(rule, input.af, decision);
      const bool translates =
          (rule.nat_to.enabled && rule.nat_to.has(input.af)) || (rule.rdr_to.enabled && rule.rdr_to.has(input.af));
      if (translates && !on_match(rule, input)) {
        decision.translate_failed = true;
        break;
      }
    } else {
      deciding = &rule;
    }
    if (rule.quick) break;
  }
  note_decision(*deciding, input.af, decision);
  return decision;
}

// `evaluations`, where given, counts by rule number and must have room for every rule.
template <class OnMatch>
[[nodiscard]] Decision evaluate(const Ruleset& ruleset, RuleInput& input, OnMatch&& on_match,
                                uint64_t* evaluations = nullptr) noexcept {
  const Rule* const first = ruleset.rules.data();
  return evaluate_visiting(ruleset, input, on_match, [&](const Rule& rule) {
    if (evaluations != nullptr) ++evaluations[&rule - first];
  });
}

// For callers without translation in `match` rules, and for displays: translations are noted, addresses stay.
[[nodiscard]] Decision evaluate(const Ruleset& ruleset, const RuleInput& input) noexcept;

}  // namespace twinwall
