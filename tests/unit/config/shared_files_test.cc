// The files that a pair has alike: their names, how they travel, and a configuration read with the peer's.
#include "lib/config/shared_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "lib/config/load.h"

namespace twinwall::config {
namespace {

namespace fs = std::filesystem;

TEST(SharedFiles, NamesAreBelowTheDirectory) {
  EXPECT_EQ(shared_name("/etc/twinwall", "/etc/twinwall/rules.yaml"), "rules.yaml");
  EXPECT_EQ(shared_name("/etc/twinwall", "/etc/twinwall/./rules.d/../rules.d/a.yaml"), "rules.d/a.yaml");
  EXPECT_EQ(shared_name("", "rules.yaml"), "rules.yaml");
  EXPECT_EQ(shared_name("conf", "conf/rules.d/*.yaml"), "rules.d/*.yaml");
  for (const char* outside : {"/etc/other/rules.yaml", "/etc/twinwall/../x.yaml", "/etc/twinwall", "/etc/twinwallx/y"})
    EXPECT_EQ(shared_name("/etc/twinwall", outside), "") << outside;
  EXPECT_EQ(shared_name("", "/etc/passwd"), "");
}

TEST(SharedFiles, NamesThatLeadElsewhereAreNone) {
  for (const char* name : {"a", "a/b.yaml", "..a", "a b"}) EXPECT_TRUE(is_shared_name(name)) << name;
  for (const char* name : {"", "/a", "a/", "..", "../a", "a/../b", "a//b", "./a", "a\nb"})
    EXPECT_FALSE(is_shared_name(name)) << name;
  EXPECT_FALSE(is_shared_name(std::string(256, 'a')));
  EXPECT_FALSE(is_shared_name(std::string_view("a\0b", 3)));
}

PairWord offer() {
  PairWord w;
  w.id = 0x0102030405060708;
  w.seconds = 75;
  w.dry_run = true;
  w.files = {{"rules.yaml", "rules: []\n"}, {"rules.d/empty.yaml", ""}};
  return w;
}

TEST(PairWords, ComeBackAsTheyWent) {
  PairWord read;
  ASSERT_TRUE(read_pair_word(write_pair_word(offer()), read));
  EXPECT_EQ(read.what, PairWord::What::offer);
  EXPECT_EQ(read.id, offer().id);
  EXPECT_EQ(read.seconds, 75u);
  EXPECT_TRUE(read.dry_run);
  EXPECT_EQ(read.files, offer().files);
  PairWord refused;
  refused.what = PairWord::What::refused;
  refused.text = "rules.yaml:1:1: no";
  ASSERT_TRUE(read_pair_word(write_pair_word(refused), read));
  EXPECT_EQ(read.what, PairWord::What::refused);
  EXPECT_EQ(read.text, refused.text);
  EXPECT_TRUE(read.files.empty());
}

TEST(PairWords, WhatIsCutOrLeadsElsewhereIsRefused) {
  const std::vector<uint8_t> whole = write_pair_word(offer());
  PairWord read;
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(read_pair_word(Bytes(whole).first(n), read)) << n;
  std::vector<uint8_t> longer = whole;
  longer.push_back(0);
  EXPECT_FALSE(read_pair_word(longer, read));
  PairWord evil;
  evil.files = {{"../../cron.d/x", "* * * * *"}};
  EXPECT_FALSE(read_pair_word(write_pair_word(evil), read));
  std::vector<uint8_t> other = whole;
  other[0] = 1;
  EXPECT_FALSE(read_pair_word(other, read));
  other = whole;
  other[1] = 7;
  EXPECT_FALSE(read_pair_word(other, read));
}

// Two nodes' directories.
class SharedConfiguration : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::temp_directory_path() / ("twinwall-shared-" + std::to_string(getpid()));
    fs::create_directories(directory_ / "rules.d");
    write("twinwall.yaml",
          "interfaces: {lan: {port: \"kernel:lan\", addresses: [10.0.0.2/24]}}\n"
          "include: [rules.d/*.yaml, more.yaml]\n");
    write("rules.d/10.yaml",
          "tables: {bad: {file: bad.txt}}\nrules: [{action: block, direction: in, from: \"<bad>\"}]\n");
    write("rules.d/bad.txt", "192.0.2.1\n");
    write("more.yaml", "rules: [{action: pass}]\n");
  }
  void TearDown() override { fs::remove_all(directory_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
  }
  [[nodiscard]] LoadResult load(const SharedFiles* shared = nullptr) const {
    LoadOptions o;
    o.keep_shared = true;
    o.shared = shared;
    return load_file((directory_ / "twinwall.yaml").string(), o);
  }
  fs::path directory_;
};

TEST_F(SharedConfiguration, IsWhatTheMainFileIncludesAndTheListsOfThose) {
  const LoadResult r = load();
  ASSERT_TRUE(r.ok()) << to_string(r.diagnostics);
  std::vector<std::string> names;
  for (const auto& [name, text] : r.shared) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"more.yaml", "rules.d/10.yaml", "rules.d/bad.txt"}));
  EXPECT_EQ(r.shared.at("rules.d/bad.txt"), "192.0.2.1\n");
}

