// The runner must fail what does not hold, and say why: a runner that passes everything would be worse than none.
#include "lib/scenario/runner.h"

#include <gtest/gtest.h>

namespace twinwall::scenario {
namespace {

constexpr const char* kConfig = R"(name: x
config:
  interfaces:
    lan: {port: "kernel:lan", addresses: [10.0.0.1/24]}
    wan: {port: "kernel:wan", addresses: [192.0.2.2/24]}
  routes:
    - {to: 0.0.0.0/0, via: 192.0.2.254}
  rules:
    - {action: block, label: default}
    - {action: pass, from: 10.0.0.0/24, proto: udp, to: {port: 53}, label: dns}
    - {action: block, to: {port: 99}, proto: tcp, block-policy: return, log: true}
steps:
)";

RunResult run(const std::string& steps) {
  auto read = read_scenario(kConfig + steps, "s.yaml", ".");
  if (const auto* problems = std::get_if<std::vector<config::Diagnostic>>(&read)) {
    for (const auto& p : *problems) ADD_FAILURE() << config::to_string(p);
    return {};
  }
  return run_scenario(std::get<Scenario>(read));
}

constexpr const char* kDns = R"(  - send: {at: lan, packet: "udp 10.0.0.5:1 > 198.51.100.7:53"})"
                             "\n";
constexpr const char* kBlocked = R"(  - send: {at: lan, packet: "udp 10.0.0.5:1 > 198.51.100.7:54"})"
                                 "\n";
constexpr const char* kReset = R"(  - send: {at: lan, packet: "tcp 10.0.0.5:1 > 198.51.100.7:99 S"})"
                               "\n";

struct Case {
  const char* send;
  const char* expect;
  bool holds;
};

TEST(ScenarioRunner, ExpectationsHoldOrFailAsTheyShould) {
  const Case cases[] = {
      {kDns, R"({at: wan, packet: "udp 10.0.0.5:1 > 198.51.100.7:53 ttl=63"})", true},
      {kDns, R"({at: wan, packet: "udp 10.0.0.5:1 > 198.51.100.7:53", ttl: 64})", false},
      {kDns, R"({at: lan, packet: "udp 10.0.0.5:1 > 198.51.100.7:53"})", false},
      {kDns, R"([{at: wan, packet: "udp * > *"}, {at: wan, packet: "udp * > *"}])", false},
      {kDns, "none", false},
      {kDns, "drop", false},
      {kDns, "{drop: match}", false},
      {kDns, "{states: 2}", true},
      {kDns, "{states: 1}", false},
      {kDns, R"({states: [{key: "10.0.0.5:1", levels: "NO_TRAFFIC:SINGLE", label: dns}]})", true},
      {kDns, R"({states: [{key: "10.0.0.5:1", levels: "SINGLE:SINGLE"}]})", false},
      {kDns, R"({states: [{key: "10.0.0.5:2"}]})", false},
      {kDns, R"({states: [{key: "<-"}, {key: "<-"}]})", false},
      {kDns, R"({states: [{expires: 60, age: 0, rule: 1, packets: [1, 0], bytes: [28, 0]}]})", true},
      {kDns, R"({states: [{expires: 59}]})", false},
      {kDns, R"({states: [{packets: [0, 1]}]})", false},
      {kDns, "{counter: {rule: dns, packets: 2, creations: 2}}", true},
      {kDns, "{counter: {rule: dns, packets: 1}}", false},
      {kDns, "{counter: {rule: nobody, packets: 0}}", false},
      {kDns, "{counter: {reason: match, value: 0}}", true},
      {kDns, "{log: none}", true},
      {kDns, "{log: {rule: dns}}", false},
      {kDns, "{punt: arp}", false},
      {kBlocked, "{drop: match}", true},
      {kBlocked, "drop", true},
      {kBlocked, "none", false},
      {kBlocked, "{drop: memory}", false},
      {kBlocked, R"({at: wan, packet: "udp * > *"})", false},
      {kBlocked, "{counter: {reason: match, value: 1}}", true},
      {kBlocked, "{counter: {reason: match, value: 2}}", false},
      {kReset, R"({drop: match, at: lan, packet: "tcp 198.51.100.7:99 > 10.0.0.5:1 RA"})", true},
      {kReset, "{drop: match}", false},  // a reset came out
      {kReset, "{log: {rule: 2, action: block, direction: in, interface: lan}}", true},
      {kReset, "{log: {rule: 2, action: block, direction: in, interface: wan}}", false},
      {kReset, "{log: none}", false},
  };
  for (const Case& c : cases) {
    const RunResult r = run(std::string(c.send) + "    expect: " + c.expect + "\n");
    EXPECT_EQ(r.passed, c.holds) << c.send << c.expect << "\n" << r.report;
    EXPECT_EQ(r.report.empty(), c.holds);
  }
}

TEST(ScenarioRunner, AReportNamesPlaceExpectationOutcomeAndRule) {
  const RunResult r =
      run(std::string(kBlocked) + R"(    expect: {at: wan, packet: "udp 10.0.0.5:1 > 198.51.100.7:54"})" + "\n");
  for (const char* part : {"s.yaml:14: ", "lan: udp 10.0.0.5:1 > 198.51.100.7:54", "dropped: match",
                           "in on lan: no state, rule 0: block", "1 packets expected, 0 came out"})
    EXPECT_NE(r.report.find(part), std::string::npos) << part << "\n" << r.report;
}

TEST(ScenarioRunner, AReportNamesTheStateThatAPacketMet) {
  const RunResult r = run(std::string(kDns) + kDns + "    expect: drop\n");
  EXPECT_NE(r.report.find("in on lan: state all udp 198.51.100.7:53 <- 10.0.0.5:1"), std::string::npos) << r.report;
}

TEST(ScenarioRunner, EveryStepThatFailsIsReported) {
  const RunResult r = run("  - expect: {states: 1}\n  - expect: {states: 0}\n  - expect: {states: 2}\n");
  EXPECT_NE(r.report.find("s.yaml:13:"), std::string::npos);
  EXPECT_EQ(r.report.find("s.yaml:14:"), std::string::npos);
  EXPECT_NE(r.report.find("s.yaml:15:"), std::string::npos);
}

TEST(ScenarioRunner, MistakesOfAScenarioFailIt) {
  EXPECT_NE(
      run("  - send: {at: lna, packet: \"udp 10.0.0.5:1 > 10.0.0.6:1\"}\n").report.find("there is no interface 'lna'"),
      std::string::npos);
  EXPECT_NE(run("  - send: {at: lan, packet: \"udp 10.0.0.5:$p > 10.0.0.6:1\"}\n").report.find("$p has no value yet"),
            std::string::npos);
  EXPECT_NE(run("  - reload: missing-file.yaml\n").report.find("missing-file.yaml"), std::string::npos);
  EXPECT_NE(run("  - reload: {rules: []}\n").report.find("interfaces"), std::string::npos);
  EXPECT_NE(run("  - kill: {label: nobody}\n").report.find("there is no rule nobody"), std::string::npos);
  EXPECT_NE(run("  - kill: {src: somewhere}\n").report.find("'somewhere' is no src"), std::string::npos);
  EXPECT_NE(run("  - carp: {7: backup}\n").report.find("there is no vhid 7"), std::string::npos);
  EXPECT_NE(run("  - send: {at: lan, pcap: missing.pcap#1}\n").report.find("missing.pcap"), std::string::npos);
}

TEST(ScenarioRunner, TheClockMovesByWhatIsSaidAndSeesExpiry) {
  EXPECT_TRUE(run(std::string(kDns) + R"(  - advance: 59s
  - expect: {states: [{expires: 1, age: 59}]}
  - advance: 1d
  - expect: {states: 0}
)")
                  .passed);
}

TEST(ScenarioRunner, ABrokenChecksumThatComesOutFailsUnlessItIsExpected) {
  const std::string bad = R"(  - send: {at: lan, packet: "udp 10.0.0.5:1 > 198.51.100.7:53 badsum"})"
                          "\n";
  const RunResult unexpected = run(bad);
  EXPECT_FALSE(unexpected.passed);
  EXPECT_NE(unexpected.report.find("wrong transport checksum"), std::string::npos) << unexpected.report;
  EXPECT_TRUE(
      run(bad + R"(    expect: {at: wan, packet: "udp 10.0.0.5:1 > 198.51.100.7:53", badsum: true})" + "\n").passed);
  EXPECT_FALSE(run(std::string(kDns) +
                   R"(    expect: {at: wan, packet: "udp 10.0.0.5:1 > 198.51.100.7:53", badsum: true})" + "\n")
                   .passed);
}

TEST(ScenarioRunner, ShowPrintsAsPfctlDoes) {
  const RunResult r = run(std::string(kDns) + "  - show: states\n  - show: rules\n  - show: counters\n");
  EXPECT_NE(r.shown.find("all udp 198.51.100.7:53 <- 10.0.0.5:1       NO_TRAFFIC:SINGLE"), std::string::npos)
      << r.shown;
  EXPECT_NE(r.shown.find("age 0s, expires in 60s, 1:0 pkts, 28:0 bytes, rule 1"), std::string::npos) << r.shown;
  EXPECT_NE(r.shown.find("[ Evaluations: "), std::string::npos) << r.shown;
}

TEST(ScenarioRunner, CapturedFramesCanBeSent) {
  const std::string frame = R"(  - send: {at: lan, pcap: )" TEST_DATA R"(/captures/ref-carp-01-v4-nokey.pcap#2})"
                            "\n";
  EXPECT_TRUE(run(frame + "    expect: {punt: carp}\n").passed) << run(frame + "    expect: {punt: carp}\n").report;
  EXPECT_FALSE(run(frame + "    expect: {punt: arp}\n").passed);
  EXPECT_NE(run(R"(  - send: {at: lan, pcap: )" TEST_DATA "/captures/ref-carp-01-v4-nokey.pcap#99999}\n")
                .report.find("there are only"),
            std::string::npos);
}

TEST(ScenarioRunner, TheSameScenarioComesOutTheSame) {
  const std::string steps = std::string(kDns) + kReset + "  - show: states\n  - show: rules\n    expect: {states: 9}\n";
  const RunResult a = run(steps), b = run(steps);
  EXPECT_EQ(a.shown, b.shown);
  EXPECT_EQ(a.report, b.report);
}

TEST(ScenarioRunner, AFileThatIsNotThereFails) {
  const RunResult r = run_scenario_file("/nonexistent/scenario.yaml");
  EXPECT_FALSE(r.passed);
  EXPECT_NE(r.report.find("/nonexistent/scenario.yaml"), std::string::npos);
}

}  // namespace
}  // namespace twinwall::scenario
