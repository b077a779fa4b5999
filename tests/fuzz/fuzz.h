// What the fuzz targets share: the entry point that libFuzzer and the replay program call, and requirements.
//
// A target must do more than not crash: whatever must hold for any input is required, and a broken requirement ends the
// process, so that both libFuzzer and the replay notice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "lib/base/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace twinwall::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "requirement broken: %s\n", what);
  std::abort();
}

// The input as a sequence of packets: two bytes of control each, two of length, then the bytes.
template <class F>
void each_packet(Bytes input, F&& f) {
  Reader r(input);
  while (r.left() >= 4) {
    const uint16_t control = r.be16();
    const size_t length = r.be16();
    f(control, r.bytes(length < r.left() ? length : r.left()));
  }
}

}  // namespace twinwall::fuzz
