// A machine of a simulation as checks and displays of scenarios see it. Only while it is not off.
#pragma once

#include "control/simulation/world.h"
#include "lib/scenario/subject.h"

namespace twinwall::simulation {

class MachineSubject final : public scenario::Subject {
 public:
  MachineSubject(Machine& machine, const World& world) : machine_(machine), world_(world) {}

  const Snapshot& snapshot() const override { return machine_.node().snapshot(); }
  View view() const override { return machine_.plane().view(); }
  Engine& engine() override { return machine_.plane().engine(); }
  StateTable& table() override { return machine_.plane().table(); }
  Time now() const override { return machine_.local(world_.now()); }
  std::string label_of(RuleSlot slot) const override {
    for (const auto* rules : {&snapshot().rules.rules, &snapshot().rules.retired})
      for (const Rule& rule : *rules)
        if (rule.slot == slot) return rule.label;
    return "";
  }

 private:
  Machine& machine_;
  const World& world_;
};

}  // namespace twinwall::simulation
