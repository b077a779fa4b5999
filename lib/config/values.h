// Single values: text, truth, numbers, durations, sizes, words from a list.
//
// Each reports what is wrong and what to write instead, and returns nothing then. `what` is the key's name.
#pragma once

#include <fmt/format.h>

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/config/context.h"
#include "lib/config/describe.h"
#include "lib/config/node.h"

namespace twinwall::config {

[[nodiscard]] std::optional<std::string> read_text(Context& c, const Node& node, std::string_view what);
[[nodiscard]] std::optional<bool> read_bool(Context& c, const Node& node, std::string_view what);
// Decimal, or hexadecimal after 0x.
[[nodiscard]] std::optional<uint64_t> read_number(Context& c, const Node& node, std::string_view what, uint64_t low,
                                                  uint64_t high);
[[nodiscard]] std::optional<uint64_t> parse_number(std::string_view text);
// "0.25", "20": digits with at most one point.
[[nodiscard]] std::optional<double> parse_fraction(std::string_view text);
// The key of source-hash: "0x" and 32 digits, or the MD5 of any other text (pf.conf(5) "source-hash").
[[nodiscard]] std::optional<std::array<uint8_t, 16>> pool_key(std::string_view text);
// "50ms", "30", "30s", "5m", "2h", "1d".
[[nodiscard]] std::optional<uint64_t> read_milliseconds(Context& c, const Node& node, std::string_view what);
// The same → whole seconds.
[[nodiscard]] std::optional<uint32_t> read_seconds(Context& c, const Node& node, std::string_view what, uint32_t low,
                                                   uint32_t high);
// "512M", "2G", "64K" or bytes → bytes.
[[nodiscard]] std::optional<uint64_t> read_size(Context& c, const Node& node, std::string_view what, uint64_t low,
                                                uint64_t high);
// True for a name of letters, digits, '-' and '_' that starts with a letter.
[[nodiscard]] bool is_name(std::string_view text);
[[nodiscard]] std::string_view trim(std::string_view text);

template <class T>
struct Word {
  std::string_view name;
  T value;
};

[[nodiscard]] std::string wrong_word(std::string_view what, std::string_view word,
                                     std::span<const std::string_view> words);

template <class T, size_t N>
[[nodiscard]] std::optional<T> read_word(Context& c, const Node& node, std::string_view what,
                                         const Word<T> (&words)[N]) {
  std::vector<std::string_view> names;
  if (c.describer != nullptr) {
    for (const Word<T>& word : words) names.push_back(word.name);
    c.describer->words(node, names);
    return std::nullopt;
  }
  const auto text = read_text(c, node, what);
  if (!text) return std::nullopt;
  for (const Word<T>& word : words) {
    if (word.name == *text) return word.value;
    names.push_back(word.name);
  }
  c.error(node, wrong_word(what, *text, names));
  return std::nullopt;
}

// For table rows: stores a value that was read, leaves the default otherwise.
template <class T>
void assign(T& out, const std::optional<T>& value) {
  if (value) out = *value;
}
template <std::integral T>
requires(!std::same_as<T, bool>) void assign_number(Context& c, const Node& node, std::string_view what, uint64_t low,
                                                    uint64_t high, T& out) {
  if (const auto value = read_number(c, node, what, low, high)) out = static_cast<T>(*value);
}

// Calls `each` for a scalar or for every element of a list, also of lists in the list (macros put them there).
void for_each_item(Context& c, const Node& node, std::string_view what, const std::function<void(const Node&)>& each);

}  // namespace twinwall::config
