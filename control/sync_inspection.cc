// Where the looking into connections stands, from workers to the peer and from the peer to workers.
//
// Only between twinwall nodes that share a key: what the patterns have in hand is memory of Hyperscan's that nobody can
// check, and a forged word could free a connection from being looked at. Words of workers leave as items of frames that
// count; what a lost one was about is told anew with its state. Words of the peer go to every worker, behind the
// commands of the frames before.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/sync_engine.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr size_t kWordsPerTurn = 256;
constexpr size_t kWordsWaiting = 256;  // for a worker

}  // namespace

bool SyncEngine::takes_inspections(const Peer& p) const {
  return key_ != nullptr && p.usable() && p.twin.live && (p.twin.flags & pfsync::kTwinInspection) != 0;
}

void SyncEngine::tell_inspections(Time now) {
  if (!options_.twin || key_ == nullptr) return;
  const size_t around = kIpv6Header + pfsync::kHeaderSize + packet_options_.trailer;
  std::vector<uint8_t> items(options_.mtu > around ? options_.mtu - around : 0);
  size_t used = 0;
  auto content = std::make_shared<pfsync::FrameContent>();
  const auto flush = [&] {
    if (used == 0) return;
    for (Peer& p : peers_)
      if (takes_inspections(p)) say_twin(now, p, Bytes(items).first(used), 0, content);
    used = 0;
    content = std::make_shared<pfsync::FrameContent>();
  };
  const auto add = [&](const InspectionWord& word) {
    if (std::ranges::none_of(peers_, [&](const Peer& p) { return takes_inspections(p); })) {
      ++status_.inspections_unheard;
      return;
    }
    const size_t length = pfsync::kInspectionHeadSize + word.length;
    MutableBytes room = pfsync::claim_twin_item(items, used, pfsync::TwinItem::inspection, length);
    if (room.empty()) {
      flush();
      room = pfsync::claim_twin_item(items, used, pfsync::TwinItem::inspection, length);
    }
    if (room.empty()) {
      ++status_.inspections_too_large;
      return;
    }
    pfsync::write_inspection_id(word.id, room);
    std::copy_n(word.bytes.begin(), word.length, room.begin() + pfsync::kInspectionHeadSize);
    content->states.push_back(word.id);
    ++status_.inspections_sent;
  };
  for (size_t taken = 0; taken < kWordsPerTurn && pending_.empty() && room_for_deltas();) {
    const size_t n = dataplane_.sync_take_inspections(16, add);
    if (n == 0) break;
    taken += n;
    if (taken >= kWordsPerTurn) retry_at_ = now;
  }
  flush();
}

void SyncEngine::take_inspection(Bytes data) {
  if (key_ == nullptr || data.size() < pfsync::kInspectionHeadSize + InspectionWord::kHead ||
      data.size() > pfsync::kInspectionHeadSize + InspectionWord::kMost) {
    ++status_.inspections_refused;
    return;
  }
  InspectionWord word;
  word.id = pfsync::read_inspection_id(data);
  const Bytes rest = data.subspan(pfsync::kInspectionHeadSize);
  word.length = static_cast<uint32_t>(rest.size());
  std::ranges::copy(rest, word.bytes.begin());
  ++status_.inspections_received;
  for (auto& waiting : words_) {
    if (waiting.size() < kWordsWaiting)
      waiting.push_back(word);
    else
      ++status_.inspections_refused;
  }
}

// The workers cannot log.
void SyncEngine::look_for_other_patterns(Time now) {
  uint64_t afresh = 0;
  for (unsigned w = 0; w < words_.size(); ++w)
    afresh += dataplane_.counters(w).inspection[static_cast<size_t>(InspectCounter::taken_afresh)].get();
  if (afresh == inspections_afresh_) return;
  inspections_afresh_ = afresh;
  if (patterns_log_.pass(now))
    spdlog::warn(
        "pfsync: the peer looks for other signatures in its connections than this node, or sends no state of theirs: "
        "one that it has seen the beginning of is not found here ({} times so far)",
        afresh);
}

void SyncEngine::push_inspections() {
  for (unsigned w = 0; w < words_.size(); ++w) {
    if (!backlog_[w].empty()) continue;
    while (!words_[w].empty() && dataplane_.sync_inspection(w, words_[w].front())) words_[w].pop_front();
    if (!words_[w].empty()) retry_at_ = std::min(retry_at_, now_ + 1ms);
  }
}

// A peer has got every state: what was told of them before it had them was in vain.
void SyncEngine::tell_all_inspections() {
  if (std::ranges::none_of(peers_, [this](const Peer& p) { return takes_inspections(p); })) return;
  Command c;
  c.kind = Command::Kind::tell_inspections;
  c.cookie = next_cookie_++;
  to_all(c);
}

}  // namespace twinwall
