// Quotes of both kinds, text over lines, and comments that do not end with their line.
#include <gtest/gtest.h>

#include "tests/unit/pfconf/reading.h"

namespace twinwall::pfconf {
namespace {

TEST(PfconfQuotes, OfBothKindsAreNoPartOfTheWord) {
  const std::string want = "block drop in on vio0 all\n";
  for (const char* text : {"ext='vio0'\nblock in on $ext\n", "ext = \"vio0\"\nblock in on $ext\n",
                           "block in on 'vio0'\n", "block in on \"vio0\"\n", "ext='\"vio0\"'\nblock in on $ext\n"})
    EXPECT_EQ(printed(text), want) << text;
  EXPECT_TRUE(parse("block in on 'vio0'\n", test_interfaces()).config.rules.rules.at(0).interfaces[1]);
  EXPECT_EQ(printed("pass label 'x y' tag 'z'\n"), "pass all flags S/SA keep state label \"x y\" tag z\n");
}

TEST(PfconfQuotes, StandAroundNamesNumbersAndAddresses) {
  EXPECT_EQ(printed("block proto 'tcp' from \"10.0.0.0/8\" to 'vio0:network' port \"ssh\"\n"),
            "block drop inet proto tcp from 10.0.0.0/8 to 10.30.0.0/24 port = 22\n");
  EXPECT_EQ(printed("pass inet proto icmp icmp-type \"echoreq\" tos 'lowdelay' no state\n"),
            "pass inet proto icmp all icmp-type echoreq tos 0x10 no state\n");
  EXPECT_EQ(printed("table <\"t\"> { '10.0.0.1' }\nblock from <'t'>\n"),
            "table <t> { 10.0.0.1 }\nblock drop from <t> to any\n");
}

TEST(PfconfQuotes, MakeAnyWordAName) {
  EXPECT_EQ(printed("anchor \"in\"\n"), "anchor \"in\" all\n");
  EXPECT_EQ(printed("block from \"any\"\n"),
            "pf.conf:1:12: 'any' where an address or an interface that has one is expected\n");
  EXPECT_EQ(printed("block on quick\n"), "pf.conf:1:10: 'quick' where an interface is expected\n");
}

TEST(PfconfQuotes, GoOnOverLines) {
  EXPECT_EQ(printed("a = \"{ 10.0.0.1,\n 10.0.0.2 }\"\nblock from $a\nnonsense\n"),
            "pf.conf:4:1: 'nonsense' where a rule or 'set' is expected\n");
  EXPECT_EQ(printed("a = \"{ 10.0.0.1,\n 10.0.0.2 }\"\nblock from $a\n"),
            "block drop inet from 10.0.0.1 to any\nblock drop inet from 10.0.0.2 to any\n");
  EXPECT_EQ(printed("pass label \"one\n two\"\nnonsense\n"),
            "pf.conf:3:1: 'nonsense' where a rule or 'set' is expected\n");
  EXPECT_EQ(printed("pass label \"one\\\n two\" no state\n"), "pass all no state label \"one two\"\n");
}

TEST(PfconfQuotes, MayHoldTheirOwnKind) {
  const auto label = [](std::string_view text) {
    const Result r = parse(text, test_interfaces());
    return r.ok() ? r.config.rules.rules.at(0).label : "?";
  };
  EXPECT_EQ(label("pass label \"a \\\"b\\\" c\"\n"), "a \"b\" c");
  EXPECT_EQ(label("pass label 'a \"b\" \\'c\\' d'\n"), "a \"b\" 'c' d");
  EXPECT_EQ(label("pass label \"a\\b\"\n"), "a\\b");
  EXPECT_EQ(label("pass label \"it's # no comment\"\n"), "it's # no comment");
}

TEST(PfconfQuotes, MustBeClosed) {
  EXPECT_EQ(printed("pass\npass label \"x\npass\n"), "pf.conf:2:1: a quote is not closed\n");
  EXPECT_EQ(printed("a = 'vio0\npass\n"), "pf.conf:1:1: a quote is not closed\n");
}

TEST(PfconfComments, GoOnAfterABackslash) {
  EXPECT_EQ(printed("# off \\\npass in on vio0\nblock\n"), "block drop all\n");
  EXPECT_EQ(printed("block # off \\\npass in on vio0\n"), "block drop all\n");
  EXPECT_EQ(printed("a = \"10.0.0.1\" # \\\n b = c\nblock from $a\n"), "block drop inet from 10.0.0.1 to any\n");
  EXPECT_EQ(printed("# one \\\n two \\\n three\nnonsense\n"),
            "pf.conf:4:1: 'nonsense' where a rule or 'set' is expected\n");
  EXPECT_EQ(printed("# two of them \\\\\nblock\n"), "block drop all\n");
}

TEST(PfconfComments, MayHoldQuotesAndMacros) {
  EXPECT_EQ(printed("# it's $nothing\nblock # don't \"\n"), "block drop all\n");
}

TEST(PfconfLexer, ABackslashElsewhereIsRefused) {
  EXPECT_EQ(printed("block in on vio\\0\n"), "pf.conf:1:16: '\\' where an option of the rule is expected\n");
}

}  // namespace
}  // namespace twinwall::pfconf
