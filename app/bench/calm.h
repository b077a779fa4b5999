// Whether the machine is as fast as it can be just now. A virtual machine's processor is mostly half of a core, whose
// other half may be somebody else's: while that is busy everything takes up to twice as long, for seconds on end, and
// no clock here tells. So a piece of work that is always the same is timed, and whoever measures may wait until it
// takes what it took at the best.
#pragma once

#include "app/bench/traffic.h"

namespace twinwall::bench {

class Calm {
 public:
  // `seconds`: how long a row may wait in all; 0: it never does.
  Calm(double seconds, double hz);

  // A row begins, with all of its time to wait.
  void begin() { left_ = seconds_; }
  // Whether the machine is fast now; always, when nobody wants to wait.
  [[nodiscard]] bool now();
  // Until it is, or the row's time is over. Returns whether time has passed.
  bool wait();

 private:
  [[nodiscard]] double work();

  double seconds_, hz_, left_ = 0;
  double least_ = 0;  // ticks of the work
  Traffic traffic_;
};

}  // namespace twinwall::bench
