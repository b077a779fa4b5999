// The API's words about tables (pfctl -T).
//
//   GET  /v1/table/NAME           {table, entries: [{address, age, counters}…], …}; limit=N
//   POST /v1/table/NAME/VERB      add, delete, replace, test: the body holds one entry a line; flush; zero (its
//   counters); expire?age=SECONDS
//
// A body with one bad line changes nothing: 400 names the line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/node.h"
#include "control/show.h"

namespace twinwall {

struct TableAnswer {
  int status = 200;
  Json body;
};

struct TableRequest {
  enum class Verb : uint8_t { add, remove, replace, test, flush, expire, zero };
  Verb verb = Verb::add;
  std::string table;
  std::vector<TableEntry> entries;
  uint32_t age = 0;  // of expire, seconds
};

[[nodiscard]] std::optional<TableRequest::Verb> table_verb(std::string_view word);

// One entry a line, what follows a '#' is a comment. False with the line in `problem`.
[[nodiscard]] bool parse_table_lines(std::string_view text, std::vector<TableEntry>& out, std::string& problem);

// In the control loop's thread.
[[nodiscard]] TableAnswer change_table(Node& node, Time now, TableRequest request);
[[nodiscard]] TableAnswer show_table(const Node& node, Time now, const std::string& name, size_t limit);
[[nodiscard]] Json show_tables(const Node& node);

}  // namespace twinwall
