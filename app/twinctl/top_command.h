// A live view of a running node in the terminal.
#pragma once

#include "app/twinctl/client.h"

namespace twinwall::ctl {

struct TopOptions {
  double interval = 1;  // seconds between two looks
  bool once = false;    // one frame, after one interval, as plain text
  bool json = false;    // that frame for programs
};

// On a terminal until q or a signal; elsewhere, or with `once` or `json`, one frame.
[[nodiscard]] int top(const Client& client, const TopOptions& options);

}  // namespace twinwall::ctl
