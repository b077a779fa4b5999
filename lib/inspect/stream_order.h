// The bytes of one direction of a connection in the order of their sequence numbers, up to a limit.
//
// What a receiver has not acknowledged is kept, whether its turn has come or not: what comes again must be equal to
// what came first, or nobody could say which of the two the receiver will believe. Bytes lie in chunks of a pool that
// all connections of a worker share; an idle connection holds none.
// Pure; no allocation after the pool's own. Sequence numbers as in RFC 9293, offsets from the first byte.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "lib/base/bytes.h"

namespace twinwall::inspect {

inline constexpr uint32_t kChunkBytes = 2048;
inline constexpr uint32_t kMostOrdered = 65536;  // bytes of a direction

class ChunkPool {
 public:
  using Index = uint16_t;
  static constexpr Index kNone = 0xffff;

  explicit ChunkPool(uint32_t chunks);
  [[nodiscard]] Index take();
  void give(Index chunk) { free_.push_back(chunk); }
  [[nodiscard]] uint8_t* data(Index chunk) { return memory_.get() + size_t{chunk} * kChunkBytes; }
  [[nodiscard]] size_t used() const { return chunks_ - free_.size(); }

 private:
  uint32_t chunks_;
  std::unique_ptr<uint8_t[]> memory_;  // untouched until it is used
  std::vector<Index> free_;
};

class StreamOrder {
 public:
  enum class Taken : uint8_t {
    yes,
    conflict,  // it says something else than what came before: nothing of it was taken
    no_room,   // too far ahead, too many gaps, or the pool is empty
  };

  // `first`: the sequence number of the first byte.
  void start(uint32_t first) { base_ = first; }
  [[nodiscard]] bool empty() const { return contiguous_ == 0 && gaps_ == 0; }
  // At most `ahead` bytes beyond what is in order; bytes from `limit` on are left out.
  Taken add(ChunkPool& pool, uint32_t seq, Bytes bytes, uint32_t limit, uint32_t ahead);
  // How many bytes are there without a gap, and how many of them were taken with next().
  [[nodiscard]] uint32_t contiguous() const { return contiguous_; }
  [[nodiscard]] uint32_t consumed() const { return consumed_; }
  // A piece of what is in order and was not given yet; empty: there is none.
  [[nodiscard]] Bytes next(ChunkPool& pool);
  // Copies what is in order from `from` on, as far as it goes and is still held.
  [[nodiscard]] size_t copy(ChunkPool& pool, uint32_t from, MutableBytes out) const;
  // The receiver has everything before this sequence number: what was also given by next() and lies before `keep` goes.
  void acknowledged(ChunkPool& pool, uint32_t seq, uint32_t keep);
  void release(ChunkPool& pool);
  // Goes on behind `consumed` bytes that were looked at elsewhere.
  void resume(uint32_t first, uint32_t consumed) {
    base_ = first;
    contiguous_ = consumed_ = released_ = acknowledged_ = consumed;
  }
  // Sequence number of the receiver's next byte, by what it acknowledged: did it get bytes that never came here?
  [[nodiscard]] bool missed(uint32_t seq) const {
    const auto offset = static_cast<int32_t>(seq - base_);
    return offset > 0 && static_cast<uint32_t>(offset) > contiguous_;
  }
  // Gives up what lies before: the stream goes on there. False: that is no place in it.
  [[nodiscard]] bool skip_to(ChunkPool& pool, uint32_t seq);
  // Of the byte behind those that were given.
  [[nodiscard]] uint32_t next_sequence() const { return base_ + consumed_; }

 private:
  static constexpr size_t kChunks = kMostOrdered / kChunkBytes;
  static constexpr size_t kMostGaps = 16;
  struct Piece {
    uint32_t from, to;
  };
  [[nodiscard]] bool equal(ChunkPool& pool, uint32_t from, uint32_t to, const uint8_t* bytes) const;
  [[nodiscard]] bool insert(uint32_t from, uint32_t to);

  uint32_t base_ = 0;
  uint32_t contiguous_ = 0;
  uint32_t consumed_ = 0;
  uint32_t released_ = 0;  // chunks before this are gone
  uint32_t acknowledged_ = 0;
  std::array<ChunkPool::Index, kChunks> chunks_ = [] {
    std::array<ChunkPool::Index, kChunks> none{};
    none.fill(ChunkPool::kNone);
    return none;
  }();
  std::array<Piece, kMostGaps> pieces_{};  // beyond a gap, in order, not touching each other
  size_t gaps_ = 0;                        // how many
};

}  // namespace twinwall::inspect
