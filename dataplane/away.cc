#include "dataplane/away.h"

#include <time.h>

#include <algorithm>

namespace twinwall {

namespace {

Duration clock_time(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

}  // namespace

void AwayMeter::begin() {
  since_ = Time(clock_time(CLOCK_MONOTONIC));
  ran_ = clock_time(CLOCK_THREAD_CPUTIME_ID);
}

Duration AwayMeter::ask(Duration away) {
  const Time since = since_;
  const Duration ran = ran_;
  begin();
  const Duration not_run = (since_ - since) - (ran_ - ran);
  const Duration taken = std::clamp<Duration>(not_run, 0ns, away);
  // The two clocks are not read at the same moment: what is less than this between them says nothing.
  constexpr Duration kNoise = 5us;
  if (taken < kNoise) {
    own_.add(away);
    return away;
  }
  own_.add(away - taken);
  taken_.add(taken);
  return away - taken;
}

}  // namespace twinwall
