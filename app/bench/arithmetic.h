// What two processors do together of work that shares nothing, neither memory nor the caches: additions in registers.
// Two that are halves of one core, as a virtual machine's mostly are, do less than twice of one, and nobody's workers
// can do better than that there.
#pragma once

namespace twinwall::bench {

// How much more both do than `cpu` alone; 2 for two cores. Leaves the thread pinned to `cpu`.
[[nodiscard]] double arithmetic_gain(unsigned cpu, unsigned other);

}  // namespace twinwall::bench
