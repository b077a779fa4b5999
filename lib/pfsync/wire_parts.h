// Parts that the full states of every format share; for wire*.cc only. Pointers lead to at least the stated bytes.
#pragma once

#include "lib/base/bytes.h"
#include "lib/pfsync/actions.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync::parts {

// 32 bytes. Of the scrub flags only timestamp modulation crosses the wire; the rest is masked both ways.
void read_peer(const uint8_t* p, PeerRecord& out);
void write_peer(const PeerRecord& r, uint8_t* p);

// 36 bytes: addresses and ports, which both dialects begin a key with.
void read_endpoints(const uint8_t* p, KeyRecord& out);
void write_endpoints(const KeyRecord& r, uint8_t* p);

[[nodiscard]] Af read_af(Dialect dialect, uint8_t byte);
[[nodiscard]] uint8_t write_af(Dialect dialect, Af af);

// From the source peer on, with the same distances in every format: two peers, route address, three rule numbers,
// creation, expire, packets and bytes (132 bytes).
inline constexpr size_t kMiddleSize = 132;
void read_middle(const uint8_t* p, StateRecord& out);
void write_middle(const StateRecord& r, uint8_t* p);

bool decode_openbsd(Bytes in, StateRecord& out);
bool encode_openbsd(const StateRecord& r, MutableBytes out);
bool decode_freebsd(StateFormat format, Bytes in, StateRecord& out);
bool encode_freebsd(StateFormat format, const StateRecord& r, MutableBytes out);

}  // namespace twinwall::pfsync::parts
