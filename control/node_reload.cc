// A node's reload: read, checked, compared, applied.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/logging.h"
#include "control/node.h"
#include "control/reload_check.h"
#include "lib/config/settings.h"

namespace twinwall {
namespace {

config::Diagnostic whole_file(const std::string& path, std::string message) {
  config::Diagnostic d;
  d.at.file = path;
  d.message = std::move(message);
  return d;
}

bool readable(const std::vector<config::Diagnostic>& diagnostics) {
  return std::none_of(diagnostics.begin(), diagnostics.end(),
                      [](const auto& d) { return d.severity == config::Severity::error; });
}

}  // namespace

config::LoadResult Node::load(const std::string& path, const config::SharedFiles* shared) const {
  config::LoadOptions options;
  options.keep = history_.has_value();
  options.keep_shared = true;
  options.shared = shared;
  options.anchors = anchors_;
  options.withheld_key = [this](const std::string& of) {
    const auto settings = config::settings_of(config_);
    const auto it = settings.find(of);
    return it == settings.end() ? std::vector<uint8_t>{}
                                : std::vector<uint8_t>(it->second.secret.begin(), it->second.secret.end());
  };
  const inspect::Inspection known = signatures_.all();
  options.running = &known;
  return options_.load(path, options);
}

void Node::prepare_reload(const config::SharedFiles* shared) {
  const inspect::Inspection known = signatures_.all();
  config::LoadOptions options;
  options.running = &known;
  options.shared = shared;
  signatures_.prepared(options_.load(options_.config_path, options).config.inspection);
}

void Node::reload_prepared(std::function<void()> done) {
  if (preparing_) {
    prepare_again_ = std::move(done);
    return;
  }
  in_preparation([this] { prepare_reload(); },
                 [this, done = std::move(done)] {
                   if (prepare_again_) return;
                   (void)reload(options_.clock());
                   done();
                 });
}

// What takes long in a thread of its own, and then the rest in the loop's.
void Node::in_preparation(std::function<void()> work, std::function<void()> then) {
  preparing_ = true;
  if (preparation_.joinable()) preparation_.join();
  preparation_ = std::thread([this, work = std::move(work), then = std::move(then)] {
    work();
    const auto finish = [this, then] {
      preparing_ = false;
      then();
      if (prepare_again_) reload_prepared(std::exchange(prepare_again_, nullptr));
    };
    constexpr int kTries = 200;
    for (int i = 0; i < kTries && !loop_.post(finish); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  });
}

ReloadResult Node::check_reload(config::LoadResult& loaded) const {
  ReloadResult result;
  result.diagnostics = std::move(loaded.diagnostics);
  result.ok = readable(result.diagnostics);
  const auto wrong = [&](const char* message) {
    result.ok = false;
    result.diagnostics.push_back(whole_file(options_.config_path, message));
  };
  if (result.ok) {
    auto fixed = needs_restart(config_, loaded.config);
    result.ok = fixed.empty();
    std::move(fixed.begin(), fixed.end(), std::back_inserter(result.diagnostics));
  }
  if (result.ok && stage_ != Stage::running) wrong("this node is shutting down");
  if (result.ok && !registry_.fits(loaded.config.rules)) wrong("rules: too many");
  return result;
}

ReloadResult Node::rehearse_reload() {
  config::LoadResult loaded = load(options_.config_path);
  const bool comparable = readable(loaded.diagnostics);
  ReloadResult result = check_reload(loaded);
  if (!comparable) return result;
  result.changes = config::compare(config_, loaded.config);
  if (!result.ok) return result;
  registry_.rehearse(loaded.config.rules);
  const std::vector<Mac> macs = dataplane_.macs();
  result.affected =
      std::make_shared<AffectedStates>(make_snapshot(loaded.config, macs, make_plain_routes), result.changes->gone);
  return result;
}

ReloadResult Node::refuse(ReloadResult result) {
  result.ok = false;
  for (const auto& d : result.diagnostics)
    spdlog::log(d.severity == config::Severity::error ? spdlog::level::err : spdlog::level::warn, "{}",
                config::to_string(d));
  ++reloads_.refused;
  reloads_.last_refused = true;
  spdlog::error("reload: refused, the running configuration stays");
  return result;
}

std::optional<ReloadResult> Node::waits_for_confirmation(Time now) const {
  if (pair_.busy()) {
    ReloadResult result;
    result.diagnostics.push_back(
        whole_file(options_.config_path, "a reload of both nodes is under way: wait until it is over"));
    return result;
  }
  if (!unconfirmed_) return std::nullopt;
  const auto left = std::chrono::ceil<std::chrono::seconds>(unconfirmed_->until - now);
  ReloadResult result;
  result.diagnostics.push_back(whole_file(
      options_.config_path, fmt::format("the last reload waits to be confirmed ({} s left): keep it with 'twinctl "
                                        "confirm' or take it back with 'twinctl rollback' first",
                                        left.count())));
  return result;
}

ReloadResult Node::reload(Time now, const ReloadOrder& order) {
  now_ = now;
  if (auto waits = waits_for_confirmation(now)) return refuse(std::move(*waits));
  ReloadResult result = put_in_force(now, load(options_.config_path), order, "reload");
  if (result.ok) {
    ++reloads_.applied;
    reloads_.last_refused = false;
  }
  return result;
}

// The configuration is read anew with another anchor, so it must be the one in force: nobody who changes an anchor
// shall bring half-written rules into force. What tables were given meanwhile is no difference.
ReloadResult Node::load_anchor(Time now, config::LoadedAnchor anchor) {
  now_ = now;
  if (auto waits = waits_for_confirmation(now)) return refuse(std::move(*waits));
  const config::LoadResult same = load(options_.config_path);
  const bool readable_now = readable(same.diagnostics);
  const auto changed = [](const config::Difference& d) {
    return !d.rules.empty() || std::any_of(d.settings.begin(), d.settings.end(), [](const config::SettingChange& s) {
      return !(s.key.starts_with("tables.") && s.key.ends_with(".entries"));
    });
  };
  if (!readable_now || changed(config::compare(config_, same.config))) {
    ReloadResult result;
    result.diagnostics.push_back(whole_file(
        options_.config_path, "the file is not what is in force: 'twinctl reload' it, or put it back, first"));
    return refuse(std::move(result));
  }
  const std::string by = fmt::format("anchor {}", anchor.name);
  std::vector<config::LoadedAnchor> before = anchors_;
  std::erase_if(anchors_, [&](const config::LoadedAnchor& a) { return a.name == anchor.name; });
  if (!anchor.text.empty()) anchors_.push_back(std::move(anchor));
  ReloadResult result = put_in_force(now, load(options_.config_path), {.keep_tables = true}, by);
  if (result.ok)
    ++reloads_.applied;
  else
    anchors_ = std::move(before);
  return result;
}

// Everything that may fail comes before anything is changed.
ReloadResult Node::put_in_force(Time now, config::LoadResult&& loaded, const ReloadOrder& order, std::string_view by) {
  now_ = now;
  ReloadResult result = check_reload(loaded);
  std::string error;
  if (result.ok && !remember(loaded.stored, by, loaded.config.rules.rules.size(), error)) {
    result.ok = false;
    result.diagnostics.push_back(whole_file(
        options_.config_path, "the configuration cannot be kept, so there would be no way back to it: " + error));
  }
  if (!result.ok) return refuse(std::move(result));
  for (const auto& d : result.diagnostics) spdlog::warn("{}", config::to_string(d));
  if (order.compare) result.changes = config::compare(config_, loaded.config);
  std::optional<Unconfirmed> before;
  if (order.confirm.count() != 0) before = Unconfirmed{{}, config_, stored_, false, {}};
  apply_config(std::move(loaded.config), std::move(loaded.stored), order.keep_tables);
  if (before) {
    before->until = now_ + order.confirm;
    unconfirmed_ = std::move(before);
  }
  spdlog::info("{}: generation {} with {} rules is in force", by, generation_, snapshot_->rules.rules.size());
  if (order.confirm.count() != 0)
    spdlog::info("reload: taken back in {} s unless it is confirmed", order.confirm.count());
  if (result.changes) result.affected = std::make_shared<AffectedStates>(snapshot_, result.changes->gone);
  return result;
}

void Node::apply_config(config::Config&& config, std::shared_ptr<const config::StoredCopy> stored, bool keep_tables) {
  table_counts_.before_reload(snapshot_->rules);
  (void)registry_.assign(config.rules, keep_tables);  // whether they fit was asked before
  table_counts_.after_reload(config.rules);
  const std::vector<Mac> macs = dataplane_.macs();
  auto snapshot = make_snapshot(config, macs, dataplane_.route_factory());
  set_log_level(config.system.log_level);
  now_ = options_.clock();  // reading and compiling took their time
  apply(now_, std::move(config), std::move(snapshot));
  stored_ = std::move(stored);
}

bool Node::remember(const std::shared_ptr<const config::StoredCopy>& stored, std::string_view by, size_t rules,
                    std::string& error) {
  if (!history_ || stored == nullptr) return true;
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  return history_->add(*stored, by, rules, std::chrono::duration_cast<std::chrono::seconds>(wall).count(), error);
}

// --- the way back --------------------------------------------------------------------------------------------------

bool Node::confirm(const std::function<void(std::vector<config::Diagnostic>)>& done) {
  if (!unconfirmed_) return false;
  const Unconfirmed last = std::move(*unconfirmed_);
  unconfirmed_.reset();
  ++reloads_.confirmed;
  spdlog::info("reload: confirmed");
  const auto told = [done](std::vector<config::Diagnostic> problems) {
    for (const auto& d : problems) spdlog::warn("{}", config::to_string(d));
    if (done) done(std::move(problems));
  };
  if (last.files != nullptr) {
    std::vector<config::Diagnostic> problems;
    if (const std::string problem = last.files->put_in_place(); !problem.empty())
      problems.push_back(
          whole_file(options_.config_path, "the peer's rules are in force, but not on the disk: " + problem));
    told(std::move(problems));
  } else if (last.both) {
    pair_.keep(now_, [this, told](const PairReload::Problems& problems) { told(of_peers(problems)); });
  } else {
    told({});
  }
  return true;
}

// From memory: neither a full disk nor a file that somebody changed can be in its way.
ReloadResult Node::take_back(std::string_view by) {
  Unconfirmed last = std::move(*unconfirmed_);
  unconfirmed_.reset();
  if (last.both) pair_.take_back();
  std::string error;
  if (!remember(last.stored, by, last.before.rules.rules.size(), error)) spdlog::error("history: {}", error);
  apply_config(std::move(last.before), std::move(last.stored));
  ++(by == "expiry" ? reloads_.expired : reloads_.rolled_back);
  spdlog::warn("{}: the unconfirmed reload is taken back, generation {} with {} rules is in force", by, generation_,
               snapshot_->rules.rules.size());
  ReloadResult result;
  result.ok = true;
  return result;
}

ReloadResult Node::rollback(Time now, size_t steps) {
  now_ = now;
  if (unconfirmed_ && steps == 1) return take_back("rollback");
  ReloadResult result;
  const std::vector<HistoryEntry> entries = history();
  if (steps == 0 || steps >= entries.size()) {
    result.diagnostics.push_back(
        whole_file(history_ ? history_->directory() : options_.config_path,
                   fmt::format("there are {} configurations to go back to: 'twinctl show history' lists them",
                               entries.empty() ? 0 : entries.size() - 1)));
    return refuse(std::move(result));
  }
  result = put_in_force(now, load(entries[steps].configuration), {}, "rollback");
  if (!result.ok) return result;
  if (unconfirmed_ && unconfirmed_->both) pair_.take_back();
  unconfirmed_.reset();
  ++reloads_.rolled_back;
  reloads_.last_refused = false;
  return result;
}

std::optional<Duration> Node::unconfirmed(Time now) const {
  if (!unconfirmed_) return std::nullopt;
  return std::max(Duration::zero(), unconfirmed_->until - now);
}

std::vector<HistoryEntry> Node::history() const { return history_ ? history_->list() : std::vector<HistoryEntry>{}; }

bool Node::affected_states(Time now, std::shared_ptr<const AffectedStates> affected, bool kill, size_t limit,
                           std::function<void(StateAnswer&&)> done) {
  const auto wanted = [affected = std::move(affected)](const StateRow& row) {
    return affected->judge(row).fate != AffectedStates::Fate::stays;
  };
  return queries_.sweep(now, {}, wanted, kill, limit, std::move(done));
}

}  // namespace twinwall
