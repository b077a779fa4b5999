#include "lib/pfsync/twin_messages.h"

#include <algorithm>

namespace twinwall::pfsync {

namespace {

constexpr uint8_t kLast = 1;
constexpr size_t kPiecesUnderWay = 32;

}  // namespace

bool read_piece(Bytes data, MessagePiece& out) {
  if (data.size() < kPieceHead) return false;
  const size_t n = load_be16(&data[4]);
  if (n > kPieceBytes || piece_size(n) != data.size()) return false;
  out.sequence = load_be32(&data[0]);
  out.last = (data[6] & kLast) != 0;
  out.bytes = data.subspan(kPieceHead, n);
  return true;
}

void write_piece(const MessagePiece& piece, MutableBytes out) {
  std::ranges::fill(out, uint8_t{0});
  store_be32(&out[0], piece.sequence);
  store_be16(&out[4], static_cast<uint16_t>(piece.bytes.size()));
  out[6] = piece.last ? kLast : uint8_t{0};
  std::ranges::copy(piece.bytes, out.begin() + kPieceHead);
}

bool MessageOutbox::add(Bytes message) {
  if (message.size() > kMostMessage || bytes_ + message.size() > kMostWaiting) return false;
  bytes_ += message.size();
  do {
    const Bytes piece = message.first(std::min(kPieceBytes, message.size()));
    message = message.subspan(piece.size());
    pieces_.push_back({message.empty(), {piece.begin(), piece.end()}});
  } while (!message.empty());
  return true;
}

std::optional<MessagePiece> MessageOutbox::next(Time now) {
  if (under_way_ != 0 && now - progress_ >= patience_) {
    again_ += under_way_;
    under_way_ = 0;
    patience_ = std::min(2 * patience_, kMostPatience);
  }
  if (under_way_ >= std::min(kPiecesUnderWay, pieces_.size())) return std::nullopt;
  if (under_way_ == 0) progress_ = now;
  const Piece& p = pieces_[under_way_];
  return MessagePiece{first_ + static_cast<uint32_t>(under_way_++), p.last, p.bytes};
}

void MessageOutbox::wanted(Time now, uint32_t sequence) {
  const uint32_t gone = sequence - first_;
  if (gone == 0 || gone > under_way_) return;
  for (uint32_t i = 0; i < gone; ++i) {
    bytes_ -= pieces_.front().bytes.size();
    pieces_.pop_front();
  }
  first_ = sequence;
  under_way_ -= gone;
  progress_ = now;
  patience_ = kPatience;
}

Time MessageOutbox::next_deadline() const {
  if (under_way_ < std::min(kPiecesUnderWay, pieces_.size())) return Time{};
  return under_way_ != 0 ? progress_ + patience_ : Time::max();
}

std::optional<std::vector<uint8_t>> MessageInbox::take(const MessagePiece& piece) {
  if (piece.sequence != next_) return std::nullopt;
  ++next_;
  if (!spoilt_ && message_.size() + piece.bytes.size() > kMostMessage) {
    spoilt_ = true;
    ++too_long_;
    message_ = {};
  }
  if (!spoilt_) message_.insert(message_.end(), piece.bytes.begin(), piece.bytes.end());
  if (!piece.last) return std::nullopt;
  const bool whole = !spoilt_;
  spoilt_ = false;
  std::vector<uint8_t> out = std::exchange(message_, {});
  if (!whole) return std::nullopt;
  return out;
}

}  // namespace twinwall::pfsync
