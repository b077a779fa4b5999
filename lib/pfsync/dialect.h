// Between the terms of this program and those of the system that a record goes to or comes from.
//
// Inside, every record is in OpenBSD's terms, so that the engine knows one kind only: routing options 1 to 3, a routing
// table for each side, an ICMP echo id in the initiator's slot and the message's type in the other, and no timer class
// beyond the common twenty. Layouts (sizes, family numbers, which fields exist) are the codec's concern (wire.h).
// Pure; times and addresses are left alone. Source: pfsync(4) and pf(4) of OpenBSD 7.4 and FreeBSD 13 to 15.
#pragma once

#include "lib/base/bytes.h"
#include "lib/pfsync/actions.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

// By whose rules a packet is to be read: the version byte tells OpenBSD from FreeBSD, and the newest FreeBSD knows the
// formats of the older ones. `usual` for a packet of neither version, which its rules will refuse.
[[nodiscard]] System recognise(Bytes payload, System usual);

// From ours to the system's, before encoding, and back, after decoding. What the other side has no word for is dropped.
void to_system(System system, StateRecord& r);
void from_system(System system, StateRecord& r);
void to_system(System system, UpdateRecord& r);
void from_system(System system, UpdateRecord& r);

}  // namespace twinwall::pfsync
