// What the parts of the replay of recorded PF behaviour share: packets, the state display, the rule display.
//
// Why: a recorded case is a ruleset and packets with what a kernel made of each. The case runs through the offline node
// (lib/scenario/node.h), and what comes out is put into the recording's own terms, so that comparing is comparing text
// and bytes. Numbers that a system draws (translated ports, echo ids) are bound on first sight, checked to be in range
// and put in place of the recorded ones afterwards.
//
// Readers throw what nlohmann::json throws for a file of another shape. Single-threaded.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/pfconf/pfconf.h"
#include "lib/scenario/node.h"

namespace twinwall::conformance::pf {

using nlohmann::json;
using Packets = std::vector<std::vector<uint8_t>>;  // without link header

// ---- pf_packets.cc

// A port or echo id that a translation drew for one flow: ours and the recorded one, on this address.
struct Binding {
  IpAddress address;
  IpAddress peer;
  uint16_t peer_port = 0;  // 0 of an echo
  bool echo = false;
  uint16_t recorded = 0;  // host order
  uint16_t own = 0;
};

class Bindings {
 public:
  // The rules whose draw is not determined.
  void learn_from(const Ruleset& rules);
  // Binds what two packets that should be the same show of a draw. An error when it is out of range.
  [[nodiscard]] std::string bind(const std::vector<uint8_t>& recorded, const std::vector<uint8_t>& own);
  // The packet with own values in place of recorded ones, or the other way; checksums follow.
  [[nodiscard]] std::vector<uint8_t> to_own(const std::vector<uint8_t>& packet) const { return swap(packet, true); }
  [[nodiscard]] std::vector<uint8_t> to_recorded(const std::vector<uint8_t>& packet) const {
    return swap(packet, false);
  }
  // For the state display: the recorded port or id in place of ours.
  [[nodiscard]] uint16_t recorded_value(const Binding& of_own) const;

 private:
  struct Draw {
    Prefix address;
    uint16_t low = 0, high = 0;
    bool echo_only = false;
  };
  [[nodiscard]] std::vector<uint8_t> swap(const std::vector<uint8_t>& packet, bool own) const;
  std::vector<Draw> draws_;
  std::vector<Binding> bindings_;
};

struct PacketMask {
  bool ipv4_id = false;      // and with it the header checksum
  bool made_here = false;    // IPv4: identification and checksum of the header, and of a quoted one
  bool fragment_id = false;  // IPv6
  bool options = false;      // IPv4, and with them the header checksum
};
// The fields that are not compared, zeroed.
[[nodiscard]] std::vector<uint8_t> masked(std::vector<uint8_t> packet, const PacketMask& mask);
// Empty, or what is wrong with the packet's own lengths and IPv4 header checksum.
[[nodiscard]] std::string damage(const std::vector<uint8_t>& packet);
// Hosts quote an IPv4 header as it lies in memory, its checksum not yet following the TTL or a translation; here it
// does. Puts the recorded checksums in place of ours where just that is the case.
[[nodiscard]] std::vector<uint8_t> with_recorded_quote_checksum(std::vector<uint8_t> own,
                                                                const std::vector<uint8_t>& recorded);
// What a host's own IP stack sends, filter or not: time exceeded, redirects.
[[nodiscard]] bool from_own_stack(const std::vector<uint8_t>& packet);
// What a host's own IP stack works on before it forwards: record route and timestamp options; router alert.
[[nodiscard]] bool has_stack_options(const std::vector<uint8_t>& packet);
// What it may take for itself instead: router alert and redirects (IPv6), timestamp and source route (IPv4).
[[nodiscard]] bool stack_takes(const std::vector<uint8_t>& packet);
[[nodiscard]] bool has_fragment_header(const std::vector<uint8_t>& packet);
// TCP flags, or nothing.
[[nodiscard]] std::optional<uint8_t> tcp_flags_of(const std::vector<uint8_t>& packet);
[[nodiscard]] bool is_icmp_error(const std::vector<uint8_t>& packet);
[[nodiscard]] IpAddress source_of(const std::vector<uint8_t>& packet);
[[nodiscard]] IpAddress destination_of(const std::vector<uint8_t>& packet);

// ---- pf_states.cc

struct ShownState {
  std::string text;  // keys, levels, windows, packets, bytes, flags, in one form for both sides
  long expires = -1;
  long rule = -1;
  long anchor = -1;
  friend bool operator<(const ShownState& a, const ShownState& b) { return a.text < b.text; }
};
[[nodiscard]] std::vector<ShownState> recorded_states(const json& lines);
// `shown`: the state with the recorded sequence numbers. `counters`: with packets, bytes and flags, where the recording
// has them.
[[nodiscard]] ShownState own_state(scenario::Node& node, const State& s, const State& shown, const Bindings& bindings,
                                   bool counters);
[[nodiscard]] uint32_t seconds_left(scenario::Node& node, const State& s);

// ---- pf_sources.cc

struct ShownSource {
  std::string text;  // all but the rate
  double rate = 0;
  unsigned seconds = 0;
  friend auto operator<=>(const ShownSource&, const ShownSource&) = default;
};
// Sorted, both.
[[nodiscard]] std::vector<ShownSource> recorded_sources(const json& lines);
[[nodiscard]] std::vector<ShownSource> own_sources(scenario::Node& node);
// What the tables hold that rules add to; sorted, as pfctl -T show prints it.
[[nodiscard]] std::vector<std::string> overload_entries(scenario::Node& node);

// ---- pf_rules.cc

// The kernel's loader reorders and drops equal rules, so rules are known by what they say.
class RuleMap {
 public:
  // `options`: the ruleset's own "set" lines, which the printed rules depend on.
  RuleMap(const std::string& options, const json& rules_after, const config::Config& config, pfconf::Dialect dialect);
  // Why the recorded rules could not be read; empty when they could.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  // A rule by its number, and by that of the anchor rule around it (kNoRuleNumber in the main ruleset).
  [[nodiscard]] const std::string& recorded(uint32_t anchor, uint32_t number) const;
  [[nodiscard]] std::string own(const Ruleset& rules, const Rule& rule) const;
  struct Counts {
    uint64_t packets = 0, bytes = 0, states = 0;
    bool compared = true;
    friend bool operator==(const Counts&, const Counts&) = default;
  };
  // By what the rule says.
  [[nodiscard]] const std::map<std::string, Counts>& counts() const { return counts_; }

 private:
  std::map<std::pair<uint32_t, uint32_t>, std::string> by_number_;
  std::map<std::string, Counts> counts_;
  std::string problem_;
};

}  // namespace twinwall::conformance::pf
