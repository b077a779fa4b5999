#include "control/node.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/logging.h"

namespace twinwall {
namespace {

constexpr size_t kPuntsPerTurn = 4096;
constexpr size_t kRepliesPerTurn = 4096;
constexpr size_t kLogsPerTurn = 256;
constexpr unsigned kLogLinesPerSecond = 500;
constexpr Duration kConflictLogGap = 10s;

}  // namespace

Node::Node(TaskLoop& loop, Dataplane& dataplane, config::Config config, NodeOptions options)
    : loop_(loop),
      dataplane_(dataplane),
      config_(std::move(config)),
      options_(std::move(options)),
      workers_(static_cast<unsigned>(config_.system.worker_cores.size())),
      registry_([this](RuleSlot slot) { return rule_totals(slot); }),
      table_counts_([this](TableSlot slot) { return table_evaluations(slot); },
                    [this](RuleSlot slot) { return registry_.since_assigned(slot); }),
      neighbors_(*this),
      carp_(*this, options_.random),
      bfd_(*this, options_.random),
      queries_(dataplane, workers_),
      stored_(options_.stored) {
  if (!options_.history.empty()) history_.emplace(options_.history);
  if (config_.pfsync) make_sync();
}

Node::~Node() {
  if (preparation_.joinable()) preparation_.join();
  stop_sync();
}

RuleTotals Node::rule_totals(RuleSlot slot) const {
  RuleTotals t;
  for (unsigned w = 0; w < workers_; ++w) {
    const RuleCounters& c = dataplane_.counters(w).rules[slot];
    t.evaluations += c.evaluations.get();
    t.states += c.states.get();
    t.creations += c.creations.get();
    for (int i = 0; i < 2; ++i) {
      t.packets[i] += c.packets[i].get();
      t.bytes[i] += c.bytes[i].get();
    }
  }
  return t;
}

TableEvaluations Node::table_evaluations(TableSlot slot) const {
  TableEvaluations e;
  for (unsigned w = 0; w < workers_; ++w) {
    const TableCounters& c = dataplane_.counters(w).tables[slot];
    e.match += c.match.get();
    e.nomatch += c.nomatch.get();
  }
  return e;
}

bool Node::start(std::string& error) {
  Time now = now_ = started_ = options_.clock();
  if (!registry_.assign(config_.rules)) {
    error = "too many rules";
    return false;
  }
  table_counts_.after_reload(config_.rules);
  const std::vector<Mac> macs = dataplane_.macs();
  config::Config config = config_;
  auto snapshot = make_snapshot(config, macs, dataplane_.route_factory());
  apply(now, std::move(config), std::move(snapshot));
  now = now_ = options_.clock();  // tables of routes take their time; the elections' timers must not lose it
  neighbors_.poll(now);
  loop_.watch(dataplane_.control_fd(), [] {});  // what waits is taken when this task is polled
  loop_.add_task(this);
  if (sync_ != nullptr) {
    bulk_running_ = true;
    start_sync(now);
  }
  ask_gateways(now);
  hold_back(now);
  carp_.start(now);
  bfd_.start(now);
  std::string trouble;
  if (!remember(stored_, "start", config_.rules.rules.size(), trouble))
    spdlog::warn("history: {}; nothing can be reloaded before this is put right", trouble);
  return true;
}

void Node::apply(Time now, config::Config&& config, std::shared_ptr<Snapshot> snapshot) {
  snapshot->generation = ++generation_;
  snapshot_ = snapshot;
  const bool other_key = sync_ != nullptr && config_.pfsync->key != config.pfsync->key;
  config_ = std::move(config);
  if (other_key) change_sync_key();
  // A handful is never compiled, and only thousands can be too many.
  if (snapshot_->classifier == nullptr && snapshot_->rules.rules.size() > 1000)
    spdlog::warn(
        "rules: compiled they would take more than {} MiB; the first packet of every connection is tried against "
        "{} rules one by one, so write fewer or shorter lists of addresses, or use tables",
        Classifier::kMostBytes >> 20, snapshot_->rules.rules.size());
  signatures_.in_force(config_.inspection);
  for (const auto& table : snapshot_->rules.tables) table->note_begin(to_seconds(now));
  table_sync_.configure(now, snapshot->rules);
  neighbors_.configure(neighbor_interfaces(config_, *snapshot_));
  dataplane_.publish(std::shared_ptr<const Snapshot>(std::move(snapshot)));
  carp_.configure(now, config_.carp, snapshot_->interfaces, [this](InterfaceId id) { return dataplane_.link_up(id); });
  bfd_.configure(now, config_.carp.bfd, config_.interfaces, snapshot_->interfaces);
}

// --- events --------------------------------------------------------------------------------------------------------

void Node::poll(Time now) {
  now_ = now;
  dataplane_.take_link_changes([&](InterfaceId id, bool up) { link_changed(now, id, up); });
  size_t taken = 0;
  while (taken < kPuntsPerTurn) {
    const size_t n = dataplane_.take_punts(64, [&](const PuntedFrame& f) { punted(now, f); });
    if (n == 0) break;
    taken += n;
  }
  dataplane_.take_replies(kRepliesPerTurn, [&](const Reply& r) { queries_.reply(now, r); });
  take_logs(now);
  carp_.poll(now);
  bfd_.poll(now);
  if (now >= next_peer_check_) check_sync_peer(now);
  tend_readiness(now);
  if (unconfirmed_ && now >= unconfirmed_->until) (void)take_back("expiry");
  neighbors_.poll(now);
  queries_.poll(now);
  table_sync_.poll(now);
  pair_.poll(now);
  if (stage_ != Stage::running && stage_ != Stage::done) hand_over(now);
}

CarpRoles Node::roles(Time now) const {
  CarpRoles out;
  out.master.resize(config_.interfaces.size());
  for (const CarpStatus& s : carp_.status(now))
    if (s.role == carp::Role::master) out.master[s.interface - 1u].set(s.vhid);
  if (carp_.roles() != nullptr) out.sharing = carp_.roles()->sharing;
  return out;
}

Totals Node::totals() const { return since(add_up(dataplane_, workers_, config_.interfaces.size()), flushed_); }

void Node::flush_counters() {
  flushed_ = add_up(dataplane_, workers_, config_.interfaces.size());
  registry_.reset();
  table_counts_.zero_all(snapshot_->rules);
  for (const auto& table : snapshot_->rules.tables) table->zero_entries(to_seconds(options_.clock()));
}

// What rules with `log` said. Lines cost more than packets, so they are limited: a scan must not fill the disk or hold
// up an election.
void Node::take_logs(Time now) {
  if (now - log_second_ >= 1s) {
    log_second_ = now;
    log_lines_ = 0;
  }
  using Wall = std::chrono::system_clock;
  dataplane_.take_logs(kLogsPerTurn, [&](const LogRecord& r) {
    LoggedPacket packet{r, {}, 0};
    if (r.interface != kNoInterface && r.interface <= config_.interfaces.size())
      config_.interface(r.interface).name.copy(packet.interface.data(), packet.interface.size() - 1);
    const auto age = std::max(Duration::zero(), now - r.at);
    packet.wall_us = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Wall::now().time_since_epoch() - age).count());
    logged_.push(packet);
    if (r.forced) return;  // anybody can send those: they are for whoever asks
    if (++log_lines_ > kLogLinesPerSecond) {
      ++logs_suppressed_;
      return;
    }
    spdlog::info("{}", log_line(packet));
  });
}

