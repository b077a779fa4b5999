// One direction of an inspected connection as bytes, for a peer that may have to go on with it.
//
// Big-endian, padded to words of 4 bytes:
//    0  next 4: sequence number of the first byte that was not looked at (TCP)
//    4  looked at 4: bytes of the direction
//    8  patterns 8: which compiled patterns `stream` belongs to (Patterns::content)
//   16  bytes of `stream` 2, bytes of `held` 2
//   20  flags 1, protocol 1, names 2: the parser of names; see Inspector
//   24  stream, padded; held, padded
// `stream` is memory of Hyperscan's, packed, and cannot be checked: whoever takes it from a network must know that a
// peer with the same key made it. Pure; nothing is allocated, nothing read outside the bytes given.
#pragma once

#include <cstdint>

#include "lib/base/bytes.h"

namespace twinwall::inspect {

inline constexpr size_t kSavedHead = 24;

enum SavedFlag : uint8_t {
  kSavedOpen = 1,     // there is more to look at
  kSavedStarted = 2,  // `next` and `looked_at` count
};

struct SavedWay {
  uint32_t next = 0, looked_at = 0;
  uint64_t patterns = 0;
  uint8_t flags = 0, protocol = 0;
  uint16_t names = 0;
  Bytes stream;
  Bytes held;  // the last bytes before `next`, which the parser of names has not done with
};

// Takes a direction off the front of `in`. False: it is none.
[[nodiscard]] bool read_saved(Bytes& in, SavedWay& out);
// `stream` lies behind the head already, as it may: whoever makes it knows its length only then. 0: no room.
[[nodiscard]] size_t write_saved(const SavedWay& way, MutableBytes out);

}  // namespace twinwall::inspect
