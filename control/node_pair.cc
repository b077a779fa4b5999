// A node's part in a reload of both nodes of a pair (control/pair_reload.h).
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>

#include "control/node.h"

namespace twinwall {
namespace {

// How long a peer waits, beside what the operator has, to be told that this node has done the same.
constexpr std::chrono::seconds kPeerWaits{60};
constexpr std::chrono::seconds kPeerWaitsMost{90000};

}  // namespace

std::vector<config::Diagnostic> Node::of_peers(const PairReload::Problems& problems) const {
  std::vector<config::Diagnostic> out;
  for (const auto& [peer, text] : problems) {
    config::Diagnostic d;
    d.at.file = "peer";
    if (config_.pfsync && peer < config_.pfsync->peers.size())
      d.at.file = "peer " + to_string(config_.pfsync->peers[peer]);
    d.message = text;
    while (d.message.ends_with('\n')) d.message.pop_back();
    out.push_back(std::move(d));
  }
  return out;
}

// Why there is nobody to reload with; empty: there is.
std::string Node::no_pair() const {
  if (sync_ != nullptr && !config_.pfsync->key.empty() && !config_.pfsync->multicast()) return "";
  return "only a twinwall peer that proves who it is takes rules: give 'pfsync' a 'peer' and a 'key' on both nodes";
}

void Node::reload_both(Time now, const ReloadOrder& order, bool dry_run, std::function<void(ReloadResult&&)> done) {
  now_ = now;
  if (auto waits = waits_for_confirmation(now)) return done(refuse(std::move(*waits)));
  const auto loaded = std::make_shared<config::LoadResult>(load(options_.config_path));
  const config::SharedFiles files = loaded->shared;
  ReloadResult checked = check_reload(*loaded);
  const auto wrong = [&](std::string message) {
    checked.ok = false;
    config::Diagnostic d;
    d.at.file = options_.config_path;
    d.message = std::move(message);
    checked.diagnostics.push_back(std::move(d));
  };
  if (std::string why = no_pair(); !why.empty()) wrong(std::move(why));
  if (checked.ok && files.empty())
    wrong(
        "what both nodes have alike is what this file includes, and it includes nothing from below its directory: put "
        "the rules into a file of their own, and 'include' it on both nodes");
  if (!checked.ok) return done(refuse(std::move(checked)));
  loaded->diagnostics = std::move(checked.diagnostics);  // warnings
  const auto decided = [this, loaded, order, dry_run, done](const PairReload::Problems& problems) {
    ReloadResult result;
    if (!problems.empty()) {
      result.diagnostics = std::move(loaded->diagnostics);
      for (auto& d : of_peers(problems)) result.diagnostics.push_back(std::move(d));
      return done(refuse(std::move(result)));
    }
    if (dry_run) {
      result.ok = true;
      result.diagnostics = std::move(loaded->diagnostics);
      result.changes = config::compare(config_, loaded->config);
      return done(std::move(result));
    }
    result = put_in_force(options_.clock(), std::move(*loaded), order, "reload");
    if (!result.ok) {
      pair_.take_back();
      return done(std::move(result));
    }
    ++reloads_.applied;
    reloads_.last_refused = false;
    if (unconfirmed_) {
      unconfirmed_->both = true;
      return done(std::move(result));
    }
    const auto mine = std::make_shared<ReloadResult>(std::move(result));
    pair_.keep(now_, [this, mine, done](const PairReload::Problems& unkept) {
      for (auto& d : of_peers(unkept)) {
        spdlog::error("{}", config::to_string(d));
        mine->diagnostics.push_back(std::move(d));
      }
      mine->partly = !unkept.empty();
      done(std::move(*mine));
    });
  };
  spdlog::info("reload: {} files are offered to the peer", files.size());
  pair_.offer(now, options_.random(), config_.pfsync->peers.size(), files, dry_run, order.confirm + kPeerWaits,
              decided);
}

// --- the other side ------------------------------------------------------------------------------------------------

bool Node::tried_by(size_t peer, uint64_t id) const {
  return unconfirmed_ && unconfirmed_->by && *unconfirmed_->by == std::pair{peer, id};
}

void Node::try_files(size_t peer, uint64_t id, config::SharedFiles files, bool dry_run, std::chrono::seconds within) {
  if (preparing_ || pair_.busy()) return pair_.answer(peer, id, "a reload is under way there already");
  const auto tried = std::make_shared<Tried>();
  tried->peer = peer;
  tried->id = id;
  tried->dry_run = dry_run;
  tried->within = std::clamp(within, std::chrono::seconds(1), kPeerWaitsMost);
  tried->given = std::move(files);
  in_preparation(
      [this, tried] {
        config::LoadOptions own;
        own.keep_shared = true;
        const inspect::Inspection known = signatures_.all();
        own.running = &known;
        tried->there = options_.load(options_.config_path, own).shared;
        prepare_reload(&tried->given);
      },
      [this, tried] { decide(*tried); });
}

void Node::decide(const Tried& tried) {
  now_ = options_.clock();
  const auto answer = [&](const ReloadResult& result) {
    std::string text;
    for (const auto& d : result.diagnostics)
      if (d.severity == config::Severity::error) text += config::to_string(d) + "\n";
    pair_.answer(tried.peer, tried.id, result.ok ? "" : text.empty() ? "refused" : text);
  };
  if (auto waits = waits_for_confirmation(now_)) return answer(*waits);
  config::LoadResult loaded = load(options_.config_path, &tried.given);
  if (tried.dry_run) return answer(check_reload(loaded));
  auto store = std::make_unique<SharedStore>(std::filesystem::path(options_.config_path).parent_path().string(),
                                             tried.there, tried.given);
  if (!store->ok()) return pair_.answer(tried.peer, tried.id, "the files cannot be kept: " + store->error());
  const ReloadResult result = put_in_force(now_, std::move(loaded), {.confirm = tried.within}, "peer");
  if (result.ok) {
    ++reloads_.applied;
    reloads_.last_refused = false;
    unconfirmed_->by = {tried.peer, tried.id};
    unconfirmed_->files = std::move(store);
  }
  answer(result);
}

std::string Node::keep_files(size_t peer, uint64_t id) {
  if (!tried_by(peer, id)) return "it went back before it was told to keep the new rules";
  std::string problem;
  (void)confirm([&problem](const std::vector<config::Diagnostic>& problems) {
    for (const auto& d : problems) problem += d.message;
  });
  return problem;
}

void Node::drop_files(size_t peer, uint64_t id) {
  if (tried_by(peer, id)) (void)take_back("peer");
}

}  // namespace twinwall
