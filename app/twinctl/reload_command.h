// The commands about the configuration in force. Print to standard output and error and give the exit status.
#pragma once

#include <string>

#include "app/twinctl/client.h"

namespace twinwall::ctl {

struct ReloadOptions {
  bool dry_run = false;
  bool kill_affected = false;
  bool both = false;     // at the peer as well, or nowhere
  bool json = false;     // the daemon's answer as it is
  unsigned confirm = 0;  // seconds, after which it is taken back; 0: for good
};

[[nodiscard]] int reload(const Client& client, const ReloadOptions& options = {});

[[nodiscard]] int confirm(const Client& client);
// Back to what was in force so many changes ago.
[[nodiscard]] int rollback(const Client& client, unsigned steps);

// Of an answer that is a reload's: its problems, and `done` when it was done.
[[nodiscard]] int report_reload(const Response& r, bool json, const char* done);

// What a dry run or a reload tells of changes and states; empty when it tells nothing.
[[nodiscard]] std::string changes_text(const Json& answer);

}  // namespace twinwall::ctl
