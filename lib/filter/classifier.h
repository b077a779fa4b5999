// The rules compiled: which of them a packet may match is found without looking at the others, and what PF's evaluation
// would make of these is exactly what comes out (lib/filter/evaluate.h is the yardstick).
//
// Every rule is a bit. For each of six things that a packet has (hook and interface; family, protocol and what belongs
// to it; both addresses; both ports) there is a row of bits, the rules whose condition it meets; the rules in all
// of these are taken in their order and asked for the rest: tables, routes, tags, where the packet was received,
// priority, type of service, ICMP codes, probability, rates. So nothing here goes stale when a table changes. Rules
// that are alike have bits side by side, and the rows are stored so that a packet costs what it has in common with the
// rules, not what there are of them (lib/filter/bit_rows.h).
//
// Compiled by the thread that configures; immutable then, any thread. Refers to rules by position, so it serves the
// ruleset that it was made of and its copies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/filter/bit_rows.h"
#include "lib/filter/evaluate.h"
#include "lib/filter/rank_tree.h"

namespace twinwall {

class Classifier {
 public:
  static constexpr size_t kMostBytes = size_t{512} << 20;

  // Null when it would take more than `most_bytes`, or more rules than can be numbered: evaluate one by one then.
  [[nodiscard]] static std::unique_ptr<const Classifier> compile(const Ruleset& ruleset,
                                                                 size_t most_bytes = kMostBytes);

  // As evaluate_visiting() does, but for `on_visit`: it is called for the rules that the rows left over.
  template <class OnMatch, class OnVisit, class OnLog>
  [[nodiscard]] Decision decide(const Ruleset& ruleset, RuleInput& input, OnMatch&& on_match, OnVisit&& on_visit,
                                OnLog&& on_log) const noexcept {
    Decision decision;
    Evaluation walk(ruleset, decision);
    Candidates left;
    collect(input, 0, left);
    size_t next = 0;
    for (;;) {
      if (next == left.count) {
        if (!left.more || left.count == 0) break;
        collect(input, position_of(left.rules[left.count - 1]) + 1, left);
        next = 0;
        continue;
      }
      const uint32_t entry = left.rules[next++];
      const uint32_t position = position_of(entry);
      if (walk.leave(position)) break;
      const Rule& rule = ruleset.rules[position];
      if ((entry & kInside) != 0 && !walk.inside(rule.anchor)) continue;
      on_visit(rule);
      if ((entry & kAsk) != 0 && !rule_matches(rule, input)) continue;
      if ((entry & kPlain) != 0) {
        walk.decides(rule);
        continue;
      }
      if (!claim(rule, input)) continue;
      const Address src = input.src, dst = input.dst;
      const uint16_t sport = input.sport, dport = input.dport;
      if (walk.take(rule, input, on_match, on_log)) break;
      if (src == input.src && dst == input.dst && sport == input.sport && dport == input.dport) continue;
      collect(input, position + 1, left);
      next = 0;
    }
    walk.finish();
    return decision;
  }

  // As the function of this name in evaluate.h does; on_visit() as above.
  template <class OnVisit>
  [[nodiscard]] const Rule* decide_simply(const Ruleset& ruleset, const RuleInput& input,
                                          OnVisit&& on_visit) const noexcept {
    Candidates left;
    collect(input, 0, left);
    if (left.more) return nullptr;
    const Rule* deciding = &ruleset.default_rule;
    for (size_t i = 0; i < left.count; ++i) {
      const uint32_t entry = left.rules[i];
      if ((entry & kInside) != 0) continue;  // an anchor that matches ends this
      const Rule& rule = ruleset.rules[position_of(entry)];
      on_visit(rule);
      if ((entry & kAsk) != 0 && !rule_matches(rule, input)) continue;
      if ((entry & kPlain) == 0 && !rule.only_ends) return nullptr;
      deciding = &rule;
      if ((entry & kPlain) == 0) break;
    }
    return deciding;
  }

  [[nodiscard]] size_t bytes() const;

 private:
  friend class ClassifierBuilder;

