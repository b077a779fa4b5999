#include "lib/scenario/show.h"

#include "lib/filter/print.h"
#include "lib/scenario/checks.h"

namespace twinwall::scenario {

std::string shown(Show what, Subject& node) {
  std::string out;
  if (what == Show::states) {
    for (const State* s : node.states()) {
      const std::string rule = s->rule_number == kNoRuleNumber ? "default" : std::to_string(s->rule_number);
      out += print_state(*s, node.snapshot().interfaces) + "\n";
      out += "   age " + std::to_string(to_seconds(node.now()) - s->creation) + "s, expires in " +
             std::to_string(seconds_left(*s, node)) + "s, " + std::to_string(s->packets(0)) + ":" +
             std::to_string(s->packets(1)) + " pkts, " + std::to_string(s->bytes(0)) + ":" +
             std::to_string(s->bytes(1)) + " bytes, rule " + rule + "\n";
    }
  } else if (what == Show::rules) {
    for (const Rule& r : node.snapshot().rules.rules) {
      const RuleCounters& c = node.engine().counters().rules[r.slot];
      out += "@" + std::to_string(r.number) + " " + print_rule(r) + "\n";
      out += "  [ Evaluations: " + std::to_string(c.evaluations.get()) +
             "  Packets: " + std::to_string(c.packets[0].get() + c.packets[1].get()) +
             "  Bytes: " + std::to_string(c.bytes[0].get() + c.bytes[1].get()) +
             "  States: " + std::to_string(c.states.get()) + " ]\n";
    }
  } else {
    for (size_t i = 0; i < kDropReasons; ++i) {
      const uint64_t n = node.engine().counters().drops[i].get();
      if (n != 0) out += std::string(reason_name(static_cast<DropReason>(i))) + " " + std::to_string(n) + "\n";
    }
  }
  return out;
}

}  // namespace twinwall::scenario
