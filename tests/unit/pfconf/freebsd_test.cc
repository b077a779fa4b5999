// FreeBSD's nat, rdr, binat and scrub rules, of which the first counts, and what else its grammar has.
#include <gtest/gtest.h>

#include <string>

#include "lib/filter/print_ruleset.h"
#include "lib/pfconf/macros.h"
#include "lib/pfconf/pfconf.h"
#include "tests/unit/pfconf/interfaces.h"

namespace twinwall::pfconf {
namespace {

std::string freebsd(const std::string& text) {
  Dialect dialect;
  dialect.freebsd = true;
  const Result r = parse(text, test_interfaces(), dialect);
  std::string out;
  for (const auto& u : r.unsupported) out += std::to_string(u.line) + ": unsupported " + u.feature + "\n";
  for (const auto& d : r.diagnostics) out += to_string(d) + "\n";
  return out + print_ruleset(r.config.rules, false);
}

TEST(PfconfFreebsd, TranslationsBecomeMatchRules) {
  EXPECT_EQ(freebsd("nat on vio1 from 10.30.0.0/24 to any -> 10.30.1.9\n"
                    "rdr on vio1 proto tcp from any to 10.30.1.9 port 80 -> 10.30.0.80 port 8080\n"
                    "pass\n"),
            "match out on vio1 inet from 10.30.0.0/24 to any nat-to 10.30.1.9\n"
            "match in on vio1 inet proto tcp from any to 10.30.1.9 port = 80 rdr-to 10.30.0.80 port 8080\n"
            "pass all flags S/SA keep state\n");
}

TEST(PfconfFreebsd, WithPassNoFilterRuleIsAsked) {
  EXPECT_EQ(freebsd("rdr pass on vio1 proto tcp to port 80 -> 10.30.0.80\nblock\n"),
            "pass in quick on vio1 inet proto tcp from any to any port = 80 flags S/SA keep state rdr-to 10.30.0.80\n"
            "block drop all\n");
}

TEST(PfconfFreebsd, TheFirstCountsWhereTwoCouldMeet) {
  EXPECT_EQ(freebsd("no nat on vio1 from 10.30.0.0/24 to 10.9.0.0/16\n"
                    "nat on vio1 from 10.30.0.0/24 to any -> 10.30.1.9\n"),
            "match out on vio1 inet from 10.30.0.0/24 to 10.9.0.0/16 tag translated\n"
            "match out on vio1 inet from 10.30.0.0/24 to any ! tagged translated nat-to 10.30.1.9\n");
  // What the first made of a packet must not come to the second either.
  EXPECT_EQ(
      freebsd("nat on vio1 from 10.30.0.0/24 to any -> 10.30.1.9\nnat on vio1 from 10.30.1.9 to any -> 10.30.1.8\n"),
      "match out on vio1 inet from 10.30.0.0/24 to any tag translated nat-to 10.30.1.9\n"
      "match out on vio1 inet from 10.30.1.9 to any ! tagged translated nat-to 10.30.1.8\n");
}

TEST(PfconfFreebsd, WhereTheFileTagsThatCannotBeSaid) {
  EXPECT_EQ(
      freebsd("nat on vio1 from 10.30.0.0/25 to any -> 10.30.1.9\nnat on vio1 from 10.30.0.0/24 to any -> 10.30.1.8\n"
              "pass tag OWN\n")
          .substr(0, 100),
      std::string("2: unsupported that the first rule that matches counts, where an earlier rule meets the same "
                  "packets\n")
          .substr(0, 100));
}

TEST(PfconfFreebsd, TheOrderOfTheFileIsFreebsds) {
  EXPECT_NE(freebsd("pass\nnat on vio1 from any to any -> 10.30.1.9\n").find("a 'nat' rule behind filter rules"),
            std::string::npos);
}

TEST(PfconfFreebsd, ScrubBecomesMatch) {
  EXPECT_EQ(freebsd("scrub in on vio0 all no-df max-mss 1400 fragment reassemble\nscrub out on vio0 all\n"),
            "match in on vio0 all scrub (no-df, max-mss 1400)\n");
  EXPECT_EQ(freebsd("scrub on vio0 all fragment crop\n"), "1: unsupported scrub fragment crop\n");
}

TEST(PfconfFreebsd, RoutesStandBeforeTheAddresses) {
  EXPECT_EQ(freebsd("pass in on vio0 route-to (vio1 10.30.1.254) inet from 10.30.0.0/24 to any\n"),
            "pass in on vio0 inet from 10.30.0.0/24 to any flags S/SA keep state route-to 10.30.1.254\n");
  EXPECT_EQ(freebsd("pass in on vio0 reply-to (vio1 10.9.9.9) inet\n").substr(0, 60),
            "1: unsupported a next hop that is in no network of 'vio1'\npa");
}

TEST(PfconfFreebsd, QueuesDecideNothing) {
  EXPECT_EQ(freebsd("altq on vio0 cbq queue { a,\n b }\nblock in queue a\npass ridentifier 7\n"),
            "1: unsupported altq\n3: unsupported queues\nblock drop in all\npass all flags S/SA keep state\n");
}

TEST(PfconfFreebsd, OtherFilesHaveNoneOfThat) {
  EXPECT_FALSE(parse("nat on vio1 from any to any -> 10.30.1.9\n", test_interfaces()).ok());
}

TEST(PfconfIncludes, StandWhereTheyAreNamedAndKeepTheirLines) {
  const IncludeFiles files = [](uint32_t from, int line, const std::string& name, std::string& text,
                                std::string& problem) -> std::optional<uint32_t> {
    EXPECT_EQ(from, name == "a" ? 0u : 1u);
    EXPECT_EQ(line, name == "a" ? 2 : 1);
    if (name == "none") problem = "cannot read it";
    text = name == "a" ? "include \"b\"\nblock\n" : "x = \"vio0\"";
    if (!problem.empty()) return std::nullopt;
    return name == "a" ? 1 : 2;
  };
  const ExpandedText got = expand_macros("\ninclude \"a\" # comment\npass on $x\n", 1000, 0, files);
  EXPECT_EQ(got.problem, "");
  std::deque<std::string> quoted;
  std::string places;
  for (const Token& t : tokenize(got.text, 100, quoted, got.segments))
    if (t.kind == Token::Kind::word)
      places += std::string(t.text) + " " + std::to_string(t.file) + ":" + std::to_string(t.line) + "\n";
  EXPECT_EQ(places, "block 1:2\npass 0:3\non 0:3\nvio0 0:3\n");
}

TEST(PfconfIncludes, ThatNameThemselvesEnd) {
  const IncludeFiles files = [](uint32_t, int, const std::string&, std::string& text, std::string&) {
    text = "include \"again\"\n";
    return std::optional<uint32_t>(1);
  };
  EXPECT_EQ(expand_macros("include \"a\"\n", 1000, 0, files).problem, "files include each other too deep");
}

}  // namespace
}  // namespace twinwall::pfconf
