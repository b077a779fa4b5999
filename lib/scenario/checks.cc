#include "lib/scenario/checks.h"

#include <algorithm>

#include "lib/config/values.h"
#include "lib/filter/table_change.h"

namespace twinwall::scenario {

namespace {

using Lines = std::vector<std::string>;

const std::string& name_of(InterfaceId id, const Subject& node) { return node.snapshot().interface(id).name; }

std::string reason_list(const std::vector<DropReason>& drops) {
  if (drops.empty()) return "nothing was dropped";
  std::string out = "dropped:";
  for (const DropReason r : drops) out += " " + std::string(reason_name(r));
  return out;
}

void check_packet(const ExpectedPacket& want, const Outcome::Output& got, const Subject& node, Bindings& bindings,
                  const std::string& which, Lines& out) {
  if (name_of(got.interface, node) != want.interface)
    out.push_back(which + " left on " + name_of(got.interface, node) + ", expected " + want.interface);
  if (!want.packet.raw.empty()) {
    if (want.packet.raw != got.frame) out.push_back(which + " is another frame");
    return;
  }
  for (const std::string& difference : compare_packet(want.packet, read_frame(got.frame), bindings))
    out.push_back(which + ": " + difference);
}

void check_packets(const std::vector<ExpectedPacket>& want, const Outcome& outcome, const Subject& node,
                   Bindings& bindings, Lines& out) {
  if (want.size() != outcome.outputs.size()) {
    out.push_back(std::to_string(want.size()) + " packets expected, " + std::to_string(outcome.outputs.size()) +
                  " came out");
    return;
  }
  for (size_t i = 0; i < want.size(); ++i) {
    const std::string which = want.size() == 1 ? "the packet" : "packet " + std::to_string(i + 1);
    check_packet(want[i], outcome.outputs[i], node, bindings, which, out);
  }
}

void check_drop(const Expectation& e, const Outcome& outcome, Lines& out) {
  if (e.none) {
    if (!outcome.outputs.empty()) out.push_back("something came out");
    if (!outcome.drops.empty()) out.push_back(reason_list(outcome.drops));
  }
  if (e.any_drop && outcome.drops.empty()) out.push_back("nothing was dropped");
  if (e.drop && std::find(outcome.drops.begin(), outcome.drops.end(), *e.drop) == outcome.drops.end())
    out.push_back(reason_list(outcome.drops) + ", expected " + std::string(reason_name(*e.drop)));
  if ((e.any_drop || e.drop) && !e.packets && !outcome.outputs.empty()) out.push_back("something came out");
}

// --- states ---

template <class T>
void differ(Lines& out, const std::string& what, const std::optional<T>& want, const T& got) {
  if (!want || *want == got) return;
  if constexpr (std::is_same_v<T, std::string>)
    out.push_back(what + " is " + got + ", expected " + *want);
  else if constexpr (std::is_same_v<T, uint64_t>)
    out.push_back(what + " is " + std::to_string(got) + ", expected " + std::to_string(*want));
  else
    out.push_back(what + " is " + std::to_string(got.first) + ":" + std::to_string(got.second) + ", expected " +
                  std::to_string(want->first) + ":" + std::to_string(want->second));
}

Lines state_differences(const ExpectedState& want, const State& s, Subject& node) {
  Lines out;
  const std::string line = print_state(s, node.snapshot().interfaces);
  if (want.key && line.find(*want.key) == std::string::npos) out.push_back("does not hold \"" + *want.key + "\"");
  differ(out, "levels", want.levels, print_levels(s));
  differ(out, "age", want.age, uint64_t{to_seconds(node.now()) - s.creation});
  differ(out, "expires", want.expires, seconds_left(s, node));
  differ(out, "rule", want.rule, uint64_t{s.rule_number});
  differ(out, "label", want.label, node.label_of(s.rule));
  differ(out, "packets", want.packets, std::pair{s.packets(0), s.packets(1)});
  differ(out, "bytes", want.bytes, std::pair{s.bytes(0), s.bytes(1)});
  return out;
}

std::string describe_state(const ExpectedState& s) {
  std::string out = "a state";
  const auto add = [&](const std::string& word, const std::string& value) { out += " " + word + " " + value; };
  const auto pair = [](const auto& p) { return std::to_string(p->first) + ":" + std::to_string(p->second); };
  if (s.key) out += " with \"" + *s.key + "\"";
  if (s.levels) add("levels", *s.levels);
  if (s.age) add("age", std::to_string(*s.age));
  if (s.expires) add("expires", std::to_string(*s.expires));
  if (s.rule) add("rule", std::to_string(*s.rule));
  if (s.label) add("label", *s.label);
  if (s.packets) add("packets", pair(s.packets));
  if (s.bytes) add("bytes", pair(s.bytes));
  return out;
}

// Each expected state needs one of its own.
void check_states(const Expectation& e, Subject& node, Lines& out) {
  const auto states = node.states();
  if (e.state_count && *e.state_count != states.size())
    out.push_back("there are " + std::to_string(states.size()) + " states, expected " + std::to_string(*e.state_count));
  std::vector<bool> used(states.size(), false);
  for (const ExpectedState& want : e.states) {
    size_t best = states.size();
    Lines fewest;
    for (size_t i = 0; i < states.size(); ++i) {
      if (used[i]) continue;
      Lines differences = state_differences(want, *states[i], node);
      if (best == states.size() || differences.size() < fewest.size()) {
        best = i;
        fewest = std::move(differences);
      }
      if (fewest.empty()) break;
    }
    if (best < states.size() && fewest.empty()) {
      used[best] = true;
      continue;
    }
    out.push_back("there is not " + describe_state(want));
    for (const std::string& d : fewest) out.push_back("  the nearest: " + d);
  }
  const bool failed = !out.empty() && (e.state_count || !e.states.empty());
  for (size_t i = 0; failed && i < states.size() && i < 20; ++i)
    out.push_back("  has " + print_state(*states[i], node.snapshot().interfaces));
}

// --- counters ---

uint64_t counter_value(const std::string& what, const RuleCounters& c) {
  if (what == "packets") return c.packets[0].get() + c.packets[1].get();
  if (what == "bytes") return c.bytes[0].get() + c.bytes[1].get();
  if (what == "states") return c.states.get();
  if (what == "evaluations") return c.evaluations.get();
  return c.creations.get();
}

void check_counter(const ExpectedCounter& want, Subject& node, Lines& out) {
  const EngineCounters& counters = node.engine().counters();
  const auto compare = [&](const std::string& what, uint64_t value, uint64_t expected) {
    if (value != expected)
      out.push_back(what + " is " + std::to_string(value) + ", expected " + std::to_string(expected));
  };
  if (want.reason)
    return compare("the counter of " + std::string(reason_name(*want.reason)),
                   counters.drops[static_cast<size_t>(*want.reason)].get(), want.values.at("value"));
  const auto rules = rules_named(*want.rule, node);
  if (rules.empty()) {
    out.push_back("there is no rule " + *want.rule);
    return;
  }
  for (const auto& [what, expected] : want.values) {
    uint64_t sum = 0;
    for (const Rule* rule : rules)
      if (!rule->repeated()) sum += counter_value(what, counters.rules[rule->slot]);
    compare(what + " of rule " + *want.rule, sum, expected);
  }
}

// --- logs ---

std::string describe_log(const LogRecord& l, const Subject& node) {
  static constexpr const char* kActions[] = {"pass", "block", "match"};
  const std::string rule = l.rule_number == kNoRuleNumber ? "default" : std::to_string(l.rule_number);
  return "logged: rule " + rule + "/" + std::string(reason_name(l.reason)) + " " +
         kActions[static_cast<size_t>(l.action)] + (l.direction == Direction::in ? " in on " : " out on ") +
         name_of(l.interface, node) + (l.rewritten ? ", translated" : "") +
         (l.inspected ? ", signature " + std::to_string(l.signature) + " of " + l.group + ": " + l.message : "");
}

bool log_fits(const ExpectedLog& want, const LogRecord& got, const Subject& node) {
  if (want.action && *want.action != got.action) return false;
  if (want.direction && *want.direction != got.direction) return false;
  if (want.interface && *want.interface != name_of(got.interface, node)) return false;
  if (want.reason && *want.reason != got.reason) return false;
  if (want.rewritten && *want.rewritten != got.rewritten) return false;
  if (want.signature && !(got.inspected && *want.signature == got.signature)) return false;
  if (want.group && *want.group != got.group) return false;
  if (want.message && *want.message != got.message) return false;
  if (!want.rule) return true;
  const auto rules = rules_named(*want.rule, node);
  return std::any_of(rules.begin(), rules.end(), [&](const Rule* r) { return r->number == got.rule_number; });
}

void check_logs(const Expectation& e, const Outcome& outcome, const Subject& node, Lines& out) {
  if (e.logs.empty()) return;
  if (e.logs.front().none) {
    for (const LogRecord& l : outcome.logs) out.push_back(describe_log(l, node) + ", expected no log");
    return;
  }
  if (e.logs.size() != outcome.logs.size()) {
    out.push_back(std::to_string(outcome.logs.size()) + " packets were logged, expected " +
                  std::to_string(e.logs.size()));
    return;
  }
  for (size_t i = 0; i < e.logs.size(); ++i)
    if (!log_fits(e.logs[i], outcome.logs[i], node))
      out.push_back(describe_log(outcome.logs[i], node) + " does not fit");
}

// --- tables ---

std::string list(const std::vector<TableEntry>& entries) {
  Lines texts;
  for (const TableEntry& e : entries) texts.push_back(to_string(e));
  std::sort(texts.begin(), texts.end());
  std::string out;
  for (const std::string& t : texts) out += (out.empty() ? "" : " ") + t;
  return out.empty() ? "nothing" : out;
}

constexpr const char* kFateNames[] = {"block", "match", "pass"};

std::string counted_text(const ExpectedTable::Counted& c, uint64_t packets) {
  return to_string(c.entry) + " " + (c.out ? "out-" : "in-") + kFateNames[c.fate] + "=" + std::to_string(packets);
}

void check_counted(const ExpectedTable& want, const TableContent& content, Lines& out) {
  for (const ExpectedTable::Counted& c : want.counted) {
    const EntryCounts::Number n = content.number_of(c.entry);
    if (n == EntryCounts::kNone) {
      out.push_back("table " + want.table + " does not count by " + to_string(c.entry));
      continue;
    }
    const uint64_t has = content.counts()->traffic(n).packets[c.out ? 1 : 0][c.fate];
    if (has != c.packets) out.push_back("table " + want.table + " counts " + counted_text(c, has));
  }
}

void check_table(const ExpectedTable& want, const Subject& node, Lines& out) {
  for (const auto& table : node.snapshot().rules.tables) {
    if (table->name() != want.table) continue;
    if (!want.counted.empty()) return check_counted(want, *table->content(), out);
    const std::vector<TableEntry> has = all_entries(*table->content());
    if (want.count && *want.count == has.size()) return;
    if (!want.count && list(want.entries) == list(has)) return;
    out.push_back("table " + want.table + " holds " + list(has));
    return;
  }
  out.push_back("there is no table " + want.table);
}

constexpr const char* kPuntNames[] = {"arp", "neighbor-discovery", "carp", "pfsync", "bfd", "unresolved"};

}  // namespace

uint64_t seconds_left(const State& s, Subject& node) {
  const Snapshot& snapshot = node.snapshot();
  const Timeouts* own = nullptr;
  for (const Rule& r : snapshot.rules.rules)
    if (r.slot == s.rule) own = &r.timeouts;
  const uint64_t of_rule = node.engine().counters().rules[s.rule].states.get();
  const uint64_t end =
      s.last_update + scaled_timeout(s.timeout, snapshot.timeouts, own, node.table().states(), of_rule);
  const uint64_t now = to_seconds(node.now());
  return end > now ? end - now : 0;
}

std::vector<const Rule*> rules_named(const std::string& name, const Subject& node) {
  std::vector<const Rule*> out;
  const auto number = config::parse_number(name);
  for (const Rule& rule : node.snapshot().rules.rules)
    if (number ? rule.number == *number : rule.label == name) out.push_back(&rule);
  return out;
}

std::vector<std::string> check_expectation(const Expectation& e, const Outcome& outcome, Subject& node,
                                           Bindings& bindings) {
  Lines out;
  check_drop(e, outcome, out);
  if (e.packets) check_packets(*e.packets, outcome, node, bindings, out);
  Lines states;
  check_states(e, node, states);
  out.insert(out.end(), states.begin(), states.end());
  for (const ExpectedCounter& c : e.counters) check_counter(c, node, out);
  check_logs(e, outcome, node, out);
  for (const ExpectedTable& t : e.tables) check_table(t, node, out);
  if (e.punt && std::find(outcome.punts.begin(), outcome.punts.end(), *e.punt) == outcome.punts.end())
    out.push_back(std::string("not taken by the node's ") + kPuntNames[static_cast<size_t>(*e.punt)]);
  return out;
}

std::vector<std::string> check_frames(const Outcome& outcome, const Expectation* expected) {
  Lines out;
  for (size_t i = 0; i < outcome.outputs.size(); ++i) {
    const bool bad_expected =
        expected != nullptr && expected->packets && i < expected->packets->size() && (*expected->packets)[i].bad_sum;
    const std::string wrong = verify_frame(outcome.outputs[i].frame);
    if (bad_expected && wrong == "wrong transport checksum") continue;
    if (bad_expected)
      out.push_back("packet " + std::to_string(i + 1) + " that came out has a good checksum, expected a bad one");
    else if (!wrong.empty())
      out.push_back("packet " + std::to_string(i + 1) + " that came out is broken: " + wrong);
  }
  return out;
}

std::vector<std::string> describe(const Outcome& outcome, const Subject& node) {
  Lines out;
  for (const auto& o : outcome.outputs)
    out.push_back(name_of(o.interface, node) + ": " + print_packet(read_frame(o.frame)));
  if (!outcome.drops.empty()) out.push_back(reason_list(outcome.drops));
  for (const Punt p : outcome.punts)
    out.push_back(std::string("taken by the node: ") + kPuntNames[static_cast<size_t>(p)]);
  for (const LogRecord& l : outcome.logs) out.push_back(describe_log(l, node));
  if (out.empty()) out.emplace_back("nothing");
  return out;
}

std::vector<std::string> describe(const Expectation& e) {
  static constexpr const char* kRoleNames[] = {"init", "backup", "master"};
  Lines out;
  for (const auto& [vhid, role] : e.roles)
    out.push_back("vhid " + std::to_string(vhid) + " " + kRoleNames[static_cast<size_t>(role)]);
  for (const NodeExpectation& n : e.nodes)
    for (const std::string& line : describe(n.expected)) out.push_back(n.node + ": " + line);
  if (e.none) out.emplace_back("nothing out, nothing dropped");
  if (e.any_drop) out.emplace_back("a drop");
  if (e.drop) out.push_back("a drop: " + std::string(reason_name(*e.drop)));
  if (e.packets)
    for (const auto& p : *e.packets) out.push_back(p.interface + ": " + print_packet(p.packet));
  if (e.state_count) out.push_back(std::to_string(*e.state_count) + " states");
  for (const auto& s : e.states) out.push_back(describe_state(s));
  for (const auto& c : e.counters) {
    std::string line = c.reason ? "counter of " + std::string(reason_name(*c.reason)) : "counters of rule " + *c.rule;
    for (const auto& [what, value] : c.values) line += " " + what + "=" + std::to_string(value);
    out.push_back(line);
  }
  for (const auto& l : e.logs) out.emplace_back(l.none ? "no log" : "a log record");
  for (const auto& t : e.tables) {
    for (const auto& c : t.counted) out.push_back("table " + t.table + ": " + counted_text(c, c.packets));
    if (t.counted.empty())
      out.push_back("table " + t.table + ": " + (t.count ? std::to_string(*t.count) + " entries" : list(t.entries)));
  }
  if (e.punt) out.push_back(std::string("taken by the node: ") + kPuntNames[static_cast<size_t>(*e.punt)]);
  return out;
}

}  // namespace twinwall::scenario
