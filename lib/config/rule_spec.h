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
  std::optional<bool> if_bound;  // none: as the state policy says
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

struct TranslationSpec {
  const Node* at = nullptr;  // null: not written
  const Node* port_at = nullptr;
  std::vector<IpAddress> addresses;  // at most one a family
  // Interfaces that have several addresses of a family; wrong only where the rule covers that family.
  struct Ambiguous {
    const Node* at;
    InterfaceId interface;
    Af af;
  };
  std::vector<Ambiguous> ambiguous;
  uint16_t port_low = 0, port_high = 0;
  bool static_port = false;
};

struct ReplySpec {
  const Node* at = nullptr;
  BlockReply reply = BlockReply::drop;
  uint8_t ttl = 0;
  uint8_t icmp_code = 3;   // port unreachable
  uint8_t icmp6_code = 4;  // port unreachable
};

enum class RuleKind : uint8_t { pass, block, match, antispoof };

struct RuleSpec {
  const Node* at = nullptr;
  std::optional<RuleKind> kind;
  Direction direction = Direction::both;
  const Node* direction_at = nullptr;
  std::vector<InterfaceSpec> interfaces;
  const Node* interfaces_at = nullptr;
  bool quick = false;
  bool log = false, log_all = false;
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
  std::vector<InterfaceId> antispoof_for;
  const Node* for_at = nullptr;
};

[[nodiscard]] inline const char* family_name(Af af) { return af == Af::inet ? "IPv4" : "IPv6"; }

// The parts of a rule that have a grammar of their own. Each reports what it cannot read.
// An address, network, range or interface's addresses; a list of them. Also counts negated elements.
void read_hosts(Context& c, const Node& node, std::string_view what, EndpointSpec& out);
void read_ports(Context& c, const Node& node, EndpointSpec& out);
// "80" or a service name.
[[nodiscard]] std::optional<uint16_t> parse_port(std::string_view text);
void read_protocols(Context& c, const Node& node, RuleSpec& rule);
void read_state(Context& c, const Node& node, std::string_view what, StateSpec& state);
void read_reply(Context& c, const Node& node, ReplySpec& reply);
void read_nat_to(Context& c, const Node& node, TranslationSpec& out);
void read_rdr_to(Context& c, const Node& node, TranslationSpec& out);
void read_binat_to(Context& c, const Node& node, TranslationSpec& out);

// What the pieces of a rule demand of each other. Reports, and returns false when the rule cannot be expanded.
[[nodiscard]] bool check_rule(Context& c, const RuleSpec& rule);

// Appends the rules that a written rule stands for.
void expand_rule(Context& c, const RuleSpec& rule, const RuleDefaults& defaults, Ruleset& out);

}  // namespace twinwall::config
