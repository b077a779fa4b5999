// How often a property test repeats itself. Under the address sanitizer a round takes some twenty times as long and
// looks for other faults, which few rounds show as well as many.
#pragma once

#include <cstdint>

#include "lib/base/sanitized.h"

namespace twinwall::test {

constexpr uint64_t rounds(uint64_t n) {
#if TWINWALL_ADDRESS_SANITIZER
  return n < 10 ? 1 : n / 10;
#else
  return n;
#endif
}

// How often all rounds together must have met something that a full run meets n times at least. What is rare need not
// happen in few rounds.
constexpr uint64_t often(uint64_t n) {
#if TWINWALL_ADDRESS_SANITIZER
  return n < 1000 ? 0 : n / 20;
#else
  return n;
#endif
}

}  // namespace twinwall::test