TEST_F(SharedConfiguration, OfThePeerTakesThePlaceOfTheOwn) {
  SharedFiles given = load().shared;
  given.erase("rules.d/10.yaml");
  given.erase("rules.d/bad.txt");
  given["rules.d/20.yaml"] = "rules: [{action: block}, {action: block, proto: udp}]\n";
  const LoadResult r = load(&given);
  ASSERT_TRUE(r.ok()) << to_string(r.diagnostics);
  EXPECT_EQ(r.config.rules.rules.size(), 3u);
  EXPECT_EQ(r.shared, given);
}

TEST_F(SharedConfiguration, ListsComeFromThePeerToo) {
  SharedFiles given = load().shared;
  given["rules.d/bad.txt"] = "192.0.2.1\n192.0.2.7\n";
  const LoadResult r = load(&given);
  ASSERT_TRUE(r.ok()) << to_string(r.diagnostics);
  EXPECT_EQ(r.config.rules.tables.front()->content()->size(), 2u);
  given.erase("rules.d/bad.txt");
  const LoadResult without = load(&given);
  EXPECT_FALSE(without.ok()) << "the one on this disk is not the pair's any more";
}

TEST_F(SharedConfiguration, FileThatIsNotIncludedHereIsRefused) {
  SharedFiles given = load().shared;
  given["other.yaml"] = "rules: []\n";
  const std::string text = to_string(load(&given).diagnostics);
  EXPECT_NE(text.find("the pair's 'other.yaml' is not part of this configuration"), std::string::npos) << text;
}

TEST_F(SharedConfiguration, FileThatIsMissingIsRefused) {
  SharedFiles given = load().shared;
  given.erase("more.yaml");
  const std::string text = to_string(load(&given).diagnostics);
  EXPECT_NE(text.find("more.yaml': no such file"), std::string::npos) << text;
}

TEST_F(SharedConfiguration, FilesElsewhereAreEachNodesOwn) {
  const fs::path elsewhere = fs::temp_directory_path() / ("twinwall-elsewhere-" + std::to_string(getpid()) + ".yaml");
  std::ofstream(elsewhere) << "rules: [{action: pass, proto: icmp}]\n";
  write("twinwall.yaml", "interfaces: {lan: {port: \"kernel:lan\", addresses: [10.0.0.2/24]}}\ninclude: [more.yaml, " +
                             elsewhere.string() + "]\n");
  const LoadResult r = load();
  EXPECT_TRUE(r.ok()) << to_string(r.diagnostics);
  EXPECT_EQ(r.shared.size(), 1u);
  EXPECT_EQ(load(&r.shared).config.rules.rules.size(), 2u);
  fs::remove(elsewhere);
}

}  // namespace
}  // namespace twinwall::config
