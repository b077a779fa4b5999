#include "lib/config/difference.h"

#include <gtest/gtest.h>

#include <random>

#include "lib/config/load.h"

namespace twinwall::config {
namespace {

std::string with(const std::string& rules, const std::string& more = "") {
  return "interfaces:\n"
         "  lan: {port: \"kernel:lan\", addresses: [10.0.0.1/24]}\n"
         "  wan: {port: \"kernel:wan\", addresses: [192.0.2.1/24]}\n" +
         more + "rules:\n" + rules;
}

Config load(const std::string& text) {
  LoadResult r = load_text(text, "test.yaml", "");
  EXPECT_TRUE(r.ok()) << to_string(r.diagnostics);
  return std::move(r.config);
}

// "+ 1 pass …", one a change.
std::vector<std::string> rules(const Difference& d) {
  std::vector<std::string> out;
  for (const RuleChange& c : d.rules) {
    const char* sign = c.kind == RuleChange::Kind::added ? "+ " : c.kind == RuleChange::Kind::removed ? "- " : "~ ";
    out.push_back(sign + c.place + (c.was.empty() ? " " : " from " + c.was + " ") + c.text);
  }
  return out;
}

Difference between(const std::string& before, const std::string& after) { return compare(load(before), load(after)); }

using Lines = std::vector<std::string>;

const std::string kBase =
    "  - {action: block}\n"
    "  - {action: pass, interface: lan, proto: tcp, to: {port: 80}}\n"
    "  - {action: pass, interface: lan, proto: udp, to: {port: 53}}\n";

TEST(Difference, TheSameIsNone) {
  const Difference d = between(with(kBase), with(kBase));
  EXPECT_TRUE(d.empty());
  EXPECT_EQ(d.rules_kept, 3u);
}

TEST(Difference, ARuleChangedIsOneTakenAwayBeforeOneAdded) {
  const Difference d = between(with(kBase), with("  - {action: block}\n"
                                                 "  - {action: pass, interface: lan, proto: tcp, to: {port: 81}}\n"
                                                 "  - {action: pass, interface: lan, proto: udp, to: {port: 53}}\n"));
  EXPECT_EQ(rules(d), (Lines{"- 1 pass on lan proto tcp from any to any port = 80 flags S/SA keep state",
                             "+ 1 pass on lan proto tcp from any to any port = 81 flags S/SA keep state"}));
  EXPECT_EQ(d.rules_kept, 2u);
  EXPECT_EQ(d.gone.size(), 1u);
}

TEST(Difference, WhatChangesItsPlaceIsToldSo) {
  const Difference d = between(with(kBase), with("  - {action: block}\n"
                                                 "  - {action: pass, interface: lan, proto: udp, to: {port: 53}}\n"
                                                 "  - {action: pass, interface: lan, proto: tcp, to: {port: 80}}\n"));
  ASSERT_EQ(d.rules.size(), 1u);
  EXPECT_EQ(d.rules[0].kind, RuleChange::Kind::moved);
  EXPECT_TRUE(d.gone.empty());
  EXPECT_EQ(d.rules_kept, 3u);
}

TEST(Difference, RulesInsideAnchorsHaveTheirPlace) {
  const Difference d = between(with("  - {action: anchor, name: a, rules: [{action: block}]}\n"),
                               with("  - {action: anchor, name: a, rules: [{action: block}, {action: pass}]}\n"));
  EXPECT_EQ(rules(d), (Lines{"+ 0.1 pass all flags S/SA keep state"}));
}

TEST(Difference, SettingsAreToldByTheirKeys) {
  const Difference d =
      between(with(kBase,
                   "routes: [{to: 10.9.0.0/16, via: 10.0.0.9}]\n"
                   "carp: {groups: [{vhid: 1, interface: lan, addresses: [10.0.0.7/24], key: sesame}]}\n"),
              with(kBase,
                   "options: {timeouts: {tcp.first: 60}}\n"
                   "routes: [{to: 10.9.0.0/16, via: 10.0.0.8}, {to: 10.8.0.0/16, blackhole: true}]\n"
                   "carp: {groups: [{vhid: 1, interface: lan, addresses: [10.0.0.7/24], key: another}]}\n"));
  Lines found;
  for (const SettingChange& c : d.settings) {
    found.push_back(c.key + ": " + c.before + " > " + c.after);
    EXPECT_EQ((c.before + c.after).find("sesame"), std::string::npos);
  }
  EXPECT_EQ(
      found,
      (Lines{"carp.groups.lan/1.key: (not shown) > (another, not shown)", "options.timeouts.tcp.first: 120 > 60",
             "routes.10.9.0.0/16: via 10.0.0.9 at lan > via 10.0.0.8 at lan", "routes.10.8.0.0/16:  > blackhole"}));
}

TEST(Difference, TablesAreToldByTheNumberOfTheirEntries) {
  const Difference d = between(
      with(kBase, "tables: {a: {addresses: [10.1.0.0/16, 10.2.0.0/16]}, b: {persist: true}, c: {}}\n"),
      with(kBase, "tables: {a: {addresses: [10.1.0.0/16, \"!10.2.0.0/16\"]}, b: {persist: true}, d: {const: true}}\n"));
  Lines found;
  for (const SettingChange& c : d.settings) found.push_back(c.key + ": " + c.before + " > " + c.after);
  EXPECT_EQ(found, (Lines{"tables.c: 0 entries > ", "tables.a.entries: 2 > 2 (1 added, 1 removed)",
                          "tables.d:  > 0 entries"}));
}

TEST(Difference, TheLongestRunKeepsItsOrder) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<size_t> positions(random() % 9);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = i;
    std::shuffle(positions.begin(), positions.end(), random);
    const std::vector<bool> run = longest_run(positions);
    size_t length = 0, last = 0;
    for (size_t i = 0; i < positions.size(); ++i) {
      if (!run[i]) continue;
      EXPECT_TRUE(length == 0 || positions[i] > last);
      last = positions[i];
      ++length;
    }
    // By trying every choice.
    size_t best = 0;
    for (unsigned chosen = 0; chosen < 1u << positions.size(); ++chosen) {
      size_t n = 0, end = 0;
      bool rises = true;
      for (size_t i = 0; i < positions.size(); ++i) {
        if ((chosen >> i & 1) == 0) continue;
        rises = rises && (n == 0 || positions[i] > end);
        end = positions[i];
        ++n;
      }
      if (rises) best = std::max(best, n);
    }
    EXPECT_EQ(length, best);
  }
}

}  // namespace
}  // namespace twinwall::config
