// A state as the peers are told of it, and where a peer's state goes here. The engine's side of lib/pfsync's records.
#pragma once

#include <span>

#include "lib/engine/snapshot.h"
#include "lib/pfsync/record.h"
#include "lib/state/state.h"

namespace twinwall {

// Fills the record from a live state; `timeout_s` is the state's timeout now in force (seconds).
void fill_record(const State& s, std::span<const InterfaceInfo> interfaces, uint32_t now_s, uint32_t timeout_s,
                 pfsync::StateRecord& record);

[[nodiscard]] pfsync::PeerRecord peer_record(const Peer& p);
// Takes what the wire carries of an end; the end is then one that this node has not seen itself.
void apply_peer(const pfsync::PeerRecord& from, bool tcp, Peer& to);

// The worker that a peer's state belongs to. Both hooks' states of a connection have the same stack endpoints, so both
// land on one worker.
[[nodiscard]] uint8_t owner_of(const pfsync::StateRecord& record, unsigned workers);

}  // namespace twinwall
