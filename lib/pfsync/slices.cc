#include "lib/pfsync/slices.h"

#include <algorithm>

namespace twinwall::pfsync {
namespace {

constexpr uint8_t kLooks = 2;  // the same difference so often
constexpr Duration kSettle = 300ms;
constexpr Duration kRepairAgain = 1s;
constexpr uint8_t kMostDoublings = 6;

}  // namespace

void SliceComparison::look(Time now, uint16_t slice, uint64_t ours, uint64_t theirs) {
  Slice& s = slices_[slice];
  const uint64_t difference = ours - theirs;
  if (difference == 0) {
    equal_.set(slice);
    differing_.reset(slice);
    s = {};
    return;
  }
  if (s.difference != difference) {
    if (s.difference == 0) s.since = now;
    s.difference = difference;
    s.looks = 1;
    return;
  }
  if (s.looks < kLooks) ++s.looks;
  if (s.looks >= kLooks && now - s.since >= kSettle) differing_.set(slice);
}

std::vector<uint16_t> SliceComparison::to_repair(Time now, size_t limit) {
  std::vector<uint16_t> out;
  if (differing_.none()) return out;
  for (size_t i = 0; i < kSlices && out.size() < limit; ++i) {
    Slice& s = slices_[i];
    if (!differing_[i] || now < s.repair_at) continue;
    s.repair_at = now + kRepairAgain * (1u << s.repairs);
    s.repairs = static_cast<uint8_t>(std::min<unsigned>(s.repairs + 1u, kMostDoublings));
    out.push_back(static_cast<uint16_t>(i));
  }
  return out;
}

uint64_t SliceComparison::confirmed(std::span<const uint64_t, kSlices> states) const {
  const std::bitset<kSlices> good = equal_ & ~differing_;
  uint64_t sum = 0;
  for (size_t i = 0; i < kSlices; ++i) sum += good[i] ? states[i] : 0;
  return sum;
}

uint64_t digest_of(std::span<const uint64_t, kSlices> sums) {
  uint64_t digest = 0;
  for (size_t i = 0; i < kSlices; ++i) digest += slice_mix(sums[i], i);
  return digest;
}

std::optional<Time> SliceComparison::differs_since() const {
  std::optional<Time> oldest;
  if (differing_.none()) return oldest;
  for (size_t i = 0; i < kSlices; ++i)
    if (differing_[i] && (!oldest || slices_[i].since < *oldest)) oldest = slices_[i].since;
  return oldest;
}

}  // namespace twinwall::pfsync
