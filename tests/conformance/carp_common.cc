#include "tests/conformance/carp_common.h"

#include <algorithm>

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

bool same_frame(std::span<const uint8_t> built, std::span<const uint8_t> sent) {
  return !built.empty() && sent.size() >= built.size() && std::equal(built.begin(), built.end(), sent.begin()) &&
         std::all_of(sent.begin() + static_cast<std::ptrdiff_t>(built.size()), sent.end(),
                     [](uint8_t b) { return b == 0; });
}

}  // namespace twinwall::conformance
