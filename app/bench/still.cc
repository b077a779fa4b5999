#include "app/bench/still.h"

#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>

#include "dataplane/away.h"
#include "dataplane/mapped_memory.h"
#include "lib/base/random.h"

namespace twinwall::bench {
namespace {

constexpr size_t kLine = 64;

template <class Piece>
DurationHistogram::View repeat(double seconds, double hz, const Piece& piece) {
  const auto in_time = [hz](uint64_t ticks) {
    return Duration(static_cast<int64_t>(static_cast<double>(ticks) / hz * 1e9));
  };
  AwayMeter away;
  away.begin();
  const Time began = away.since();
  const uint64_t start = __rdtsc();
  for (uint64_t t = start; static_cast<double>(t - start) < seconds * hz;) {
    const uint64_t from = t;
    piece(from);
    t = __rdtsc();
    (void)away.note(in_time(t - from), began + in_time(t - start));
  }
  return away.own().view();
}

}  // namespace

DurationHistogram::View do_nothing(double seconds, double hz) {
  constexpr double kPiece = 20e-6;
  return repeat(seconds, hz, [hz](uint64_t from) {
    while (static_cast<double>(__rdtsc() - from) < kPiece * hz) {}
  });
}

DurationHistogram::View do_the_same(double seconds, double hz, size_t bytes, double piece) {
  const auto lines = static_cast<uint32_t>(std::clamp<size_t>(bytes / kLine, 1, UINT32_MAX));
  const MappedMemory memory(size_t{lines} * kLine);
  if (memory.bytes().empty()) throw std::runtime_error("no memory for the loop beside the rows");
  auto* const places = reinterpret_cast<std::array<uint64_t, kLine / sizeof(uint64_t)>*>(memory.bytes().data());
  std::fill_n(places, lines, std::array<uint64_t, kLine / sizeof(uint64_t)>{1});
  Random random(11);
  const auto touch = [&](size_t count) {
    for (size_t i = 0; i < count; ++i) ++places[random.below(lines)][0];
  };
  constexpr size_t kTrial = 200000;
  touch(kTrial);
  const uint64_t from = __rdtsc();
  touch(kTrial);
  const auto each = static_cast<double>(__rdtsc() - from) / kTrial;
  const size_t count = std::max<size_t>(1, static_cast<size_t>(piece * hz / each));
  return repeat(seconds, hz, [&](uint64_t) { touch(count); });
}

}  // namespace twinwall::bench