Time Node::next_deadline() const {
  return std::min({carp_.next_deadline(), bfd_.next_deadline(), neighbors_.next_deadline(), queries_.next_deadline(),
                   table_sync_.next_deadline(), pair_.next_deadline(), next_peer_check_, readiness_deadline(),
                   stage_deadline_, next_step_, unconfirmed_ ? unconfirmed_->until : Time::max()});
}

void Node::punted(Time now, const PuntedFrame& f) {
  switch (f.kind) {
    case Punt::arp: return neighbors_.receive_arp(now, f.in, f.frame, f.l3);
    case Punt::neighbor_discovery: return neighbors_.receive_discovery(now, f.in, f.frame, f.l3);
    case Punt::carp: return carp_.receive(now, f.in, f.frame, f.l3);
    case Punt::bfd: return bfd_.receive(now, f.in, f.frame, f.l3);
    case Punt::unresolved: return neighbors_.resolve(now, f.out, f.next_hop, f.frame);
    case Punt::pfsync: ++punts_ignored_; return;  // not from the sync interface's own queue
  }
}

void Node::link_changed(Time now, InterfaceId id, bool up) {
  if (id == kNoInterface || id > config_.interfaces.size()) return;
  spdlog::info("link: {} is {}", config_.interface(id).name, up ? "up" : "down");
  if (!up) neighbors_.link_down(id);
  carp_.link_change(now, id, up);
  bfd_.link_change(now, id, up);
  if (up) ask_gateways(now);
  if (sync_ != nullptr && id == config_.pfsync->interface) link_to_sync(now, up);
}

