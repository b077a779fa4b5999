// Encoding and decoding of single pfsync items, both dialects.
//
// Pure functions over spans: a decoder returns false and leaves the record alone when the span is shorter than the
// item; bytes behind the item are ignored (OpenBSD's receivers step by the size the sender gives, so that items may
// grow). An encoder returns false and writes nothing when the span is too short, else it writes exactly the item's
// size. Decoders judge nothing but length: see import.h for the tests of values. Unaligned spans are fine (FreeBSD's
// items are not multiples of four). Nothing is allocated. Source: pfsync(4) and the layouts of the two systems.
#pragma once

#include "lib/base/bytes.h"
#include "lib/pfsync/actions.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

// Full states. OpenBSD's 264 bytes carry everything but `freebsd`; FreeBSD's formats carry what their release knows,
// the rest of the record stays at its defaults, and the families of both keys are those of the state.
[[nodiscard]] bool decode_state(StateFormat format, Bytes in, StateRecord& out);
[[nodiscard]] bool encode_state(StateFormat format, const StateRecord& r, MutableBytes out);

// Items that are the same in both dialects.
[[nodiscard]] bool decode_update(Bytes in, UpdateRecord& out);
[[nodiscard]] bool encode_update(const UpdateRecord& r, MutableBytes out);
[[nodiscard]] bool decode_id(Bytes in, StateId& out);
[[nodiscard]] bool encode_id(const StateId& r, MutableBytes out);
[[nodiscard]] bool decode_clear(Bytes in, ClearRecord& out);
[[nodiscard]] bool encode_clear(const ClearRecord& r, MutableBytes out);
[[nodiscard]] bool decode_bulk(Bytes in, BulkRecord& out);
[[nodiscard]] bool encode_bulk(const BulkRecord& r, MutableBytes out);

[[nodiscard]] bool decode_tdb(Dialect dialect, Bytes in, TdbRecord& out);
[[nodiscard]] bool encode_tdb(Dialect dialect, const TdbRecord& r, MutableBytes out);

}  // namespace twinwall::pfsync
