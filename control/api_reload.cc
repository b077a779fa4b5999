#include "control/api_reload.h"

#include <fmt/chrono.h>
#include <spdlog/spdlog.h>

#include <ctime>

#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"

namespace twinwall {
namespace {

constexpr int kRefused = 422;
constexpr size_t kStatesShown = 20;
constexpr size_t kLongestWait = 86400;  // seconds

Json changes_json(const config::Difference& d) {
  static constexpr const char* kWords[] = {"removed", "added", "moved"};
  Json rules = Json::array(), settings = Json::array();
  for (const config::RuleChange& c : d.rules) {
    Json j = {{"change", kWords[static_cast<size_t>(c.kind)]}, {"place", c.place}, {"rule", c.text}};
    if (!c.was.empty()) j["was"] = c.was;
    rules.push_back(std::move(j));
  }
  for (const config::SettingChange& c : d.settings) {
    Json j = {{"key", c.key}};
    if (!c.before.empty()) j["before"] = c.before;
    if (!c.after.empty()) j["after"] = c.after;
    settings.push_back(std::move(j));
  }
  return {{"rules", std::move(rules)}, {"rules_kept", d.rules_kept}, {"settings", std::move(settings)}};
}

std::string why(const AffectedStates& affected, const StateRow& row) {
  const AffectedStates::Verdict v = affected.judge(row);
  if (v.by == nullptr) return "its rule goes away";
  return "blocked by rule " + rule_place(affected.rules(), *v.by) + ": " + print_rule(*v.by);
}

Json affected_json(const RuleNames& names, const AffectedStates& affected, const StateAnswer& answer, bool killed) {
  Json states = show_states(names, answer)["states"];
  for (size_t i = 0; i < states.size(); ++i) states[i]["why"] = why(affected, answer.rows[i]);
  return {{"count", answer.count}, {"complete", answer.complete}, {"killed", killed}, {"states", std::move(states)}};
}

}  // namespace

Answer reload_answer(const Node& node, const ReloadResult& result) {
  return {
      result.ok ? 200 : kRefused,
      {{"ok", result.ok}, {"generation", node.snapshot().generation}, {"diagnostics", to_json(result.diagnostics)}}};
}

void answer_reload_both(Node& node, const ReloadOrder& order, bool dry_run, const Respond& reply) {
  node.reload_both(EventLoop::now(), order, dry_run, [&node, order, dry_run, reply](ReloadResult&& result) {
    Answer answer = reload_answer(node, result);
    answer.body["dry_run"] = dry_run;
    answer.body["partly"] = result.partly;
    if (result.ok && order.confirm.count() != 0) answer.body["confirm_within"] = order.confirm.count();
    if (result.changes) answer.body["changes"] = changes_json(*result.changes);
    reply(std::move(answer));
  });
}

void answer_reload(Node& node, Words words, const Respond& reply) {
  const bool dry_run = take_flag(words, "dry-run"), kill = take_flag(words, "kill-affected"),
             both = take_flag(words, "both");
  size_t confirm = 0;
  std::string problem;
  if (!take_number(words, "confirm", kLongestWait, confirm, problem)) return reply(error_answer(400, problem));
  if (!words.empty())
    return reply(error_answer(400, words[0].first + ": reload knows dry-run, kill-affected, confirm and both"));
  if (confirm != 0 && (dry_run || kill))
    return reply(error_answer(400,
                              "confirm goes neither with dry-run nor with kill-affected: killed states do not come "
                              "back"));
  if (both && kill)
    return reply(error_answer(400, "both does not go with kill-affected: reload first, and then kill states here"));
  const ReloadOrder order{kill, std::chrono::seconds(confirm)};
  if (both) return answer_reload_both(node, order, dry_run, reply);
  ReloadResult result = dry_run ? node.rehearse_reload() : node.reload(EventLoop::now(), order);
  Answer answer = reload_answer(node, result);
  answer.body["dry_run"] = dry_run;
  if (result.ok && confirm != 0) answer.body["confirm_within"] = confirm;
  if (result.changes) answer.body["changes"] = changes_json(*result.changes);
  if (!kill || result.affected == nullptr) return reply(std::move(answer));
  const auto done = [reply, answer, affected = result.affected, names = rule_names(node),
                     dry_run](StateAnswer&& found) mutable {
    if (!dry_run) spdlog::info("reload: {} states killed that the rules do not pass any more", found.count);
    answer.body["affected"] = affected_json(names, *affected, found, !dry_run);
    reply(std::move(answer));
  };
  if (node.affected_states(EventLoop::now(), result.affected, !dry_run, kStatesShown, done)) return;
  answer.body["affected"] = {{"count", 0}, {"complete", false}, {"killed", false}, {"states", Json::array()}};
  reply(std::move(answer));
}

void answer_confirm(Node& node, const Respond& reply) {
  const auto confirmed = [reply](const std::vector<config::Diagnostic>& problems) {
    reply({200, {{"confirmed", true}, {"diagnostics", to_json(problems)}}});
  };
  if (!node.confirm(confirmed)) reply(error_answer(404, "no reload waits to be confirmed"));
}

void answer_rollback(Node& node, Words words, const Respond& reply) {
  size_t steps = 1;
  std::string problem;
  if (!take_number(words, "steps", History::kKept, steps, problem)) return reply(error_answer(400, problem));
  if (!words.empty()) return reply(error_answer(400, words[0].first + ": rollback knows steps"));
  reply(reload_answer(node, node.rollback(EventLoop::now(), steps)));
}

Json show_history(const Node& node, Time now) {
  Json entries = Json::array();
  size_t steps = 0;
  for (const HistoryEntry& e : node.history()) {
    const auto time = static_cast<time_t>(e.time);
    std::tm utc{};
    gmtime_r(&time, &utc);
    entries.push_back({{"id", e.id},
                       {"steps", steps},
                       {"time", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", utc)},
                       {"by", e.by},
                       {"rules", e.rules},
                       {"configuration", e.configuration},
                       {"in_force", steps == 0}});
    ++steps;
  }
  Json out = {{"history", std::move(entries)}};
  if (const auto left = node.unconfirmed(now))
    out["confirm_within"] = std::chrono::ceil<std::chrono::seconds>(*left).count();
  return out;
}

}  // namespace twinwall
