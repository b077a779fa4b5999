// How long a worker was away from its queues, and by whose doing.
//
// What: the time from one look at the receive queues to the next, in two histograms: what the worker itself took, and
// what the system took from it by running something else. A worker that is away for long loses packets, and only the
// first kind is this program's to mend.
// How they are told apart: the kernel counts the time that a thread has run. What passed since the last look at that
// count and was not run was taken away. Only a time that is long is asked about (two system calls, some
// microseconds), and ten times a second the counts are read afresh, so that short interruptions do not add up to one
// that never was. What a hypervisor takes from the virtual machine the kernel must know to tell (steal time); where it
// does not, it counts as the worker's own.
//
// Threads: begin() and note() are the worker's; the histograms are for anybody to read.
#pragma once

#include "lib/base/duration_histogram.h"
#include "lib/base/time.h"

namespace twinwall {

class AwayMeter {
 public:
  static constexpr Duration kLong = 50us;      // from here on it is asked about
  static constexpr Duration kRefresh = 100ms;  // see above

  // At the start and after every sleep.
  void begin();
  // Away for `away` until `now`, on CLOCK_MONOTONIC. Returns how much of it was the worker's own.
  [[gnu::always_inline]] Duration note(Duration away, Time now) {
    if (away < kLong && now - since_ < kRefresh) [[likely]] {
      own_.add(away);
      return away;
    }
    return ask(away);
  }

  // When the kernel was asked last.
  [[nodiscard]] Time since() const { return since_; }
  [[nodiscard]] const DurationHistogram& own() const { return own_; }
  [[nodiscard]] const DurationHistogram& taken() const { return taken_; }

 private:
  Duration ask(Duration away);

  DurationHistogram own_, taken_;
  Time since_{};  // the counts below are of this moment
  Duration ran_{};
};

}  // namespace twinwall
