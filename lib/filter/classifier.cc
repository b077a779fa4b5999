#include "lib/filter/classifier.h"

#include <algorithm>

namespace twinwall {

void Classifier::keep_first(Candidates& out) noexcept {
  const auto begin = out.rules.begin();
  std::nth_element(begin, begin + Candidates::kKept, begin + static_cast<std::ptrdiff_t>(out.count));
  out.count = Candidates::kKept;
  out.more = true;
}

void Classifier::collect(const RuleInput& input, uint32_t from, Candidates& out) const noexcept {
  out.count = 0;
  out.more = false;
  uint32_t beyond = UINT32_MAX;  // entries that have no room any more begin here
  const uint32_t first = from << kFlagBits;
  rows_.each_common(
      std::array<RowId, 6>{src_.find(input.af, input.src), dst_.find(input.af, input.dst), kinds_[kind_of(input)],
                           hooks_[hook_of(input)], sport_.find(input.sport), dport_.find(input.dport)},
      [&](uint32_t bit) {
        const uint32_t entry = entries_[bit];
        if (entry < first || entry >= beyond) return;
        out.rules[out.count++] = entry;
        if (out.count < out.rules.size()) return;
        keep_first(out);
        beyond = *std::max_element(out.rules.begin(), out.rules.begin() + Candidates::kKept);
      });
  if (out.more && out.count > Candidates::kKept) keep_first(out);
  if (out.count <= 2) [[likely]] {
    if (out.count == 2 && out.rules[1] < out.rules[0]) std::swap(out.rules[0], out.rules[1]);
    return;
  }
  std::sort(out.rules.begin(), out.rules.begin() + static_cast<std::ptrdiff_t>(out.count));
}

size_t Classifier::bytes() const {
  size_t total = sizeof *this + rows_.bytes() + entries_.size() * sizeof(uint32_t);
  for (const AddressRows* a : {&src_, &dst_})
    total += a->v4.bytes() + a->v6.bytes() + (a->v4_rows.size() + a->v6_rows.size()) * sizeof(RowId);
  for (const PortRows* p : {&sport_, &dport_}) total += p->split.size() * sizeof(p->split[0]);
  return total;
}

}  // namespace twinwall
