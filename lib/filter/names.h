// Names of protocols, ICMP types and codes, TCP flags and services, as PF's users write and read them.
//
// Built in rather than asked of the system, so that a configuration means the same on every machine. Sources:
// pf.conf(5), icmp(4), icmp6(4), the IANA registries. Pure look-ups; an unknown name or number is an empty result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/net/address.h"

namespace twinwall {

[[nodiscard]] std::optional<uint8_t> protocol_by_name(std::string_view name);
[[nodiscard]] std::string_view protocol_name(uint8_t proto);

// `af` chooses between ICMP and ICMPv6.
[[nodiscard]] std::optional<uint8_t> icmp_type_by_name(Af af, std::string_view name);
[[nodiscard]] std::string_view icmp_type_name(Af af, uint8_t type);
[[nodiscard]] std::optional<uint8_t> icmp_code_by_name(Af af, uint8_t type, std::string_view name);
[[nodiscard]] std::string_view icmp_code_name(Af af, uint8_t type, uint8_t code);

[[nodiscard]] std::optional<uint16_t> service_by_name(std::string_view name);

// "SA" → bits; empty on any other letter than F S R P A U E W, or a repeated one.
[[nodiscard]] std::optional<uint8_t> tcp_flags_by_letters(std::string_view letters);
[[nodiscard]] std::string tcp_flag_letters(uint8_t flags);

// "lowdelay", "af21", "ef" … as the whole TOS byte.
[[nodiscard]] std::optional<uint8_t> tos_by_name(std::string_view name);
[[nodiscard]] std::vector<std::string_view> tos_names();

// Every name, for suggestions after a typing error.
[[nodiscard]] std::vector<std::string_view> protocol_names();
[[nodiscard]] std::vector<std::string_view> icmp_type_names(Af af);
[[nodiscard]] std::vector<std::string_view> service_names();

}  // namespace twinwall
