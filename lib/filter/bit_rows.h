// Rows of bits, one bit for every rule, of which thousands are alike: equal parts are stored once.
//
// A row is cut into blocks of 512 bits and these into groups of 64 blocks. A group names its blocks that are not empty
// by a mask and their numbers, so rows are intersected by their masks first and only then by what the masks leave: the
// cost follows the number of blocks that all rows share, not that of the rules.
//
// Built once (BitRowsBuilder), then immutable; any thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/filter/bit_block.h"

namespace twinwall {

using RowId = uint32_t;

class BitRows {
 public:
  static constexpr size_t kBlockBits = 512;
  static constexpr size_t kGroupBlocks = 64;
  static constexpr uint32_t kGroupBits = kGroupBlocks * kBlockBits;

  // At most so many rows are intersected.
  static constexpr size_t kMostRows = 6;

  // fn(uint32_t bit) -> void for every bit that is set in all of the rows, of which there are three to kMostRows, block
  // by block. The rows with the fewest bits come first, for speed.
  template <class Fn>
  void each_common(std::span<const RowId> rows, Fn&& fn) const noexcept {
    const uint32_t* const words = words_.data();
    const size_t count = rows.size();
    std::array<const uint32_t*, kMostRows> group;
    for (uint32_t g = 0; g < groups_; ++g) {
      uint64_t mask = ~uint64_t{0};
      size_t i = 0;
      do {
        group[i] = words + (groups_ == 1 ? rows[i] : rows_[size_t{rows[i]} * groups_ + g]);
        mask &= mask_of(group[i]);
      } while (++i < 3 || i < count);
      if (mask != 0) common_in(std::span(group.data(), count), mask, g * kGroupBits, fn);
    }
  }
  // Whether a row has the bit. For tests and for whoever has time.
  [[nodiscard]] bool test(RowId row, uint32_t bit) const;
  [[nodiscard]] size_t bytes() const;
  [[nodiscard]] size_t rows() const { return groups_ == 0 ? 0 : rows_.size() / groups_; }

 private:
  friend class BitRowsBuilder;

  // `mask`: the blocks that all have, at least one; `first`: the group's first bit.
  template <class Fn>
  void common_in(std::span<const uint32_t* const> group, uint64_t mask, uint32_t first, Fn& fn) const noexcept {
    const BitBlock* const blocks = blocks_.data();
    for (; mask != 0; mask &= mask - 1) {
      const uint64_t below = (mask & (0 - mask)) - 1;
      // The first two are those that say most: mostly the others need not be fetched.
      CommonBits common(block(blocks, group[0], below), block(blocks, group[1], below));
      if (common.empty()) continue;
      common.also(block(blocks, group[2], below));
      for (size_t i = 3; i < group.size(); ++i) common.also(block(blocks, group[i], below));
      uint32_t filled = common.filled();
      if (filled == 0) continue;
      BitBlock left;
      common.store(left);
      const uint32_t block_first =
          first + static_cast<uint32_t>(std::countr_zero(mask)) * static_cast<uint32_t>(kBlockBits);
      for (; filled != 0; filled &= filled - 1) {
        const auto w = static_cast<uint32_t>(std::countr_zero(filled));
        uint64_t bits = left.words[w];
        do {
          fn(block_first + w * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
          bits &= bits - 1;
        } while (bits != 0);
      }
    }
  }
  [[nodiscard]] const BitBlock& block_of(RowId row, uint32_t number) const;
  static uint64_t mask_of(const uint32_t* group) { return load_raw<uint64_t>(group); }
  static const BitBlock& block(const BitBlock* blocks, const uint32_t* group, uint64_t below) {
    return blocks[group[2 + std::popcount(mask_of(group) & below)]];
  }

  uint32_t groups_ = 0;
  // groups_ for each row: where in words_ its groups are. Where there is but one, its place is the row's number.
  std::vector<uint32_t> rows_;
  std::vector<uint32_t> words_;  // of each group: its mask, low half first, and the numbers of its blocks
  std::vector<BitBlock> blocks_;
};

// Makes rows from one that is changed bit by bit.
class BitRowsBuilder {
 public:
  // `most_bytes`: what all rows together may take; beyond it full() holds and nothing more is stored.
  BitRowsBuilder(size_t bits, size_t most_bytes);

  // The row at hand begins empty.
  void clear();
  void set(uint32_t bit);
  void reset(uint32_t bit);
  // The number of the row at hand as it is now; equal rows have equal numbers.
  [[nodiscard]] RowId row();
  // Makes the row at hand what two rows have in common; as row().
  [[nodiscard]] RowId both(RowId a, RowId b);
  [[nodiscard]] bool full() const { return full_; }
  [[nodiscard]] BitRows finish() { return std::move(out_); }

 private:
  using Index = std::unordered_multimap<uint64_t, uint32_t>;  // by hash
  void touch(uint32_t bit);
  [[nodiscard]] RowId id_of(uint32_t number) const;
  [[nodiscard]] uint32_t store_block(const BitBlock& block);
  [[nodiscard]] uint32_t store_group(size_t group);

  BitRows out_;
  size_t most_bytes_;
  bool full_ = false;
  std::vector<BitBlock> current_;
  std::vector<uint32_t> numbers_;  // of the current blocks as stored last
  std::vector<uint32_t> groups_;   // of the current groups
  std::vector<uint32_t> changed_;  // blocks since the last row()
  std::vector<uint8_t> dirty_;     // whether a block is among them
  Index blocks_by_hash_, groups_by_hash_, rows_by_hash_;
  std::vector<uint32_t> scratch_;
};

}  // namespace twinwall
