// A state as the peers are told of it, and where a peer's state goes here. The engine's side of lib/pfsync's records.
#pragma once

#include <span>

#include "lib/engine/snapshot.h"
#include "lib/pfsync/record.h"
#include "lib/state/state.h"
#include "lib/state/twin_line.h"

namespace twinwall {

// Fills the record from a live state; `timeout_s` is the state's timeout now in force (seconds). `lead`: the line
// that is kept up for it, where it has a twin.
void fill_record(const State& s, std::span<const InterfaceInfo> interfaces, uint32_t now_s, uint32_t timeout_s,
                 pfsync::StateRecord& record, const TwinLine* lead = nullptr);

// Only what has a place in an UpdateRecord.
void fill_update(const State& s, uint32_t now_s, uint32_t timeout_s, pfsync::StateRecord& record,
                 const TwinLine* lead = nullptr);

[[nodiscard]] pfsync::PeerRecord peer_record(const Peer& p);
// Takes what the wire carries of an end; the end is then one that this node has not seen itself.
void apply_peer(const pfsync::PeerRecord& from, bool reanchor, Peer& to);

// The worker that a peer's state belongs to. Both hooks' states of a connection have the same stack endpoints, so both
// land on one worker.
[[nodiscard]] uint8_t owner_of(const pfsync::StateRecord& record, unsigned workers);

// A state's part in the digest of its slice (lib/pfsync/slices.h): of this and the levels as told.
[[nodiscard]] uint64_t digest_identity(const State& s);
[[nodiscard]] constexpr uint8_t told_levels(uint8_t src, uint8_t dst) {
  return static_cast<uint8_t>((src & 0xf) << 4 | (dst & 0xf));
}

}  // namespace twinwall