  // The first rules, in their order, that a packet may match; `more`: there was no room for those behind.
  struct Candidates {
    static constexpr size_t kKept = 128;
    size_t count;
    bool more;
    std::array<uint32_t, 2 * kKept> rules;  // entries
  };
  // An entry: a rule's position and what is to be done about it.
  static constexpr uint32_t kAsk = 1;     // it has conditions beyond the rows'
  static constexpr uint32_t kPlain = 2;   // it passes or blocks, and nothing else happens when it matches
  static constexpr uint32_t kInside = 4;  // an anchor is around it
  static constexpr unsigned kFlagBits = 3;
  static uint32_t position_of(uint32_t entry) { return entry >> kFlagBits; }

  void collect(const RuleInput& input, uint32_t from, Candidates& out) const noexcept;
  // Of `count` rules; the last of those that are kept.
  static uint32_t keep_first(Candidates& out, uint32_t count) noexcept;
  static void sort(Candidates& out) noexcept;

  struct AddressRows {
    RankTree<Key32> v4;
    RankTree<Key128> v6;
    std::vector<RowId> v4_rows, v6_rows;  // by rank
    [[nodiscard]] RowId find(Af af, const Address& a) const noexcept {
      return af == Af::inet6 ? v6_rows[v6.rank(Key128::of(a))] : v4_rows[v4.rank(Key32::of(a))];
    }
  };
  // By port in pages of 64, of which most are alike.
  struct PortRows {
    std::array<uint16_t, 1024> pages{};  // which of the kinds of page
    std::vector<std::array<RowId, 64>> kinds;
    bool says_something = false;  // else every rule meets every port
    [[nodiscard]] RowId find(uint16_t port) const noexcept { return kinds[pages[port / 64u]][port % 64u]; }
  };
  // What a packet is, apart from where: family, protocol, and of TCP the flags, of ICMP the type.
  static constexpr size_t kFragments = 0;                    // [IPv6][protocol]
  static constexpr size_t kTcp = kFragments + 2 * 256;       // [IPv6][flags]
  static constexpr size_t kIcmp = kTcp + 2 * 256;            // [IPv6][ICMPv6][an answer][type + 1]
  static constexpr size_t kOther = kIcmp + 2 * 2 * 2 * 257;  // [IPv6][protocol]
  static constexpr size_t kKinds = kOther + 2 * 256;
  static size_t kind_of(const RuleInput& input) noexcept {
    const size_t six = input.af == Af::inet6 ? 1 : 0;
    if (input.is_fragment) [[unlikely]]
      return kFragments + six * 256 + input.proto;
    if (input.proto != kProtoIcmp && input.proto != kProtoIcmp6) [[likely]] {
      // No branch, because nobody can guess whether it is TCP.
      const size_t tcp = 0 - static_cast<size_t>(input.proto == kProtoTcp);
      return six * 256 + (((kTcp + input.tcp_flags) & tcp) | ((kOther + input.proto) & ~tcp));
    }
    const size_t icmp6 = input.proto == kProtoIcmp6 ? 1 : 0, reply = input.icmp_is_reply ? 1 : 0;
    return kIcmp + ((six * 2 + icmp6) * 2 + reply) * 257 + static_cast<size_t>(input.icmp_type + 1);
  }
  static size_t hook_of(const RuleInput& input) noexcept {
    return static_cast<size_t>(input.direction) * kMaxInterfaces + input.interface;
  }

  // A packet's hook and its kind are one row: there are few of both that rules tell apart. Where there are too many,
  // the kind is a row of its own, and here all are alike.
  std::array<uint32_t, 3 * kMaxInterfaces> hooks_{};  // where in both_ the hook's kinds begin
  std::array<uint16_t, kKinds> kinds_{};
  std::vector<RowId> both_;
  std::vector<RowId> kinds_alone_;
  AddressRows src_, dst_;
  PortRows sport_, dport_;
  BitRows rows_;
  std::vector<uint32_t> entries_;  // by bit
};

}  // namespace twinwall
