// Short ways to write tables in tests.
#pragma once

#include <initializer_list>
#include <string_view>

#include "lib/filter/table.h"
#include "lib/filter/table_change.h"
#include "lib/net/address.h"

namespace twinwall::testing_tables {

inline Address v4(std::string_view text) { return parse_ip(text)->addr; }
inline bool bit(const Address& a, unsigned i) { return (a.bytes[i / 8] >> (7 - i % 8) & 1) != 0; }

// "10.0.0.0/8", "!10.1.0.0/16"
inline TableEntry entry(std::string_view text) { return *parse_table_entry(text); }

inline Table table(std::initializer_list<std::string_view> texts, bool dynamic = false) {
  Table t("t");
  for (const auto text : texts) t.add_entry(entry(text));
  t.seal(dynamic);
  return t;
}

}  // namespace twinwall::testing_tables
