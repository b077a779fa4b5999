// Changes of a table at run time, as pfctl(8) -T makes them: add, delete, replace, flush, expire.
//
// Each returns the content that the table had before, which must be kept until no thread can be looking at it any more;
// null when it still is the table's. For the thread that configures.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/filter/table.h"

namespace twinwall {

// What became of the entries asked for.
struct TableChange {
  size_t added = 0;
  size_t deleted = 0;
  size_t present = 0;    // was in there already
  size_t conflicts = 0;  // is in there with the other sign, and stays so
  size_t missing = 0;    // to be deleted, but not in there
};

// For `now_s`: entries say themselves when they were added.
inline constexpr uint32_t kAsTheyAre = 0;

// `room`: how many entries more the table may get; without room nothing is changed and `full` says so.
struct TableAddition {
  TableChange change;
  std::shared_ptr<const TableContent> before;
  bool full = false;
};
[[nodiscard]] TableAddition table_add(Table& table, std::span<const TableEntry> entries, size_t room, uint32_t now_s);
[[nodiscard]] TableAddition table_replace(Table& table, std::vector<TableEntry> entries, size_t room, uint32_t now_s);
[[nodiscard]] std::shared_ptr<const TableContent> table_delete(Table& table, std::span<const TableEntry> entries,
                                                               TableChange& change);
[[nodiscard]] std::shared_ptr<const TableContent> table_flush(Table& table, TableChange& change);
// Entries of run time that were added, and whose counts began, more than `seconds` ago.
[[nodiscard]] std::shared_ptr<const TableContent> table_expire(Table& table, uint32_t seconds, uint32_t now_s,
                                                               TableChange& change);

// Why it takes no changes at run time; empty when it does.
[[nodiscard]] std::string_view why_unchangeable(const Table& table);

// Its entries and the hosts added one at a time.
[[nodiscard]] std::vector<TableEntry> all_entries(const TableContent& content);
// "10.0.0.0/8", "!10.66.0.1".
[[nodiscard]] std::string to_string(const TableEntry& entry);
// "10.0.0.0/8" or "!10.66.0.1"; nothing when it is neither.
[[nodiscard]] std::optional<TableEntry> parse_table_entry(std::string_view text);

}  // namespace twinwall
