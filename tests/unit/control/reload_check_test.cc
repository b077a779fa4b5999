#include "control/reload_check.h"

#include <gtest/gtest.h>

#include "sample_config.h"

namespace twinwall {
namespace {

using test::load;
using test::replaced;
using test::sample_text;

std::vector<config::Diagnostic> check(const std::string& from, const std::string& to) {
  return needs_restart(load(sample_text(1)), load(replaced(sample_text(1), from, to)));
}

TEST(ReloadCheck, SameConfigurationMayBeReloaded) {
  EXPECT_TRUE(needs_restart(load(sample_text(1)), load(sample_text(1))).empty());
}

TEST(ReloadCheck, RulesRoutesGroupsAndAddressesMayChange) {
  EXPECT_TRUE(check("{action: pass, label: all}", "{action: block}").empty());
  EXPECT_TRUE(check("198.51.100.0/24", "203.0.113.0/24").empty());
  EXPECT_TRUE(check("advskew: 0", "advskew: 50").empty());
  EXPECT_TRUE(check("key: sesame", "key: changed").empty());
  EXPECT_TRUE(check("[10.0.0.2/24]", "[10.0.0.2/24, 10.0.0.77/24]").empty());
  EXPECT_TRUE(check("preempt: true", "preempt: false").empty());
  EXPECT_TRUE(check("options: {", "options: {timeouts: {tcp.first: 60}, ").empty());
}

TEST(ReloadCheck, AChangedBondNeedsARestart) {
  const auto with = [](const std::string& bond) {
    return load(replaced(sample_text(1), "port: \"kernel:wan\"", "bond: " + bond));
  };
  const auto before = with("{mode: lacp, ports: [\"tap:one\", \"tap:two\"]}");
  EXPECT_TRUE(needs_restart(before, before).empty());
  for (const char* const changed :
       {"{mode: balance, ports: [\"tap:one\", \"tap:two\"]}", "{mode: lacp, ports: [\"tap:two\", \"tap:one\"]}",
        "{mode: lacp, ports: [\"tap:one\", \"tap:two\", \"tap:three\"]}"}) {
    const auto found = needs_restart(before, with(changed));
    ASSERT_EQ(found.size(), 1u) << changed;
    EXPECT_EQ(found[0].message.rfind("interfaces.wan.bond:", 0), 0u) << found[0].message;
  }
}

TEST(ReloadCheck, EveryKeyThatNeedsARestartIsNamed) {
  struct Case {
    const char* from;
    const char* to;
    const char* key;
  };
  for (const Case& c : {
           Case{"workers: [1]", "workers: [0, 1]", "system.cores.workers"},
           Case{"control: 0", "control: 1", "system.cores.control"},
           Case{"memory: 512M", "memory: 1G", "system.memory"},
           Case{"memory: 512M", "idle: poll", "system.idle"},
           Case{"/tmp/unused.sock", "/tmp/other.sock", "system.api"},
           Case{"hostname: fw1", "hostname: fw1, metrics: {listen: \"127.0.0.1:1\"}", "system.metrics.listen"},
           Case{"kernel:wan", "kernel:elsewhere", "interfaces.wan.port"},
           Case{"port: \"kernel:wan\"", "bond: {mode: lacp, ports: [\"tap:one\", \"tap:two\"]}", "interfaces.wan.port"},
           Case{"{port: \"kernel:lan\"", "{mtu: 9000, port: \"kernel:lan\"", "interfaces.lan.mtu"},
           Case{"peer: 10.255.0.2", "peer: multicast", "pfsync.peer"},
           Case{"pfsync: {interface: sync, peer: 10.255.0.2}", "", "pfsync"},
           Case{"pfsync: {", "pfsync: {max-updates: 5, ", "pfsync.max-updates"},
           Case{"states: 1000", "states: 2000", "options.limits.states"},
           Case{"hostid: 1", "hostid: 9", "options.hostid"},
           Case{"kernel:sync\", addresses: [10.255.0.1/30]", "kernel:sync\", addresses: [10.255.0.1/29]",
                "interfaces.sync.addresses"},
       }) {
    const auto found = check(c.from, c.to);
    ASSERT_FALSE(found.empty()) << c.key;
    EXPECT_EQ(found[0].message.rfind(std::string(c.key) + ":", 0), 0u) << found[0].message;
    EXPECT_NE(found[0].message.find("restart"), std::string::npos);
    EXPECT_EQ(found[0].at.file, "test.yaml");
  }
}

TEST(ReloadCheck, PortIsRefusedAtItsPlaceInTheFile) {
  const auto found = check("kernel:wan", "kernel:elsewhere");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].at.line, 3);
}

TEST(ReloadCheck, InterfacesMustStayAndKeepTheirPlaces) {
  const std::string with_dmz =
      replaced(sample_text(1), "  sync: {port", "  dmz: {port: \"kernel:dmz\"}\n  sync: {port");
  const auto added = needs_restart(load(sample_text(1)), load(with_dmz));
  ASSERT_EQ(added.size(), 2u);  // the new one, and sync, which has moved
  const auto removed = needs_restart(load(with_dmz), load(sample_text(1)));
  bool named = false;
  for (const auto& d : removed) named = named || d.message.find("interfaces.dmz (removed)") != std::string::npos;
  EXPECT_TRUE(named);
}

TEST(ReloadCheck, AllProblemsAreReportedTogether) {
  const std::string text = replaced(replaced(sample_text(1), "memory: 512M", "memory: 1G"), "kernel:wan", "kernel:x");
  EXPECT_EQ(needs_restart(load(sample_text(1)), load(text)).size(), 2u);
}

}  // namespace
}  // namespace twinwall
