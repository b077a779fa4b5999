// The processor that the calling thread runs on from here.
#pragma once

#include <fmt/core.h>
#include <sched.h>

#include <cstdio>

namespace twinwall::bench {

inline void pin(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fmt::print(stderr, "twinwall-bench: cannot pin to cpu {}\n", cpu);
}

}  // namespace twinwall::bench
