// How long something took, counted in fixed buckets, so that the rare long times are seen as well as the many short
// ones, and the memory is bounded.
//
// Threads: one writer, any number of readers; what a reader sees of it may be a few events apart. Errors: none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/base/counter.h"
#include "lib/base/time.h"

namespace twinwall {

class DurationHistogram {
 public:
  // Upper ends, inclusive; the bucket behind the last is for everything longer.
  static constexpr std::array<Duration, 12> kBounds = {10us, 20us, 50us, 100us, 200us, 500us,
                                                       1ms,  2ms,  5ms,  10ms,  100ms, 1s};

  struct View {
    std::array<uint64_t, kBounds.size() + 1> buckets{};  // each its own, not cumulative
    Duration sum{}, longest{};
    [[nodiscard]] uint64_t count() const {
      uint64_t n = 0;
      for (const uint64_t b : buckets) n += b;
      return n;
    }
  };

  [[gnu::always_inline]] void add(Duration d) {
    size_t bucket = 0;
    if (d > kBounds[0]) [[unlikely]]
      bucket = bucket_of(d);
    buckets_[bucket].add();
    sum_.add(static_cast<uint64_t>(d.count()));
    if (d > Duration(longest_.get())) longest_.set(static_cast<uint64_t>(d.count()));
  }

  [[nodiscard]] View view() const {
    View v;
    for (size_t i = 0; i < buckets_.size(); ++i) v.buckets[i] = buckets_[i].get();
    v.sum = Duration(sum_.get());
    v.longest = Duration(longest_.get());
    return v;
  }

 private:
  static size_t bucket_of(Duration d) {
    size_t i = 0;
    while (i < kBounds.size() && d > kBounds[i]) ++i;
    return i;
  }

  std::array<Counter, kBounds.size() + 1> buckets_;
  Counter sum_, longest_;  // ns
};

}  // namespace twinwall
