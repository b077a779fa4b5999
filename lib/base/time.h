// Time as the pure code sees it: a value handed in by the caller, never read from a clock.
//
// The daemon feeds CLOCK_MONOTONIC, the scenario runner a virtual clock; both start at an arbitrary origin, so only
// differences mean anything.
#pragma once

#include <chrono>
#include <cstdint>

namespace twinwall {

struct MonotonicTag {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicTag>;
  static constexpr bool is_steady = true;
};

using Duration = std::chrono::nanoseconds;
using Time = std::chrono::time_point<MonotonicTag, Duration>;

using std::chrono_literals::operator""ns;
using std::chrono_literals::operator""us;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

// Whole seconds since the clock's origin; PF's timeouts are kept in these.
constexpr uint32_t to_seconds(Time t) {
  return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count());
}

}  // namespace twinwall
