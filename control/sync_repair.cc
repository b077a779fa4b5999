// Proof that two twinwall nodes hold the same states, and what is done where they do not.
//
// Each tells its sums of 1024 slices, some in a frame, over and over. A slice that differs for sure is gone through by
// name: one of the two (by session) sends an inventory of its states, the other puts its own beside it, asks for what
// it lacks, tells what the first one lacks, and removes what is the first one's business and is not there any more.
// A state is the peer's business when the peer has had the last word on it, and that in its present life; so a removal
// that was lost is made good, and neither a connection that runs here nor one that a restarted peer did not get is
// taken for one.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "control/sync_engine.h"
#include "lib/net/headers.h"

namespace twinwall {

using pfsync::BulkEvent;

namespace {

constexpr Duration kDigestEvery = 100ms;
constexpr Duration kDigestHurry = 15ms;  // somebody waits for the proof
constexpr size_t kSlicesPerFrame = 128;
constexpr Duration kProofAtMost = 5s;
constexpr Duration kProofLook = 20ms;
constexpr size_t kInventoryMost = 65536;
constexpr Duration kInventoryPatience = 3s;
// With more than this share of the slices different the whole table is asked for.
constexpr size_t kHopeless = pfsync::kSlices / 4;
constexpr Duration kAskWholeAgain = 60s;
constexpr Duration kLastingDifference = 60s;

}  // namespace

void SyncEngine::add_slices(SliceCounters which, size_t first, std::span<uint64_t> out) const {
  std::ranges::fill(out, 0);
  for (unsigned w = 0; w < options_.workers; ++w) {
    const auto& counters = dataplane_.counters(w).*which;
    for (size_t i = 0; i < out.size(); ++i) out[i] += counters[first + i].get();
  }
}

void SyncEngine::tell_digests(Time now, Peer& p) {
  const bool hurry = proving_ || (p.twin.flags & pfsync::kTwinReady) == 0;
  p.twin.digest_at = now + (hurry ? kDigestHurry : kDigestEvery);
  if (receiving()) return say_twin(now, p);  // a sign of life: what is here is not worth comparing
  const size_t first = p.twin.next_slice;
  const size_t n = std::min(kSlicesPerFrame, pfsync::kSlices - first);
  std::array<uint8_t, 8 + 8 * kSlicesPerFrame> items;
  size_t used = 0;
  const MutableBytes room = pfsync::claim_twin_item(items, used, pfsync::TwinItem::digests, 4 + 8 * n);
  if (room.empty()) return;
  store_be16(&room[0], static_cast<uint16_t>(first));
  store_be16(&room[2], static_cast<uint16_t>(n));
  std::array<uint64_t, kSlicesPerFrame> ours;
  add_slices(&EngineCounters::slice_sums, first, std::span(ours).first(n));
  for (size_t i = 0; i < n; ++i) store_be64(&room[4 + 8 * i], ours[i]);
  p.twin.next_slice = static_cast<uint16_t>((first + n) % pfsync::kSlices);
  say_twin(now, p, Bytes(items).first(used));
}

void SyncEngine::take_digests(Time now, Peer& p, Bytes data) {
  if (receiving() || (p.twin.flags & pfsync::kTwinBusy) != 0 || data.size() < 4) return;
  const size_t first = load_be16(&data[0]);
  const size_t n = load_be16(&data[2]);
  if (first + n > pfsync::kSlices || data.size() < 4 + 8 * n) return;
  std::array<uint64_t, pfsync::kSlices> ours;
  add_slices(&EngineCounters::slice_sums, first, std::span(ours).first(n));
  for (size_t i = 0; i < n; ++i)
    p.twin.slices.look(now, static_cast<uint16_t>(first + i), ours[i], load_be64(&data[4 + 8 * i]));
  tell_lasting_difference(now, p);
  if (p.twin.slices.differing() == 0) return;
  if (p.twin.slices.differing() > kHopeless && !transfer_running_ && !answerer_.active() && now >= ask_whole_at_) {
    ask_whole_at_ = now + kAskWholeAgain;
    spdlog::info("pfsync: {} of {} slices differ from those of {}, all states are asked for", p.twin.slices.differing(),
                 pfsync::kSlices, to_string(p.at.address));
    return request_anew(now);
  }
  const bool idle = inventory_.stage == Inventory::Stage::none && export_cookie_ == 0 && barrier_cookie_ == 0;
  if (idle && run_ < p.twin.session) start_inventory(now, static_cast<size_t>(&p - peers_.data()));
}

// A transfer is complete when every slice has been equal since. Where the peer is no twinwall its END has to do.
void SyncEngine::check_proof(Time now) {
  if (inventory_.stage != Inventory::Stage::none && now >= inventory_.deadline) {
    ++status_.repairs_lost;
    inventory_ = {};
  }
  if (!proving_ || now < next_proof_) return;
  next_proof_ = now + kProofLook;
  const bool proven = std::ranges::all_of(peers_, [](const Peer& p) { return !p.twin.live || p.twin.slices.proven(); });
  if (!proven && now - proving_since_ < kProofAtMost) return;
  proving_ = false;
  next_proof_ = Time::max();
  if (!proven)
    tell_unproven();
  else if (all_live())
    spdlog::info("pfsync: the states here are the peer's, by their digests");
  publish_sums_at_ = now;
  status_.bulk = BulkState::complete;
  step(now, requester_.handle(BulkEvent::bus_end, now));
}

// States that come and go all the time, as under a flood or with a full table, keep slices from being equal at the
// moment of a look; that is no lack that anybody could mend. What stays is told by tell_lasting_difference().
void SyncEngine::tell_unproven() const {
  size_t differing = 0, unequal = 0;
  for (const Peer& p : peers_) {
    if (!p.twin.live) continue;
    differing = std::max(differing, p.twin.slices.differing());
    unequal = std::max(unequal, pfsync::kSlices - p.twin.slices.seen_equal());
  }
  spdlog::info(
      "pfsync: {} of {} slices of the states were not equal to the peer's yet, {} are known to differ; going on",
      unequal, pfsync::kSlices, differing);
}

void SyncEngine::tell_lasting_difference(Time now, Peer& p) {
  const auto since = p.twin.slices.differs_since();
  if (!since) {
    if (std::exchange(p.twin.difference_told, false))
      spdlog::info("pfsync: no slice of the states differs from {}'s any more", to_string(p.at.address));
    return;
  }
  if (p.twin.difference_told || now - *since < kLastingDifference) return;
  p.twin.difference_told = true;
  spdlog::warn(
      "pfsync: {} of {} slices of the states have differed from {}'s for {} s: what the peer lacks would break in a "
      "takeover; 'twinctl show pfsync' on both counts what was lost and refused (a full table: options.limits.states)",
      p.twin.slices.differing(), pfsync::kSlices, to_string(p.at.address),
      std::chrono::duration_cast<std::chrono::seconds>(now - *since).count());
}

void SyncEngine::start_inventory(Time now, size_t peer) {
  const std::vector<uint16_t> slices = peers_[peer].twin.slices.to_repair(now, pfsync::kInventorySlices);
  if (slices.empty()) return;
  inventory_ = {};
  inventory_.stage = Inventory::Stage::walking;
  inventory_.peer = peer;
  inventory_.deadline = now + kInventoryPatience;
  inventory_.head.run = static_cast<uint32_t>(next_cookie_);
  inventory_.head.count = static_cast<uint16_t>(slices.size());
  std::ranges::copy(slices, inventory_.head.slices);
  status_.slices_repaired += slices.size();
  walk_slices();
}

void SyncEngine::walk_slices() {
  StateFilter filter;
  filter.slice_count = static_cast<uint8_t>(inventory_.head.count);
  std::ranges::copy(inventory_.head.slices, filter.slices);
  inventory_.cookie = next_cookie_++;
  inventory_.left = static_cast<unsigned>(backlog_.size());
  start_walk(inventory_.cookie, filter);
}

void SyncEngine::inventory_entry(const Reply& r) {
  if (r.told == kNotTold) return;
  if (inventory_.ours.size() >= kInventoryMost) {
    inventory_.too_many = true;
    return;
  }
  // What the peer said in an earlier life it may have forgotten with that, and not because it was done with it.
  const bool of_peer = r.of_peer && r.peer_word > to_seconds(peers_[inventory_.peer].twin.since);
  inventory_.ours.push_back({{r.record.id, r.record.creator}, r.told, of_peer});
}

void SyncEngine::inventory_done(Time now) {
  inventory_.cookie = 0;
  if (inventory_.too_many || inventory_.refused) {
    ++status_.repairs_lost;
  } else if (inventory_.stage == Inventory::Stage::walking) {
    send_inventory(now);
  } else if (inventory_.stage == Inventory::Stage::comparing) {
    reconcile(now);
  }
  inventory_ = {};
}

void SyncEngine::send_inventory(Time now) {
  Peer& p = peers_[inventory_.peer];
  const size_t head = kIpv6Header + pfsync::kHeaderSize + packet_options_.trailer + 4 + pfsync::kInventoryHeadSize;
  if (options_.mtu < head + pfsync::kInventoryEntrySize) return;
  const size_t most = (options_.mtu - head) / pfsync::kInventoryEntrySize;
  std::vector<uint8_t> items(options_.mtu);
  size_t next = 0;
  do {
    const size_t n = std::min(most, inventory_.ours.size() - next);
    size_t used = 0;
    const MutableBytes room = pfsync::claim_twin_item(items, used, pfsync::TwinItem::inventory,
                                                      pfsync::kInventoryHeadSize + n * pfsync::kInventoryEntrySize);
    if (room.empty()) return;
    const bool last = next + n == inventory_.ours.size();
    inventory_.head.frames = last ? static_cast<uint16_t>(inventory_.head.frame + 1) : uint16_t{0};
    pfsync::write_inventory_head(inventory_.head, room);
    for (size_t i = 0; i < n; ++i)
      pfsync::write_inventory_entry(inventory_.ours[next + i],
                                    &room[pfsync::kInventoryHeadSize + i * pfsync::kInventoryEntrySize]);
    say_twin(now, p, Bytes(items).first(used));
    ++inventory_.head.frame;
    next += n;
  } while (next < inventory_.ours.size());
}

void SyncEngine::take_inventory(Time now, size_t peer, Bytes data) {
  pfsync::InventoryHead head;
  if (receiving() || !pfsync::read_inventory_head(data, head) || head.count == 0) return;
  for (size_t i = 0; i < head.count; ++i)
    if (head.slices[i] >= pfsync::kSlices) return;
  Inventory& inv = inventory_;
  const bool busy = inv.stage == Inventory::Stage::walking || inv.stage == Inventory::Stage::comparing;
  if (busy || export_cookie_ != 0 || barrier_cookie_ != 0) return;
  if (inv.stage == Inventory::Stage::none || inv.peer != peer || inv.head.run != head.run) {
    inv = {};
    inv.stage = Inventory::Stage::receiving;
    inv.peer = peer;
    inv.head = head;
    inv.head.frames = 0;
    inv.deadline = now + kInventoryPatience;
  }
  if (head.frames != 0) inv.head.frames = head.frames;
  ++inv.frames_taken;
  const size_t n = (data.size() - pfsync::kInventoryHeadSize) / pfsync::kInventoryEntrySize;
  if (inv.theirs.size() + n > kInventoryMost) {
    ++status_.repairs_lost;
    inv = {};
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    const auto e = pfsync::read_inventory_entry(&data[pfsync::kInventoryHeadSize + i * pfsync::kInventoryEntrySize]);
    inv.theirs[e.id] = e;
  }
  if (inv.head.frames == 0 || inv.frames_taken < inv.head.frames) return;
  inv.stage = Inventory::Stage::comparing;
  walk_slices();
}

void SyncEngine::reconcile(Time now) {
  const auto tell = [&](Command::Kind kind, const pfsync::StateId& id) {
    Command c;
    c.kind = kind;
    c.id = id;
    to_all(c);
  };
  for (const pfsync::InventoryEntry& own : inventory_.ours) {
    const auto it = inventory_.theirs.find(own.id);
    const bool missing = it == inventory_.theirs.end();
    const bool same = !missing && it->second.levels == own.levels;
    if (!missing) inventory_.theirs.erase(it);
    if (same) continue;
    if (missing && own.of_peer) {
      ++status_.repair_states_removed;
      tell(Command::Kind::delete_state, own.id);
    } else if (own.of_peer) {
      ++status_.repair_states_asked;
      requests_.push_back(own.id);
    } else {
      ++status_.repair_states_sent;
      tell(Command::Kind::send_state, own.id);
    }
  }
  status_.slices_repaired += inventory_.head.count;
  for (const auto& [id, entry] : inventory_.theirs) {
    if (!entry.of_peer) {
      ++status_.repair_states_asked;
      requests_.push_back(id);
      continue;
    }
    // The peer holds on to what was removed here.
    Delta gone;
    gone.action = SyncQueue::del_c;
    gone.record.id = id.id;
    gone.record.creator = id.creator;
    ++status_.repair_states_sent;
    if (ready()) add_delta(now, gone);
  }
}

}  // namespace twinwall
