// Scenario files: what is wrong in one is said with its place before anything runs.
#include <gtest/gtest.h>

#include "lib/config/load.h"
#include "lib/scenario/scenario.h"

namespace twinwall::scenario {
namespace {

std::string problems(const std::string& text) {
  auto read = read_scenario(text, "s.yaml", ".");
  const auto* list = std::get_if<std::vector<config::Diagnostic>>(&read);
  return list == nullptr ? "" : config::to_string(*list);
}

std::string with_step(const std::string& step) { return "name: x\nconfig: c.yaml\nsteps:\n  - " + step + "\n"; }

TEST(ScenarioReader, TakesEveryKindOfStep) {
  EXPECT_EQ(problems(R"(
name: everything
config: {interfaces: {lan: {port: "kernel:lan"}}}
carp: {1: backup}
steps:
  - send: {at: lan, packet: "udp 10.0.0.5:1 > 10.0.0.6:2", ttl: 3, df: true, payload: hello, times: 3}
    expect: {at: lan, packet: "udp 10.0.0.5:1 > 10.0.0.6:$p"}
  - send:
      - {at: lan, packet: "udp 10.0.0.5:1 > 10.0.0.6:2 len=100", split: 8, reverse: true}
      - {at: lan, pcap: capture.pcap#2}
    expect: [{at: lan, packet: "udp * > *"}, {at: lan, packet: "udp * > *"}]
  - expect: none
  - expect: drop
  - expect: {drop: state-mismatch, log: none}
  - expect: {states: 3}
  - expect: {states: [{key: x, age: 1, expires: 2, rule: 3, label: y, levels: "A:B", packets: [1, 2], bytes: [3, 4]}]}
  - expect: {counter: {rule: 3, packets: 1, bytes: 2, states: 3, evaluations: 4, creations: 5}}
  - expect: {counter: {reason: match, value: 1}}
  - expect: {log: {rule: 1, action: block, direction: out, interface: lan}}
  - expect: {punt: arp}
  - advance: 1500ms
  - show: states
  - reload: other.yaml
  - kill: {src: 10.0.0.0/8, proto: tcp}
  - kill: states
  - carp: {1: master}
)"),
            "");
}

TEST(ScenarioReader, NamesThePlaceOfAMisspeltKey) {
  EXPECT_EQ(problems(with_step("sedn: {at: lan}")), "s.yaml:4:5: unknown key 'sedn' in a step: did you mean 'send'?\n");
}

TEST(ScenarioReader, NamesThePlaceInABadPacket) {
  const std::string p = problems(with_step("send: {at: lan, packet: \"udp 10.0.0.5:1 > 10.0.0.6:2 tlt=3\"}"));
  EXPECT_NE(p.find("s.yaml:4:"), std::string::npos) << p;
  EXPECT_NE(p.find("at character 29"), std::string::npos) << p;
  EXPECT_NE(p.find("'tlt' is no key"), std::string::npos) << p;
}

TEST(ScenarioReader, TableStepsAreCheckedWhereTheyStand) {
  EXPECT_EQ(problems(with_step("table: {add: {t: [10.0.0.1]}, flush: t, expire: {t: 5m}}")), "");
  EXPECT_NE(problems(with_step("table: {add: {t: [host]}}")).find("'host' is neither an address nor a network"),
            std::string::npos);
  EXPECT_NE(problems(with_step("table: {ad: {t: []}}")).find("'ad' is nothing to do with a table"), std::string::npos);
  EXPECT_NE(problems(with_step("table: {expire: {t: soon}}")).find("'soon' is not a time"), std::string::npos);
  EXPECT_NE(problems(with_step("table: {add: t}")).find("'add' needs a table"), std::string::npos);
  EXPECT_EQ(problems(with_step("expect: {table: {t: 1, u: [10.0.0.0/8, \"!10.0.0.1\"]}}")), "");
}

TEST(ScenarioReader, WhatALaterVersionMayKnowIsRefusedByName) {
  EXPECT_NE(problems(with_step("anchor: {flush: a}")).find("is not available in this version"), std::string::npos);
}

TEST(ScenarioReader, WhatNeedsTwoNodesIsRefusedForOne) {
  for (const char* step : {"fail: a", "heal: {link: sync}", "demote: {a: 1}", "random: {seed: 1, steps: 5}",
                           "link: {sync: {drop: 5%}}", "expect: {within: 4s}", "expect: {a.carp: {1: master}}"})
    EXPECT_NE(problems(with_step(step)).find("is for scenarios with 'nodes'"), std::string::npos) << step;
  EXPECT_NE(problems("name: x\nsteps: [{advance: 1s}]\n").find("needs the key 'config', or 'nodes'"),
            std::string::npos);
}

std::string with_pair_step(const std::string& step, const std::string& more = "") {
  return "name: x\nnodes: {a: {config: a.yaml}, b: {config: b.yaml}}\n" + more + "steps:\n  - " + step + "\n";
}

TEST(ScenarioReader, ReadsWhatHappensToAPair) {
  for (const char* step :
       {"fail: a", "heal: [a, {link: sync}, {port: b.wan}]", "stop: b", "freeze: a", "thaw: a", "demote: {a: 20}",
        "reload: {a: other.yaml}", "link: {sync: {drop: 5%, duplicate: 0.01, reorder: 0, delay: 5ms, jitter: 1ms}}",
        "random: {seed: 7, steps: 20}", "{expect: {a.carp: {1: master, 2: init}, b.states: 0, within: 4s}}",
        "{send: {at: wan, packet: \"udp 10.0.0.1:1 > 10.0.0.2:2\"}, expect: {at: a.lan, packet: \"udp * > *\", "
        "b.drop: match, within: 1s}}"})
    EXPECT_EQ(problems(with_pair_step(step)), "") << step;
  EXPECT_EQ(problems(with_pair_step("advance: 1s",
                                    "links: {wan: [a.wan, b.wan], s: {ports: [a.s, b.s], drop: 5%, "
                                    "seed: 7, cable: true}}\n")),
            "");
}

TEST(ScenarioReader, NamesOfAPairMustBeThere) {
  for (const char* step : {"fail: c", "demote: {c: 1}", "heal: {port: c.wan}", "expect: {c.states: 1}",
                           "send: {at: c.wan, packet: \"udp 10.0.0.1:1 > 10.0.0.2:2\"}"})
    EXPECT_NE(problems(with_pair_step(step)).find("there is no node 'c'"), std::string::npos) << step;
  const std::string links = "links: {wan: [a.wan, b.wan]}\n";
  EXPECT_NE(problems(with_pair_step("fail: {link: lan}", links)).find("there is no link 'lan'"), std::string::npos);
  EXPECT_NE(problems(with_pair_step("advance: 1s", "links: {wan: [a.wan, c.wan]}\n")).find("there is no node 'c'"),
            std::string::npos);
}

TEST(ScenarioReader, WhatIsWrongWithAPairIsSaid) {
  EXPECT_NE(problems(with_pair_step("kill: states")).find("is for scenarios with one node"), std::string::npos);
  EXPECT_NE(problems(with_pair_step("advance: 1s", "config: a.yaml\n")).find("'config' is of each node here"),
            std::string::npos);
  EXPECT_NE(problems(with_pair_step("fail: {port: a}")).find("write NODE.INTERFACE"), std::string::npos);
  EXPECT_NE(problems(with_pair_step("link: {sync: {drop: 120%}}")).find("is no share of the frames"),
            std::string::npos);
  EXPECT_NE(problems(with_pair_step("link: {sync: {delay: 1h}}")).find("needs a time of at most 2s"),
            std::string::npos);
  EXPECT_NE(problems(with_pair_step("expect: {a.roles: {1: master}}")).find("does not know 'roles' of a node"),
            std::string::npos);
}

TEST(ScenarioReader, AStepDoesOneThing) {
  EXPECT_NE(problems(with_step("{advance: 1s, show: states}")).find("a step does one thing"), std::string::npos);
}

TEST(ScenarioReader, EmptyExpectationsAreRefused) {
  for (const char* e :
       {"[]", "{}", "", "{states: }", "{counter: {rule: 1}}", "{counter: {packets: 1}}",
        "{counter: {reason: match, packets: 1}}", "{drop: nonsense}", "nothing", "{packet: \"udp * > *\"}"})
    EXPECT_NE(problems(with_step(std::string("expect: ") + e)), "") << e;
}

TEST(ScenarioReader, ASendNeedsAnInterfaceAndAPacket) {
  EXPECT_NE(problems(with_step("send: {packet: \"udp 1.1.1.1:1 > 2.2.2.2:2\"}")).find("needs 'at'"), std::string::npos);
  EXPECT_NE(problems(with_step("send: {at: lan}")).find("'packet' is missing"), std::string::npos);
  EXPECT_NE(problems(with_step("send: []")), "");
  EXPECT_NE(problems(with_step("send: {at: lan, pcap: file}")).find("FILE#N"), std::string::npos);
  EXPECT_NE(problems(with_step("send: {at: lan, packet: \"udp 1.1.1.1:1 > 2.2.2.2:2\", split: 7}")), "");
}

TEST(ScenarioReader, TimesOfStepsAreDurations) {
  EXPECT_EQ(problems(with_step("advance: 2h")), "");
  for (const char* bad : {"soon", "-1s", "1y", "99999999999999999999s", "999999d"})
    EXPECT_NE(problems(with_step(std::string("advance: ") + bad)), "") << bad;
}

TEST(ScenarioReader, AnInlineConfigurationIsTakenAsItStandsWithItsLines) {
  auto read = read_scenario(R"(name: x
config:
  interfaces:
    lan: {port: "kernel:lan"}
  # a comment
  rules:
    - {action: pasz}
steps:
  - advance: 1s
)",
                            "s.yaml", ".");
  ASSERT_TRUE(std::holds_alternative<Scenario>(read));
  const auto loaded = config::load_text(std::get<Scenario>(read).config.text, "s.yaml", ".");
  ASSERT_EQ(loaded.diagnostics.size(), 1u);
  EXPECT_EQ(loaded.diagnostics[0].at.line, 7);
  EXPECT_EQ(loaded.diagnostics[0].at.column, 16);
}

TEST(ScenarioReader, AnInlineConfigurationInFlowStyleEndsAtItsBracket) {
  auto read = read_scenario(
      "name: x\nconfig: {interfaces: {lan: {port: \"kernel:a}b\", addresses: [10.0.0.1/24]}}, rules: []}\nsteps: "
      "[{advance: 1s}]\n",
      "s.yaml", ".");
  ASSERT_TRUE(std::holds_alternative<Scenario>(read));
  const auto loaded = config::load_text(std::get<Scenario>(read).config.text, "s.yaml", ".");
  EXPECT_TRUE(loaded.ok()) << config::to_string(loaded.diagnostics);
  EXPECT_EQ(loaded.config.interfaces.size(), 1u);
}

TEST(ScenarioReader, NoScenarioAtAllIsSaidSo) {
  EXPECT_NE(problems(""), "");
  EXPECT_NE(problems("just text"), "");
  EXPECT_NE(problems("name: [unclosed"), "");
  EXPECT_NE(problems("name: x\nconfig: c.yaml\nsteps: []\n"), "");
}

}  // namespace
}  // namespace twinwall::scenario
