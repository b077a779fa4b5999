// twinctl table: what a table of a running node holds, and changes of it (pfctl -T).
#pragma once

#include <string>
#include <vector>

#include "app/twinctl/client.h"

namespace twinwall::ctl {

struct TableOptions {
  std::string name, verb;
  std::vector<std::string> entries;
  std::vector<std::string> files;  // one entry a line, "-" is standard input
  std::string age;                 // of expire, seconds
  bool json = false;
  bool verbose = false;  // of show: what each entry counts
};

// Exit status of `test`: 0 only if every address is in the table.
[[nodiscard]] int table(const Client& client, const TableOptions& options);

}  // namespace twinwall::ctl
