// Why a packet fares as it does: the state or the rules that meet it at each hook, and the way between. For people.
//
// Changes nothing: no counter, no state, no rule with `once` or a rate. What is chosen only when a connection begins
// (an address of many, a port) is told as such; the way goes on with the first address.
//
// Pure. Whoever asks says which states there are.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/engine/snapshot.h"
#include "lib/state/flow_key.h"

namespace twinwall {

struct FoundState {
  FlowKey wire, stack;
  Direction direction = Direction::in;
  bool crosses = false;  // af-to: it goes on in the other family, unfiltered
  RuleSlot rule = kDefaultRuleSlot;
  std::string text;
};

struct ExplainWorld {
  const Snapshot* snapshot = nullptr;
  const CarpRoles* roles = nullptr;  // null: master of everything
  // The state that has this key on this side, for packets of the interface.
  std::function<std::optional<FoundState>(const FlowKey& key, Side side, InterfaceId interface)> state;
  // What is known of a neighbour, "reachable, 02:…"; may be null: not told.
  std::function<std::string(InterfaceId interface, const IpAddress& address)> neighbor;
};

// How much is told of the rules.
enum class ExplainRules : uint8_t {
  deciding,  // one line a hook
  matching,  // those that match, what is changed, and the state that would be made
  all,       // and of every other what does not fit
};

// A frame that comes in on an interface, line by line; lines that belong to the one before begin with two spaces.
[[nodiscard]] std::vector<std::string> explain(const ExplainWorld& world, InterfaceId interface,
                                               const std::vector<uint8_t>& frame, ExplainRules rules);

// "rule 3: block drop in all"
[[nodiscard]] std::string describe_rule(const Ruleset& ruleset, const Rule& rule);

}  // namespace twinwall
