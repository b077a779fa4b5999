#include "app/bench/calm.h"

#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace twinwall::bench {
namespace {

constexpr size_t kCalmFrames = 32;
constexpr uint32_t kCalmRounds = 200;
constexpr double kSlack = 1.08;  // of the least
constexpr double kLook = 2.0;    // seconds in which the least is looked for at first
constexpr std::chrono::milliseconds kNap{20};

}  // namespace

Calm::Calm(double seconds, double hz) : seconds_(seconds), hz_(hz), traffic_(kCalmFrames, {}) {
  if (seconds_ <= 0) return;
  const uint64_t from = __rdtsc();
  least_ = work();
  while (static_cast<double>(__rdtsc() - from) < kLook * hz_) least_ = std::min(least_, work());
}

double Calm::work() {
  const uint64_t from = __rdtsc();
  for (uint32_t round = 0; round < kCalmRounds; ++round)
    for (uint32_t i = 0; i < kCalmFrames; ++i) (void)traffic_.make(i, round, Proto::tcp, Step::established, 0);
  return static_cast<double>(__rdtsc() - from);
}

bool Calm::now() {
  if (seconds_ <= 0) return true;
  const double ticks = work();
  least_ = std::min(least_, ticks);
  return ticks <= least_ * kSlack;
}

bool Calm::wait() {
  bool waited = false;
  for (; left_ > 0 && !now(); waited = true) {
    const uint64_t from = __rdtsc();
    std::this_thread::sleep_for(kNap);
    left_ -= static_cast<double>(__rdtsc() - from) / hz_;
  }
  return waited;
}

}  // namespace twinwall::bench
