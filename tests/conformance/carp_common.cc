#include "tests/conformance/carp_common.h"

#include <algorithm>
#include <sstream>

namespace twinwall::conformance {

using nlohmann::json;

void bad_shape(const std::string& what) { throw json::other_error::create(501, what, nullptr); }

std::string text_of(const json& object, const char* name) {
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? std::string() : it->get<std::string>();
}

std::vector<uint8_t> hex_of(const json& object, const char* name) {
  const auto text = object.at(name).get<std::string>();
  auto bytes = from_hex(text);
  if (!bytes) bad_shape(std::string(name) + " is not hexadecimal");
  return std::move(*bytes);
}

uint64_t counter_of(const json& object, const char* name) {
  const auto bytes = hex_of(object, name);
  if (bytes.size() != 8) bad_shape(std::string(name) + " is not eight bytes");
  return load_be64(bytes.data());
}

Mac mac_of(const json& object, const char* name) {
  const auto mac = parse_mac(object.at(name).get<std::string>());
  if (!mac) bad_shape(std::string(name) + " is not a MAC address");
  return *mac;
}

IpAddress ip_from(const std::string& text) {
  const auto ip = parse_ip(text.substr(0, text.find_first_of("/%")));
  if (!ip) bad_shape("not an address: " + text);
  return *ip;
}

std::vector<IpAddress> addresses_of(const json& object, std::initializer_list<const char*> names) {
  std::vector<IpAddress> out;
  for (const char* name : names) {
    const auto it = object.find(name);
    if (it == object.end() || it->is_null()) continue;
    for (const auto& text : *it) out.push_back(ip_from(text.get<std::string>()));
  }
  return out;
}

carp::Dialect dialect_from(const std::string& text) {
  if (text == "openbsd") return carp::Dialect::openbsd;
  if (text.starts_with("freebsd")) return carp::Dialect::freebsd;
  if (text == "ucarp") return carp::Dialect::ucarp;
  bad_shape("unknown dialect: " + text);
}

carp::Rules rules_from(const std::string& text) {
  return dialect_from(text) == carp::Dialect::openbsd ? carp::Rules::openbsd : carp::Rules::freebsd;
}

std::vector<std::string> words_of(const std::string& command) {
  std::istringstream in(command);
  std::vector<std::string> words;
  for (std::string w; in >> w;) words.push_back(w);
  return words;
}

std::optional<std::string> after(const std::vector<std::string>& words, const std::string& name) {
  const auto it = std::find(words.begin(), words.end(), name);
  return it == words.end() || it + 1 == words.end() ? std::nullopt : std::optional(*(it + 1));
}

bool has(const std::vector<std::string>& words, const std::string& name) {
  return std::find(words.begin(), words.end(), name) != words.end();
}

int number(const std::string& text) { return static_cast<int>(std::strtol(text.c_str(), nullptr, 10)); }
uint8_t octet(const std::optional<std::string>& text, uint8_t fallback) {
  return text ? static_cast<uint8_t>(number(*text)) : fallback;
}

bool same_frame(std::span<const uint8_t> built, std::span<const uint8_t> sent) {
  return !built.empty() && sent.size() >= built.size() && std::equal(built.begin(), built.end(), sent.begin()) &&
         std::all_of(sent.begin() + static_cast<std::ptrdiff_t>(built.size()), sent.end(),
                     [](uint8_t b) { return b == 0; });
}

}  // namespace twinwall::conformance
