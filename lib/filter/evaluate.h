// PF's rule evaluation in its plainest form: every rule in order, the last match wins, `quick` stops, `match` rules
// accumulate (pf.conf(5) "Packet Filtering").
//
// Pure and reentrant: a const ruleset and a packet's facts in, a decision out. No allocation, no exception. This is the
// yardstick for the compiled rules (lib/filter/classifier.h), so it prefers being obviously right. Errors: none; a
// translation that the caller cannot carry out ends the evaluation with `translate_failed`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/base/random.h"
#include "lib/filter/rule.h"
#include "lib/net/address.h"
#include "lib/net/headers.h"

namespace twinwall {

// What rules ask of the world beyond the packet. The functions must not block; `context` is the asker's own.
struct RuleEnvironment {
  const void* context = nullptr;
  bool (*has_route)(const void* context, Af af, const Address& address) = nullptr;
  // The way back to `source` does not leave where the packet came in.
  bool (*urpf_failed)(const void* context, Af af, const Address& source, InterfaceId in) = nullptr;
  Random* random = nullptr;         // of `probability`; null: it always matches
  uint32_t now_s = 0;               // of `max-pkt-rate`
  TableCounters* tables = nullptr;  // by slot, of whoever asks; null: look-ups are not counted
  bool looking = false;             // nothing is claimed: `once` and `max-pkt-rate` match and stay as they are
};

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
  uint8_t tos = 0;  // without the ECN bits
  uint8_t prio = 3;
  TagId tag = 0;  // changes with every matching rule that sets one
  InterfaceId received_on = kNoInterface;
  const RuleEnvironment* environment = nullptr;  // null: no routes, probability and rates match, nothing is claimed
};

inline constexpr size_t kMaxMatchRules = 16;
inline constexpr size_t kMaxAnchorDepth = 64;

struct Decision {
  const Rule* rule = nullptr;  // the pass or block rule that decided, or the default rule; never null
  // The rule whose translation of this kind holds, null without one. When it is a `match` rule the callback has seen
  // it already; when it is `rule` itself the caller has yet to carry it out.
  const Rule* nat_rule = nullptr;
  const Rule* rdr_rule = nullptr;
  bool log = false;      // of the deciding rule or any matched `match` rule: what a state made from this keeps
  bool log_now = false;  // this packet is logged under the deciding rule
  bool log_all = false;
  PacketActions actions;          // of the `match` rules and then the deciding one: what a state made from this keeps
  bool too_deep = false;          // more anchors inside each other than PF allows: drop the packet
  bool translate_failed = false;  // the callback refused: drop the packet, whatever `rule` says
  uint8_t match_count = 0;
  uint16_t match_overflow = 0;                      // matched `match` rules for which there was no room below
  std::array<const Rule*, kMaxMatchRules> matches;  // as many as match_count says: a decision is made for every packet

  [[nodiscard]] std::span<const Rule* const> matched() const { return {matches.data(), match_count}; }
};

// True when every condition of the rule holds for the packet.
[[nodiscard]] bool conditions_hold(const Rule& rule, const RuleInput& input) noexcept;
[[nodiscard]] inline bool rule_matches(const Rule& rule, const RuleInput& input) noexcept {
  return rule.conditions == 0 || conditions_hold(rule, input);
}
// Of RuleCondition what a packet of this kind can fail.
[[nodiscard]] inline uint8_t conditions_for(const RuleInput& input) noexcept {
  const bool icmp = input.proto == kProtoIcmp || input.proto == kProtoIcmp6;
  return static_cast<uint8_t>(kOnAnything & ~(icmp ? 0 : kOnReplies) & ~(input.proto == kProtoTcp ? 0 : kOnFlags));
}
// It passes or blocks, and nothing else happens when it matches.
[[nodiscard]] bool only_decides(const Rule& rule) noexcept;
// Notes which conditions a finished rule has and whether it only decides: for speed, the answers stay what they are.
void note_conditions(Rule& rule) noexcept;

// What a rule can be asked only once its conditions hold, because asking changes it: probability, max-pkt-rate, once.
[[nodiscard]] bool claim(const Rule& rule, const RuleInput& input) noexcept;

// One event of a rate meter at `now_s`; true when the limit is exceeded (PF's threshold: the count decays with the part
// of `seconds` that has gone by).
[[nodiscard]] bool rate_exceeded(std::atomic<uint64_t>& meter, const RateLimit& limit, uint32_t now_s) noexcept;

// Adds a matched `match` rule to the decision.
void note_match(const Rule& rule, Decision& decision) noexcept;
// Adds what the deciding rule says on top of the `match` rules.
void note_decision(const Rule& rule, Decision& decision) noexcept;

// The anchors that evaluation is inside of. Leaving one with `quick` ends it if a rule directly inside has decided
// last.
class AnchorStack {
 public:
  // False: too deep.
  bool enter(const Rule& anchor) noexcept {
    if (depth_ == kMaxAnchorDepth) return false;
    frames_[depth_++] = &anchor;
    return true;
  }
  // At `position`, with `deciding` the last pass or block rule that matched: true when evaluation ends.
  bool leave(uint32_t position, const Rule& deciding) noexcept {
    while (depth_ > 0 && frames_[depth_ - 1]->anchor_end <= position) {
      const Rule& anchor = *frames_[--depth_];
      if (anchor.quick && deciding.anchor == anchor.position) return true;
    }
    return false;
  }
  // The position of the innermost one; kNoRuleNumber outside of all.
  [[nodiscard]] uint32_t innermost() const noexcept {
    return depth_ == 0 ? kNoRuleNumber : frames_[depth_ - 1]->position;
  }

