// Groups of signatures: what is read, what a reload takes over, what a stored copy holds.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "lib/config/load.h"
#include "lib/config/settings.h"
#include "tests/unit/config/loading.h"

namespace twinwall::config {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSignatures = R"(
signatures:
  exploits:
    - {id: 1, pattern: "one$", flags: [nocase, multiline], message: "costs $1"}
    - {id: 2, pattern: two}
  sites: {tls-sni: ["*.a.example", b.example], dns-query: same}
)";
constexpr const char* kRules = R"(
rules:
  - {action: pass, proto: tcp, inspect: {signatures: [sites, exploits], on-match: reset}}
  - {action: pass, proto: udp, inspect: {signatures: [exploits, sites]}}
  - {action: pass, direction: in, inspect: {signatures: exploits}}
)";

Config signatures_with(const std::string& signatures, const inspect::Inspection* running = nullptr) {
  LoadOptions options;
  options.running = running;
  LoadResult r = load_text(std::string(kInterfaces) + signatures + kRules, "test.yaml", "", options);
  EXPECT_EQ(to_string(r.diagnostics), "");
  return std::move(r.config);
}

TEST(Signatures, AreReadAndNamedByRules) {
  const Config c = signatures_with(kSignatures);
  ASSERT_EQ(c.inspection.groups.size(), 2u);
  const inspect::Group& exploits = *c.inspection.groups[0];
  EXPECT_EQ(exploits.name, "exploits");
  ASSERT_EQ(exploits.signatures.size(), 2u);
  EXPECT_EQ(exploits.signatures[0].pattern, (inspect::Pattern{"one$", true, false, true, false}));
  EXPECT_EQ(exploits.signatures[0].message, "costs $1");
  const inspect::Group& sites = *c.inspection.groups[1];
  for (const auto what : {inspect::What::tls_sni, inspect::What::dns_query}) {
    EXPECT_TRUE(sites.set(what).contains("x.a.example"));
    EXPECT_FALSE(sites.set(what).contains("a.example"));
  }
  EXPECT_TRUE(sites.set(inspect::What::http_host).empty());
  // Two rules that name the same groups share what was compiled.
  EXPECT_EQ(c.inspection.detectors.size(), 2u);
  const auto& rules = c.rules.rules;
  ASSERT_EQ(rules.size(), 3u);
  EXPECT_EQ(rules[0].inspect->detector, rules[1].inspect->detector);
  EXPECT_EQ(rules[0].inspect->on_match, inspect::OnMatch::reset);
  EXPECT_EQ(rules[1].inspect->on_match, inspect::OnMatch::drop);
  EXPECT_NE(rules[0].identity, rules[1].identity);
}

TEST(Signatures, WhatStaysTheSameIsTakenOver) {
  const Config before = signatures_with(kSignatures);
  before.inspection.groups[0]->hits = 7;
  before.inspection.groups[0]->signature_hits[1] = 5;
  const Config same = signatures_with(kSignatures, &before.inspection);
  EXPECT_EQ(same.inspection.groups, before.inspection.groups);
  EXPECT_EQ(same.rules.rules[0].inspect->detector, before.rules.rules[0].inspect->detector);
  EXPECT_EQ(same.rules.rules[0].identity, before.rules.rules[0].identity);

  std::string changed = kSignatures;
  changed.replace(changed.find("pattern: two"), 12, "pattern: three}\n    - {id: 9, pattern: two");
  const Config other = signatures_with(changed, &before.inspection);
  EXPECT_NE(other.inspection.groups[0], before.inspection.groups[0]);
  EXPECT_EQ(other.inspection.groups[1], before.inspection.groups[1]);
  EXPECT_EQ(other.inspection.groups[0]->hits, 7u);
  EXPECT_EQ(other.inspection.groups[0]->signature_hits[1], 5u);  // by id
  EXPECT_EQ(other.inspection.groups[0]->signature_hits[2], 0u);
  EXPECT_NE(settings_of(other).at("signatures.exploits"), settings_of(before).at("signatures.exploits"));
  EXPECT_EQ(settings_of(other).at("signatures.sites.tls-sni"), settings_of(before).at("signatures.sites.tls-sni"));
}

TEST(Signatures, StoredCopiesHoldTheLists) {
  const fs::path directory = fs::temp_directory_path() / "twinwall-signatures-test";
  fs::create_directories(directory);
  std::ofstream(directory / "names.txt") << "a.example\n*.b.example\n";
  LoadOptions options;
  options.keep = true;
  const LoadResult r =
      load_text(std::string(kInterfaces) + "signatures: {sites: {tls-sni: {file: names.txt}, http-host: same}}\n",
                "test.yaml", directory.string(), options);
  fs::remove_all(directory);
  ASSERT_EQ(to_string(r.diagnostics), "");
  ASSERT_NE(r.stored, nullptr);
  ASSERT_EQ(r.stored->files.size(), 2u);
  EXPECT_EQ(r.stored->files[1].text, "a.example\n*.b.example\n");
  EXPECT_NE(r.stored->files[0].text.find(r.stored->files[1].name), std::string::npos);
}

}  // namespace
}  // namespace twinwall::config
