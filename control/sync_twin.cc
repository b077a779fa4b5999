// The sync engine and peers that are twinwall too: hellos, counted frames and what becomes of lost ones, transfers that
// go on after an interruption.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <numeric>

#include "control/sync_engine.h"
#include "lib/pfsync/dialect.h"

namespace twinwall {

using pfsync::BulkEvent;
using pfsync::BulkPhase;
using pfsync::ItemKind;

namespace {

// Hellos: soon at first, then seldom, since a BSD will never answer.
constexpr Duration kHelloSoon = 200ms;
constexpr Duration kHelloUsual = 1s;
constexpr Duration kHelloSeldom = 10s;
constexpr unsigned kHellosSoon = 5;
constexpr unsigned kHellosUsual = 60;
constexpr Duration kAnswerGap = 10ms;
// A peer says something ten times a second; one that owes an answer is silent sooner.
constexpr Duration kSilence = 3s;
constexpr Duration kSilenceOwing = 1s;
constexpr unsigned kAcknowledgeEvery = 32;
constexpr Duration kAcknowledgeWithin = 2ms;
constexpr size_t kBacklogShut = 2048;  // commands that wait: no more frames are welcome
constexpr Duration kPublishEvery = 1s;

}  // namespace

bool SyncEngine::all_live() const {
  return options_.twin && ready() &&
         std::ranges::all_of(peers_, [](const Peer& p) { return !p.usable() || p.twin.live; });
}

// Deltas stay with the workers while a peer takes no more frames; it is heard again soon, or is silent and not asked.
bool SyncEngine::room_for_deltas() const {
  return std::ranges::all_of(peers_, [](const Peer& p) { return !p.twin.live || p.twin.out.open(); });
}

pfsync::TwinTrailer SyncEngine::twin_trailer(Peer& p) {
  pfsync::TwinTrailer t;
  t.session = run_;
  t.peer_session = p.twin.session;
  t.base = p.twin.out.base();
  t.ack = p.twin.in.ack();
  const bool shut = backlog_size() >= kBacklogShut;
  t.window = shut ? uint16_t{0} : static_cast<uint16_t>(pfsync::kFramesInFlight);
  t.flags = static_cast<uint8_t>((fit_.load(std::memory_order_relaxed) && !transfer_running_ ? pfsync::kTwinReady : 0) |
                                 (receiving() ? pfsync::kTwinBusy : 0) | (all_live() ? pfsync::kTwinRules : 0) |
                                 (key_ != nullptr ? pfsync::kTwinInspection | pfsync::kTwinMessages : 0));
  p.twin.window_shut = shut;
  if (!p.twin.in.gap()) {
    p.twin.to_acknowledge = 0;
    p.twin.acknowledge_at = Time::max();
  }
  return t;
}

void SyncEngine::say_twin(Time now, Peer& p, Bytes items, uint8_t flags,
                          const std::shared_ptr<const pfsync::FrameContent>& content) {
  if (!link_up_ || !p.usable()) return;
  finish_packet(now);
  pfsync::PacketOptions o = packet_options_;
  o.trailer += items.size();
  pfsync::PacketBuilder builder(MutableBytes(packet_.buffer).subspan(kEthernetHeader), o);
  const size_t n = builder.finish(++ip_id_);
  if (n == 0) return;
  pfsync::TwinTrailer t = twin_trailer(p);
  t.items = static_cast<uint16_t>(items.size());
  t.flags |= flags;
  if (content != nullptr) {
    t.sequence = p.twin.out.add(now, content);
    t.base = p.twin.out.base();
  }
  send_to(now, p, n, nullptr, &t, items);
}

void SyncEngine::new_session(Time now, Peer& p, const pfsync::TwinTrailer& t) {
  const bool again = p.twin.session != 0;
  if (again) spdlog::info("pfsync: {} has restarted", to_string(p.at.address));
  const uint64_t lost = p.twin.frames_lost;
  p.twin = {};
  p.twin.session = t.session;
  p.twin.since = now;
  p.twin.frames_lost = lost;
  p.twin.hello_at = now;
  inventory_ = {};
  // What it was being told was for its life before.
  if (again && answerer_.active() && peers_.size() == 1) {
    end_answer();
    peer_requests_all(now);
  }
  if (resume_until_ != Time::max()) request_anew(now);
}

std::optional<pfsync::TwinFrame> SyncEngine::take_twin(Time now, Peer& p, Bytes payload) {
  const auto frame = pfsync::open_twin(payload);
  if (!frame || !options_.twin || frame->trailer.session == run_) return std::nullopt;
  const pfsync::TwinTrailer& t = frame->trailer;
  if (t.session != p.twin.session) new_session(now, p, t);
  Twin& twin = p.twin;
  twin.heard = now;
  twin.flags = t.flags;
  twin.version = t.version;
  const bool hears_us = t.peer_session == run_;
  if (hears_us && !twin.live && link_up_) {
    twin.live = true;
    twin.digest_at = now;
    twin.out.restart(now);
    spdlog::info("pfsync: {} is twinwall and hears this node", to_string(p.at.address));
    if (key_ != nullptr) host_.peer_met(static_cast<size_t>(&p - peers_.data()));
    // It may have come after the last time that it was asked.
    if (requester_.phase() == BulkPhase::sent) {
      ++status_.bulk_requests_sent;
      send_alone(now, ItemKind::upd_req, [](pfsync::PacketBuilder& b) { return b.add_id(ItemKind::upd_req, {}); });
    }
  }
  if (hears_us) {
    Bytes taken;
    pfsync::each_twin_item(frame->items, [&](uint8_t type, Bytes data) {
      if (type == static_cast<uint8_t>(pfsync::TwinItem::taken)) taken = data;
    });
    twin.out.acknowledged(t.ack, taken, t.window);
    if (t.sequence != 0) {
      (void)twin.in.add(t.sequence, t.base);
      ++twin.to_acknowledge;
      twin.acknowledge_at = std::min(twin.acknowledge_at, now + kAcknowledgeWithin);
    }
    twin_items(now, p, *frame);
  }
  const bool wants_answer = (t.flags & pfsync::kTwinAnswer) != 0 || !hears_us;
  if (wants_answer && now - twin.answered >= kAnswerGap) {
    twin.answered = now;
    say_twin(now, p, {}, hears_us ? 0 : pfsync::kTwinAnswer);
  }
  return frame;
}

void SyncEngine::twin_items(Time now, Peer& p, const pfsync::TwinFrame& frame) {
  const size_t index = static_cast<size_t>(&p - peers_.data());
  pfsync::each_twin_item(frame.items, [&](uint8_t type, Bytes data) {
    switch (static_cast<pfsync::TwinItem>(type)) {
      case pfsync::TwinItem::digests: return take_digests(now, p, data);
      case pfsync::TwinItem::inventory: return take_inventory(now, index, data);
      case pfsync::TwinItem::inspection: return take_inspection(data);
      case pfsync::TwinItem::message: return take_piece(p, data);
      case pfsync::TwinItem::message_wanted:
        if (data.size() >= 4) p.twin.messages.wanted(now, load_be32(data.data()));
        return;
      default: return;  // of a newer release
    }
  });
}

void SyncEngine::tend_twins(Time now) {
  if (!options_.twin || !link_up_) return;
  for (Peer& p : peers_) {
    Twin& t = p.twin;
    if (!p.usable()) continue;
    const Duration silence = t.out.in_flight() != 0 ? kSilenceOwing : kSilence;
    if (t.live && now - t.heard >= silence) {
      t.live = false;
      t.hellos = 0;
      t.hello_at = now;
      spdlog::warn("pfsync: {} is not heard any more", to_string(p.at.address));
    }
    if (!t.live && now >= t.hello_at) {
      const bool known = t.session != 0;
      t.hello_at = now + (t.hellos < kHellosSoon             ? kHelloSoon
                          : known || t.hellos < kHellosUsual ? kHelloUsual
                                                             : kHelloSeldom);
      ++t.hellos;
      say_twin(now, p, {}, pfsync::kTwinAnswer);
    }
    if (!t.live) continue;
    look_for_other_patterns(now);
    repair_lost(now, p);
    if (now >= t.digest_at) tell_digests(now, p);
  }
}

// What lost frames were about is told as it is now.
void SyncEngine::repair_lost(Time now, Peer& p) {
  while (p.twin.out.open() && backlog_size() < kBacklogShut) {
    const auto content = p.twin.out.lost(now);
    if (content == nullptr) return;
    ++p.twin.frames_lost;
    for (const pfsync::StateId& id : content->states) {
      Command c;
      c.kind = Command::Kind::tell_again;
      c.id = id;
      to_all(c);
      ++status_.told_again;
    }
    const auto bulk = [&](pfsync::BulkStatus s) {
      send_alone(now, ItemKind::bus, [&](pfsync::PacketBuilder& b) {
        (s == pfsync::BulkStatus::start ? packet_.content.bulk_start : packet_.content.bulk_end) = true;
        return b.add_bulk({options_.hostid, 0, static_cast<uint8_t>(s)});
      });
    };
    if (content->bulk_start) bulk(pfsync::BulkStatus::start);
    if (content->bulk_end && !answerer_.active()) bulk(pfsync::BulkStatus::end);
    if (content->clear)
      send_alone(now, ItemKind::clr, [&](pfsync::PacketBuilder& b) {
        packet_.content.clear = content->clear;
        return b.add_clear(*content->clear);
      });
  }
}

void SyncEngine::acknowledge(Time now, Peer& p) {
  Twin& t = p.twin;
  if (!t.live) return;
  const bool reopened = t.window_shut && backlog_size() < kBacklogShut;
  if (!reopened && t.to_acknowledge < kAcknowledgeEvery && now < t.acknowledge_at) return;
  const std::vector<uint8_t> taken = t.in.taken();
  std::array<uint8_t, 128> items;
  size_t used = 0;
  if (!taken.empty()) {
    const MutableBytes room = pfsync::claim_twin_item(items, used, pfsync::TwinItem::taken, taken.size());
    if (!room.empty()) std::ranges::copy(taken, room.begin());
  }
  say_twin(now, p, Bytes(items).first(used));
  t.to_acknowledge = 0;
  t.acknowledge_at = Time::max();
}

Time SyncEngine::twin_deadline() const {
  Time earliest = ready() ? resume_until_ : Time::max();  // what is not heard cannot be judged
  if (!options_.twin || !link_up_) return earliest;
  earliest = std::min({earliest, next_proof_, inventory_.deadline});
  for (const Peer& p : peers_) {
    if (!p.usable()) continue;
    const Twin& t = p.twin;
    if (!t.live) {
      earliest = std::min(earliest, t.hello_at);
      continue;
    }
    earliest = std::min({earliest, t.acknowledge_at, t.digest_at});
    if (const auto d = t.out.next_deadline(); d && t.out.open()) earliest = std::min(earliest, *d);
  }
  return earliest;
}

// After an interruption: the peer shows that it is the one that it was, or its table is asked for.
void SyncEngine::settle_resumption(Time now) {
  if (resume_until_ == Time::max() || !ready()) return;
  const bool same = std::ranges::all_of(peers_, [](const Peer& p) { return p.twin.session == 0 || p.twin.live; });
  if (same) {
    resume_until_ = Time::max();
    bulk_heard_ = now;
    if (requester_.phase() == BulkPhase::bulk)
      spdlog::info("pfsync: the transfer from the peer goes on, {} states so far", status_.bulk_states_received);
  } else if (now >= resume_until_) {
    request_anew(now);
  }
}

void SyncEngine::publish_twins() {
  uint64_t sent = 0, taken = 0;
  for (size_t i = 0; i < peers_.size(); ++i) {
    const Twin& t = peers_[i].twin;
    SyncStatus::Peer& out = status_.peers[i];
    out.twin = t.session == 0 ? TwinState::unknown : t.live ? TwinState::alive : TwinState::silent;
    if (t.session == 0) continue;
    out.ready = t.live && (t.flags & pfsync::kTwinReady) != 0;
    out.version = t.version;
    out.differing_slices = t.slices.differing();
    out.proven = t.live && t.slices.proven() && t.slices.differing() == 0;
    out.in_flight = t.out.in_flight();
    out.frames_lost = t.frames_lost;
    out.frames_missed = t.in.missed();
    out.oldest = {};
    if (const auto since = t.out.oldest()) out.oldest = now_ - *since;
    if (const auto since = t.slices.differs_since()) out.oldest = std::max(out.oldest, now_ - *since);
    if (t.live) {
      sent += t.out.next() - 1;
      taken += t.out.base() - 1;
    }
  }
  sent_.store(sent, std::memory_order_relaxed);
  taken_.store(taken, std::memory_order_relaxed);
  status_.proving = proving_;
  if (now_ < publish_sums_at_) {
    for (size_t i = 0; i < peers_.size(); ++i) status_.peers[i].confirmed = confirmed_states_[i];
    return;
  }
  publish_sums_at_ = now_ + kPublishEvery;
  std::array<uint64_t, pfsync::kSlices> sums, states;
  add_slices(&EngineCounters::slice_sums, 0, sums);
  add_slices(&EngineCounters::slice_states, 0, states);
  status_.digest = pfsync::digest_of(sums);
  status_.states_told = std::accumulate(states.begin(), states.end(), uint64_t{0});
  confirmed_states_.resize(peers_.size());
  for (size_t i = 0; i < peers_.size(); ++i)
    confirmed_states_[i] = peers_[i].twin.live ? peers_[i].twin.slices.confirmed(states) : 0;
  for (size_t i = 0; i < peers_.size(); ++i) status_.peers[i].confirmed = confirmed_states_[i];
}

}  // namespace twinwall
