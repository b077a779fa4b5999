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

namespace twinwall {

using RowId = uint32_t;

class BitRows {
 public:
  static constexpr size_t kBlockBits = 512;
  static constexpr size_t kGroupBlocks = 64;

  // fn(uint32_t bit) -> void for every bit that is set in all of the rows, block by block. The rows with the fewest
  // bits come first, for speed.
  template <size_t N, class Fn>
  void each_common(const std::array<RowId, N>& rows, Fn&& fn) const noexcept {
    for (uint32_t g = 0; g < groups_; ++g) {
      std::array<const uint32_t*, N> group;
      uint64_t mask = ~uint64_t{0};
      for (size_t i = 0; i < N; ++i) {
        group[i] = words_.data() + rows_[size_t{rows[i]} * groups_ + g];
        mask &= mask_of(group[i]);
      }
      for (; mask != 0; mask &= mask - 1) {
        const uint64_t below = (mask & (0 - mask)) - 1;
        // The first two are those that say most: mostly the others need not be fetched.
        Wide common = block(group[0], below) & block(group[1], below);
        if (empty(common)) continue;
        for (size_t i = 2; i < N; ++i) common &= block(group[i], below);
        const auto first = (g * static_cast<uint32_t>(kGroupBlocks) + static_cast<uint32_t>(std::countr_zero(mask))) *
                           static_cast<uint32_t>(kBlockBits);
        for (uint32_t w = 0; w < 8; ++w)
          for (uint64_t bits = common[w]; bits != 0; bits &= bits - 1)
            fn(first + w * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
      }
    }
  }
  // Whether a row has the bit. For tests and for whoever has time.
  [[nodiscard]] bool test(RowId row, uint32_t bit) const;
  [[nodiscard]] size_t bytes() const;
  [[nodiscard]] size_t rows() const { return groups_ == 0 ? 0 : rows_.size() / groups_; }

 private:
  friend class BitRowsBuilder;
  // The compiler makes of it what the machine has: one instruction or several.
  using Wide [[gnu::vector_size(64)]] = uint64_t;

  static bool empty(const Wide& w) {
    const auto halves = [&w](size_t i) { return w[i] | w[i + 1] | w[i + 2] | w[i + 3]; };
    return (halves(0) | halves(4)) == 0;
  }
  static uint64_t mask_of(const uint32_t* group) { return group[0] | uint64_t{group[1]} << 32; }
  [[nodiscard]] const Wide& block(const uint32_t* group, uint64_t below) const {
    return blocks_[group[2 + std::popcount(mask_of(group) & below)]];
  }

  uint32_t groups_ = 0;
  std::vector<uint32_t> rows_;   // groups_ for each row: where in words_ its groups are
  std::vector<uint32_t> words_;  // of each group: its mask, low half first, and the numbers of its blocks
  std::vector<Wide> blocks_;
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
  [[nodiscard]] bool full() const { return full_; }
  [[nodiscard]] BitRows finish() { return std::move(out_); }

 private:
  using Index = std::unordered_multimap<uint64_t, uint32_t>;  // by hash
  void touch(uint32_t bit);
  [[nodiscard]] uint32_t store_block(const BitRows::Wide& block);
  [[nodiscard]] uint32_t store_group(size_t group);

  BitRows out_;
  size_t most_bytes_;
  bool full_ = false;
  std::vector<BitRows::Wide> current_;
  std::vector<uint32_t> numbers_;  // of the current blocks as stored last
  std::vector<uint32_t> groups_;   // of the current groups
  std::vector<uint32_t> changed_;  // blocks since the last row()
  std::vector<uint8_t> dirty_;     // whether a block is among them
  Index blocks_by_hash_, groups_by_hash_, rows_by_hash_;
  std::vector<uint32_t> scratch_;
};

}  // namespace twinwall
