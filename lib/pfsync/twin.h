// What two twinwall nodes say to each other beside pfsync: a part of a frame that no other receiver looks at.
//
// pfsync knows no acknowledgement, no sequence and no way to tell that a peer exists. Two twinwall nodes add these, and
// what is built on them (transfers as fast as the peer takes them in, lost frames made good, digests), in bytes *behind
// what the pfsync header's length field counts*:
//
//    pfsync header and sections (by the length field) | items | trailer 32 | (with a key: lib/pfsync/auth.h's)
//
// Why there. An OpenBSD of any release cuts a packet off at the length field and reads nothing behind it; FreeBSD
// begins no section behind it. Neither counts anything, so a hello (a header without sections) to a BSD is as good as
// silence, where an own version byte would be counted as badver, and an own action as badact (FreeBSD) or end the
// packet. It works in every dialect, and with a key it is authenticated like the rest of the frame.
//
// The trailer, big-endian:
//    0  magic "TWX1"               16  base 4: all frames before it are settled
//    4  session 4: sender's run    20  ack 4: of the receiver's frames all before this one were taken
//    8  session 4: receiver's,     24  window 2: how many frames from there on are welcome
//       0: not known               26  items 2: bytes of items in front of the trailer
//   12  sequence 4: of this frame, 28  flags 1, version 1, zeros 2
//       0: not counted
// Items: type 1, zero 1, length of the data 2 (a multiple of 4), data. Unknown types are skipped, and so is what a
// newer sender puts behind the fields that are known here, so that releases may differ within a pair.
//
// A frame is only counted (sequence above 0) towards a peer that shows this node's session: it is twinwall, alive and
// hears us. Lost frames are not sent again, as what they said may be out of date: the states that they were about are
// told anew, and `base` tells the peer not to wait (lib/pfsync/twin_ledger.h).
//
// Pure; nothing is allocated, nothing read outside the bytes given.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "lib/base/bytes.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

inline constexpr size_t kTwinTrailerSize = 32;
inline constexpr uint8_t kTwinVersion = 1;

enum TwinFlag : uint8_t {
  kTwinReady = 1,        // the sender holds every state and could be master
  kTwinAnswer = 2,       // an answer is wanted at once: the sender does not know the receiver's session
  kTwinBusy = 4,         // the sender is being given its peer's states: what it lacks is on its way
  kTwinRules = 8,        // states name their rule by its content (StateRecord::nat_rule)
  kTwinInspection = 16,  // the sender takes where the looking into connections stands
  kTwinMessages = 32,    // the sender takes messages (lib/pfsync/twin_messages.h)
};

struct TwinTrailer {
  uint32_t session = 0, peer_session = 0;
  uint32_t sequence = 0, base = 0, ack = 0;
  uint16_t window = 0;
  uint16_t items = 0;
  uint8_t flags = 0;
  uint8_t version = kTwinVersion;
};

struct TwinFrame {
  TwinTrailer trailer;
  Bytes items;
  Bytes plain;  // the pfsync header and its sections
};
// `payload`: from the pfsync header to the end of the packet, without an authentication trailer. Nothing when the frame
// has no such part.
[[nodiscard]] std::optional<TwinFrame> open_twin(Bytes payload);

void write_twin_trailer(const TwinTrailer& trailer, MutableBytes out);  // kTwinTrailerSize bytes

enum class TwinItem : uint8_t {
  taken = 1,           // which frames behind `ack` were taken: a bitmap, the lowest bit of the first byte is ack + 1
  digests = 2,         // slice 2, count 2, then count sums of 8 bytes
  inventory = 3,       // see InventoryHead; then entries of 16 bytes
  inspection = 6,      // where the looking into a connection stands: its state's id, then lib/engine/commands.h's word
  message = 7,         // a piece of one (lib/pfsync/twin_messages.h)
  message_wanted = 8,  // which piece is wanted next
};

// Calls f(type, data) for each item; stops at the first that does not fit. False then.
template <class F>
bool each_twin_item(Bytes items, F f) {
  while (items.size() >= 4) {
    const size_t length = load_be16(&items[2]);
    if (length > items.size() - 4) return false;
    f(items[0], items.subspan(4, length));
    items = items.subspan(4 + length);
  }
  return items.empty();
}
// Room for an item's data in `out` behind `used` bytes; empty when there is not so much. `length`: a multiple of 4.
[[nodiscard]] MutableBytes claim_twin_item(MutableBytes out, size_t& used, TwinItem type, size_t length);

// The states of some slices (lib/pfsync/slices.h) by name, so that the peer finds what it lacks and what is too much.
inline constexpr size_t kInventorySlices = 8;
struct InventoryHead {
  uint32_t run = 0;     // the same in all its frames
  uint16_t frame = 0;   // 0, 1, …
  uint16_t frames = 0;  // in the last one how many there are, else 0
  uint16_t slices[kInventorySlices] = {};
  uint16_t count = 0;  // of slices
};
inline constexpr size_t kInventoryHeadSize = 28;
struct InventoryEntry {
  StateId id;
  uint8_t levels = 0;    // as told: of both ends, four bits each
  bool of_peer = false;  // the receiver has had the last word on it: if it lacks it, it has removed it
};
inline constexpr size_t kInventoryEntrySize = 16;

inline constexpr size_t kInspectionHeadSize = 12;
[[nodiscard]] StateId read_inspection_id(Bytes data);  // kInspectionHeadSize bytes at least, as for the next
void write_inspection_id(const StateId& id, MutableBytes out);

[[nodiscard]] bool read_inventory_head(Bytes data, InventoryHead& out);
void write_inventory_head(const InventoryHead& head, MutableBytes out);
[[nodiscard]] InventoryEntry read_inventory_entry(const uint8_t* p);
void write_inventory_entry(const InventoryEntry& e, uint8_t* p);

}  // namespace twinwall::pfsync
