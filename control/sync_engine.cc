#include "control/sync_engine.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "lib/net/headers.h"
#include "lib/pfsync/dialect.h"

namespace twinwall {

using pfsync::BulkEvent;
using pfsync::BulkPhase;
using pfsync::ItemKind;

namespace {

constexpr size_t kDeltasPerTurn = 4096;
constexpr Duration kSendRetry = 1ms;
constexpr Duration kGiveUp = 1s;
constexpr size_t kMaxPending = 256;
// So long a peer that was there before has to show that it is still the same.
constexpr Duration kResume = 500ms;

bool is_group(const IpAddress& a) { return is_multicast(a.af, a.addr); }

}  // namespace

std::string_view to_string(BulkState s) {
  switch (s) {
    case BulkState::none: return "none";
    case BulkState::requested: return "requested";
    case BulkState::receiving: return "receiving";
    case BulkState::complete: return "complete";
    case BulkState::failed: return "failed";
  }
  return "none";
}

std::string_view to_string(TwinState s) {
  switch (s) {
    case TwinState::unknown: return "unknown";
    case TwinState::alive: return "alive";
    case TwinState::silent: return "silent";
  }
  return "unknown";
}

SyncEngine::SyncEngine(const SyncOptions& options, Dataplane& dataplane, SyncHost& host)
    : options_(options),
      dataplane_(dataplane),
      host_(host),
      ip_id_(options.ip_id),
      backlog_(options.workers),
      words_(options.workers),
      requester_({.system = pfsync::System::openbsd74,
                  .state_limit = options.state_limit,
                  .mtu = options.mtu,
                  // Between two nodes an END can only be meant for us.
                  .accept_lone_end = options.peers.size() == 1 && !is_group(options.peers[0].address)}),
      answerer_({.system = options.system, .creator = options.hostid, .start_when_empty = true}) {
  packet_options_.system = options.system;
  packet_options_.format = pfsync::default_format(options.system);
  packet_options_.mtu = options.mtu;
  packet_options_.source = options.peers[0].source;
  packet_options_.destination = options.peers[0].address;
  packet_.buffer.resize(kEthernetHeader + options.mtu);
  if (!options.key.empty()) {
    key_ = std::make_unique<pfsync::FrameKey>(options.key);
    packet_options_.trailer = pfsync::kTrailerSize;
  }
  for (const SyncPeer& at : options.peers) {
    Peer& p = peers_.emplace_back();
    p.at = at;
    if (is_group(at.address)) p.mac = multicast_mac(at.address.af, at.address.addr);
    if (key_ != nullptr) p.session = std::make_unique<pfsync::AuthSession>(*key_, options.random);
  }
  multicast_ = is_group(peers_[0].at.address);
  options_.twin = options_.twin && !multicast_;
  if (!options_.twin) return;
  packet_options_.trailer += pfsync::kTwinTrailerSize;
  while (run_ == 0) run_ = static_cast<uint32_t>(options_.random());
}

void SyncEngine::start(Time now, bool link_up) {
  started_ = true;
  if (key_ != nullptr) hellos_at_ = now;
  link_up_ = link_up;
  step(now, requester_.handle(BulkEvent::up, now));
  if (ready()) became_ready(now);
  publish_status();
}

// Asks for the peer's table when the way to it is there: at the start, and again whenever it was interrupted, because
// what happened meanwhile was not heard.
void SyncEngine::became_ready(Time now) {
  if (!started_) return;
  // A twinwall peer that is still the same goes on where it stopped, and digests tell what was missed.
  const bool met = std::ranges::any_of(peers_, [](const Peer& p) { return p.twin.session != 0; });
  for (Peer& p : peers_) p.twin.hello_at = now;
  if (met && requester_.phase() != BulkPhase::start)
    resume_until_ = now + kResume;
  else
    request_anew(now);
}

void SyncEngine::request_anew(Time now) {
  resume_until_ = Time::max();
  proving_ = false;
  next_proof_ = Time::max();
  barrier_cookie_ = 0;  // the end of an interrupted transfer is not that of the one asked for now
  if (requester_.phase() != BulkPhase::none && requester_.phase() != BulkPhase::start) {
    (void)requester_.handle(BulkEvent::down, now);
    step(now, requester_.handle(BulkEvent::up, now));
  }
  step(now, requester_.handle(BulkEvent::link_up, now));
}

void SyncEngine::link_change(Time now, bool up) {
  if (link_up_ == up) return;
  link_up_ = up;
  spdlog::info("pfsync: sync link {}", up ? "up" : "down");
  if (!up)
    for (Peer& p : peers_) p.twin.live = false;
  if (ready()) became_ready(now);
  publish_status();
}

// --- out -----------------------------------------------------------------------------------------------------------

void SyncEngine::begin_packet() {
  packet_.content = {};
  packet_.builder.emplace(MutableBytes(packet_.buffer).subspan(kEthernetHeader), packet_options_);
}

void SyncEngine::finish_packet(Time now) {
  if (!packet_.builder || packet_.builder->empty()) return;
  const size_t n = packet_.builder->finish(++ip_id_);
  packet_.builder.reset();
  if (n == 0) return;
  std::shared_ptr<const pfsync::FrameContent> content;
  for (Peer& p : peers_) {
    if (!p.usable()) continue;
    if (!p.twin.live) {
      send_to(now, p, n);
      continue;
    }
    if (content == nullptr) content = std::make_shared<pfsync::FrameContent>(std::move(packet_.content));
    pfsync::TwinTrailer t = twin_trailer(p);
    if (!content->empty()) {
      t.sequence = p.twin.out.add(now, content);
      t.base = p.twin.out.base();
    }
    send_to(now, p, n, nullptr, &t);
  }
}

void SyncEngine::transmit(Time now, std::vector<uint8_t>&& frame) {
  if (pending_.empty() && dataplane_.sync_send(frame)) {
    ++status_.packets_sent;
    return;
  }
  ++status_.send_errors;
  if (pending_.size() >= kMaxPending) {
    ++status_.packets_lost;
    return;
  }
  pending_.push_back({std::move(frame), now});
  retry_at_ = now + kSendRetry;
}

void SyncEngine::retry_pending(Time now) {
  while (!pending_.empty()) {
    if (dataplane_.sync_send(pending_.front().frame)) {
      ++status_.packets_sent;
    } else if (link_up_ && now - pending_.front().since < kGiveUp) {
      retry_at_ = now + kSendRetry;
      return;
    } else {
      ++status_.packets_lost;
    }
    pending_.pop_front();
  }
}

template <class Add>
void SyncEngine::add_item(Time now, ItemKind kind, Add add) {
  if (!packet_.builder) begin_packet();
  if (!add(*packet_.builder)) {
    finish_packet(now);
    begin_packet();
    if (!add(*packet_.builder)) {
      ++status_.deltas_lost;
      return;
    }
  }
  ++status_.items_sent[static_cast<size_t>(kind)];
}

// For messages that are packets of their own on OpenBSD.
void SyncEngine::send_alone(Time now, ItemKind kind, const std::function<bool(pfsync::PacketBuilder&)>& add) {
  finish_packet(now);
  add_item(now, kind, add);
  finish_packet(now);
}

void SyncEngine::add_delta(Time now, const Delta& d) {
  const pfsync::StateId id{d.record.id, d.record.creator};
  const auto add_item = [&](ItemKind kind, const auto& add) {
    this->add_item(now, kind, add);
    packet_.content.states.push_back(id);
  };
  const auto add_whole = [&](ItemKind kind, const auto& add) {
    pfsync::StateRecord r = d.record;
    if (!all_live()) r.nat_rule = kNoRuleNumber;
    options_.names.to_theirs(r);
    pfsync::to_system(options_.system, r);
    add_item(kind, [&](auto& b) { return add(b, r); });
  };
  switch (d.action) {
    case SyncQueue::none: return;
    case SyncQueue::ins: return add_whole(ItemKind::ins, [](auto& b, const auto& r) { return b.add_insert(r); });
    case SyncQueue::upd: return add_whole(ItemKind::upd, [](auto& b, const auto& r) { return b.add_update(r); });
    case SyncQueue::upd_c: {
      pfsync::UpdateRecord u = pfsync::update_of(d.record);
      pfsync::to_system(options_.system, u);
      return add_item(ItemKind::upd_c, [&](auto& b) { return b.add_compressed_update(u); });
    }
    case SyncQueue::ins_ack:
      return add_item(ItemKind::ins_ack, [&](auto& b) { return b.add_id(ItemKind::ins_ack, id); });
    case SyncQueue::del_c: {
      if (answerer_.active()) deleted_news_ = deleted_[id] = true;
      return add_item(ItemKind::del_c, [&](auto& b) { return b.add_id(ItemKind::del_c, id); });
    }
  }
}

void SyncEngine::add_request(Time now, const pfsync::StateId& id) {
  add_item(now, ItemKind::upd_req, [&](auto& b) { return b.add_id(ItemKind::upd_req, id); });
}

// Deltas stay with the workers while a packet waits, so that nothing overtakes and nothing is lost.
void SyncEngine::take_deltas(Time now) {
  size_t taken = 0;
  while (taken < kDeltasPerTurn && pending_.empty() && room_for_deltas()) {
    const size_t n = dataplane_.sync_take_deltas(32, [&](const Delta& d) {
      if (ready())
        add_delta(now, d);
      else
        ++status_.deltas_lost;
    });
    if (n == 0) break;
    taken += n;
  }
  if (taken != 0) last_delta_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  if (taken == kDeltasPerTurn) retry_at_ = now;  // the rest in the next turn, after others had theirs
}

void SyncEngine::send_clear(Time now) {
  pfsync::ClearRecord clear;
  clear.creator = options_.hostid;
  if (!ready()) return;
  send_alone(now, ItemKind::clr, [&](pfsync::PacketBuilder& b) {
    packet_.content.clear = clear;
    return b.add_clear(clear);
  });
  publish_status();
}

// --- loop ----------------------------------------------------------------------------------------------------------

Time SyncEngine::next_deadline() const {
  Time earliest = std::min({retry_at_, hellos_at_, old_key_until_, probe_at_, twin_deadline(), messages_deadline()});
  if (pending_.empty()) earliest = std::min(earliest, bulk_next_);  // until then a transfer waits for retry_at_
  if (const auto d = requester_.next_deadline()) earliest = std::min(earliest, *d);
  return earliest;
}

void SyncEngine::poll(Time now) {
  now_ = now;
  if (retry_at_ <= now) retry_at_ = Time::max();
  retry_pending(now);
  push_backlog();
  take_deltas(now);
  tell_inspections(now);
  take_frames(now);
  push_inspections();
  say_hellos(now);
  tend_keys(now);
  settle_resumption(now);
  tend_twins(now);
  take_replies(now);
  check_stall(now);
  check_proof(now);
  step(now, requester_.poll(now));
  send_requests(now);
  answer_bulk(now);
  finish_packet(now);
  send_pieces(now);
  for (Peer& p : peers_) acknowledge(now, p);
  if (backlog_size() != 0) retry_at_ = std::min(retry_at_, now + kSendRetry);
  publish_status();
}

void SyncEngine::publish_status() {
  switch (requester_.phase()) {
    case BulkPhase::none:
    case BulkPhase::start: break;
    case BulkPhase::sent: status_.bulk = BulkState::requested; break;
    case BulkPhase::bulk: status_.bulk = BulkState::receiving; break;
    case BulkPhase::done:
      // Done without an END was given up.
      if (status_.bulk == BulkState::requested || status_.bulk == BulkState::receiving ||
          status_.bulk == BulkState::none)
        status_.bulk = BulkState::failed;
      break;
  }
  drained_.store(pending_.empty(), std::memory_order_relaxed);
  status_.bulk_answering = answerer_.active();
  status_.link_up = link_up_;
  status_.peers.clear();
  for (const Peer& p : peers_) {
    SyncStatus::Peer& out = status_.peers.emplace_back();
    out.known = p.mac.has_value();
    out.in_session = p.session == nullptr || p.session->established();
  }
  publish_twins();
  status_.commands_waiting = backlog_size();
  const std::lock_guard lock(mutex_);
  published_ = status_;
}

SyncStatus SyncEngine::status() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

}  // namespace twinwall
