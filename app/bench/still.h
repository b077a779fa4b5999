// What the machine itself takes from a thread, so that a row's long bursts can be told from it.
//
// Two loops behind each row, as long as the row ran, on the same processor: one that does nothing in pieces of 20 µs,
// and one of which every piece is the same work, on as much memory as the row's states have. What either takes longer
// for is nobody's work: an interrupt, the host below a virtual machine, memory that others use. Neither changes
// anything but the memory of its own.
#pragma once

#include <cstddef>

#include "lib/base/duration_histogram.h"

namespace twinwall::bench {

// `seconds`: how long. `hz`: ticks of the time stamp counter a second. Times that the thread itself ran.
[[nodiscard]] DurationHistogram::View do_nothing(double seconds, double hz);

// Every piece reads and writes so many lines of `bytes` (at least one line), at random, that it takes `piece` seconds
// as the machine is at the beginning. Throws std::runtime_error when there is no memory for it.
[[nodiscard]] DurationHistogram::View do_the_same(double seconds, double hz, size_t bytes, double piece);

}  // namespace twinwall::bench
