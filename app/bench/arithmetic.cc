#include "app/bench/arithmetic.h"

#include <x86intrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>

#include "app/bench/pin.h"

namespace twinwall::bench {
namespace {

// Ticks.
double add() {
  constexpr uint32_t kTimes = 20'000'000;
  uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;  // each by itself: as many at once as the processor can
  const uint64_t from = __rdtsc();
  for (uint32_t i = 0; i < kTimes; ++i) {
    a += i;
    b ^= i;
    c += i;
    d ^= i;
    e += i;
    f ^= i;
    asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
  }
  return static_cast<double>(__rdtsc() - from);
}

}  // namespace

double arithmetic_gain(unsigned cpu, unsigned other) {
  constexpr int kTimes = 5;
  pin(cpu);
  double alone = add(), first = 0, second = 0;
  for (int i = 0; i < kTimes; ++i) alone = std::min(alone, add());
  for (int i = 0; i < kTimes; ++i) {
    std::atomic<int> ready{0};
    const auto together = [&ready](unsigned at) {
      pin(at);
      for (++ready; ready.load() < 2;) std::this_thread::yield();
      return add();
    };
    double beside = 0;
    std::thread thread([&] { beside = together(other); });
    const double here = together(cpu);
    thread.join();
    first = i == 0 ? here : std::min(first, here);
    second = i == 0 ? beside : std::min(second, beside);
  }
  return alone / first + alone / second;
}

}  // namespace twinwall::bench
