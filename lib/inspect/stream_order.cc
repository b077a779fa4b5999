#include "lib/inspect/stream_order.h"

#include <algorithm>
#include <cstring>

namespace twinwall::inspect {

ChunkPool::ChunkPool(uint32_t chunks)
    : chunks_(std::min<uint32_t>(chunks, kNone)), memory_(new uint8_t[size_t{chunks_} * kChunkBytes]) {
  free_.reserve(chunks_);
  for (uint32_t i = chunks_; i > 0; --i) free_.push_back(static_cast<Index>(i - 1));
}

ChunkPool::Index ChunkPool::take() {
  if (free_.empty()) return kNone;
  const Index out = free_.back();
  free_.pop_back();
  return out;
}

// What is no longer held, the receiver has: it does not look at it again.
bool StreamOrder::equal(ChunkPool& pool, uint32_t from, uint32_t to, const uint8_t* bytes) const {
  for (uint32_t at = std::max(from, released_); at < to;) {
    const uint32_t end = std::min(to, (at / kChunkBytes + 1) * kChunkBytes);
    const ChunkPool::Index chunk = chunks_[at / kChunkBytes];
    if (chunk != ChunkPool::kNone &&
        std::memcmp(pool.data(chunk) + at % kChunkBytes, bytes + (at - from), end - at) != 0)
      return false;
    at = end;
  }
  return true;
}

// Notes that these bytes are there. False: too many gaps.
bool StreamOrder::insert(uint32_t from, uint32_t to) {
  if (from <= contiguous_) {
    contiguous_ = std::max(contiguous_, to);
  } else {
    size_t i = 0;
    while (i < gaps_ && pieces_[i].to < from) ++i;
    if (i < gaps_ && pieces_[i].from <= to) {
      pieces_[i].from = std::min(pieces_[i].from, from);
      pieces_[i].to = std::max(pieces_[i].to, to);
      while (i + 1 < gaps_ && pieces_[i + 1].from <= pieces_[i].to) {
        pieces_[i].to = std::max(pieces_[i].to, pieces_[i + 1].to);
        std::copy(pieces_.begin() + static_cast<std::ptrdiff_t>(i) + 2,
                  pieces_.begin() + static_cast<std::ptrdiff_t>(gaps_),
                  pieces_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        --gaps_;
      }
    } else {
      if (gaps_ == kMostGaps) return false;
      std::copy_backward(pieces_.begin() + static_cast<std::ptrdiff_t>(i),
                         pieces_.begin() + static_cast<std::ptrdiff_t>(gaps_),
                         pieces_.begin() + static_cast<std::ptrdiff_t>(gaps_) + 1);
      pieces_[i] = {from, to};
      ++gaps_;
    }
  }
  while (gaps_ != 0 && pieces_[0].from <= contiguous_) {
    contiguous_ = std::max(contiguous_, pieces_[0].to);
    std::copy(pieces_.begin() + 1, pieces_.begin() + static_cast<std::ptrdiff_t>(gaps_), pieces_.begin());
    --gaps_;
  }
  return true;
}

StreamOrder::Taken StreamOrder::add(ChunkPool& pool, uint32_t seq, Bytes bytes, uint32_t limit, uint32_t ahead) {
  const auto offset = static_cast<int32_t>(seq - base_);
  if (offset < 0) {
    const auto before = static_cast<uint32_t>(-static_cast<int64_t>(offset));
    if (before >= bytes.size()) return Taken::yes;  // came before the first byte
    bytes = bytes.subspan(before);
  }
  const uint32_t from = offset < 0 ? 0 : static_cast<uint32_t>(offset);
  limit = std::min(limit, kMostOrdered);
  if (from >= limit || bytes.empty()) return Taken::yes;
  const auto to = static_cast<uint32_t>(std::min<uint64_t>(limit, uint64_t{from} + bytes.size()));
  if (from < contiguous_ && !equal(pool, from, std::min(to, contiguous_), bytes.data())) return Taken::conflict;
  if (to <= contiguous_) return Taken::yes;
  for (size_t i = 0; i < gaps_; ++i) {
    const uint32_t a = std::max(from, pieces_[i].from), b = std::min(to, pieces_[i].to);
    if (a < b && !equal(pool, a, b, bytes.data() + (a - from))) return Taken::conflict;
  }
  const uint32_t fresh = std::max(from, contiguous_);
  if (fresh > contiguous_ && to - contiguous_ > ahead) return Taken::no_room;
  for (uint32_t c = fresh / kChunkBytes; c <= (to - 1) / kChunkBytes; ++c) {
    if (chunks_[c] == ChunkPool::kNone) chunks_[c] = pool.take();
    if (chunks_[c] == ChunkPool::kNone) return Taken::no_room;
  }
  if (!insert(fresh, to)) return Taken::no_room;
  for (uint32_t at = fresh; at < to;) {
    const uint32_t end = std::min(to, (at / kChunkBytes + 1) * kChunkBytes);
    std::memcpy(pool.data(chunks_[at / kChunkBytes]) + at % kChunkBytes, bytes.data() + (at - from), end - at);
    at = end;
  }
  return Taken::yes;
}

Bytes StreamOrder::next(ChunkPool& pool) {
  if (consumed_ >= contiguous_) return {};
  const uint32_t end = std::min(contiguous_, (consumed_ / kChunkBytes + 1) * kChunkBytes);
  const Bytes out(pool.data(chunks_[consumed_ / kChunkBytes]) + consumed_ % kChunkBytes, end - consumed_);
  consumed_ = end;
  return out;
}

size_t StreamOrder::copy(ChunkPool& pool, uint32_t from, MutableBytes out) const {
  size_t n = 0;
  const auto to = static_cast<uint32_t>(std::min<uint64_t>(contiguous_, uint64_t{from} + out.size()));
  for (uint32_t at = from; at < to;) {
    const ChunkPool::Index chunk = chunks_[at / kChunkBytes];
    if (chunk == ChunkPool::kNone) break;
    const uint32_t end = std::min(to, (at / kChunkBytes + 1) * kChunkBytes);
    std::memcpy(out.data() + n, pool.data(chunk) + at % kChunkBytes, end - at);
    n += end - at;
    at = end;
  }
  return n;
}

void StreamOrder::acknowledged(ChunkPool& pool, uint32_t seq, uint32_t keep) {
  const auto offset = static_cast<int32_t>(seq - base_);
  if (offset > 0) acknowledged_ = std::max(acknowledged_, std::min(static_cast<uint32_t>(offset), contiguous_));
  const uint32_t done = std::min({acknowledged_, consumed_, keep});
  const auto chunk_end = [this] { return (released_ / kChunkBytes + 1) * kChunkBytes; };
  while (chunk_end() <= done || (released_ < done && done == contiguous_ && gaps_ == 0)) {
    ChunkPool::Index& chunk = chunks_[released_ / kChunkBytes];
    if (chunk != ChunkPool::kNone) pool.give(chunk);
    chunk = ChunkPool::kNone;
    released_ = std::min(chunk_end(), done);
  }
}

bool StreamOrder::skip_to(ChunkPool& pool, uint32_t seq) {
  const auto offset = static_cast<int32_t>(seq - base_);
  if (offset < 0 || static_cast<uint32_t>(offset) > kMostOrdered) return false;
  release(pool);
  resume(base_, static_cast<uint32_t>(offset));
  return true;
}

void StreamOrder::release(ChunkPool& pool) {
  for (ChunkPool::Index& chunk : chunks_) {
    if (chunk != ChunkPool::kNone) pool.give(chunk);
    chunk = ChunkPool::kNone;
  }
  gaps_ = 0;
  released_ = contiguous_;
}

}  // namespace twinwall::inspect