 private:
  size_t depth_ = 0;
  std::array<const Rule*, kMaxAnchorDepth> frames_;
};

// What has come out of the rules that matched so far, in their order: the part of an evaluation that does not depend on
// how the matching rules are found.
class Evaluation {
 public:
  // `decision`: a new one, to be filled.
  Evaluation(const Ruleset& ruleset, Decision& decision) noexcept
      : deciding_(&ruleset.default_rule), decision_(decision) {}

  // Before a rule is looked at, at least before one that matches: true when evaluation ends in front of it.
  [[nodiscard]] bool leave(uint32_t position) noexcept { return anchors_.leave(position, *deciding_); }
  // Evaluation is directly inside this anchor.
  [[nodiscard]] bool inside(uint32_t anchor) const noexcept { return anchors_.innermost() == anchor; }
  // A rule matched that does no more than decide.
  void decides(const Rule& rule) noexcept { deciding_ = &rule; }
  // A rule matched and has been claimed: true when evaluation ends with it.
  template <class OnMatch, class OnLog>
  [[nodiscard]] bool take(const Rule& rule, RuleInput& input, OnMatch&& on_match, OnLog&& on_log) noexcept {
    if (rule.tag != 0) input.tag = rule.tag;
    if (rule.action == Action::anchor) {
      decision_.too_deep = !anchors_.enter(rule);
      return decision_.too_deep;
    }
    if (rule.action == Action::match) {
      if (log_matches_ || rule.log) on_log(rule);
      log_matches_ = log_matches_ || rule.log_matches;
      note_match(rule, decision_);
      const bool translates = rule.nat_to.enabled || rule.rdr_to.enabled;
      if (translates && !on_match(rule, input)) {
        decision_.translate_failed = true;
        return true;
      }
    } else {
      deciding_ = &rule;
    }
    return rule.quick;
  }
  void finish() noexcept {
    if (deciding_->only_says_so)
      decision_.rule = deciding_;
    else
      note_decision(*deciding_, decision_);
    decision_.log_now = deciding_->log || log_matches_;
  }

 private:
  const Rule* deciding_;
  bool log_matches_ = false;
  Decision& decision_;
  AnchorStack anchors_;
};

// `on_match(const Rule&, RuleInput&) -> bool` is called for every matching `match` rule that translates this family; it
// rewrites the addresses and ports that later rules see, or returns false when it cannot. `on_visit(const Rule&)` is
// called for every rule looked at. `on_log(const Rule&)` is called for every `match` rule that logs the packet: its own
// `log`, or `log (matches)` of one before it.
template <class OnMatch, class OnVisit, class OnLog>
[[nodiscard]] Decision evaluate_visiting(const Ruleset& ruleset, RuleInput& input, OnMatch&& on_match,
                                         OnVisit&& on_visit, OnLog&& on_log) noexcept {
  Decision decision;
  Evaluation walk(ruleset, decision);
  const auto count = static_cast<uint32_t>(ruleset.rules.size());
  for (uint32_t i = 0; i < count;) {
    if (walk.leave(i)) break;
    const Rule& rule = ruleset.rules[i++];
    on_visit(rule);
    if (!rule_matches(rule, input) || (!rule.only_decides && !claim(rule, input))) {
      if (rule.action == Action::anchor) i = rule.anchor_end;
      continue;
    }
    if (rule.only_decides) {
      walk.decides(rule);
      continue;
    }
    if (walk.take(rule, input, on_match, on_log)) break;
  }
  walk.finish();
  return decision;
}

// `evaluations`, where given, counts by rule number and must have room for every rule.
template <class OnMatch>
[[nodiscard]] Decision evaluate(const Ruleset& ruleset, RuleInput& input, OnMatch&& on_match,
                                uint64_t* evaluations = nullptr) noexcept {
  const Rule* const first = ruleset.rules.data();
  return evaluate_visiting(
      ruleset, input, on_match,
      [&](const Rule& rule) {
        if (evaluations != nullptr) ++evaluations[&rule - first];
      },
      [](const Rule&) {});
}

// The rule that evaluate_visiting() would come to, where every rule that matches does no more than decide; else null,
// and nothing was claimed.
template <class OnVisit>
[[nodiscard]] const Rule* decide_simply(const Ruleset& ruleset, const RuleInput& input, OnVisit&& on_visit) noexcept {
  const Rule* deciding = &ruleset.default_rule;
  const auto count = static_cast<uint32_t>(ruleset.rules.size());
  const uint8_t conditions = conditions_for(input);
  for (uint32_t i = 0; i < count;) {
    const Rule& rule = ruleset.rules[i++];
    on_visit(rule);
    if ((rule.conditions & conditions) != 0 && !conditions_hold(rule, input)) {
      if (rule.action == Action::anchor) i = rule.anchor_end;
      continue;
    }
    if (!rule.only_decides && !rule.only_ends) return nullptr;
    deciding = &rule;
    if (rule.only_ends) break;
  }
  return deciding;
}

// For callers without translation in `match` rules, and for displays: translations are noted, addresses stay.
[[nodiscard]] Decision evaluate(const Ruleset& ruleset, const RuleInput& input) noexcept;

}  // namespace twinwall
