// twinctl anchor NAME load FILE|show|flush.
#pragma once

#include <string>

#include "app/twinctl/client.h"

namespace twinwall::ctl {

struct AnchorOptions {
  std::string name, verb;
  std::string file;   // of load; "-" is standard input
  bool json = false;  // the daemon's answer as it is
};

[[nodiscard]] int anchor(const Client& client, const AnchorOptions& options);

}  // namespace twinwall::ctl
