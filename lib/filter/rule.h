// A PF rule as the evaluator sees it: lists already expanded, names resolved, one combination a rule (pf.conf(5)).
//
// Immutable once its ruleset is published. `slot` is the rule's identity over reloads: counters and states refer to it.
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "lib/filter/pool.h"
#include "lib/filter/table.h"
#include "lib/net/address.h"

namespace twinwall {

namespace inspect {
struct Policy;
}

// Index of a configured interface (config order). 0 is never a real interface.
using InterfaceId = uint16_t;
inline constexpr InterfaceId kNoInterface = 0;
inline constexpr size_t kMaxInterfaces = 256;
using InterfaceSet = std::bitset<kMaxInterfaces>;

// Where a rule's counters live; stable while the rule's content is unchanged, even over reloads.
using RuleSlot = uint32_t;
inline constexpr RuleSlot kDefaultRuleSlot = 0;  // PF's default rule: pass, no state
inline constexpr size_t kMaxRuleSlots = 131072;
inline constexpr uint32_t kNoRuleNumber = 0xffffffff;

enum class Direction : uint8_t { both = 0, in = 1, out = 2 };  // numbered as on the pfsync wire
enum class Action : uint8_t { pass, block, match, anchor };
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

// no_route: nothing leads there; urpf_failed: the way back does not leave where the packet came in.
enum class AddressKind : uint8_t { any, prefix, range, table, no_route, urpf_failed };
struct AddressMatch {
  AddressKind kind = AddressKind::any;
  bool negate = false;
  Af af = Af::none;  // of prefix and range
  Prefix prefix;
  Address low, high;                   // range, inclusive
  std::shared_ptr<const Table> table;  // of kind table; never null there
  friend bool operator==(const AddressMatch&, const AddressMatch&) = default;
};

struct Endpoint {
  AddressMatch address;
  PortMatch port;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// nat-to, rdr-to, or the source part of af-to. A rule is of one family wherever it translates.
struct Translation {
  bool enabled = false;
  Pool pool;
  // nat-to: the range to choose from (0,0: 50001..65535). rdr-to: the new port or range, 0 keeps it.
  uint16_t port_low = 0, port_high = 0;
  bool port_to_end = false;  // rdr-to "port P:*": as many ports as the rule's destination range has
  bool static_port = false;
  friend bool operator==(const Translation&, const Translation&) = default;
};

// One tag a packet, carried from hook to hook and in the state; 0: none. Names are in Ruleset::tags.
using TagId = uint16_t;

// pf.conf(5) "scrub", and what `set` puts into a packet.
struct PacketActions {
  bool no_df = false;
  bool random_id = false;
  bool reassemble_tcp = false;
  uint8_t min_ttl = 0;
  uint16_t max_mss = 0;
  int16_t set_tos = -1;           // -1: as it is
  int8_t set_prio = -1;           // -1: as it is
  int8_t set_prio_lowdelay = -1;  // of packets with low delay and pure ACKs
  friend bool operator==(const PacketActions&, const PacketActions&) = default;
  [[nodiscard]] bool any() const {
    static_assert(std::has_unique_object_representations_v<PacketActions>);
    constexpr PacketActions kNone;
    return std::memcmp(this, &kNone, sizeof kNone) != 0;
  }
  // Later non-empty values replace earlier ones, flags only add up.
  void merge(const PacketActions& later) {
    no_df = no_df || later.no_df;
    random_id = random_id || later.random_id;
    reassemble_tcp = reassemble_tcp || later.reassemble_tcp;
    if (later.min_ttl != 0) min_ttl = later.min_ttl;
    if (later.max_mss != 0) max_mss = later.max_mss;
    if (later.set_tos >= 0) set_tos = later.set_tos;
    if (later.set_prio >= 0) {
      set_prio = later.set_prio;
      set_prio_lowdelay = later.set_prio_lowdelay;
    }
  }
};

// `n` events in `seconds`, by PF's decaying threshold; n = 0: no limit.
struct RateLimit {
  uint32_t n = 0;
  uint32_t seconds = 0;
  friend bool operator==(const RateLimit&, const RateLimit&) = default;
};

enum class SourceTrack : uint8_t { none, rule, global };
enum class OverloadFlush : uint8_t { none, rule, global };

// The limits of keep state (…) (pf.conf(5) "STATEFUL TRACKING OPTIONS"); 0: none.
struct StateLimits {
  uint32_t max = 0;
  SourceTrack track = SourceTrack::none;
  uint32_t max_src_nodes = 0;
  uint32_t max_src_states = 0;
  uint32_t max_src_conn = 0;
  RateLimit max_src_conn_rate;
  std::shared_ptr<const Table> overload;  // hosts that exceed a connection limit go in there
  OverloadFlush flush = OverloadFlush::none;
};

// pf.conf(5) "ROUTING".
enum class RouteKind : uint8_t { none, route_to, dup_to, reply_to };  // numbered as on the pfsync wire
struct RouteOption {
  RouteKind kind = RouteKind::none;
  Pool pool;
};

// What changes in a rule while it is used; only rules with `once` or `max-pkt-rate` have one. Shared by all workers.
struct RuleRuntime {
  std::atomic<bool> expired{false};  // `once`: has matched
  std::atomic<uint64_t> rate{0};     // `max-pkt-rate`: seconds of the last event << 32 | count * 1000
};

// The conditions that a rule has, as far as it is known (note_conditions() in lib/filter/evaluate.h).
enum RuleCondition : uint8_t {
  kOnWhere = 1,       // interface, direction, or that it has not expired
  kOnKind = 2,        // family, protocol
  kOnAddresses = 4,   // either
  kOnFlags = 8,       // of TCP
  kOnReplies = 16,    // it makes states, which no answer to an ICMP query does
  kOnTransport = 32,  // ports, ICMP types, fragments
  kOnMore = 64,       // type of service, tag, where it was received, priority
  kOnAnything = 127,
};

// What becomes of a packet by a rule that holds and of which it is all there is to say (note_conditions()).
enum class Verdict : uint8_t {
  more,    // there is more to it
  drops,   // without an answer
  passes,  // without a state
  keeps,   // with a state, on which there is no limit
};

struct Rule {
  uint8_t conditions = kOnAnything;  // RuleCondition: nothing else need be asked
  bool only_decides = false;         // it passes or blocks, and nothing else happens when it matches
  bool only_ends = false;            // … but that evaluation ends with it (`quick`)
  bool only_says_so = false;         // … and when it is the one that holds: no log, no actions, no translation
  Verdict verdict = Verdict::more;
  bool counts_entries = false;  // it names a table that counts by entry: its packets take the long way
  Action action = Action::pass;
  Direction direction = Direction::both;
  bool quick = false;
  bool log = false;
  bool log_all = false;
  bool log_matches = false;
  bool any_interface = true;
  InterfaceSet interfaces;  // meaningful unless any_interface; negation is already resolved into the set
  Af af = Af::none;         // none: both
  uint8_t proto = 0;        // 0: any
  Endpoint from, to;
  int16_t icmp_type = -1;  // -1: any
  int16_t icmp_code = -1;
  uint8_t flags = 0, flag_mask = 0;  // TCP: (flags of the packet & flag_mask) == flags; mask 0 tests nothing
  bool fragment = false;             // only fragments that were not put together
  int16_t tos = -1;                  // tested without the ECN bits; -1: any
  int8_t prio = -1;                  // tested; -1: any
  uint32_t probability = 0;          // matches when a 32-bit draw is below; 0: always
  bool any_received_on = true;
  InterfaceSet received_on;  // where the packet came in; negation is already resolved
  TagId tag = 0;             // set by every match
  TagId tagged = 0;          // tested
  bool not_tagged = false;   // the test is negated
  bool once = false;
  RateLimit max_pkt_rate;
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
  Af af_to = Af::none;  // the other family, for af-to; nat_to.pool is its `from`
  Pool af_to_to;        // its `to`; empty: embedded in the `from`
  RouteOption route;
  StateLimits limits;
  PacketActions actions;
  std::shared_ptr<const inspect::Policy> inspect;  // null: nothing is looked for in its connections
  std::array<uint32_t, 20> timeouts{};             // seconds by TimeoutClass; 0: the global one
  std::string label;                               // macros expanded
  std::string interface_text;                      // as written, for printing: "lan", "!wan", "egress"
  std::string received_on_text;
  std::string inspect_text;           // its groups and what a match brings about, for printing
  std::string tag_text, tagged_text;  // names of the tags, macros expanded
  std::shared_ptr<RuleRuntime> runtime;

