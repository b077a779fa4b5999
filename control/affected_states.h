// Which of the states that live a new ruleset would not have: their rule is gone, or the packet that made them would be
// blocked now.
//
// That packet is asked about as far as the state remembers it: hook, interface, addresses and ports, protocol, ICMP
// type, tag, and of TCP a SYN. What it does not remember is taken as usual (no type of service, priority 3). Where it
// was made, or came in, is not known of a state of the peer: then one interface on which it passes is enough.
//
// Pure, control thread.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/state_query.h"
#include "lib/engine/snapshot.h"

namespace twinwall {

class AffectedStates {
 public:
  // `gone`: slots of the rules that the ruleset does not have any more.
  AffectedStates(std::shared_ptr<const Snapshot> snapshot, const std::vector<RuleSlot>& gone);

  enum class Fate : uint8_t { stays, rule_gone, blocked };
  struct Verdict {
    Fate fate = Fate::stays;
    const Rule* by = nullptr;  // of blocked: the rule that blocks; lives as long as the snapshot
  };
  [[nodiscard]] Verdict judge(const StateRow& row) const;
  [[nodiscard]] const Ruleset& rules() const { return snapshot_->rules; }

 private:
  [[nodiscard]] const Rule* blocked_by(const StateRow& row, InterfaceId interface, InterfaceId received_on) const;

  std::shared_ptr<const Snapshot> snapshot_;
  std::set<RuleSlot> gone_;
  bool asks_received_on_ = false;  // any rule
};

}  // namespace twinwall