bool Node::send(InterfaceId interface, Bytes frame) { return dataplane_.send(interface, frame); }
void Node::publish(std::shared_ptr<const NeighborTable> table) { dataplane_.publish(std::move(table)); }
void Node::publish(std::shared_ptr<const CarpRoles> roles) { dataplane_.publish(std::move(roles)); }
void Node::add_mac(InterfaceId interface, const Mac& mac) { dataplane_.add_mac(interface, mac); }

void Node::conflict(InterfaceId interface, const IpAddress& address, const Mac& by) {
  if (now_ < next_conflict_log_) return;
  next_conflict_log_ = now_ + kConflictLogGap;
  spdlog::error("address conflict: {} on {} is also used by {}", to_string(address), config_.interface(interface).name,
                to_string(by));
}

const Mac* Node::peer_mac(InterfaceId interface, const IpAddress& peer) {
  return neighbors_.lookup(now_, interface, peer);
}

void Node::peer_gone(bfd::Finding) { carp_.peer_gone(now_); }

void Node::role_changed(InterfaceId interface, uint8_t vhid, carp::Role from, carp::Role to) {
  neighbors_.set_master(interface, vhid, to == carp::Role::master);
  // The new master should know everything that this one knows.
  if (from == carp::Role::master) flush_sync();
}

// --- the operator --------------------------------------------------------------------------------------------------

bool Node::query_states(Time now, std::vector<StateFilter> filters, size_t limit,
                        std::function<void(StateAnswer&&)> done) {
  Command c;
  c.kind = Command::Kind::export_states;
  return queries_.ask(now, c, std::move(filters), limit, std::move(done));
}

bool Node::kill_states(Time now, std::vector<StateFilter> filters, std::function<void(StateAnswer&&)> done) {
  Command c;
  c.kind = Command::Kind::kill_states;
  return queries_.ask(now, c, std::move(filters), 0, std::move(done));
}

bool Node::flush_states(Time now, std::function<void(uint64_t, bool)> done) {
  Command c;
  c.kind = Command::Kind::clear;
  c.clear.creator = options_.hostid;
  return queries_.ask(now, c, {StateFilter{}}, 0, [this, done = std::move(done)](StateAnswer&& own) {
    clear_to_sync();
    const uint64_t count = own.count;
    const bool complete = own.complete;
    // States of other makers are announced one by one.
    const auto rest_done = [count, complete, done](StateAnswer&& rest) {
      done(count + rest.count, complete && rest.complete);
    };
    if (!kill_states(now_, {StateFilter{}}, rest_done)) done(count, false);
  });
}

}  // namespace twinwall
