// A file's whole text, or that of standard input.
#pragma once

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

namespace twinwall::ctl {

// Adds to `out`; "-" is standard input. False when it cannot be read.
[[nodiscard]] inline bool read_text(const std::string& path, std::string& out) {
  if (path == "-") {
    out.append(std::istreambuf_iterator<char>(std::cin), {});
    return true;
  }
  std::ifstream file(path);
  if (!file) return false;
  out.append(std::istreambuf_iterator<char>(file), {});
  return !file.bad();
}

}  // namespace twinwall::ctl
