// Words of the grammar that are no names, lists that hold nothing, numbers with blanks, and options of states.
#include <gtest/gtest.h>

#include "tests/unit/pfconf/reading.h"

namespace twinwall::pfconf {
namespace {

TEST(PfconfWords, OfTheGrammarAreNoKeys) {
  for (const char* option : {"once", "allow-opts", "fragment", "label x", "tag x", "tagged x", "received-on vio0",
                             "tos 8", "prio 3", "probability 20%", "max-pkt-rate 3/4"}) {
    const Result r = parse(std::string("pass in rdr-to 10.0.0.1 source-hash ") + option, test_interfaces());
    ASSERT_TRUE(r.ok()) << option;
    EXPECT_FALSE(r.config.rules.rules.at(0).rdr_to.pool.key_given) << option;
  }
  const Result once = parse("pass in rdr-to 10.0.0.0/24 source-hash once\n", test_interfaces());
  EXPECT_TRUE(once.config.rules.rules.at(0).once);
  const Result key = parse("pass in rdr-to 10.0.0.0/24 source-hash \"once\"\n", test_interfaces());
  EXPECT_TRUE(key.config.rules.rules.at(0).rdr_to.pool.key_given && !key.config.rules.rules.at(0).once);
}

TEST(PfconfWords, OfTheGrammarDoNotNameAnchors) {
  EXPECT_EQ(printed("anchor fragment {\n block\n}\n"), "anchor all fragment {\n  block drop all\n}\n");
  EXPECT_EQ(printed("anchor tagged X {\n block\n}\n"), "anchor all tagged X {\n  block drop all\n}\n");
  EXPECT_FALSE(accepted("anchor log {\n}\n"));
}

TEST(PfconfLists, MustHoldSomething) {
  EXPECT_EQ(printed("pass in from { }\n"), "pf.conf:1:16: '}' where an address is expected\n");
  EXPECT_EQ(printed("adm = \"\"\npass in from { $adm }\n"), "pf.conf:2:17: '}' where an address is expected\n");
  for (const char* text :
       {"pass proto tcp to port { }\n", "pass proto { }\n", "pass on { }\n", "pass proto icmp icmp-type { }\n",
        "match out nat-to { }\n", "set skip on { }\n", "set timeout { }\n", "set limit { }\n", "antispoof for { }\n",
        "pass from {\n}\n", "pass keep state ()\n", "pass set ()\n", "set syncookies adaptive ()\n",
        "pass from { , 10.0.0.1 }\n", "pass from { 10.0.0.1,, 10.0.0.2 }\n", "pass from { 10.0.0.1, }\n"})
    EXPECT_FALSE(accepted(text)) << text;
  EXPECT_TRUE(
      printed("anchor a {\n pass from { }\n}\n").starts_with("pf.conf:2:14: '}' where an address is expected\n"));
}

TEST(PfconfLists, MayBeLongAndATableEmpty) {
  EXPECT_EQ(printed("table <t> { }\nblock from {\n 10.0.0.1,\n 10.0.0.2\n 10.0.0.3\n}\n"),
            "table <t>\nblock drop inet from 10.0.0.1 to any\nblock drop inet from 10.0.0.2 to any\n"
            "block drop inet from 10.0.0.3 to any\n");
}

TEST(PfconfWords, LogAndQuickMayChangePlaces) {
  const std::string want = "block drop in log (all) quick all\n";
  EXPECT_EQ(printed("block in log (all) quick\n"), want);
  EXPECT_EQ(printed("block in quick log (all)\n"), want);
  EXPECT_EQ(printed("antispoof quick log for vio1\n"), printed("antispoof log quick for vio1\n"));
  EXPECT_FALSE(accepted("block in quick log quick\n"));
}

TEST(PfconfWords, SlashesMayHaveBlanksAround) {
  EXPECT_EQ(printed("block proto tcp from 10.0.0.0 / 8 flags S / SA\n"),
            printed("block proto tcp from 10.0.0.0/8 flags S/SA\n"));
  EXPECT_EQ(printed("pass max-pkt-rate 100 / 10\n"), printed("pass max-pkt-rate 100/10\n"));
  EXPECT_EQ(printed("pass keep state (max-src-conn-rate 3 / 5)\n"),
            printed("pass keep state (max-src-conn-rate 3/5)\n"));
}

TEST(PfconfWords, NetworksMayBeShort) {
  EXPECT_EQ(printed("table <t> { 10/8, !172.16/12 }\nblock from { 10/8 172.16/12 192.168.3/24 }\n"),
            "table <t> { 10.0.0.0/8, !172.16.0.0/12 }\nblock drop inet from 10.0.0.0/8 to any\n"
            "block drop inet from 172.16.0.0/12 to any\nblock drop inet from 192.168.3.0/24 to any\n");
  EXPECT_EQ(printed("match out on vio1 nat-to 198.51/16\n"), "match out on vio1 inet all nat-to 198.51.0.0/16\n");
  for (const char* text : {"block from 10\n", "block from 172.16\n", "block from 10/33\n", "block from 10./8\n",
                           "block from /8\n", "block from 10/8/8\n", "block from 10/\n"})
    EXPECT_FALSE(accepted(text)) << text;
}

TEST(PfconfWords, PortsAndTheirRangesHaveTwoEnds) {
  for (const char* port : {"1024:", ":1023", ":", "any", "80:90:100", "= 80:90"})
    EXPECT_FALSE(accepted(std::string("block proto tcp to port ") + port)) << port;
}

TEST(PfconfStates, DefaultsAreForRulesThatDoNotSayHow) {
  const Result r = parse("set state-defaults no-sync, sloppy\npass\npass keep state\npass keep state (if-bound)\n",
                         test_interfaces());
  ASSERT_TRUE(r.ok());
  const auto& rules = r.config.rules.rules;
  EXPECT_TRUE(rules[0].no_sync && rules[0].sloppy);
  EXPECT_FALSE(rules[1].no_sync || rules[1].sloppy);
  EXPECT_FALSE(rules[2].no_sync || rules[2].sloppy);
}

TEST(PfconfStates, OptionsNeedNoCommas) {
  EXPECT_EQ(printed("pass keep state (max 10 source-track rule)\n"),
            printed("pass keep state (max 10, source-track rule)\n"));
  EXPECT_EQ(printed("pass keep state (udp.first 5 no-sync if-bound)\n"),
            printed("pass keep state (udp.first 5, no-sync, if-bound)\n"));
  EXPECT_FALSE(accepted("pass keep state (max 10,)\n"));
  EXPECT_FALSE(accepted("pass keep state (max 10\n"));
}

TEST(PfconfStates, HaveTheTimeoutsOfARule) {
  const Result r = parse("pass keep state (tcp.tsdiff 7) scrub (reassemble tcp)\n", test_interfaces());
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r.config.rules.rules.at(0).timeouts[static_cast<size_t>(TimeoutClass::ts_diff)], 7u);
  EXPECT_FALSE(accepted("pass keep state (frag 5)\n"));
  EXPECT_FALSE(accepted("pass keep state (interval 5)\n"));
}

TEST(PfconfOptions, LimitsTimeoutsAndShares) {
  EXPECT_EQ(printed("set timeout interval 0\n"), "pf.conf:1:22: '0' where a value from 1 to 31536000 is expected\n");
  const auto shares = [](std::string_view text) {
    const Result r = parse(text, test_interfaces());
    return std::pair{r.ok() ? r.config.options.syncookies_start : 255, int{r.config.options.syncookies_end}};
  };
  EXPECT_EQ(shares("set syncookies adaptive\n"), std::pair(25, 12));
  EXPECT_EQ(shares("set syncookies adaptive (start 31%)\n"), std::pair(31, 15));
  EXPECT_EQ(shares("set syncookies adaptive (end 5%)\n"), std::pair(25, 5));
  EXPECT_EQ(shares("set syncookies adaptive (end 5%, start 20%)\n"), std::pair(20, 5));
  EXPECT_FALSE(accepted("set syncookies adaptive (start 5%, start 20%)\n"));
}

TEST(PfconfOptions, SkipNamesInterfaces) {
  EXPECT_FALSE(accepted("set skip on any\n"));
  EXPECT_TRUE(parse("set skip on { lo egress }\n", test_interfaces()).config.options.skip[2]);
}

TEST(PfconfOptions, TheOptimizerThatChangesNothingIsTaken) {
  EXPECT_TRUE(accepted("set ruleset-optimization none\nset ruleset-optimization basic\npass\n"));
  EXPECT_FALSE(accepted("set debug\n\npass\n"));
}

}  // namespace
}  // namespace twinwall::pfconf
