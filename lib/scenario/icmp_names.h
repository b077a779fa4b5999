// The notation's words for ICMP types and codes, both families.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/net/address.h"

namespace twinwall::scenario {

[[nodiscard]] std::optional<uint8_t> icmp_type_of(Af af, std::string_view word);
[[nodiscard]] std::optional<uint8_t> icmp_code_of(Af af, uint8_t type, std::string_view word);
// The number as text where there is no word.
[[nodiscard]] std::string icmp_type_word(Af af, uint8_t type);
[[nodiscard]] std::string icmp_code_word(Af af, uint8_t type, uint8_t code);

}  // namespace twinwall::scenario