  // An anchor rule's own: the rules behind it up to `anchor_end` (a position) are inside.
  std::string anchor_name;  // as written; empty: unnamed
  std::string anchor_path;  // absolute; what it calls. Ends in "/*" for all children
  uint32_t anchor_end = 0;

  uint32_t number = kNoRuleNumber;    // in its own ruleset, as PF counts
  uint32_t position = kNoRuleNumber;  // in Ruleset::rules
  uint32_t origin = kNoRuleNumber;    // position of the first place where this rule stands: they share counters
  uint32_t anchor = kNoRuleNumber;    // position of the anchor rule around it; none in the main ruleset
  RuleSlot slot = kDefaultRuleSlot;
  uint64_t identity = 0;  // hash of everything that decides what the rule does

  // It stands here once more because its anchor is called from several places; whoever adds up counters leaves it out.
  [[nodiscard]] bool names_ports() const {
    return from.port.op != PortOperator::any || to.port.op != PortOperator::any;
  }
  [[nodiscard]] bool repeated() const { return origin != kNoRuleNumber && origin != position; }
};

// Rules in the order in which they are tried. What is inside an anchor stands behind its anchor rule, at every place
// where the anchor is called, so that evaluation is one walk forward.
struct Ruleset {
  std::vector<Rule> rules;
  std::vector<std::string> tags;               // name of tag id - 1
  std::vector<std::shared_ptr<Table>> tables;  // all that are declared or referred to
  // Of earlier rulesets, no longer tried: their states go on under their timeouts, limits and words.
  std::vector<Rule> retired;
  Rule default_rule = [] {
    Rule r;
    r.state = StateMode::none;
    return r;
  }();

  // Once every rule has its slot: makes find() know them, and those that are retired.
  void index_slots() {
    position_of_slot_.clear();
    const auto index = [this](RuleSlot slot, size_t position) {
      if (slot == kDefaultRuleSlot || slot >= kMaxRuleSlots) return;
      if (slot >= position_of_slot_.size()) position_of_slot_.resize(slot + 1u, kNoRuleNumber);
      position_of_slot_[slot] = static_cast<uint32_t>(position);
    };
    for (size_t i = 0; i < rules.size(); ++i) index(rules[i].slot, i);
    for (size_t i = 0; i < retired.size(); ++i) index(retired[i].slot, rules.size() + i);
  }
  // The rule that has the slot, wherever a reload has moved it, or had it; null when nothing is known of it.
  [[nodiscard]] const Rule* find(RuleSlot slot) const {
    if (slot >= position_of_slot_.size() || position_of_slot_[slot] == kNoRuleNumber) return nullptr;
    const size_t at = position_of_slot_[slot];
    return at < rules.size() ? &rules[at] : &retired[at - rules.size()];
  }

 private:
  std::vector<uint32_t> position_of_slot_;
};

}  // namespace twinwall
