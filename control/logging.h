// Where log lines go: stderr, the journal, or a file; set once at the start, the level also by a reload.
//
// Lines are made by spdlog's default logger and written by a thread of its own from a bounded queue: a reader that
// stops reading must not stop the elections. When the queue is full the oldest line goes and is counted. To the journal
// they go with their priority (sd-journal(3)).
#pragma once

#include <string>

#include "lib/config/schema.h"

namespace twinwall {

// False, with the reason in `error`, when the file cannot be opened. Starts the thread: block signals before, and call
// spdlog::shutdown() at the end, which writes what waits.
[[nodiscard]] bool set_up_logging(const std::string& target, config::LogLevel level, std::string& error);
// Lines that the queue had no room for.
[[nodiscard]] uint64_t log_lines_lost();
void set_log_level(config::LogLevel level);

}  // namespace twinwall
