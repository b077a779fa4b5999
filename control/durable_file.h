// Files that are on the disk when a function returns. They block on it; `errno` says what went wrong.
#pragma once

#include <string>
#include <string_view>

namespace twinwall {

// A new file, readable for this user alone. False also when it is there already.
[[nodiscard]] bool write_durably(const std::string& path, std::string_view text);
// What was made, renamed and removed in a directory.
[[nodiscard]] bool sync_directory(const std::string& path);

}  // namespace twinwall
