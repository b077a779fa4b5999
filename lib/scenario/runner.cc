#include "lib/scenario/runner.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "lib/config/document.h"
#include "lib/config/load.h"
#include "lib/config/values.h"
#include "lib/filter/names.h"
#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"
#include "lib/scenario/checks.h"
#include "lib/scenario/explain.h"
#include "lib/scenario/send_frame.h"
#include "lib/scenario/show.h"

namespace twinwall::scenario {

namespace {

using Lines = std::vector<std::string>;

class Runner {
 public:
  explicit Runner(const Scenario& s) : scenario_(s) {}

  RunResult run() {
    result_.name = scenario_.name;
    auto config = load(scenario_.config);
    if (!config) {
      result_.passed = false;
      return std::move(result_);
    }
    node_ = std::make_unique<Node>(std::move(*config));
    begin_count(scenario_.config, scenario_.config_line);
    set_roles(scenario_.roles, scenario_.config_line);
    for (const Step& step : scenario_.steps) run_step(step);
    end_count();
    result_.passed = result_.report.empty();
    return std::move(result_);
  }

 private:
  // A problem with the place of the step and what belongs to it below.
  void fail(int line, const std::string& what, const Lines& details = {}) {
    result_.report += scenario_.file + ":" + std::to_string(line) + ": " + what + "\n";
    for (const std::string& d : details) result_.report += "    " + d + "\n";
  }

  std::optional<config::Config> load(const ConfigSource& source) {
    auto loaded = source.path.empty() ? config::load_text(source.text, scenario_.file, scenario_.directory)
                                      : config::load_file(source.path);
    if (!loaded.ok()) {
      result_.report += config::to_string(loaded.diagnostics);
      return std::nullopt;
    }
    result_.shown += config::to_string(loaded.diagnostics);
    return std::move(loaded.config);
  }

  // --- which rules were of use ---

  uint64_t packets_of(const Rule& rule) const {
    const RuleCounters& c = node_->engine().counters().rules[rule.slot];
    return c.packets[0].get() + c.packets[1].get();
  }

  // A rule that a reload keeps goes on counting: what it counted before is not this configuration's.
  void begin_count(const ConfigSource& source, int line) {
    configuration_ = source.path.empty() ? scenario_.file + ":" + std::to_string(line) : source.path;
    counted_.clear();
    for (const Rule& rule : node_->snapshot().rules.rules) counted_[rule.slot] = packets_of(rule);
  }

  void end_count() {
    const Ruleset& rules = node_->snapshot().rules;
    for (const Rule& rule : rules.rules)
      if (!rule.repeated() && rule.action != Action::anchor)
        result_.rules.push_back({configuration_, rule_place(rules, rule), print_rule(rule), rule.identity,
                                 packets_of(rule) != counted_[rule.slot]});
  }

  const config::Interface* interface_named(const std::string& name, int line) {
    const auto* i = node_->config().find_interface(name);
    if (i == nullptr) fail(line, "there is no interface '" + name + "'");
    return i;
  }

  void set_roles(const Roles& roles, int line) {
    for (const auto& [vhid, master] : roles)
      if (!node_->set_role(vhid, master)) fail(line, "there is no vhid " + std::to_string(vhid));
  }

  // --- what happens ---

  void act(std::monostate, const Step&) {}
  void act(const Duration& by, const Step&) { node_->advance(by); }
  void act(const Roles& roles, const Step& step) { set_roles(roles, step.line); }
  void act(const Show& what, const Step&) { result_.shown += shown(what, *node_); }
  // Of two nodes: not here, and refused when it was read.
  void act(const std::vector<Happening>&, const Step&) {}
  void act(const std::vector<LinkChange>&, const Step&) {}
  void act(const RandomSteps&, const Step&) {}

  void act(const ConfigSource& source, const Step& step) {
    auto config = load(source);
    if (!config) return fail(step.line, "the new configuration cannot be used");
    end_count();
    node_->reload(std::move(*config));
    begin_count(source, step.line);
  }

  void act(const std::vector<Send>& sends, const Step& step) {
    outcome_ = {};
    why_.clear();
    sent_.clear();
    for (const Send& send : sends) {
      const auto* interface = interface_named(send.interface, step.line);
      if (interface == nullptr) return;
      const auto frame = made_of(send, interface->id, step);
      if (!frame) return;
      const auto pieces = pieces_of(send, *frame);
      if (sends.size() == 1) why_ = explain(*node_, interface->id, pieces.size() == 1 ? pieces.front() : *frame);
      for (unsigned i = 0; i < send.times; ++i)
        for (const auto& piece : pieces) merge(node_->inject(interface->id, piece));
    }
  }

  std::optional<std::vector<uint8_t>> made_of(const Send& send, InterfaceId interface, const Step& step) {
    auto frame = frame_of(send, bindings_, [&](const IpAddress& to) { return node_->target_mac(interface, to); });
    if (const auto* problem = std::get_if<std::string>(&frame)) {
      fail(step.line, *problem, {describe(send)});
      return std::nullopt;
    }
    sent_ += (sent_.empty() ? "" : "; ") + describe(send);
    return std::get<std::vector<uint8_t>>(std::move(frame));
  }

