// What the CARP vectors and the CARP captures have in common: JSON to addresses, keys, digests and numbers.
//
// Readers throw nlohmann::json exceptions for what is of the wrong shape, like at() and get() do, so that a caller
// needs one handler for all of it.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/carp/advert.h"
#include "lib/carp/election.h"
#include "tests/conformance/pcap.h"

namespace twinwall::conformance {

[[noreturn]] void bad_shape(const std::string& what);

// The text of a member, "" when it is absent or null.
[[nodiscard]] std::string text_of(const nlohmann::json& object, const char* name);
[[nodiscard]] std::vector<uint8_t> hex_of(const nlohmann::json& object, const char* name);
[[nodiscard]] uint64_t counter_of(const nlohmann::json& object, const char* name);
[[nodiscard]] Mac mac_of(const nlohmann::json& object, const char* name);
[[nodiscard]] IpAddress ip_from(const std::string& text);
// The addresses of several lists of texts, each of which may be absent.
[[nodiscard]] std::vector<IpAddress> addresses_of(const nlohmann::json& object,
                                                  std::initializer_list<const char*> names);
[[nodiscard]] carp::Dialect dialect_from(const std::string& text);
[[nodiscard]] carp::Rules rules_from(const std::string& text);

// A recorded command as words.
[[nodiscard]] std::vector<std::string> words_of(const std::string& line);
[[nodiscard]] bool has(const std::vector<std::string>& words, const std::string& name);
// The word after `name`.
[[nodiscard]] std::optional<std::string> after(const std::vector<std::string>& words, const std::string& name);
[[nodiscard]] int number(const std::string& text);
[[nodiscard]] uint8_t octet(const std::optional<std::string>& text, uint8_t fallback);

// Equal, or `sent` is `built` with nothing but zeros behind it (Ethernet's padding).
[[nodiscard]] bool same_frame(std::span<const uint8_t> built, std::span<const uint8_t> sent);

}  // namespace twinwall::conformance
