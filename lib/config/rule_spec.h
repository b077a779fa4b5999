// A rule as written: lists not expanded yet, names resolved. Between the reader and the expansion of rules.
//
// Pointers to nodes are for messages and live as long as the document.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "lib/config/context.h"
#include "lib/config/node.h"
#include "lib/filter/rule.h"
#include "lib/state/timeouts.h"

namespace twinwall::config {

struct StateSpec {
  StateMode mode = StateMode::keep;
  bool sloppy = false;
  bool no_sync = false;
  std::optional<bool> if_bound;             // none: as the state policy says
  std::optional<SourceTrack> source_track;  // as written; settle_state() decides limits.track
  StateLimits limits;
  std::array<uint32_t, kTimeoutClasses> timeouts{};
};

// What the options say for rules that say nothing.
struct RuleDefaults {
  StateSpec state;
  StatePolicy state_policy = StatePolicy::floating;
  BlockReply block_policy = BlockReply::drop;
};

struct InterfaceSpec {
  bool any = false;
  InterfaceSet set;
  std::string text;
};

struct ProtocolSpec {
  uint8_t proto = 0;
  int16_t icmp_type = -1;
  int16_t icmp_code = -1;
  Af af = Af::none;      // the only family in which it occurs
  bool sets_af = false;  // the rule is narrowed to that family
};

struct EndpointSpec {
  std::vector<AddressMatch> addresses;
  std::vector<PortMatch> ports;
  const Node* addresses_at = nullptr;
  const Node* ports_at = nullptr;
};

// Addresses to choose from, of either family: each rule of the expansion takes those of its own.
struct PoolSpec {
  const Node* at = nullptr;  // null: not written
  std::vector<PoolEntry> entries;
  std::shared_ptr<const Table> table;
  std::optional<PoolType> type;  // none: as many addresses call for
  bool sticky = false;
  std::array<uint8_t, 16> key{};
  bool key_given = false;
};

struct TranslationSpec : PoolSpec {
  const Node* port_at = nullptr;
  uint16_t port_low = 0, port_high = 0;
  bool port_to_end = false;
  bool static_port = false;
};

struct ReplySpec {
  const Node* at = nullptr;
  BlockReply reply = BlockReply::drop;
  uint8_t ttl = 0;
  uint8_t icmp_code = 3;   // port unreachable
  uint8_t icmp6_code = 4;  // port unreachable
};

enum class RuleKind : uint8_t { pass, block, match, anchor, antispoof };

struct RuleSpec {
  const Node* at = nullptr;
  std::optional<RuleKind> kind;
  Direction direction = Direction::both;
  const Node* direction_at = nullptr;
  std::vector<InterfaceSpec> interfaces;
  const Node* interfaces_at = nullptr;
  bool quick = false;
  bool log = false, log_all = false, log_matches = false;
  Af af = Af::none;
  const Node* af_at = nullptr;
  std::vector<ProtocolSpec> protocols;
  const Node* protocols_at = nullptr;
  EndpointSpec from, to;
  bool has_flags = false;
  uint8_t flags = 0, flag_mask = 0;
  const Node* flags_at = nullptr;
  std::optional<StateSpec> state;
  const Node* state_at = nullptr;
  bool allow_opts = false;
  const Node* allow_opts_at = nullptr;
  ReplySpec reply;
  std::string label;
  const Node* label_at = nullptr;
  TranslationSpec nat_to, rdr_to, binat_to;
  Af af_to = Af::none;
  const Node* af_to_at = nullptr;
  TranslationSpec af_to_from;
  PoolSpec af_to_to;
  RouteKind route = RouteKind::none;
  PoolSpec route_pool;
  bool fragment = false;
  const Node* fragment_at = nullptr;
  int16_t tos = -1;
  int8_t prio = -1;
  uint32_t probability = 0;
  std::string tag, tagged;
  bool not_tagged = false;
  const Node* tagged_at = nullptr;
  std::optional<InterfaceSpec> received_on;
  bool once = false;
  const Node* once_at = nullptr;
  RateLimit max_pkt_rate;
  PacketActions actions;
  std::shared_ptr<const inspect::Policy> inspect;
  std::string inspect_text;
  const Node* inspect_at = nullptr;
  const Node* actions_at = nullptr;  // of set
  const Node* scrub_at = nullptr;
  std::string anchor_name;  // as written; may be empty when the rules stand inside
  const Node* name_at = nullptr;
  const Node* rules_at = nullptr;  // the rules inside
  std::string anchor_path;         // absolute, without a leading slash; what "name/*" stands for ends in "/*"
  std::vector<InterfaceId> antispoof_for;
  const Node* for_at = nullptr;
};

[[nodiscard]] inline const char* family_name(Af af) { return af == Af::inet ? "IPv4" : "IPv6"; }

// What ":network" of an interface leaves out: a network that is on every link says nothing (pf.conf(5)).
[[nodiscard]] inline bool is_link_network(const Prefix& p) { return p.af == Af::inet6 && is_link_local(p.af, p.addr); }

// "80" or a service name.
[[nodiscard]] std::optional<uint16_t> parse_port(std::string_view text);
// "lowdelay", or a number up to 255.
[[nodiscard]] std::optional<uint8_t> parse_tos(std::string_view text);

// What "name", a path or a path ending in "/*" means in the ruleset at `base`: without a leading slash, ".." resolved.
[[nodiscard]] std::string resolve_anchor(std::string_view base, std::string_view name);

// Decides who counts the sources, and returns what the options of a state demand of each other; empty when they agree.
[[nodiscard]] std::string settle_state(StateSpec& state);

// What the pieces of a rule demand of each other. Reports, and returns false when the rule cannot be expanded.
[[nodiscard]] bool check_rule(Context& c, const RuleSpec& rule);

// Appends the rules that a written rule stands for to the rules of `anchor` (an absolute path; empty: the main
// ruleset).
void expand_rule(Context& c, const RuleSpec& rule, const RuleDefaults& defaults, const std::string& anchor);

// Once everything is read: puts the rules of all anchors where they are called, gives every rule its position, and
// closes the tables. Fills c.config.rules.
void link_rules(Context& c);

// Warns of rules that decide nothing, because another one takes all that they match: an earlier one with `quick`, or a
// later one, which wins. After link_rules(). Only what is sure is told, and of very large rulesets only the first.
void warn_of_idle_rules(Context& c);

}  // namespace twinwall::config
