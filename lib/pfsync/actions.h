// What the numbers of a pfsync section mean: dialects, releases, kinds of items, their sizes.
//
// The two BSDs speak different dialects under one protocol number; the version byte tells them apart (OpenBSD 6,
// FreeBSD 5), and which one a peer speaks is a matter of configuration. Within a dialect the releases differ in rules,
// not in the layout of what they share. Sizes are bytes. Source: pfsync(4) of OpenBSD and FreeBSD.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace twinwall::pfsync {

enum class Dialect : uint8_t { openbsd, freebsd };

// Whose rules are followed: OpenBSD up to 7.3, OpenBSD since 7.4, FreeBSD up to 13, 14, 15.
enum class System : uint8_t { openbsd73, openbsd74, freebsd13, freebsd14, freebsd15 };

[[nodiscard]] constexpr Dialect dialect_of(System s) {
  return s == System::openbsd73 || s == System::openbsd74 ? Dialect::openbsd : Dialect::freebsd;
}

// Layouts of a full state. FreeBSD names them after the release that brought them.
enum class StateFormat : uint8_t { openbsd, v1301, v1400, v1500 };

// The format a system sends by default.
[[nodiscard]] StateFormat default_format(System s);

enum class ItemKind : uint8_t { clr, ins, ins_ack, upd, upd_c, upd_req, del, del_c, bus, tdb, eof, none };
inline constexpr size_t kItemKinds = static_cast<size_t>(ItemKind::none);

inline constexpr size_t kHeaderSize = 20;
inline constexpr size_t kSectionHeaderSize = 4;
inline constexpr size_t kClearSize = 20;
inline constexpr size_t kIdSize = 12;
inline constexpr size_t kCompressedSize = 84;
inline constexpr size_t kBulkSize = 12;
inline constexpr size_t kPeerSize = 32;
inline constexpr size_t kOpenbsdStateSize = 264;
inline constexpr size_t kOpenbsdTdbSize = 52;
inline constexpr size_t kFreebsdTdbSize = 48;
inline constexpr uint8_t kTtl = 255;

struct ActionInfo {
  ItemKind kind = ItemKind::none;  // none: the number has no meaning that is still in use
  StateFormat format = StateFormat::openbsd;
  uint16_t size = 0;  // of one item
};

// What an action number means; kind none for numbers without a handler.
[[nodiscard]] ActionInfo action_info(Dialect dialect, uint8_t action);

// The first action number that a release does not know.
[[nodiscard]] uint8_t action_limit(System s);

// The number for a kind; `format` decides among FreeBSD's inserts and updates.
[[nodiscard]] uint8_t action_number(Dialect dialect, ItemKind kind, StateFormat format);

[[nodiscard]] size_t state_size(StateFormat format);
[[nodiscard]] size_t item_size(Dialect dialect, ItemKind kind, StateFormat format);

[[nodiscard]] constexpr uint8_t version_byte(Dialect d) { return d == Dialect::openbsd ? 6 : 5; }

// Timer classes with an index at or above this are refused.
[[nodiscard]] constexpr uint8_t timeout_limit(System s) {
  return s == System::freebsd14 || s == System::freebsd15 ? 25 : 20;
}

}  // namespace twinwall::pfsync
