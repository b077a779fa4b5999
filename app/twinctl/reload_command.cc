#include "app/twinctl/reload_command.h"

#include <fmt/format.h>

#include <cstdio>

#include "app/twinctl/offline.h"
#include "app/twinctl/online.h"
#include "app/twinctl/tables.h"

namespace twinwall::ctl {

namespace {

std::string rule_lines(const Json& changes) {
  std::string out;
  size_t added = 0, removed = 0, moved = 0;
  for (const Json& c : changes.value("rules", Json::array())) {
    const std::string change = c.value("change", ""), place = c.value("place", ""), rule = c.value("rule", "");
    if (change == "added") {
      ++added;
      out += fmt::format("+ @{} {}\n", place, rule);
    } else if (change == "removed") {
      ++removed;
      out += fmt::format("- @{} {}\n", place, rule);
    } else {
      ++moved;
      out += fmt::format("~ @{} {} (moved, was @{})\n", place, rule, c.value("was", ""));
    }
  }
  return out + fmt::format("rules: {} added, {} removed, {} kept with their counters, {} of these moved\n", added,
                           removed, changes.value("rules_kept", 0), moved);
}

std::string setting_lines(const Json& changes) {
  std::string out;
  for (const Json& c : changes.value("settings", Json::array())) {
    const std::string key = c.value("key", "");
    if (!c.contains("before"))
      out += fmt::format("+ {}: {}\n", key, c.value("after", ""));
    else if (!c.contains("after"))
      out += fmt::format("- {}: {}\n", key, c.value("before", ""));
    else
      out += fmt::format("~ {}: {} -> {}\n", key, c.value("before", ""), c.value("after", ""));
  }
  return out;
}

std::string affected_lines(const Json& affected) {
  const auto count = affected.value("count", uint64_t{0});
  const bool killed = affected.value("killed", false);
  std::string out = fmt::format("states {}: {}\n", killed ? "killed" : "that would be killed", count);
  const Json states = affected.value("states", Json::array());
  for (const Json& s : states) {
    std::string line = state_lines(s, false);
    if (line.ends_with('\n')) line.pop_back();
    out += fmt::format("  {}  ({})\n", line, s.value("why", ""));
  }
  if (count > states.size()) out += fmt::format("  and {} more\n", count - states.size());
  return out;
}

void print_diagnostics(const Json& answer) {
  for (const Json& d : answer.value("diagnostics", Json::array()))
    if (d.is_object() && d.contains("text") && d["text"].is_string())
      fmt::print(stderr, "{}\n", d["text"].get<std::string>());
}

bool answered(const Response& r) { return r.body.is_object() && r.body.contains("diagnostics"); }

}  // namespace

std::string changes_text(const Json& answer) {
  std::string out;
  if (const auto it = answer.find("changes"); it != answer.end() && it->is_object())
    out += rule_lines(*it) + setting_lines(*it);
  if (const auto it = answer.find("affected"); it != answer.end() && it->is_object()) out += affected_lines(*it);
  return out;
}

int reload(const Client& client, const ReloadOptions& options) {
  Query query;
  if (options.dry_run) query.emplace_back("dry-run", "1");
  if (options.kill_affected) query.emplace_back("kill-affected", "1");
  if (options.both) query.emplace_back("both", "1");
  if (options.confirm != 0) query.emplace_back("confirm", std::to_string(options.confirm));
  const Response r = client.post("/v1/reload", query);
  if (!answered(r)) return failed(r);
  const bool ok = r.body.value("ok", false);
  if (options.json) {
    fmt::print("{}\n", r.body.dump(2));
    return ok ? kOk : kBadUsage;
  }
  print_diagnostics(r.body);
  if (options.dry_run || options.kill_affected) fmt::print("{}", changes_text(r.body));
  if (!ok) {
    fmt::print(stderr, "twinctl: {}\n", options.dry_run ? "this would be refused" : "nothing was changed");
    return kBadUsage;
  }
  fmt::print("{}\n", options.dry_run ? "nothing was changed: a dry run" : "reloaded");
  if (r.body.value("partly", false)) {
    fmt::print(stderr, "twinctl: the peer may not have kept it\n");
    return kFailed;
  }
  if (options.confirm != 0) fmt::print("taken back in {} s unless 'twinctl confirm' comes\n", options.confirm);
  const auto affected = r.body.find("affected");
  if (affected == r.body.end() || affected->value("complete", true)) return kOk;
  fmt::print(stderr, "twinctl: not every worker answered in time: some states may have been left out\n");
  return kFailed;
}

int confirm(const Client& client) {
  const Response r = client.post("/v1/confirm");
  if (!r.error.empty()) return failed(r);
  print_diagnostics(r.body);
  fmt::print("confirmed\n");
  const auto problems = r.body.find("diagnostics");
  return problems == r.body.end() || problems->empty() ? kOk : kFailed;
}

int report_reload(const Response& r, bool json, const char* done) {
  if (!answered(r)) return failed(r);
  const bool ok = r.body.value("ok", false);
  if (json) {
    fmt::print("{}\n", r.body.dump(2));
    return ok ? kOk : kBadUsage;
  }
  print_diagnostics(r.body);
  if (ok) {
    fmt::print("{}\n", done);
    return kOk;
  }
  fmt::print(stderr, "twinctl: nothing was changed\n");
  return kBadUsage;
}

int rollback(const Client& client, unsigned steps) {
  return report_reload(client.post("/v1/rollback", {{"steps", std::to_string(steps)}}), false, "rolled back");
}

}  // namespace twinwall::ctl
