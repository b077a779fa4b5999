// The node: ties the control core's parts together, keeps them in step with the configuration, and hands over at the
// end.
//
// Start: rules get their slots, the snapshot is published, then neighbours, synchronisation (with its demotion, so that
// a returning node does not take over before it holds the peer's states) and the elections. Reload: everything is
// checked first, all problems are reported together, and the running configuration stays unless all is well. Planned
// end: what waits for the peer is flushed, the groups bow out, and frames are forwarded until the peer was heard as
// master and a moment longer; both forwarding is harmless, nobody forwarding is not.
//
// Threads: one loop's thread (the control thread) calls everything; it is a task of that loop. The sync engine
// runs in the same loop, or in a loop and thread of its own when it has a core of its own; then its calls are posted.
// The Dataplane and the loop must outlive the Node.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "control/affected_states.h"
#include "control/bfd_runner.h"
#include "control/carp_runner.h"
#include "control/event_loop.h"
#include "control/history.h"
#include "control/known_signatures.h"
#include "control/log_hub.h"
#include "control/neighbors.h"
#include "control/pair_reload.h"
#include "control/rule_registry.h"
#include "control/shared_store.h"
#include "control/state_query.h"
#include "control/sync_engine.h"
#include "control/table_counts.h"
#include "control/table_sync.h"
#include "control/totals.h"
#include "dataplane/dataplane.h"
#include "lib/config/difference.h"
#include "lib/config/schema.h"