  void merge(Outcome more) {
    for (auto& o : more.outputs) outcome_.outputs.push_back(std::move(o));
    outcome_.drops.insert(outcome_.drops.end(), more.drops.begin(), more.drops.end());
    outcome_.punts.insert(outcome_.punts.end(), more.punts.begin(), more.punts.end());
    outcome_.logs.insert(outcome_.logs.end(), more.logs.begin(), more.logs.end());
  }

  void act(const TableStep& tables, const Step& step) {
    for (const TableStep::Change& change : tables.changes) {
      const std::string problem = node_->change_table(change);
      if (!problem.empty()) return fail(step.line, problem);
    }
  }

  void act(const Kill& kill, const Step& step) {
    StateFilter filter;
    std::vector<RuleSlot> slots;
    for (const auto& [word, value] : kill.filter) {
      const std::string problem = add_to_filter(word, value, filter, slots);
      if (!problem.empty()) return fail(step.line, problem);
    }
    if (slots.empty()) {
      (void)node_->kill(filter);
      return;
    }
    filter.has_rule = true;
    for (const RuleSlot slot : slots) {
      filter.rule = slot;
      (void)node_->kill(filter);
    }
  }

  std::string add_to_filter(const std::string& word, const std::string& value, StateFilter& f,
                            std::vector<RuleSlot>& slots) {
    const std::string bad = "'" + value + "' is no " + word + " of a state";
    if (word == "src" || word == "dst") {
      const auto prefix = parse_prefix(value);
      if (!prefix) return bad;
      (word == "src" ? f.src : f.dst) = *prefix;
      (word == "src" ? f.has_src : f.has_dst) = true;
      return "";
    }
    if (word == "proto") {
      const auto proto = protocol_by_name(value);
      if (!proto) return bad;
      f.proto = *proto;
      return "";
    }
    if (word == "interface") {
      const auto* i = node_->config().find_interface(value);
      if (i == nullptr) return bad;
      f.interface = i->id;
      return "";
    }
    if (word == "label" || word == "rule") {
      slots = word == "label" ? node_->slots_labelled(value) : std::vector<RuleSlot>{};
      if (word == "rule")
        for (const Rule* rule : rules_named(value, *node_)) slots.push_back(rule->slot);
      return slots.empty() ? "there is no rule " + value : "";
    }
    const auto number = config::parse_number(value);
    if (!number || (word == "port" && (*number == 0 || *number > 65535))) return bad;
    if (word == "port") {
      f.port = static_cast<uint16_t>(*number);
    } else {
      f.id = *number;
      f.has_id = true;
    }
    return "";
  }

  // --- what was expected ---

  void run_step(const Step& step) {
    const size_t before = result_.report.size();
    std::visit([&](const auto& action) { act(action, step); }, step.action);
    if (result_.report.size() != before) return;
    const Expectation* expected = step.expect ? &*step.expect : nullptr;
    const bool sent = std::holds_alternative<std::vector<Send>>(step.action);
    Lines wrong;
    if (expected != nullptr) wrong = check_expectation(*expected, outcome_, *node_, bindings_);
    if (sent)
      for (std::string& line : check_frames(outcome_, expected)) wrong.push_back(std::move(line));
    if (!wrong.empty()) report(step, expected, wrong);
  }

  void report(const Step& step, const Expectation* expected, const Lines& wrong) {
    Lines details;
    const auto add = [&](const char* title, const Lines& lines) {
      for (size_t i = 0; i < lines.size(); ++i) details.push_back((i == 0 ? title : "              ") + lines[i]);
    };
    if (!sent_.empty()) add("sent:         ", {sent_});
    if (expected != nullptr) add("expected:     ", describe(*expected));
    add("came out:     ", describe(outcome_, *node_));
    add("difference:   ", wrong);
    add("why:          ", why_);
    fail(expected != nullptr ? expected->line : step.line, "not as expected", details);
  }

  const Scenario& scenario_;
  std::unique_ptr<Node> node_;
  Bindings bindings_;
  Outcome outcome_;  // of the last send
  std::string sent_;
  Lines why_;
  RunResult result_;
  std::string configuration_;             // in force
  std::map<RuleSlot, uint64_t> counted_;  // packets when it came into force
};

RunResult unreadable(const std::string& path, std::string report) {
  RunResult out;
  out.name = path;
  out.report = std::move(report);
  return out;
}

}  // namespace

RunResult run_scenario(const Scenario& scenario) { return Runner(scenario).run(); }

std::variant<Scenario, RunResult> load_scenario(const std::string& path) {
  std::string text, problem;
  if (!config::read_whole_file(path, text, problem)) return unreadable(path, path + ": " + problem + "\n");
  auto read = read_scenario(text, path, std::filesystem::path(path).parent_path().string());
  if (const auto* problems = std::get_if<std::vector<config::Diagnostic>>(&read))
    return unreadable(path, config::to_string(*problems));
  return std::get<Scenario>(std::move(read));
}

RunResult run_scenario_file(const std::string& path) {
  auto loaded = load_scenario(path);
  if (auto* unread = std::get_if<RunResult>(&loaded)) return std::move(*unread);
  const Scenario& scenario = std::get<Scenario>(loaded);
  if (scenario.is_pair()) return unreadable(path, path + ": two nodes need a network between them\n");
  return run_scenario(scenario);
}

}  // namespace twinwall::scenario
