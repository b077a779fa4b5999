#include "lib/inspect/domain_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace twinwall::inspect {
namespace {

TEST(DomainSet, ExactNamesAndWhatIsBelow) {
  const DomainSet set({"ads.example", "*.tracker.example", "Mixed.Case.EXAMPLE", "dotted.example."});
  EXPECT_EQ(set.size(), 4u);
  for (const char* in : {"ads.example", "ADS.example", "ads.example.", "a.tracker.example", "a.b.tracker.example",
                         "mixed.case.example", "dotted.example"})
    EXPECT_TRUE(set.contains(in)) << in;
  for (const char* out : {"", ".", "example", "x.ads.example", "tracker.example", "xtracker.example", "ads.example.org",
                          "ads.exampl", "s.example"})
    EXPECT_FALSE(set.contains(out)) << out;
}

TEST(DomainSet, BothFormsOfOneName) {
  const DomainSet set({"x.example", "*.x.example", "x.example"});
  EXPECT_EQ(set.size(), 2u);
  EXPECT_TRUE(set.contains("x.example"));
  EXPECT_TRUE(set.contains("y.x.example"));
}

TEST(DomainSet, EmptyAndTooLong) {
  EXPECT_FALSE(DomainSet().contains("a.example"));
  const DomainSet set({"a.example"});
  EXPECT_FALSE(set.contains(std::string(5000, 'a')));
  EXPECT_FALSE(set.contains(std::string(300, '.')));
}

// Against a plain search of every suffix.
TEST(DomainSet, AgreesWithAPlainSearch) {
  std::mt19937 random(7);
  const auto name = [&] {
    std::string out;
    for (unsigned labels = 1 + random() % 4; labels > 0; --labels) {
      if (!out.empty()) out += '.';
      out += static_cast<char>('a' + random() % 3);
    }
    return out;
  };
  for (int round = 0; round < 50; ++round) {
    std::vector<std::string> entries;
    for (int i = 0; i < 20; ++i) entries.push_back((random() % 2 == 0 ? "*." : "") + name());
    const DomainSet set(entries);
    const std::set<std::string> plain(entries.begin(), entries.end());
    for (int i = 0; i < 200; ++i) {
      const std::string asked = name();
      bool expected = plain.contains(asked);
      for (size_t dot = asked.find('.'); dot != std::string::npos; dot = asked.find('.', dot + 1))
        expected = expected || plain.contains("*" + asked.substr(dot));
      EXPECT_EQ(set.contains(asked), expected) << asked;
    }
  }
}

TEST(DomainSet, WhatIsNoName) {
  for (const char* good : {"a.example", "*.a.example", "xn--bcher-kva.example", "_dmarc.example", "a.example."})
    EXPECT_EQ(domain_problem(good), "") << good;
  for (const char* bad : {"", ".", "*", "*.", "a..b", "a.*.b", "b\xc3\xbc.example", "a b", "http://x"})
    EXPECT_NE(domain_problem(bad), "") << bad;
  EXPECT_NE(domain_problem(std::string(64, 'a') + ".example"), "");
}

}  // namespace
}  // namespace twinwall::inspect
