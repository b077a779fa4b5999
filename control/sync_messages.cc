// Messages to and from twinwall peers with the same key: in pieces, behind everything that is about states.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/sync_engine.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr size_t kMessageItems = 4 + pfsync::piece_size(pfsync::kPieceBytes) + 8;

}  // namespace

bool SyncEngine::takes_messages(const Peer& p) const {
  return key_ != nullptr && p.usable() && p.twin.live && (p.twin.flags & pfsync::kTwinMessages) != 0;
}

bool SyncEngine::send_message(Time now, size_t peer, Bytes message) {
  if (peer >= peers_.size() || !takes_messages(peers_[peer]) || !peers_[peer].twin.messages.add(message)) {
    ++status_.messages_refused;
    return false;
  }
  ++status_.messages_sent;
  retry_at_ = std::min(retry_at_, now);
  return true;
}

void SyncEngine::take_piece(Peer& p, Bytes data) {
  pfsync::MessagePiece piece;
  if (key_ == nullptr || !pfsync::read_piece(data, piece)) return;
  p.twin.wanted_due = true;
  auto message = p.twin.message.take(piece);
  if (!message) return;
  ++status_.messages_received;
  host_.peer_message(static_cast<size_t>(&p - peers_.data()), std::move(*message));
}

void SyncEngine::send_pieces(Time now) {
  for (Peer& p : peers_) {
    if (!takes_messages(p)) continue;
    Twin& t = p.twin;
    const uint64_t again = t.messages.sent_again();
    std::array<uint8_t, kMessageItems> items;
    while (pending_.empty()) {
      size_t used = 0;
      if (std::exchange(t.wanted_due, false))
        store_be32(pfsync::claim_twin_item(items, used, pfsync::TwinItem::message_wanted, 4).data(),
                   t.message.wanted());
      const auto piece = t.messages.next(now);
      if (piece)
        pfsync::write_piece(*piece, pfsync::claim_twin_item(items, used, pfsync::TwinItem::message,
                                                            pfsync::piece_size(piece->bytes.size())));
      if (used == 0) break;
      say_twin(now, p, Bytes(items).first(used));
    }
    status_.pieces_again += t.messages.sent_again() - again;
  }
}

Time SyncEngine::messages_deadline() const {
  Time earliest = Time::max();
  if (!pending_.empty()) return earliest;
  for (const Peer& p : peers_)
    if (takes_messages(p)) earliest = std::min(earliest, p.twin.messages.next_deadline());
  return earliest;
}

}  // namespace twinwall
