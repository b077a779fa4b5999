// Frames of an interface of the running node, as pcapng on standard output or in a file.
#pragma once

#include <string>

#include "app/twinctl/client.h"

namespace twinwall::ctl {

struct CaptureOptions {
  std::string interface;
  std::string file;       // "-" or empty: standard output
  std::string direction;  // in, out; empty: both
  std::string count;      // frames; empty: until interrupted
  std::string snaplen;    // bytes of a frame; empty: all
};

// Until the count is reached, a signal says to end, or whoever reads it has seen enough; then says on standard error
// how many frames there were. Whatever ends it, what was written is a whole file.
[[nodiscard]] int capture(const Client& client, const CaptureOptions& options);

}  // namespace twinwall::ctl
