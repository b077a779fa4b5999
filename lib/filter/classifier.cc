#include "lib/filter/classifier.h"

#include <algorithm>

namespace twinwall {

// What is rare stays out of the way of what is not: a packet mostly has two rules or three.
[[gnu::noinline, gnu::cold]] uint32_t Classifier::keep_first(Candidates& out, uint32_t count) noexcept {
  const auto begin = out.rules.begin();
  std::nth_element(begin, begin + Candidates::kKept, begin + count);
  out.more = true;
  return *std::max_element(begin, begin + Candidates::kKept);
}

[[gnu::noinline]] void Classifier::sort(Candidates& out) noexcept {
  constexpr size_t kFew = 16;
  if (out.count > kFew) return std::sort(out.rules.begin(), out.rules.begin() + static_cast<std::ptrdiff_t>(out.count));
  for (size_t i = 1; i < out.count; ++i) {
    const uint32_t entry = out.rules[i];
    size_t at = i;
    for (; at > 0 && out.rules[at - 1] > entry; --at) out.rules[at] = out.rules[at - 1];
    out.rules[at] = entry;
  }
}

void Classifier::collect(const RuleInput& input, uint32_t from, Candidates& out) const noexcept {
  out.more = false;
  uint32_t count = 0, last = 0;
  bool in_order = true;
  uint32_t beyond = UINT32_MAX;  // entries that have no room any more begin here
  const uint32_t first = from << kFlagBits;
  const uint32_t* const entries = entries_.data();
  std::array<RowId, BitRows::kMostRows> rows;
  rows[0] = src_.find(input.af, input.src);
  rows[1] = dst_.find(input.af, input.dst);
  const size_t kind = kind_of(input);
  rows[2] = both_[hooks_[hook_of(input)] + kinds_[kind]];
  size_t asked = 3;
  // Hardly a ruleset names a port of the sender.
  if (dport_.says_something) [[likely]]
    rows[asked++] = dport_.find(input.dport);
  if (sport_.says_something) rows[asked++] = sport_.find(input.sport);
  if (!kinds_alone_.empty()) [[unlikely]]
    rows[asked++] = kinds_alone_[kind];
  rows_.each_common(std::span(rows.data(), asked), [&](uint32_t bit) {
    const uint32_t entry = entries[bit];
    if (entry < first || entry >= beyond) return;
    in_order &= entry >= last;
    last = entry;
    out.rules[count++] = entry;
    if (count < out.rules.size()) [[likely]]
      return;
    beyond = keep_first(out, count);
    count = Candidates::kKept;
    in_order = false;
  });
  if (out.more && count > Candidates::kKept) [[unlikely]] {
    keep_first(out, count);
    count = Candidates::kKept;
    in_order = false;
  }
  out.count = count;
  if (!in_order) sort(out);
}

size_t Classifier::bytes() const {
  size_t total = sizeof *this + rows_.bytes() + entries_.size() * sizeof(uint32_t);
  for (const AddressRows* a : {&src_, &dst_})
    total += a->v4.bytes() + a->v6.bytes() + (a->v4_rows.size() + a->v6_rows.size()) * sizeof(RowId);
  total += (both_.size() + kinds_alone_.size()) * sizeof(RowId);
  for (const PortRows* p : {&sport_, &dport_}) total += p->kinds.size() * sizeof(p->kinds[0]);
  return total;
}

}  // namespace twinwall
