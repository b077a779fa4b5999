// What two twinwall nodes say to each other about a table that both hold (`sync: true`): control/table_sync.h has the
// rules. A message is, big-endian:
//    0  what 1, length of the name 1, zeros 2
//    4  version 8: how many changes the table has seen, on whichever node
//   12  digest 8: of what it holds then
//   20  deleted 4, added 4: how many entries of each follow
//   28  name 32, padded with zeros
//   60  entries of 24: family 1 (4 or 6), length 1, negated 1, 1 if it was added at run time 1, age in seconds 4,
//   address 16
//
// Pure; nothing is read outside the bytes given, and nothing allocated in reading.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/filter/table.h"

namespace twinwall {

inline constexpr size_t kTableWordHead = 60;
inline constexpr size_t kTableWordEntry = 24;
inline constexpr size_t kTableWordName = 32;

struct TableWord {
  enum class What : uint8_t {
    change = 1,  // these went, these came
    digest,      // this is what it holds: nothing follows
    want,        // the receiver's content is asked for: nothing follows
    whole,       // all of it, as added
  };
  What what = What::digest;
  std::string_view name;
  uint64_t version = 0, digest = 0;
  uint32_t deleted = 0, added = 0;
  Bytes entries;

  // i < deleted + added, the deleted ones first. `added` says when it was added, by the receiver's clock.
  [[nodiscard]] TableEntry entry(size_t i, uint32_t now_s) const;
};
// False: it is none, or an entry cannot be.
[[nodiscard]] bool read_table_word(Bytes message, TableWord& out);
[[nodiscard]] std::vector<uint8_t> write_table_word(TableWord::What what, std::string_view name, uint64_t version,
                                                    uint64_t digest, const std::vector<TableEntry>& deleted,
                                                    const std::vector<TableEntry>& added, uint32_t now_s);

// An entry's part in the sum that is a table's digest: the same in whatever order they come.
[[nodiscard]] uint64_t table_digest_part(const TableEntry& entry);

}  // namespace twinwall
