// Loading a configuration: YAML text in, checked and expanded values or a list of problems out.
//
// Every problem of all files is reported in one go, in file order; nothing throws. This is the one part of lib/ that
// reads files (includes and key files), and only while loading. What depends on the machine (does the port exist?) is
// left to the daemon. Contract of the keys: docs/configuration.md.
#pragma once

#include <string>
#include <vector>

#include "lib/config/schema.h"

namespace twinwall::config {

[[nodiscard]] LoadResult load_file(const std::string& path, const LoadOptions& options = {});

// `name` stands for the file in messages; includes and key files are sought in `base_dir` ("" is the working
// directory).
[[nodiscard]] LoadResult load_text(const std::string& text, const std::string& name, const std::string& base_dir,
                                   const LoadOptions& options = {});

// What a configuration may hold, as a JSON Schema.
[[nodiscard]] std::string configuration_schema();

// All diagnostics, one a line.
[[nodiscard]] std::string to_string(const std::vector<Diagnostic>& diagnostics);

}  // namespace twinwall::config
