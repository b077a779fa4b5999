#include "lib/config/values.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "lib/config/describe.h"

namespace twinwall::config {

std::optional<std::string> read_text(Context& c, const Node& node, std::string_view what) {
  if (c.describer != nullptr) {
    c.describer->text(node);
    return std::nullopt;
  }
  if (node.broken) return std::nullopt;
  if (node.is_scalar() && !node.text.empty()) return node.text;
  if (node.is_null() || node.is_scalar())
    c.error(node, fmt::format("'{}' has no value: give it one or remove the key", what));
  else
    c.error(node, fmt::format("'{}' takes a single value, not a {}", what, node.is_mapping() ? "mapping" : "list"));
  return std::nullopt;
}

std::optional<bool> read_bool(Context& c, const Node& node, std::string_view what) {
  if (c.describer != nullptr) {
    c.describer->truth(node);
    return std::nullopt;
  }
  const auto text = read_text(c, node, what);
  if (!text) return std::nullopt;
  if (*text == "true") return true;
  if (*text == "false") return false;
  c.error(node, fmt::format("'{}' is '{}': write true or false", what, *text));
  return std::nullopt;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_fraction(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789.") != std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::array<uint8_t, 16>> pool_key(std::string_view text) {
  std::array<uint8_t, 16> key{};
  if (!text.starts_with("0x")) {
    unsigned length = 0;
    if (EVP_Digest(text.data(), text.size(), key.data(), &length, EVP_md5(), nullptr) != 1) return std::nullopt;
    return key;
  }
  text.remove_prefix(2);
  if (text.size() != key.size() * 2) return std::nullopt;
  for (size_t i = 0; i < key.size(); ++i) {
    const auto [end, error] = std::from_chars(text.data() + i * 2, text.data() + i * 2 + 2, key[i], 16);
    if (error != std::errc{} || end != text.data() + i * 2 + 2) return std::nullopt;
  }
  return key;
}

namespace {

template <class T>
std::optional<T> in_range(Context& c, const Node& node, std::string_view what, uint64_t value, uint64_t low,
                          uint64_t high) {
  if (value >= low && value <= high) return static_cast<T>(value);
  c.error(node, fmt::format("'{}' is {}: it must be from {} to {}", what, node.text, low, high));
  return std::nullopt;
}

struct Unit {
  std::string_view suffix;
  uint64_t factor;
};

// A number and an optional unit. Nothing when it is malformed or overflows.
std::optional<uint64_t> number_with_unit(std::string_view text, std::span<const Unit> units) {
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) ++digits;
  const auto number = parse_number(text.substr(0, digits));
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    uint64_t product = 0;
    if (unit.suffix == text.substr(digits) && !__builtin_mul_overflow(*number, unit.factor, &product)) return product;
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> read_number(Context& c, const Node& node, std::string_view what, uint64_t low, uint64_t high) {
  if (c.describer != nullptr) {
    c.describer->number(node, low, high);
    return std::nullopt;
  }
  const auto text = read_text(c, node, what);
  if (!text) return std::nullopt;
  const auto value = parse_number(*text);
  if (!value) {
    c.error(node, fmt::format("'{}' is '{}': write a whole number from {} to {}", what, *text, low, high));
    return std::nullopt;
  }
  return in_range<uint64_t>(c, node, what, *value, low, high);
}

std::optional<uint64_t> read_milliseconds(Context& c, const Node& node, std::string_view what) {
  if (c.describer != nullptr) {
    c.describer->with_unit(node);
    return std::nullopt;
  }
  static constexpr Unit kUnits[] = {{"ms", 1},     {"", 1000},       {"s", 1000},
                                    {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
  const auto text = read_text(c, node, what);
  if (!text) return std::nullopt;
  const auto milliseconds = number_with_unit(*text, kUnits);
  if (!milliseconds)
    c.error(node, fmt::format("'{}' is '{}': write seconds, or a number with ms, s, m, h or d", what, *text));
  return milliseconds;
}

std::optional<uint32_t> read_seconds(Context& c, const Node& node, std::string_view what, uint32_t low, uint32_t high) {
  const auto milliseconds = read_milliseconds(c, node, what);
  if (!milliseconds) return std::nullopt;
  if (*milliseconds % 1000 != 0) {
    c.error(node, fmt::format("'{}' is '{}': it must be whole seconds", what, node.text));
    return std::nullopt;
  }
  return in_range<uint32_t>(c, node, what, *milliseconds / 1000, low, high);
}

namespace {
// As somebody would write it.
std::string size_text(uint64_t bytes) {
  if (bytes != 0 && bytes % (uint64_t{1} << 20) == 0) return fmt::format("{}M", bytes >> 20);
  return bytes != 0 && bytes % 1024 == 0 ? fmt::format("{}K", bytes >> 10) : std::to_string(bytes);
}
}  // namespace

std::optional<uint64_t> read_size(Context& c, const Node& node, std::string_view what, uint64_t low, uint64_t high) {
  if (c.describer != nullptr) {
    c.describer->with_unit(node);
    return std::nullopt;
  }
  static constexpr Unit kUnits[] = {
      {"", 1}, {"K", uint64_t{1} << 10}, {"M", uint64_t{1} << 20}, {"G", uint64_t{1} << 30}};
  const auto text = read_text(c, node, what);
  if (!text) return std::nullopt;
  const auto bytes = number_with_unit(*text, kUnits);
  if (bytes && *bytes >= low && *bytes <= high) return bytes;
  c.error(node, fmt::format("'{}' is '{}': write a size from {} to {}, such as {}", what, *text, size_text(low),
                            size_text(high), low < uint64_t{1} << 20 ? "16K" : "512M or 2G"));
  return std::nullopt;
}

bool is_name(std::string_view text) {
  if (text.empty() || std::isalpha(static_cast<unsigned char>(text[0])) == 0) return false;
  return std::all_of(text.begin(), text.end(), [](char ch) {
    return std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '-' || ch == '_';
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::string wrong_word(std::string_view what, std::string_view word, std::span<const std::string_view> words) {
  std::string hint = did_you_mean(word, words);
  if (hint.empty()) hint = ": use " + word_list(words);
  return fmt::format("'{}' cannot be '{}'{}", what, word, hint);
}

void for_each_item(Context& c, const Node& node, std::string_view what, const std::function<void(const Node&)>& each) {
  if (!node.is_sequence()) {
    each(node);
    return;
  }
  if (node.items.empty()) c.error(node, fmt::format("'{}' is an empty list: put something in or remove the key", what));
  for (const Node& item : node.items) for_each_item(c, item, what, each);
}

}  // namespace twinwall::config
