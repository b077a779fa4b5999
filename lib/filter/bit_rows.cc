#include "lib/filter/bit_rows.h"

#include <algorithm>
#include <cstring>

namespace twinwall {

namespace {

uint64_t hash_words(const uint32_t* words, size_t count) {
  uint64_t h = count;
  for (size_t i = 0; i < count; ++i) h = (std::rotl(h, 23) ^ words[i]) * 0x9e3779b97f4a7c15ull;
  return h ^ h >> 29;
}

}  // namespace

const BitBlock& BitRows::block_of(RowId row, uint32_t number) const {
  const uint32_t* const group =
      words_.data() + (groups_ == 1 ? row : rows_[size_t{row} * groups_ + number / kGroupBlocks]);
  const uint64_t one = uint64_t{1} << number % kGroupBlocks;
  return (mask_of(group) & one) == 0 ? blocks_[0] : block(blocks_.data(), group, one - 1);
}

bool BitRows::test(RowId row, uint32_t bit) const {
  const BitBlock& block = block_of(row, bit / static_cast<uint32_t>(kBlockBits));
  return (block.words[bit % kBlockBits / 64] >> bit % 64 & 1) != 0;
}

size_t BitRows::bytes() const {
  return rows_.size() * sizeof(uint32_t) + words_.size() * sizeof(uint32_t) + blocks_.size() * sizeof(BitBlock);
}

BitRowsBuilder::BitRowsBuilder(size_t bits, size_t most_bytes) : most_bytes_(most_bytes) {
  const size_t blocks = (bits + BitRows::kBlockBits - 1) / BitRows::kBlockBits;
  out_.groups_ = static_cast<uint32_t>((blocks + BitRows::kGroupBlocks - 1) / BitRows::kGroupBlocks);
  current_.resize(blocks);
  numbers_.resize(blocks);
  dirty_.resize(blocks);
  groups_.resize(out_.groups_);
  out_.words_ = {0, 0};    // the empty group is at 0
  out_.blocks_.resize(1);  // and the empty block is the first
}

void BitRowsBuilder::clear() {
  std::fill(current_.begin(), current_.end(), BitBlock{});
  std::fill(numbers_.begin(), numbers_.end(), 0);
  std::fill(groups_.begin(), groups_.end(), 0);
  std::fill(dirty_.begin(), dirty_.end(), 0);
  changed_.clear();
}

void BitRowsBuilder::touch(uint32_t bit) {
  const auto block = bit / static_cast<uint32_t>(BitRows::kBlockBits);
  if (dirty_[block] != 0) return;
  dirty_[block] = 1;
  changed_.push_back(block);
}

void BitRowsBuilder::set(uint32_t bit) {
  touch(bit);
  current_[bit / BitRows::kBlockBits].words[bit % BitRows::kBlockBits / 64] |= uint64_t{1} << bit % 64;
}

void BitRowsBuilder::reset(uint32_t bit) {
  touch(bit);
  current_[bit / BitRows::kBlockBits].words[bit % BitRows::kBlockBits / 64] &= ~(uint64_t{1} << bit % 64);
}

uint32_t BitRowsBuilder::store_block(const BitBlock& block) {
  uint32_t words[16];
  std::memcpy(words, &block, sizeof words);
  if (std::all_of(words, words + 16, [](uint32_t w) { return w == 0; })) return 0;
  const uint64_t hash = hash_words(words, 16);
  const auto [begin, end] = blocks_by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (std::memcmp(&out_.blocks_[it->second], words, sizeof words) == 0) return it->second;
  const auto number = static_cast<uint32_t>(out_.blocks_.size());
  out_.blocks_.push_back(block);
  blocks_by_hash_.emplace(hash, number);
  return number;
}

uint32_t BitRowsBuilder::store_group(size_t group) {
  const size_t first = group * BitRows::kGroupBlocks;
  const size_t count = std::min(BitRows::kGroupBlocks, numbers_.size() - first);
  uint64_t mask = 0;
  scratch_.assign(2, 0);
  for (size_t i = 0; i < count; ++i) {
    if (numbers_[first + i] == 0) continue;
    mask |= uint64_t{1} << i;
    scratch_.push_back(numbers_[first + i]);
  }
  if (mask == 0) return 0;
  scratch_[0] = static_cast<uint32_t>(mask);
  scratch_[1] = static_cast<uint32_t>(mask >> 32);
  const uint64_t hash = hash_words(scratch_.data(), scratch_.size());
  const auto [begin, end] = groups_by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const uint32_t at = it->second;
    if (at + scratch_.size() <= out_.words_.size() &&
        std::equal(scratch_.begin(), scratch_.end(), out_.words_.begin() + at))
      return at;
  }
  const auto at = static_cast<uint32_t>(out_.words_.size());
  out_.words_.insert(out_.words_.end(), scratch_.begin(), scratch_.end());
  groups_by_hash_.emplace(hash, at);
  return at;
}

RowId BitRowsBuilder::row() {
  if (full_) return 0;
  for (const uint32_t block : changed_) numbers_[block] = store_block(current_[block]);
  std::sort(changed_.begin(), changed_.end());
  size_t done = SIZE_MAX;
  for (const uint32_t block : changed_) {
    dirty_[block] = 0;
    const size_t group = block / BitRows::kGroupBlocks;
    if (group != done) groups_[group] = store_group(group);
    done = group;
  }
  changed_.clear();
  const uint64_t hash = hash_words(groups_.data(), groups_.size());
  const auto [begin, end] = rows_by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (std::equal(groups_.begin(), groups_.end(),
                   out_.rows_.begin() + static_cast<std::ptrdiff_t>(it->second * groups_.size())))
      return id_of(it->second);
  const auto number = static_cast<uint32_t>(out_.rows());
  out_.rows_.insert(out_.rows_.end(), groups_.begin(), groups_.end());
  rows_by_hash_.emplace(hash, number);
  full_ = out_.bytes() > most_bytes_;
  return id_of(number);
}

RowId BitRowsBuilder::both(RowId a, RowId b) {
  if (full_) return 0;
  for (uint32_t i = 0; i < current_.size(); ++i) {
    CommonBits(out_.block_of(a, i), out_.block_of(b, i)).store(current_[i]);
    touch(i * static_cast<uint32_t>(BitRows::kBlockBits));
  }
  return row();
}

RowId BitRowsBuilder::id_of(uint32_t number) const { return out_.groups_ == 1 ? out_.rows_[number] : number; }

}  // namespace twinwall
