// The receiving half of the sync engine: items to commands, requests for what is unknown, and both sides of a bulk
// transfer.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/sync_engine.h"
#include "lib/engine/state_record.h"
#include "lib/pfsync/dialect.h"

namespace twinwall {

using pfsync::BulkEvent;
using pfsync::BulkPhase;
using pfsync::ItemKind;

namespace {

constexpr size_t kFramesPerTurn = 64;
// A frame makes at most some 120 commands for every worker; no frame is taken unless that many fit.
constexpr size_t kBacklogFull = 8192;
constexpr size_t kBacklogHigh = kBacklogFull / 2;
constexpr size_t kExportsPerTurn = 1024;
constexpr size_t kExportsWaiting = 256;
// Requests for unknown states: how many may be open, and how soon one is asked for again.
constexpr size_t kMaxAsked = 4096;
constexpr Duration kAskAgain = 1s;
// Pace of an answer: at 1500 bytes some 30000 states a second, a small part of what a link carries.
constexpr Duration kBulkPause = 5ms;
constexpr int kBulkBurst = 32;
// To twinwall peers, which say how much they can take: at most some 100000 states a second, so that neither the port
// nor this loop is ever busy with it for long. The rest of the frames under way are for what changes meanwhile.
constexpr Duration kTwinPause = 1ms;
constexpr int kTwinBurst = 24;
constexpr uint32_t kTwinReserve = pfsync::kFramesInFlight / 4;
// A transfer waits so long for a twinwall peer that has gone silent.
constexpr Duration kTwinPatience = 60s;
constexpr Duration kTwinWait = 100ms;
constexpr size_t kMaxDeleted = 262144;
// A peer that begins a transfer and falls silent is not waited for: OpenBSD's own limit is half an hour and more.
constexpr Duration kBulkStall = 10s;

}  // namespace

// What a packet says, in commands.
struct SyncEngine::Rx : pfsync::IgnoreAll {
  Rx(SyncEngine& engine, pfsync::System s, Time t, bool rules) : e(engine), system(s), now(t), names_rules(rules) {}
  // In our terms.
  void translate(pfsync::StateRecord& r) const {
    pfsync::from_system(system, r);
    e.options_.names.to_ours(r);
    if (!names_rules) r.nat_rule = kNoRuleNumber;
  }
  void on_clear(const pfsync::ClearRecord& r) {
    Command c;
    c.kind = Command::Kind::clear;
    c.clear = r;
    e.options_.names.to_ours(c.clear.ifname);
    e.to_all(c);
  }
  void on_insert(pfsync::StateRecord r) {
    translate(r);
    e.import(Command::Kind::import_state, r);
  }
  void on_update(pfsync::StateRecord r) {
    translate(r);
    if (e.requester_.phase() == BulkPhase::bulk) ++e.status_.bulk_states_received;
    e.bulk_heard_ = now;
    e.import(Command::Kind::update_state, r);
  }
  void on_compressed_update(const pfsync::UpdateRecord& r) {
    Command c;
    c.kind = Command::Kind::update_compressed;
    c.update = r;
    pfsync::from_system(system, c.update);
    e.to_all(c);
  }
  void on_request(const pfsync::StateId& id) {
    if (id == pfsync::StateId{}) return e.peer_requests_all(now);
    Command c;
    c.kind = Command::Kind::send_state;
    c.id = id;
    e.to_all(c);
  }
  void on_insert_ack(const pfsync::StateId& id) {
    Command c;
    c.kind = Command::Kind::acknowledge;
    c.id = id;
    e.to_all(c);
  }
  void on_delete(const pfsync::StateId& id) {
    Command c;
    c.kind = Command::Kind::delete_state;
    c.id = id;
    e.to_all(c);
  }
  void on_bulk(const pfsync::BulkRecord& r) { e.bulk_status(now, r); }

