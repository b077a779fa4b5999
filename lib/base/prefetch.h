// Asking for a cache line that will be needed soon.
//
// Always by these: GCC takes a function that only prefetches for one without effect and drops the calls to it, silently
// (seen with GCC 12). The empty statement beside it is one that it must keep.
#pragma once

namespace twinwall {

[[gnu::always_inline]] inline void prefetch_line(const void* line) {
  __builtin_prefetch(line);
  asm volatile("");
}

// The same of a line that will be written.
[[gnu::always_inline]] inline void prefetch_line_to_write(const void* line) {
  __builtin_prefetch(line, 1);
  asm volatile("");
}

}  // namespace twinwall
