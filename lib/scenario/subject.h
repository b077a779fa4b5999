// What checks and explanations ask of a node, be it the one of a scenario or one of a simulated pair.
#pragma once

#include <string>
#include <vector>

#include "lib/base/time.h"
#include "lib/engine/engine.h"

namespace twinwall::scenario {

class Subject {
 public:
  virtual ~Subject() = default;
  [[nodiscard]] virtual const Snapshot& snapshot() const = 0;
  [[nodiscard]] virtual View view() const = 0;
  [[nodiscard]] virtual Engine& engine() = 0;
  [[nodiscard]] virtual StateTable& table() = 0;
  [[nodiscard]] virtual Time now() const = 0;
  // Of the rule that has or had this slot; empty without a label.
  [[nodiscard]] virtual std::string label_of(RuleSlot slot) const = 0;

  // Those in the table, in order of their ids.
  [[nodiscard]] std::vector<const State*> states();
};

}  // namespace twinwall::scenario