  SyncEngine& e;
  pfsync::System system;
  Time now;
  bool names_rules;
};

void SyncEngine::take_frames(Time now) {
  size_t taken = 0;
  while (taken < kFramesPerTurn && backlog_size() < kBacklogHigh) {
    const size_t n = dataplane_.sync_take_frames(1, [&](const PuntedFrame& f) { take_frame(now, f); });
    if (n == 0) return;
    taken += n;
  }
  retry_at_ = now + (taken == kFramesPerTurn ? Duration{} : Duration{1ms});
}

void SyncEngine::take_frame(Time now, const PuntedFrame& f) {
  const Bytes packet = f.l3 <= f.frame.size() ? f.frame.subspan(f.l3) : Bytes{};
  const auto datagram = pfsync::open_datagram(packet);
  if (!datagram) {
    ++status_.not_pfsync;
    return;
  }
  const bool on_link = f.in == options_.interface;
  Bytes payload = datagram->payload;
  bool names_rules = false;
  // What came another way is counted by the receiver's own rules, whoever sent it.
  if (on_link && datagram->ttl == pfsync::kTtl) {
    Peer* peer = sender(now, *datagram);
    if (peer == nullptr) return;
    const auto proved = authenticate(now, *peer, *datagram);
    if (!proved) return;
    payload = *proved;
    if (const auto twin = take_twin(now, *peer, payload)) {
      payload = twin->plain;
      names_rules = (twin->trailer.flags & pfsync::kTwinRules) != 0;
    }
  }
  const pfsync::System system = pfsync::recognise(payload, options_.system);
  Rx rx(*this, system, now, names_rules);
  const auto verdict = pfsync::receive(system, on_link, datagram->ttl, payload, rx, status_.received);
  if (verdict != pfsync::Verdict::drop) status_.peer_dialect = pfsync::dialect_of(system);
}

size_t SyncEngine::backlog_size() const {
  size_t longest = 0;
  for (const auto& b : backlog_) longest = std::max(longest, b.size());
  return longest;
}

void SyncEngine::push_backlog() {
  for (unsigned w = 0; w < backlog_.size(); ++w)
    while (!backlog_[w].empty() && dataplane_.sync_command(w, backlog_[w].front())) backlog_[w].pop_front();
}

void SyncEngine::to_worker(unsigned worker, const Command& command) {
  auto& waiting = backlog_[worker];
  if (waiting.empty() && dataplane_.sync_command(worker, command)) return;
  if (waiting.size() >= kBacklogFull) {
    ++status_.commands_lost;
    return;
  }
  waiting.push_back(command);
}

void SyncEngine::to_all(Command command) {
  for (unsigned w = 0; w < backlog_.size(); ++w) {
    command.report_unknown = w == 0;
    to_worker(w, command);
  }
}

// To the worker that is to own the state. It may be held by another one, which made it before the peer spoke of it: an
// update is of use there, and does nothing where the state is not.
void SyncEngine::import(Command::Kind kind, const pfsync::StateRecord& record) {
  const unsigned workers = static_cast<unsigned>(backlog_.size());
  const unsigned owner = owner_of(record, workers);
  Command c;
  c.kind = kind;
  c.record = record;
  to_worker(owner, c);
  if (kind != Command::Kind::update_state) return;
  Command update;
  update.kind = Command::Kind::update_compressed;
  update.report_unknown = false;
  update.update.id = record.id;
  update.update.creator = record.creator;
  update.update.src = record.src;
  update.update.dst = record.dst;
  update.update.expire = record.expire;
  update.update.timeout = record.timeout;
  for (unsigned w = 0; w < workers; ++w)
    if (w != owner) to_worker(w, update);
}

void SyncEngine::take_replies(Time now) {
  // An export waits with the workers while enough of it waits here to be sent.
  size_t taken = 0;
  while (taken < kExportsPerTurn && bulk_queue_.size() < kExportsWaiting) {
    const size_t n = dataplane_.sync_take_replies(32, [&](const Reply& r) {
      switch (r.kind) {
        case Reply::Kind::state: return exported(r);
        case Reply::Kind::done: return walk_done(now, r);
        case Reply::Kind::unknown_state: return unknown_state(now, {r.record.id, r.record.creator});
        case Reply::Kind::gone_state: {
          Delta gone;
          gone.action = SyncQueue::del_c;
          gone.record.id = r.record.id;
          gone.record.creator = r.record.creator;
          if (ready()) add_delta(now, gone);
          return;
        }
      }
    });
    if (n == 0) return;
    taken += n;
  }
}

void SyncEngine::unknown_state(Time now, const pfsync::StateId& id) {
  ++status_.unknown_states;
  if (asked_.size() >= kMaxAsked) std::erase_if(asked_, [&](const auto& a) { return now - a.second >= kAskAgain; });
  if (asked_.size() >= kMaxAsked) return;
  const auto [it, fresh] = asked_.try_emplace(id, now);
  if (!fresh && now - it->second < kAskAgain) return;
  it->second = now;
  requests_.push_back(id);
}

void SyncEngine::send_requests(Time now) {
  if (requests_.empty()) return;
  finish_packet(now);
  if (ready())
    for (const auto& id : requests_) add_request(now, id);
  requests_.clear();
  finish_packet(now);
}

// --- the peer's table to us ----------------------------------------------------------------------------------------

void SyncEngine::step(Time now, const pfsync::BulkStep& s) {
  if (s.send_request && ready()) {
    ++status_.bulk_requests_sent;
    send_alone(now, ItemKind::upd_req, [](pfsync::PacketBuilder& b) { return b.add_id(ItemKind::upd_req, {}); });
  }
  const bool running = requester_.demotion_held() != 0;
  if (running == transfer_running_) return;
  transfer_running_ = running;
  if (running) {
    status_.bulk = BulkState::none;
    status_.bulk_states_received = 0;
  }
  if (!running && status_.bulk != BulkState::complete)
    spdlog::warn("pfsync: no peer sent its states; going on with what is here");
  host_.bulk_changed(running, first_transfer_);
  if (!running) first_transfer_ = false;
}

void SyncEngine::check_stall(Time now) {
  if (!ready()) {
    bulk_heard_ = now;
    return;
  }
  if (requester_.phase() == BulkPhase::bulk && barrier_cookie_ == 0 && !proving_ && now - bulk_heard_ >= kBulkStall)
    step(now, requester_.handle(BulkEvent::timeout, now));
}

void SyncEngine::bulk_status(Time now, const pfsync::BulkRecord& r) {
  if (r.creator == options_.hostid) return;
  bulk_heard_ = now;
  if (r.status == static_cast<uint8_t>(pfsync::BulkStatus::start)) {
    if (requester_.phase() == BulkPhase::start || requester_.phase() == BulkPhase::sent) {
      spdlog::info("pfsync: bulk transfer from {:08x} begins", r.creator);
      status_.bulk_states_received = 0;
      bulk_from_ = r.creator;
    }
    step(now, requester_.handle(BulkEvent::bus_start, now));
    return;
  }
  const BulkPhase phase = requester_.phase();
  // Of several peers that answer, the first one is listened to.
  const bool one_peer = peers_.size() == 1 && !multicast_;
  const bool ends = (phase == BulkPhase::bulk && r.creator == bulk_from_) || (phase == BulkPhase::sent && one_peer);
  if (r.status != static_cast<uint8_t>(pfsync::BulkStatus::end) || !ends || barrier_cookie_ != 0 || proving_) return;
  // The states are on their way to the workers. A walk that finds nothing goes through the same queues behind them, and
  // its end says that they have arrived.
  barrier_cookie_ = next_cookie_++;
  barrier_left_ = static_cast<unsigned>(backlog_.size());
  StateFilter nothing;
  nothing.has_id = true;
  nothing.creator = 0xffffffff;
  start_walk(barrier_cookie_, nothing);
}

Command SyncEngine::walk(uint64_t cookie, const StateFilter& filter) {
  Command c;
  c.kind = Command::Kind::export_states;
  c.cookie = cookie;
  c.filter = filter;
  c.for_peer = true;
  return c;
}

void SyncEngine::start_walk(uint64_t cookie, const StateFilter& filter) { to_all(walk(cookie, filter)); }

void SyncEngine::walk_done(Time now, const Reply& reply) {
  // A worker with too many walks under way has not looked at anything. (The barrier's has done all that is wanted.)
  if (reply.refused && reply.cookie != 0) {
    if (reply.cookie == export_cookie_) return to_worker(reply.worker, walk(export_cookie_, {}));
    if (reply.cookie == inventory_.cookie) inventory_.refused = true;
  }
  if (reply.cookie != 0 && reply.cookie == barrier_cookie_ && --barrier_left_ == 0) {
    barrier_cookie_ = 0;
    proving_ = true;
    proving_since_ = now;
    next_proof_ = now;
    for (Peer& p : peers_) p.twin.slices.reset();
    spdlog::info("pfsync: bulk transfer complete, {} states", status_.bulk_states_received);
    check_proof(now);
  }
  if (reply.cookie != 0 && reply.cookie == export_cookie_ && --export_left_ == 0) {
    export_cookie_ = 0;
    if (std::exchange(request_waiting_, false)) peer_requests_all(now);
  }
  if (reply.cookie != 0 && reply.cookie == inventory_.cookie && --inventory_.left == 0) inventory_done(now);
}

// --- our table to a peer -------------------------------------------------------------------------------------------

void SyncEngine::peer_requests_all(Time now) {
  ++status_.bulk_requests_received;
  if (export_cookie_ != 0 && !answerer_.active()) {
    request_waiting_ = true;
    return;
  }
  if (export_cookie_ != 0 || !answerer_.request(now)) return;
  answer_paused_ = Time::max();
  spdlog::info("pfsync: a peer asks for all states");
  status_.bulk_states_sent = 0;
  bulk_queue_.clear();
  deleted_.clear();
  export_cookie_ = next_cookie_++;
  export_left_ = static_cast<unsigned>(backlog_.size());
  bulk_next_ = now;
  start_walk(export_cookie_, {});
}

void SyncEngine::exported(const Reply& reply) {
  if (reply.cookie != 0 && reply.cookie == inventory_.cookie) return inventory_entry(reply);
  if (reply.cookie != export_cookie_ || export_cookie_ == 0 || !answerer_.active()) return;
  if ((reply.record.state_flags & kStateNoSync) != 0) return;
  // Removed after the walk came by: its removal was told already.
  if (deleted_.contains({reply.record.id, reply.record.creator})) return;
  bulk_queue_.push_back(reply.record);
}

bool SyncEngine::Source::current(pfsync::StateRecord& out) {
  if (queue_.empty()) return false;
  out = queue_.front();
  if (!names_rules_) out.nat_rule = kNoRuleNumber;
  options_.names.to_theirs(out);
  pfsync::to_system(options_.system, out);
  return true;
}

void SyncEngine::Source::advance() {
  content_.states.push_back({queue_.front().id, queue_.front().creator});
  queue_.pop_front();
}

void SyncEngine::end_answer() {
  answerer_.cancel();
  bulk_queue_.clear();
  deleted_.clear();
  bulk_next_ = answer_paused_ = Time::max();
}

// While a twinwall peer cannot be reached its transfer stands still. False: nothing can be sent now.
bool SyncEngine::may_answer(Time now) {
  if (ready() && (answer_paused_ == Time::max() || all_live())) {
    answer_paused_ = Time::max();
    return true;
  }
  const bool twins = std::ranges::any_of(peers_, [](const Peer& p) { return p.twin.session != 0; });
  if (!link_up_ && !twins) {
    end_answer();
    return false;
  }
  bulk_next_ = now + (link_up_ ? kBulkPause : kTwinWait);
  if (!twins) return false;  // the peer asks before we know where it is; it is being looked up
  if (answer_paused_ == Time::max()) {
    answer_paused_ = now;
  } else if (now - answer_paused_ >= kTwinPatience) {
    spdlog::warn("pfsync: the peer is not heard any more, its transfer is given up");
    end_answer();
  }
  return false;
}

void SyncEngine::answer_bulk(Time now) {
  if (!answerer_.active() || now < bulk_next_ || !pending_.empty()) return;
  const bool silent = std::ranges::any_of(peers_, [](const Peer& p) { return p.twin.session != 0 && !p.twin.live; });
  if (silent && answer_paused_ == Time::max()) answer_paused_ = now;
  if (!may_answer(now)) return;
  if (deleted_.size() > kMaxDeleted) deleted_.clear();
  if (std::exchange(deleted_news_, false))
    std::erase_if(bulk_queue_, [&](const auto& r) { return deleted_.contains({r.id, r.creator}); });
  const size_t full = options_.mtu / pfsync::state_size(packet_options_.format) + 1;
  const bool twins = all_live();
  Source source(bulk_queue_, options_, packet_.content, twins);
  finish_packet(now);
  bulk_next_ = now + (twins ? kTwinPause : kBulkPause);
  for (int i = 0; i < (twins ? kTwinBurst : kBulkBurst) && pending_.empty(); ++i) {
    if (twins &&
        std::ranges::any_of(peers_, [](const Peer& p) { return p.usable() && !p.twin.out.open(kTwinReserve); }))
      return;
    // The source must not look exhausted before it is.
    if (export_cookie_ != 0 && bulk_queue_.size() < full) {
      bulk_next_ = now + 1ms;
      return;
    }
    const size_t before = bulk_queue_.size();
    const bool begins = status_.bulk_states_sent == 0;
    begin_packet();
    const bool ended = answerer_.fill(*packet_.builder, source, now);
    packet_.content.bulk_start = begins;
    packet_.content.bulk_end = ended;
    const uint64_t states = before - bulk_queue_.size();
    status_.bulk_states_sent += states;
    status_.items_sent[static_cast<size_t>(ItemKind::upd)] += states;
    finish_packet(now);
    if (!ended) continue;
    bulk_next_ = Time::max();
    ++status_.bulk_transfers_answered;
    deleted_.clear();
    tell_all_inspections();
    spdlog::info("pfsync: bulk transfer to the peer done, {} states", status_.bulk_states_sent);
    return;
  }
}

}  // namespace twinwall
