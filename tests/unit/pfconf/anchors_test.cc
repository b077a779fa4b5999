// Macros, tables and anchors of a pf.conf, and how anchors are evaluated.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/filter/evaluate.h"
#include "lib/filter/print_ruleset.h"
#include "lib/pfconf/macros.h"
#include "lib/pfconf/pfconf.h"
#include "tests/unit/filter/rules.h"
#include "tests/unit/pfconf/reading.h"

namespace twinwall::pfconf {
namespace {

using testing_rules::icmp;
using testing_rules::tcp;

Action verdict(std::string_view text, const RuleInput& in) {
  const Result r = read(text);
  EXPECT_TRUE(r.ok()) << printed(text);
  return evaluate(r.config.rules, in).rule->action;
}

const RuleInput kPing = icmp("10.30.0.10", "10.30.1.20", 8);

TEST(PfconfMacros, StandForWhatTheyAreGiven) {
  EXPECT_EQ(
      printed("if = \"vio0\"\nports = \"{ 22 80 }\"\nhost=10.0.0.1 # a comment\npass in on $if proto tcp from $host "
              "port $ports\n"),
      "pass in on vio0 inet proto tcp from 10.0.0.1 port = 22 to any flags S/SA keep state\n"
      "pass in on vio0 inet proto tcp from 10.0.0.1 port = 80 to any flags S/SA keep state\n");
}

TEST(PfconfMacros, MayUseMacrosAndBeGivenAgain) {
  EXPECT_EQ(printed("a = \"10.0.0.1\"\nb = \"{\" $a \"10.0.0.2 }\"\nblock from $b\na = \"10.0.0.3\"\nblock to $a\n"),
            "block drop inet from 10.0.0.1 to any\nblock drop inet from 10.0.0.2 to any\n"
            "block drop inet from any to 10.0.0.3\n");
}

TEST(PfconfMacros, ThatAreNotDefinedAreNamedWithTheirLine) {
  EXPECT_EQ(printed("pass\nblock from $nobody\n"), "pf.conf:2:1: macro 'nobody' is not defined\n");
  EXPECT_EQ(printed("a = \"$a\"\n"), "pf.conf:1:1: macro 'a' is not defined\n");
}

TEST(PfconfMacros, LeaveLinesWhereTheyWere) {
  const Result r = read("a = \"10.0.0.1 \\\n\"\n\nnonsense\n");
  ASSERT_EQ(r.diagnostics.size(), 1u);
  EXPECT_EQ(r.diagnostics[0].at.line, 4);
}

TEST(PfconfMacros, AreNotPutIntoQuotes) {
  EXPECT_EQ(printed("nr = \"5\"\npass label \"rule $nr\"\n"), "pass all flags S/SA keep state label \"rule 0\"\n");
}

TEST(PfconfMacros, CannotMultiplyWithoutEnd) {
  std::string text = "m0 = \"xxxxxxxxxx\"\n";
  for (int i = 1; i < 20; ++i) {
    const std::string before = fmt::format(" $m{}", i - 1);
    text += fmt::format("m{} = \"", i);
    for (int k = 0; k < 10; ++k) text += before;
    text += "\"\n";
  }
  const ExpandedText expanded = expand_macros(text, 1 << 16);
  EXPECT_EQ(expanded.problem, "the macros grow too long");
  EXPECT_LE(expanded.text.size(), size_t{1} << 17);
}

TEST(PfconfTables, HaveOptionsAndEntries) {
  EXPECT_EQ(printed("table <a> persist\ntable <b> const { 10.0.0.0/8, !10.1.0.0/16 10.1.2.3,\n fd00::/8 }\n"
                    "table <c> { vio1 !self }\nblock from <b> to ! <a>\n"),
            "table <a> persist\n"
            "table <b> const { 10.0.0.0/8, !10.1.0.0/16, 10.1.2.3, fd00::/8 }\n"
            "table <c> { 10.30.1.1, !10.30.0.1, !fd00:30::1, !10.30.1.1 }\n"
            "block drop from <b> to ! <a>\n");
}

TEST(PfconfTables, AreEvaluatedWithTheRules) {
  const char* text = "table <bad> { 10.30.0.0/24 !10.30.0.10 }\nblock from <bad>\npass from ! <bad>\n";
  EXPECT_EQ(verdict(text, kPing), Action::pass);
  EXPECT_EQ(verdict(text, icmp("10.30.0.11", "10.30.1.20", 8)), Action::block);
}

TEST(PfconfTables, AUseWithoutADefinitionMatchesNothing) {
  const char* text = "block from <nowhere>\n";
  EXPECT_EQ(verdict(text, kPing), Action::pass);
  EXPECT_FALSE(read(text).config.rules.tables[0]->declared);
}

TEST(PfconfTables, RefusesWhatIsNone) {
  for (const char* text :
       {"table <a> sometimes\n", "table a\n", "table <a> { nosuchif }\n", "table <a> { 10.0.0.0/33 }\n",
        "table <a-name-that-is-longer-than-31-characters> persist\n", "pass in rdr-to { <a> 10.0.0.1 }\n"})
    EXPECT_FALSE(read(text).ok()) << text;
}

TEST(PfconfAnchors, PrintWithTheirBraces) {
  const std::string text =
      "block drop all\n"
      "anchor \"a\" in on vio0 inet proto tcp from any to any port = 80 {\n"
      "  pass quick all flags S/SA keep state\n"
      "  anchor all {\n"
      "    block drop proto udp all\n"
      "  }\n"
      "}\n"
      "anchor quick all tagged X {\n"
      "}\n";
  EXPECT_EQ(printed(text), text);
}

TEST(PfconfAnchors, AnInnerDecisionIsOverriddenByALaterRuleOutside) {
  EXPECT_EQ(verdict("anchor {\n pass proto icmp\n}\nblock proto icmp\n", kPing), Action::block);
}

TEST(PfconfAnchors, QuickInsideEndsAll) {
  EXPECT_EQ(verdict("anchor first {\n pass quick proto icmp\n}\nanchor second {\n block proto icmp\n}\n", kPing),
            Action::pass);
}

TEST(PfconfAnchors, TheLastMatchHoldsAcrossAnchors) {
  EXPECT_EQ(verdict("anchor first {\n pass proto icmp\n}\nanchor second {\n block proto icmp\n}\n", kPing),
            Action::block);
}

TEST(PfconfAnchors, PathsStartWhereTheyStand) {
  EXPECT_EQ(
      verdict("anchor first {\n anchor \"../second\"\n block\n}\nanchor second {\n pass quick proto icmp\n}\nblock\n",
              kPing),
      Action::pass);
  EXPECT_EQ(
      verdict("anchor first {\n anchor \"/second\"\n block\n}\nanchor second {\n pass quick proto icmp\n}\nblock\n",
              kPing),
      Action::pass);
}

TEST(PfconfAnchors, ALoopOverflowsAndDropsThePacket) {
  for (const char* text : {"anchor first {\n anchor \"/second\"\n}\nanchor second {\n anchor \"/first\"\n}\n",
                           "anchor first {\n anchor \"../second\"\n}\nanchor second {\n anchor \"../first\"\n}\n"}) {
    const Result r = read(text);
    ASSERT_TRUE(r.ok()) << printed(text);
    EXPECT_TRUE(evaluate(r.config.rules, kPing).too_deep);
  }
}

TEST(PfconfAnchors, ThatMultiplyAreRefused) {
  EXPECT_FALSE(read("anchor a {\n anchor \"/a\"\n anchor \"/a\"\n}\n").ok());
}

TEST(PfconfAnchors, NestInline) {
  const char* text =
      "block in\nanchor an1 {\n pass in quick proto tcp to port 37\n anchor an2 {\n  pass in quick proto icmp\n }\n}\n";
  RuleInput in = kPing;
  in.direction = Direction::in;
  EXPECT_EQ(verdict(text, in), Action::pass);
  EXPECT_EQ(verdict(text, tcp("10.30.0.10", "10.30.1.20", 38)), Action::block);
}

TEST(PfconfAnchors, AStarCallsTheChildrenThatAreThere) {
  EXPECT_EQ(verdict("block\nanchor \"foo/*\"\n", kPing), Action::block);
  const char* children =
      "block\nanchor \"foo/*\"\nanchor foo on vio1 {\n anchor b {\n pass proto icmp\n }\n anchor a {\n block\n }\n}\n";
  RuleInput in = kPing;
  in.interface = 1;
  EXPECT_EQ(verdict(children, in), Action::pass);
}

TEST(PfconfAnchors, QuickOnTheAnchorEndsAfterADirectDecision) {
  EXPECT_EQ(verdict("anchor quick {\n pass proto icmp\n}\nblock\n", kPing), Action::pass);
  EXPECT_EQ(verdict("anchor quick {\n match proto icmp\n}\nblock\n", kPing), Action::block);
  EXPECT_EQ(verdict("anchor quick {\n anchor {\n pass proto icmp\n }\n}\nblock\n", kPing), Action::block);
}

TEST(PfconfAnchors, RulesAreNumberedInTheirAnchor) {
  const Result r = read("block\nanchor a {\n pass\n pass proto udp\n}\npass quick\n");
  ASSERT_TRUE(r.ok());
  std::vector<uint32_t> numbers;
  for (const Rule& rule : r.config.rules.rules) numbers.push_back(rule.number);
  EXPECT_EQ(numbers, (std::vector<uint32_t>{0, 1, 0, 1, 2}));
  EXPECT_EQ(r.config.rules.rules[1].anchor_end, 4u);
  EXPECT_EQ(r.config.rules.rules[2].anchor, 1u);
  EXPECT_EQ(r.config.rules.rules[4].anchor, kNoRuleNumber);
}

TEST(PfconfAnchors, RefuseWhatPfRefuses) {
  for (const char* text :
       {"anchor a keep state\n", "anchor a to port 80\n", "anchor\n", "anchor \"\"\n", "anchor a {\n pass\n",
        "anchor a nat-to 10.0.0.1\n", "anchor a out nat-to 10.0.0.1\n", "anchor a once\n", "anchor a scrub (no-df)\n",
        "anchor a allow-opts\n", "anchor a in route-to 10.0.0.1\n"})
    EXPECT_FALSE(read(text).ok()) << text;
}

// Section by section what PF's own loader refuses.
TEST(PfconfErrors, RefuseWhatDoesNotGoTogether) {
  for (const char* text : {"pass on \"\"\n",
                           "pass on \"a b\"\n",
                           "pass received-on \"a\\nb {\"\n",
                           "pass proto tcp fragment port 80\n",
                           "pass proto tcp to port 80 fragment\n",
                           "pass proto tcp flags S/SA fragment\n",
                           "pass proto icmp icmp-type echoreq fragment\n",
                           "match keep state\n",
                           "block modulate state\n",
                           "pass in route-to 10.0.0.1 no state\n",
                           "pass route-to 10.0.0.1\n",
                           "block in route-to 10.0.0.1\n",
                           "match in reply-to 10.0.0.1\n",
                           "pass synproxy state (sloppy)\n",
                           "pass out inet af-to inet6 from fd00::1\n",
                           "pass in inet af-to inet from 10.0.0.1\n",
                           "match in inet af-to inet6 from fd00::1\n",
                           "pass in inet af-to inet6 from fd00::1 route-to 10.0.0.1\n",
                           "pass in rdr-to 10.0.0.1 static-port\n",
                           "pass out nat-to 10.0.0.1 port 5000 static-port\n",
                           "match out nat-to { 10.0.0.1 10.0.0.2 } bitmask\n",
                           "match out nat-to <t> bitmask\n",
                           "pass from 10.0.0.1 binat-to <t>\n",
                           "pass in from 10.0.0.1 binat-to 10.0.0.2\n",
                           "pass from 10.0.0.0/24 binat-to 10.1.0.0/25\n",
                           "pass keep state (source-track global, max-src-nodes 3)\n",
                           "pass keep state (overload <t>)\n",
                           "pass keep state (max-src-conn 0)\n",
                           "pass keep state (max-src-conn-rate 0/5)\n",
                           "pass keep state (max-src-conn-rate 5000000/1)\n",
                           "set syncookies adaptive (start 10%, end 20%)\n",
                           "set syncookies adaptive (start 110%, end 20%)\n",
                           "pass probability 101%\n",
                           "pass scrub (min-ttl 256)\n",
                           "pass prio 8\n",
                           "pass set prio 8\n",
                           "pass tos 256\n",
                           "match once\n",
                           "pass inet6 scrub (no-df)\n",
                           "pass keep state (interval 5)\n",
                           "set hostid 0\n",
                           "pass to urpf-failed\n"})
    EXPECT_FALSE(read(text).ok()) << text;
}

}  // namespace
}  // namespace twinwall::pfconf
