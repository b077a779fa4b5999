// The commands for a running node. Print to standard output and error and give the exit status: 0 done, 1 the daemon
// could not be reached or could not do it, 2 it refused what was asked for.
#pragma once

#include <string>

#include "app/twinctl/client.h"

namespace twinwall::ctl {

struct ShowOptions {
  bool json = false;     // the daemon's answer as it is
  bool details = false;  // counters, windows, ids
  Query query;           // filters of states
};

// One line about what went wrong, and the exit status for it.
[[nodiscard]] int failed(const Response& r);

[[nodiscard]] int show(const Client& client, const std::string& what, const ShowOptions& options);
[[nodiscard]] int kill_states(const Client& client, const Query& query);
[[nodiscard]] int flush_states(const Client& client);
[[nodiscard]] int flush_sources(const Client& client);
[[nodiscard]] int flush_counters(const Client& client);
// Logged packets as lines, or with a file name ("-": standard output) as a capture; `follow`: until interrupted.
[[nodiscard]] int log(const Client& client, const std::string& file, bool follow);
// What would become of a packet now; see explain_offline().
[[nodiscard]] int explain(const Client& client, const std::string& packet, const std::string& at, bool all);
[[nodiscard]] int demote(const Client& client, const std::string& value);
[[nodiscard]] int maintenance(const Client& client, bool on, bool force);

}  // namespace twinwall::ctl
