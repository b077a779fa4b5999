// A small pair's configuration as text, for tests that load one.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "lib/config/load.h"

namespace twinwall::test {

// Interfaces in order: wan 1, lan 2, sync 3.
inline std::string sample_text(int node, const std::string& rules = "  - {action: pass, label: all}\n") {
  const std::string host = std::to_string(node + 1);
  return "system: {hostname: fw" + std::to_string(node) +
         ", cores: {control: 0, workers: [1]}, memory: 512M, api: /tmp/unused.sock}\n"
         "interfaces:\n"
         "  wan: {port: \"kernel:wan\", addresses: [192.0.2." +
         host +
         "/24]}\n"
         "  lan: {port: \"kernel:lan\", addresses: [10.0.0." +
         host +
         "/24]}\n"
         "  sync: {port: \"kernel:sync\", addresses: [10.255.0." +
         std::to_string(node) +
         "/30]}\n"
         "routes:\n"
         "  - {to: 198.51.100.0/24, via: 192.0.2.254}\n"
         "carp:\n"
         "  preempt: true\n"
         "  groups:\n"
         "    - {vhid: 1, interface: wan, addresses: [192.0.2.1/24], advskew: " +
         std::to_string((node - 1) * 100) +
         ", key: sesame}\n"
         "    - {vhid: 2, interface: lan, addresses: [10.0.0.1/24], advskew: " +
         std::to_string((node - 1) * 100) +
         ", key: sesame}\n"
         "pfsync: {interface: sync, peer: 10.255.0." +
         std::to_string(3 - node) +
         "}\n"
         "options: {skip: [sync], hostid: " +
         std::to_string(node) +
         ", limits: {states: 1000}}\n"
         "rules:\n" +
         rules;
}

inline config::Config load(const std::string& text) {
  config::LoadResult r = config::load_text(text, "test.yaml", "");
  EXPECT_TRUE(r.ok()) << config::to_string(r.diagnostics);
  return std::move(r.config);
}

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

}  // namespace twinwall::test
