// A PF rule as the evaluator sees it: lists already expanded, names resolved, one combination a rule (pf.conf(5)).
//
// Immutable once its ruleset is published. `slot` is the rule's identity over reloads: counters and states refer to it.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/net/address.h"

namespace twinwall {

// Index of a configured interface (config order). 0 is never a real interface.
using InterfaceId = uint16_t;
inline constexpr InterfaceId kNoInterface = 0;
inline constexpr size_t kMaxInterfaces = 256;
using InterfaceSet = std::bitset<kMaxInterfaces>;

// Where a rule's counters live; stable while the rule's content is unchanged, even over reloads.
using RuleSlot = uint32_t;
inline constexpr RuleSlot kDefaultRuleSlot = 0;  // PF's default rule: pass, no state
inline constexpr size_t kMaxRuleSlots = 65536;
inline constexpr uint32_t kNoRuleNumber = 0xffffffff;

enum class Direction : uint8_t { both = 0, in = 1, out = 2 };  // numbered as on the pfsync wire
enum class Action : uint8_t { pass, block, match };
enum class StateMode : uint8_t { none, keep, modulate, synproxy };

// How a blocked packet is answered (pf.conf(5) "block").
enum class BlockReply : uint8_t { drop, return_any, return_rst, return_icmp };

enum class PortOperator : uint8_t { any, eq, ne, lt, le, gt, ge, range, inside, outside };
struct PortMatch {
  PortOperator op = PortOperator::any;
  uint16_t a = 0;
  uint16_t b = 0;  // range a:b inclusive, inside a><b exclusive, outside a<>b
  friend bool operator==(const PortMatch&, const PortMatch&) = default;
  [[nodiscard]] bool matches(uint16_t port) const {
    switch (op) {
      case PortOperator::any: return true;
      case PortOperator::eq: return port == a;
      case PortOperator::ne: return port != a;
      case PortOperator::lt: return port < a;
      case PortOperator::le: return port <= a;
      case PortOperator::gt: return port > a;
      case PortOperator::ge: return port >= a;
      case PortOperator::range: return port >= a && port <= b;
      case PortOperator::inside: return port > a && port < b;
      case PortOperator::outside: return port < a || port > b;
    }
    return false;
  }
};

enum class AddressKind : uint8_t { any, prefix, range };
struct AddressMatch {
  AddressKind kind = AddressKind::any;
  bool negate = false;
  Af af = Af::none;  // of prefix and range
  Prefix prefix;
  Address low, high;  // range, inclusive
  friend bool operator==(const AddressMatch&, const AddressMatch&) = default;
};

struct Endpoint {
  AddressMatch address;
  PortMatch port;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Where nat-to or rdr-to sends: at most one address a family, and for nat-to a port range.
struct Translation {
  bool enabled = false;
  bool has_v4 = false, has_v6 = false;
  Address v4, v6;
  uint16_t port_low = 0,
           port_high = 0;  // nat-to: range to choose from (0,0: 50001..65535); rdr-to: new port in port_low, 0 keeps it
  bool static_port = false;
  friend bool operator==(const Translation&, const Translation&) = default;
  [[nodiscard]] bool has(Af af) const { return af == Af::inet ? has_v4 : has_v6; }
  [[nodiscard]] const Address& address(Af af) const { return af == Af::inet ? v4 : v6; }
};

struct Rule {
  Action action = Action::pass;
  Direction direction = Direction::both;
  bool quick = false;
  bool log = false;
  bool log_all = false;
  bool any_interface = true;
  InterfaceSet interfaces;  // meaningful unless any_interface; negation is already resolved into the set
  Af af = Af::none;         // none: both
  uint8_t proto = 0;        // 0: any
  Endpoint from, to;
  int16_t icmp_type = -1;  // -1: any
  int16_t icmp_code = -1;
  uint8_t flags = 0, flag_mask = 0;  // TCP: (flags of the packet & flag_mask) == flags; mask 0 tests nothing
  bool allow_opts = false;
  StateMode state = StateMode::keep;
  bool sloppy = false;
  bool if_bound = false;
  bool no_sync = false;
  BlockReply reply = BlockReply::drop;
  uint8_t reply_ttl = 0;                               // return-rst (ttl N); 0: default
  uint8_t reply_icmp_type = 3, reply_icmp_code = 3;    // of return-icmp
  uint8_t reply_icmp6_type = 1, reply_icmp6_code = 4;  // of return-icmp6
  Translation nat_to, rdr_to;
  std::array<uint32_t, 20> timeouts{};  // seconds by TimeoutClass; 0: the global one
  std::string label;                    // macros expanded
  std::string interface_text;           // as written, for printing: "lan", "!wan", "egress"

  uint32_t number = kNoRuleNumber;  // position in the expanded ruleset
  RuleSlot slot = kDefaultRuleSlot;
  uint64_t identity = 0;  // hash of everything that decides what the rule does
};

struct Ruleset {
  std::vector<Rule> rules;
  Rule default_rule = [] {
    Rule r;
    r.state = StateMode::none;
    return r;
  }();

  // Once every rule has its slot: makes find() know them.
  void index_slots() {
    position_of_slot_.clear();
    for (uint32_t i = 0; i < rules.size(); ++i) {
      const RuleSlot slot = rules[i].slot;
      if (slot == kDefaultRuleSlot || slot >= kMaxRuleSlots) continue;
      if (slot >= position_of_slot_.size()) position_of_slot_.resize(slot + 1u, kNoRuleNumber);
      position_of_slot_[slot] = i;
    }
  }
  // The rule that has the slot, wherever a reload has moved it; null when it is gone.
  [[nodiscard]] const Rule* find(RuleSlot slot) const {
    if (slot >= position_of_slot_.size() || position_of_slot_[slot] == kNoRuleNumber) return nullptr;
    return &rules[position_of_slot_[slot]];
  }

 private:
  std::vector<uint32_t> position_of_slot_;
};

}  // namespace twinwall
