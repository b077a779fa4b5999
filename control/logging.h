// Where log lines go: stderr, the journal, or a file; set once at the start, the level also by a reload.
//
// Lines are made by spdlog's default logger; to the journal they go with their priority (sd-journal(3)).
#pragma once

#include <string>

#include "lib/config/schema.h"

namespace twinwall {

// False, with the reason in `error`, when the file cannot be opened.
[[nodiscard]] bool set_up_logging(const std::string& target, config::LogLevel level, std::string& error);
void set_log_level(config::LogLevel level);

}  // namespace twinwall
