// Keys that nodes share: a text, {hex: DIGITS}, or {file: PATH} of a file that its owner alone can read.
//
// Nothing of a key appears in a message. A newline at the end of a file is not part of the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/config/context.h"
#include "lib/config/node.h"

namespace twinwall::config {

struct SecretLength {
  size_t least = 1, most = 0;   // bytes
  std::string_view why_most{};  // ends the message about a longer one: "…: WHY"
};

// Nothing when it was wrong, which is reported then.
[[nodiscard]] std::optional<std::vector<uint8_t>> read_secret(Context& c, const Node& node, const SecretLength& length);

// `{withheld: true}`, in stored copies, which hold no secrets: whoever loads the copy may know it
// (LoadOptions::withheld_key), else it is an error. `of`: the setting's key.
[[nodiscard]] bool is_withheld(const Node& node);
[[nodiscard]] std::vector<uint8_t> withheld_secret(Context& c, const Node& node, const std::string& of);

}  // namespace twinwall::config