namespace twinwall {

struct NodeOptions {
  std::string config_path;
  std::function<config::LoadResult(const std::string& path, const config::LoadOptions& options)> load;
  std::function<uint64_t()> random;  // that nobody can guess
  uint32_t hostid = 0;               // as the dataplane has it
  std::function<Time()> clock = EventLoop::now;
  // Where the configurations that were in force are kept; empty: nowhere, and there is no way back to them.
  std::string history;
  std::shared_ptr<const config::StoredCopy> stored;  // of the configuration at the start
};

struct ReloadOrder {
  bool compare = false;  // the result says what changes
  // Taken back after so long unless confirm() comes; 0: for good.
  std::chrono::seconds confirm{0};
  bool keep_tables = false;  // what tables hold stays, whatever the file gives them
};

// How often each came to pass.
struct ReloadCounts {
  uint64_t applied = 0, refused = 0;
  uint64_t confirmed = 0, rolled_back = 0, expired = 0;
  bool last_refused = false;  // and nothing came into force since
};

struct ReloadResult {
  bool ok = false;
  std::vector<config::Diagnostic> diagnostics;
  // What is another way than before, and the states that the rules would not have any more; where asked for, and where
  // the file can be read at all.
  std::optional<config::Difference> changes;
  std::shared_ptr<const AffectedStates> affected;
  bool partly = false;  // in force here; a peer that accepted it may have gone back
};

class Node final : public LoopTask,
                   private NeighborOutput,
                   private CarpOutput,
                   private BfdOutput,
                   private SyncHost,
                   private TableSyncOutput,
                   private PairReloadHost {
 public:
  Node(TaskLoop& loop, Dataplane& dataplane, config::Config config, NodeOptions options);
  ~Node() override;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Publishes and starts everything. False, with the reason in `error`, when the rules do not fit.
  [[nodiscard]] bool start(std::string& error);
  ReloadResult reload(Time now, const ReloadOrder& order = {});
  // Compiles what a reload will need, so that it costs the loop no time. From any thread but the loop's.
  void prepare_reload(const config::SharedFiles* shared = nullptr);
  // Does so in a thread, then reloads; `done` is called in the loop's thread.
  void reload_prepared(std::function<void()> done);
  // What reload() would do, applying nothing.
  [[nodiscard]] ReloadResult rehearse_reload();
  // Puts rules into an anchor, or with an empty text takes out what was put there; all else stays as it is in force.
  // Reloads keep it, a restart does not.
  ReloadResult load_anchor(Time now, config::LoadedAnchor anchor);
  [[nodiscard]] const std::vector<config::LoadedAnchor>& loaded_anchors() const { return anchors_; }
  // A reload here and at every peer, or nowhere (control/pair_reload.h): each with a main file of its own, and with the
  // files that this node's includes. With `dry_run` nothing is applied. `done` is called in the loop's thread.
  void reload_both(Time now, const ReloadOrder& order, bool dry_run, std::function<void(ReloadResult&&)> done);
  // The last reload, which waits for it, is for good. False: none waits. `done` hears of peers that took the same and
  // did not say that they keep it; it is called once if the answer is true.
  bool confirm(const std::function<void(std::vector<config::Diagnostic>)>& done = {});
  // Back to the configuration in force `steps` changes ago; an unconfirmed reload counts as one.
  ReloadResult rollback(Time now, size_t steps);
  // How long the last reload still waits to be confirmed; none: it is for good.
  [[nodiscard]] std::optional<Duration> unconfirmed(Time now) const;
  // What was in force, the newest first.
  [[nodiscard]] std::vector<HistoryEntry> history() const;
  // Begins the planned end; `done` is called once when nothing is forwarded here any more.
  void shut_down(Time now, std::function<void()> done);

  [[nodiscard]] Time next_deadline() const override;
  void poll(Time now) override;

  // The operator's words; `done` is called in the loop's thread. False: too many wait.
  bool query_states(Time now, std::vector<StateFilter> filters, size_t limit, std::function<void(StateAnswer&&)> done);
  bool kill_states(Time now, std::vector<StateFilter> filters, std::function<void(StateAnswer&&)> done);
  // One of the states that are wanted.
  bool sweep_states(Time now, const StateFilter& filter, std::function<bool(const StateRow&)> wanted,
                    std::function<void(StateAnswer&&)> done) {
    return queries_.sweep(now, filter, std::move(wanted), false, 1, std::move(done));
  }
  // Finds, and with `kill` removes, those that `affected` says; `done` gets at most `limit` of them.
  bool affected_states(Time now, std::shared_ptr<const AffectedStates> affected, bool kill, size_t limit,
                       std::function<void(StateAnswer&&)> done);
  // Removes all states; peers are told in one word about those made here.
  bool flush_states(Time now, std::function<void(uint64_t count, bool complete)> done);
  // What displays count begins anew; the metrics go on.
  void flush_counters();
  // Maintenance: the peer takes over, in order, and keeps the role until it is taken back. Not begun, with the reason,
  // when the peer is not ready for that, unless forced.
  std::string set_maintenance(Time now, bool on, bool force);
  [[nodiscard]] bool in_maintenance() const { return maintenance_ != Maintenance::off; }
  // Why this node should not be master; empty: it may.
  [[nodiscard]] std::vector<std::string> not_ready(bool states = true) const;
  void set_demotion(Time now, int demotion) { carp_.set_operator_demotion(now, demotion); }

  // The operator changed this table.
  void table_changed(Time now, std::string_view name) { table_sync_.changed(now, name); }

  // For displays.
  [[nodiscard]] const TableSync& table_sync() const { return table_sync_; }
  [[nodiscard]] const config::Config& config() const { return config_; }
  [[nodiscard]] const Snapshot& snapshot() const { return *snapshot_; }
  [[nodiscard]] std::shared_ptr<const Snapshot> shared_snapshot() const { return snapshot_; }
  [[nodiscard]] CarpRoles roles(Time now) const;
  [[nodiscard]] Dataplane& dataplane() const { return dataplane_; }
  [[nodiscard]] const CarpRunner& carp() const { return carp_; }
  [[nodiscard]] const BfdRunner& bfd() const { return bfd_; }
  [[nodiscard]] const Neighbors& neighbors() const { return neighbors_; }
  [[nodiscard]] const SyncEngine* sync() const { return sync_.get(); }
  [[nodiscard]] const RuleRegistry& registry() const { return registry_; }
  [[nodiscard]] unsigned workers() const { return workers_; }
  [[nodiscard]] std::map<std::string, TableTotals> table_totals() const {
    return table_counts_.totals(snapshot_->rules);
  }
  // Counts of the table begin anew. False: there is none of that name.
  bool zero_table(const std::string& name) { return table_counts_.zero(snapshot_->rules, name); }
  [[nodiscard]] Totals totals() const;  // since the counters were flushed
  // Logged packets; readers of it may be in other threads.
  [[nodiscard]] LogHub& logged() const { return logged_; }
  [[nodiscard]] uint32_t hostid() const { return options_.hostid; }
  [[nodiscard]] Time started() const { return started_; }
  [[nodiscard]] const std::string& config_path() const { return options_.config_path; }
  [[nodiscard]] const ReloadCounts& reloads() const { return reloads_; }
  [[nodiscard]] uint64_t punts_ignored() const { return punts_ignored_; }
  // Records of rules with `log` that made no line, because there were too many.
  [[nodiscard]] uint64_t logs_suppressed() const { return logs_suppressed_; }
  [[nodiscard]] bool leaving() const { return stage_ != Stage::running; }

 private:
  enum class Stage : uint8_t { running, flushing, bowed_out, grace, done };
  enum class Maintenance : uint8_t { off, flushing, on };
  static constexpr size_t kGatewaysMost = 64;

  bool send(InterfaceId interface, Bytes frame) override;  // of all outputs
  void publish(std::shared_ptr<const NeighborTable> table) override;
  void publish(std::shared_ptr<const CarpRoles> roles) override;
  void conflict(InterfaceId interface, const IpAddress& address, const Mac& by) override;
  void add_mac(InterfaceId interface, const Mac& mac) override;
  const Mac* peer_mac(InterfaceId interface, const IpAddress& peer) override;
  void role_changed(InterfaceId interface, uint8_t vhid, carp::Role from, carp::Role to) override;
  void peer_gone(bfd::Finding finding) override;
  void bulk_changed(bool running, bool first) override;
  void peer_met(size_t peer) override;
  void peer_message(size_t peer, std::vector<uint8_t> message) override;
  void tell_peers(std::vector<uint8_t> message) override;
  [[nodiscard]] size_t table_room() const override;
  void retire_content(std::shared_ptr<const TableContent> content) override;
  void tell_peer(size_t peer, std::vector<uint8_t> message) override;
  void try_files(size_t peer, uint64_t id, config::SharedFiles files, bool dry_run,
                 std::chrono::seconds within) override;
  [[nodiscard]] std::string keep_files(size_t peer, uint64_t id) override;
  void drop_files(size_t peer, uint64_t id) override;

  // What a reload that waits for its confirmation would go back to.
  struct Unconfirmed {
    Time until{};
    config::Config before;
    std::shared_ptr<const config::StoredCopy> stored;
    bool both = false;                              // peers have taken the same
    std::optional<std::pair<size_t, uint64_t>> by;  // the peer that wished it, and its number for it
    std::unique_ptr<SharedStore> files{};           // the peer's, not in place yet
  };
  // A peer's wish, prepared: what it gave, and which files are on the disk.
  struct Tried {
    size_t peer = 0;
    uint64_t id = 0;
    bool dry_run = false;
    std::chrono::seconds within{};
    config::SharedFiles given, there;
  };
  void in_preparation(std::function<void()> work, std::function<void()> then);
  void decide(const Tried& tried);
  [[nodiscard]] bool tried_by(size_t peer, uint64_t id) const;
  [[nodiscard]] std::vector<config::Diagnostic> of_peers(const PairReload::Problems& problems) const;
  [[nodiscard]] std::string no_pair() const;
  [[nodiscard]] ReloadResult check_reload(config::LoadResult& loaded) const;
  [[nodiscard]] std::optional<ReloadResult> waits_for_confirmation(Time now) const;
  [[nodiscard]] config::LoadResult load(const std::string& path, const config::SharedFiles* shared = nullptr) const;
  ReloadResult put_in_force(Time now, config::LoadResult&& loaded, const ReloadOrder& order, std::string_view by);
  [[nodiscard]] bool remember(const std::shared_ptr<const config::StoredCopy>& stored, std::string_view by,
                              size_t rules, std::string& error);
  void apply_config(config::Config&& config, std::shared_ptr<const config::StoredCopy> stored,
                    bool keep_tables = false);
  ReloadResult take_back(std::string_view by);
  ReloadResult refuse(ReloadResult result);
  void apply(Time now, config::Config&& config, std::shared_ptr<Snapshot> snapshot);
  void take_logs(Time now);
  void punted(Time now, const PuntedFrame& frame);
  void link_changed(Time now, InterfaceId interface, bool up);
  void check_sync_peer(Time now);
  void hand_over(Time now);
  void finish_hand_over(Time now);
  void ask_gateways(Time now);
  void tend_readiness(Time now);
  void hold_back(Time now);
  void tend_maintenance(Time now);
  [[nodiscard]] std::string peer_not_ready() const;
  [[nodiscard]] bool peer_has_everything(Time now, Time began);
  [[nodiscard]] Time readiness_deadline() const;
  void flush_sync();
  void make_sync();
  void start_sync(Time now);
  void stop_sync();
  void link_to_sync(Time now, bool up);
  void clear_to_sync();
  void change_sync_key();
  template <class F>
  void in_sync(F f);
  template <class F>
  void from_sync(F f);
  [[nodiscard]] RuleTotals rule_totals(RuleSlot slot) const;
  [[nodiscard]] TableEvaluations table_evaluations(TableSlot slot) const;

  TaskLoop& loop_;
  Dataplane& dataplane_;
  config::Config config_;
  NodeOptions options_;
  unsigned workers_;
  Time now_{};  // of the event under way
  Time started_{};
  uint64_t generation_ = 0;
  std::shared_ptr<const Snapshot> snapshot_;
  RuleRegistry registry_;
  TableCounts table_counts_;
  KnownSignatures signatures_;
  std::vector<config::LoadedAnchor> anchors_;  // loaded at run time
  std::thread preparation_;
  bool preparing_ = false;
  std::function<void()> prepare_again_;  // with this at its end; the file may have changed
  Neighbors neighbors_;
  CarpRunner carp_;
  BfdRunner bfd_;
  StateQueries queries_;

  TableSync table_sync_{*this};
  PairReload pair_{*this};
  std::unique_ptr<SyncEngine> sync_;
  std::unique_ptr<EventLoop> sync_loop_;  // only with a core of its own
  std::thread sync_thread_;
  Time next_peer_check_ = Time::max();

  Stage stage_ = Stage::running;
  Time stage_deadline_ = Time::max();
  Time stage_began_{};
  Time next_step_ = Time::max();
  bool repeated_ = false;
  std::function<void()> on_done_;

  // What is waited for before this node may be master.
  bool bulk_running_ = false;
  bool held_back_ = false;
  std::vector<std::pair<InterfaceId, IpAddress>> gateways_;
  Time gateways_until_ = Time::max(), next_gateways_ = Time::max();
  Maintenance maintenance_ = Maintenance::off;
  Time maintenance_began_{}, maintenance_deadline_ = Time::max(), next_maintenance_ = Time::max();
  uint64_t confirm_mark_ = 0;  // what the peer has to confirm; 0: not known yet

  Time next_conflict_log_{};
  Time log_second_{};  // the second that log_lines_ counts for
  unsigned log_lines_ = 0;
  uint64_t logs_suppressed_ = 0;
  mutable LogHub logged_;
  Totals flushed_;
  ReloadCounts reloads_;
  std::optional<History> history_;
  std::shared_ptr<const config::StoredCopy> stored_;  // of what is in force; null without history
  std::optional<Unconfirmed> unconfirmed_;
  uint64_t punts_ignored_ = 0;
};

}  // namespace twinwall
