// Keeps what a stranger can cause at will out of the log: one line an interval, and it says how many were left out.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "lib/base/time.h"

namespace twinwall {

class LogGate {
 public:
  explicit LogGate(Duration interval) : interval_(interval) {}

  // Nothing while the gate is shut; else how many came since the last line, this one not counted.
  std::optional<uint64_t> pass(Time now) {
    if (open_at_ && now < *open_at_) {
      ++held_;
      return std::nullopt;
    }
    open_at_ = now + interval_;
    return std::exchange(held_, 0);
  }

 private:
  Duration interval_;
  std::optional<Time> open_at_;
  uint64_t held_ = 0;
};

}  // namespace twinwall
