// The node's dealings with its peer: where the sync engine runs, its demotion, and the planned hand-over.
#include <pthread.h>
#include <sched.h>
#include <spdlog/spdlog.h>

#include "control/node.h"

namespace twinwall {
namespace {

// Bounds of the planned end. Deltas are urgent within milliseconds; a peer answers a bow-out in less than that.
constexpr Duration kFlushAtLeast = 30ms;
constexpr Duration kFlushQuiet = 20ms;
constexpr Duration kFlushAtMost = 500ms;
constexpr Duration kSuccessorAtMost = 1s;
constexpr Duration kBowOutAgain = 300ms;
constexpr Duration kGrace = 300ms;
constexpr Duration kStep = 10ms;
// How often the way to the peer is looked up.
constexpr Duration kPeerCheck = 1s;
constexpr Duration kPeerCheckUnknown = 200ms;

pfsync::System system_of(config::SyncDialect d) {
  switch (d) {
    case config::SyncDialect::openbsd: break;
    case config::SyncDialect::freebsd13: return pfsync::System::freebsd13;
    case config::SyncDialect::freebsd14: return pfsync::System::freebsd14;
    case config::SyncDialect::freebsd15: return pfsync::System::freebsd15;
  }
  return pfsync::System::openbsd74;
}

// An address of ours that the peer finds its way back to: in its network, or link-local where that is all there is.
IpAddress source_towards(const config::Interface& i, const Mac& mac, const IpAddress& peer) {
  const bool group = is_multicast(peer.af, peer.addr);
  if (peer.af == Af::inet6 && (group || is_link_local(peer.af, peer.addr))) return {Af::inet6, link_local_of(mac)};
  for (const auto& a : i.addresses)
    if (a.af == peer.af && (group || a.contains(peer.addr))) return a.address();
  return {peer.af, Address{}};
}

}  // namespace

void Node::make_sync() {
  const config::Pfsync& p = *config_.pfsync;
  const config::Interface& i = config_.interface(p.interface);
  const std::vector<Mac> macs = dataplane_.macs();
  SyncOptions o;
  o.hostid = options_.hostid;
  o.interface = p.interface;
  o.system = system_of(p.dialect);
  o.mac = macs[p.interface - 1u];
  for (const IpAddress& peer : p.peers) o.peers.push_back({peer, source_towards(i, o.mac, peer)});
  for (const auto& name : p.names) o.names.add(name.theirs, config_.interface(name.ours).name);
  o.key = p.key;
  o.random = options_.random;
  o.mtu = i.mtu;
  o.state_limit = config_.options.limit_states;
  o.workers = workers_;
  o.ip_id = static_cast<uint16_t>(options_.random());
  o.twin = !p.multicast();
  sync_ = std::make_unique<SyncEngine>(o, dataplane_, static_cast<SyncHost&>(*this));
  if (config_.system.sync_core != config_.system.control_core) sync_loop_ = std::make_unique<EventLoop>();
}

void Node::start_sync(Time now) {
  TaskLoop& loop = sync_loop_ != nullptr ? *sync_loop_ : loop_;
  loop.watch(dataplane_.sync_fd(), [] {});  // taken when the engine is polled
  loop.add_task(sync_.get());
  const bool up = dataplane_.link_up(config_.pfsync->interface);
  if (!config_.pfsync->multicast()) next_peer_check_ = now;
  if (sync_loop_ == nullptr) return sync_->start(now, up);
  sync_loop_->post([this, up] { sync_->start(EventLoop::now(), up); });
  sync_thread_ = std::thread([this] { sync_loop_->run(); });
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(config_.system.sync_core, &cpus);
  if (pthread_setaffinity_np(sync_thread_.native_handle(), sizeof cpus, &cpus) != 0)
    spdlog::warn("pfsync: cpu {} cannot be used for the sync engine, it runs where it may", config_.system.sync_core);
}

void Node::stop_sync() {
  if (sync_loop_ != nullptr) sync_loop_->stop();
  if (sync_thread_.joinable()) sync_thread_.join();
}

// Runs f in the sync engine's thread.
template <class F>
void Node::in_sync(F f) {
  if (sync_loop_ == nullptr) return f(now_);
  (void)sync_loop_->post([f] { f(EventLoop::now()); });
}

void Node::flush_sync() {
  if (sync_ != nullptr) in_sync([this](Time) { sync_->flush(); });
}

// Runs f in the loop's thread; for what the sync engine says.
template <class F>
void Node::from_sync(F f) {
  if (sync_loop_ == nullptr) return f();
  (void)loop_.post([this, f = std::move(f)]() mutable {
    now_ = EventLoop::now();
    f();
  });
}

void Node::peer_met(size_t) {
  from_sync([this] { table_sync_.peer_met(now_); });
}

void Node::peer_message(size_t peer, std::vector<uint8_t> message) {
  from_sync([this, peer, message = std::move(message)] {
    if (!pair_.take(peer, message)) (void)table_sync_.take(now_, message);
  });
}

void Node::tell_peers(std::vector<uint8_t> message) {
  if (sync_ == nullptr) return;
  in_sync([this, message = std::move(message), peers = config_.pfsync->peers.size()](Time t) {
    for (size_t i = 0; i < peers; ++i) (void)sync_->send_message(t, i, message);
  });
}

void Node::tell_peer(size_t peer, std::vector<uint8_t> message) {
  in_sync([this, peer, message = std::move(message)](Time t) {
    if (!sync_->send_message(t, peer, message)) from_sync([this, peer] { pair_.unsent(peer); });
  });
}

size_t Node::table_room() const {
  size_t held = 0;
  for (const auto& table : snapshot_->rules.tables) held += table->content()->size();
  const size_t limit = config_.options.limit_table_entries;
  return limit > held ? limit - held : 0;
}

void Node::retire_content(std::shared_ptr<const TableContent> content) { dataplane_.retire(std::move(content)); }

void Node::bulk_changed(bool running, bool first) {
  const auto note = [this, running, first] {
    // A node that serves must not give up its role because it asks its peer again after an interruption.
    if (running && !first && carp_.any_master()) return;
    bulk_running_ = running;
    hold_back(now_);
  };
  from_sync(note);
}

void Node::check_sync_peer(Time now) {
  const config::Pfsync& p = *config_.pfsync;
  bool all = true;
  for (size_t n = 0; n < p.peers.size(); ++n) {
    const Mac* mac = neighbors_.lookup(now, p.interface, p.peers[n]);
    if (mac != nullptr) in_sync([this, n, known = *mac](Time t) { sync_->set_peer_mac(t, n, known); });
    all = all && mac != nullptr;
  }
  next_peer_check_ = now + (all ? kPeerCheck : kPeerCheckUnknown);
}

void Node::link_to_sync(Time now, bool up) {
  in_sync([this, up](Time t) { sync_->link_change(t, up); });
  if (!config_.pfsync->multicast()) next_peer_check_ = now;
}

void Node::clear_to_sync() {
  if (sync_ != nullptr) in_sync([this](Time t) { sync_->send_clear(t); });
}

void Node::change_sync_key() {
  in_sync([this, key = config_.pfsync->key](Time t) { sync_->change_key(t, key); });
}

// --- planned end ---------------------------------------------------------------------------------------------------

void Node::shut_down(Time now, std::function<void()> done) {
  if (stage_ != Stage::running) return;
  now_ = now;
  on_done_ = std::move(done);
  stage_ = Stage::flushing;
  stage_began_ = next_step_ = now;
  confirm_mark_ = 0;
  stage_deadline_ = sync_ != nullptr ? now + kFlushAtMost : now;
  spdlog::info("shutting down: handing over to the peer");
  hand_over(now);
}

void Node::hand_over(Time now) {
  flush_sync();
  next_step_ = now + kStep;
  const auto enter = [&](Stage stage, Duration at_most) {
    stage_ = stage;
    stage_began_ = now;
    stage_deadline_ = now + at_most;
  };
  if (stage_ == Stage::flushing) {
    // A twinwall peer says that it has everything; for another one silence has to do.
    const bool quiet = sync_ != nullptr && now - stage_began_ >= kFlushAtLeast && sync_->drained() &&
                       (peer_has_everything(now, stage_began_) || now - sync_->last_delta() >= kFlushQuiet);
    if (!quiet && now < stage_deadline_) return;
    carp_.bow_out(now);
    bfd_.leave(now);
    enter(Stage::bowed_out, kSuccessorAtMost);
    if (!carp_.had_masters_at_bow_out()) return finish_hand_over(now);
    return;
  }
  if (stage_ == Stage::bowed_out) {
    if (carp_.successors_heard()) {
      spdlog::info("shutting down: the peer is master");
      return enter(Stage::grace, kGrace);
    }
    if (now >= stage_deadline_) {
      spdlog::warn("shutting down: no peer has taken over");
      return finish_hand_over(now);
    }
    if (!repeated_ && now - stage_began_ >= kBowOutAgain) {
      repeated_ = true;
      carp_.repeat_bow_out(now);
    }
    return;
  }
  if (now >= stage_deadline_) finish_hand_over(now);
}

void Node::finish_hand_over(Time now) {
  stage_ = Stage::done;
  stage_deadline_ = next_step_ = Time::max();
  carp_.release(now);
  if (on_done_) on_done_();
}

}  // namespace twinwall
