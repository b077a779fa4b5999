// Messages of any length from one twinwall node to another, in pieces that fit a frame: each arrives once and whole,
// and in order, or the session between the two nodes ends and with it what was under way.
//
// Pieces are numbered from 1 in a session. The receiver takes them in their order alone and says which one it wants
// next; when that does not move on for a while everything from there on is sent again. Seldom used and short, so this
// is all that is needed; states go another way (lib/pfsync/twin_ledger.h).
//
// A piece in an item: sequence 4, bytes 2, flags 1 (1: it ends a message), zero 1, then the bytes, padded to words
// of 4. What is wanted next: sequence 4.
//
// Pure; bounded by kMostMessage and kMostWaiting. Time comes in.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/time.h"

namespace twinwall::pfsync {

inline constexpr size_t kPieceHead = 8;
inline constexpr size_t kPieceBytes = 1024;
inline constexpr size_t kMostMessage = 8u << 20;
inline constexpr size_t kMostWaiting = 16u << 20;

struct MessagePiece {
  uint32_t sequence = 0;
  bool last = false;
  Bytes bytes;
};
[[nodiscard]] bool read_piece(Bytes data, MessagePiece& out);
[[nodiscard]] constexpr size_t piece_size(size_t bytes) { return kPieceHead + (bytes + 3) / 4 * 4; }
void write_piece(const MessagePiece& piece, MutableBytes out);  // piece_size() bytes

class MessageOutbox {
 public:
  // What is not acknowledged for so long is sent again; doubled each time that it was in vain, so that a node that
  // stands still is not written to much.
  static constexpr Duration kPatience = 20ms, kMostPatience = 320ms;

  // False: too long, or too much waits.
  [[nodiscard]] bool add(Bytes message);
  // The next piece that is to be sent now; null when none is. It stays valid until something else is called.
  [[nodiscard]] std::optional<MessagePiece> next(Time now);
  // What the peer wants next.
  void wanted(Time now, uint32_t sequence);
  [[nodiscard]] Time next_deadline() const;
  [[nodiscard]] size_t waiting() const { return pieces_.size(); }
  [[nodiscard]] uint64_t sent_again() const { return again_; }

 private:
  struct Piece {
    bool last = false;
    std::vector<uint8_t> bytes;
  };
  std::deque<Piece> pieces_;  // from first_ on
  uint32_t first_ = 1;        // of those that the peer may lack
  size_t under_way_ = 0;
  size_t bytes_ = 0;
  Time progress_{};  // when it last moved on, or something was sent after a pause
  Duration patience_ = kPatience;
  uint64_t again_ = 0;
};

class MessageInbox {
 public:
  // A whole message with its last piece.
  [[nodiscard]] std::optional<std::vector<uint8_t>> take(const MessagePiece& piece);
  [[nodiscard]] uint32_t wanted() const { return next_; }
  // Messages that were longer than any may be, and lost.
  [[nodiscard]] uint64_t too_long() const { return too_long_; }

 private:
  uint32_t next_ = 1;
  std::vector<uint8_t> message_;
  bool spoilt_ = false;
  uint64_t too_long_ = 0;
};

}  // namespace twinwall::pfsync
