// Pieces of JSON as text: words, numbers, durations, tables with aligned columns.
//
// Pure. What is missing is empty or 0, never an error, so that a newer or older daemon can still be looked at.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace twinwall::ctl {

using Json = nlohmann::json;

// A value as a word; empty when it is not there.
[[nodiscard]] std::string word(const Json& object, const char* key);
[[nodiscard]] uint64_t number(const Json& object, const char* key);
// An empty object when it is not there.
[[nodiscard]] const Json& part(const Json& object, const char* key);
// "01:02:03", "2 days 01:02:03"
[[nodiscard]] std::string duration(uint64_t seconds);

struct Column {
  const char* title;
  const char* key;
  bool right = false;
};

// A line of titles and one a row; "-" where a row has nothing.
[[nodiscard]] std::string table(const Json& rows, const std::vector<Column>& columns);

}  // namespace twinwall::ctl
