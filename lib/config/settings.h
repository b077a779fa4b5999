// Every setting of a configuration beside its rules and tables as a key and a text, for comparing and showing.
//
// Pure. Keys are the YAML's own, elements of lists by what names them: "interfaces.wan.mtu", "routes.10.0.0.0/8",
// "carp.groups.wan/1.advskew". A secret shows nothing and differs by `secret` only.
#pragma once

#include <map>
#include <string>

#include "lib/config/schema.h"

namespace twinwall::config {

struct Setting {
  std::string text;
  std::string secret;  // never shown
  friend bool operator==(const Setting&, const Setting&) = default;
};

[[nodiscard]] std::map<std::string, Setting> settings_of(const Config& config);

}  // namespace twinwall::config
