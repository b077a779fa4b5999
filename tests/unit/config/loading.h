// What a configuration in a test's own text becomes, in few words.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "lib/config/load.h"

namespace twinwall::config {

inline constexpr const char* kInterfaces = R"(
interfaces:
  lan: {port: "kernel:lan", addresses: [10.0.0.2/24, "2001:db8:a::2/64"]}
  wan: {port: "kernel:wan", addresses: [192.0.2.2/24], groups: [egress]}
)";

inline Config load_good(const std::string& text) {
  LoadResult result = load_text(text, "test.yaml", "");
  EXPECT_EQ(to_string(result.diagnostics), "");
  return std::move(result.config);
}

inline std::string problems(const std::string& text, const std::string& directory = "") {
  return to_string(load_text(text, "test.yaml", directory).diagnostics);
}

}  // namespace twinwall::config
