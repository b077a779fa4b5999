// Copies of a configuration that need nothing else, and their way back.
#include "lib/config/stored.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "lib/config/difference.h"
#include "lib/config/load.h"
#include "lib/config/settings.h"
#include "lib/filter/print_ruleset.h"

namespace twinwall::config {
namespace {

namespace fs = std::filesystem;

class StoredTest : public testing::Test {
 protected:
  StoredTest() {
    char made[] = "/tmp/twinwall-stored-XXXXXX";
    directory = mkdtemp(made);
  }
  ~StoredTest() override { fs::remove_all(directory); }

  void write(const std::string& name, const std::string& text, mode_t mode = 0644) const {
    fs::create_directories((directory / name).parent_path());
    std::ofstream(directory / name) << text;
    chmod((directory / name).c_str(), mode);
  }
  [[nodiscard]] LoadResult load(const std::string& name) const {
    LoadOptions options;
    options.keep = true;
    options.withheld_key = [](const std::string&) { return std::vector<uint8_t>{'x'}; };
    return load_file((directory / name).string(), options);
  }

  fs::path directory;
};

TEST_F(StoredTest, IncludesMacrosAndTableFilesComeAlong) {
  write("main.yaml",
        "include: [rules.d/*.yaml]\n"
        "define: {web: [80, 443], server: 10.0.0.80}\n"
        "interfaces: {lan: {port: \"kernel:lan\", addresses: [10.0.0.1/24]}}\n"
        "tables: {bad: {file: [bad.txt, worse.txt], addresses: [192.0.2.1]}}\n"
        "pfsync: {interface: lan, peer: 10.0.0.2, key: \"sixteen or more, hidden\"}\n"
        "carp:\n"
        "  bfd: {peers: [10.0.0.2, 10.0.0.3], auth: {key: \"hidden as well\"}}\n"
        "  groups:\n"
        "    - {vhid: 1, interface: lan, addresses: [10.0.0.9/24], key: {file: secret}}\n"
        "    - {vhid: 2, interface: lan, addresses: [10.0.0.8/24], key: \"open sesame\"}\n");
  write("rules.d/a.yaml",
        "rules:\n  - {action: pass, proto: tcp, to: {address: $server, port: $web}, label: \"web:$dstport\"}\n");
  write("bad.txt", "203.0.113.0/24 # documentation\n");
  write("worse.txt", "!203.0.113.7\n");
  write("secret", "from a file\n", 0600);
  const LoadResult first = load("main.yaml");
  ASSERT_TRUE(first.ok()) << to_string(first.diagnostics);
  ASSERT_NE(first.stored, nullptr);
  std::string all;
  for (const StoredFile& file : first.stored->files) {
    write("copy/" + file.name, file.text);
    all += file.text;
  }
  EXPECT_EQ(all.find("sesame"), std::string::npos) << all;
  EXPECT_EQ(all.find("hidden"), std::string::npos) << all;
  EXPECT_EQ(all.find("from a file"), std::string::npos) << all;
  EXPECT_NE(all.find((directory / "secret").string()), std::string::npos) << all;

  fs::remove(directory / "bad.txt");
  fs::remove(directory / "main.yaml");
  const LoadResult again = load(std::string("copy/") + kStoredMain);
  ASSERT_TRUE(again.ok()) << to_string(again.diagnostics) << all;
  EXPECT_EQ(print_ruleset(again.config.rules, true), print_ruleset(first.config.rules, true));
  const Difference d = compare(first.config, again.config);
  std::vector<std::string> other;  // the test knows other keys
  for (const SettingChange& c : d.settings) other.push_back(c.key);
  EXPECT_EQ(other, (std::vector<std::string>{"carp.bfd.auth.key", "carp.groups.lan/2.key", "pfsync.key"}));
  EXPECT_EQ(again.config.carp.groups[1].key, std::vector<uint8_t>{'x'});
  EXPECT_EQ(again.stored->files[0].text, first.stored->files[0].text);
}

TEST_F(StoredTest, AWithheldKeyThatNobodyKnowsIsAnError) {
  write("main.yaml",
        "interfaces: {lan: {port: \"kernel:lan\", addresses: [10.0.0.1/24]}}\n"
        "carp: {groups: [{vhid: 1, interface: lan, addresses: [10.0.0.9/24], key: {withheld: true}}]}\n");
  const LoadResult r = load_file((directory / "main.yaml").string());
  EXPECT_FALSE(r.ok());
  EXPECT_NE(to_string(r.diagnostics).find("not kept in copies"), std::string::npos);
}

// Whatever loads is the same after it was stored.
class EveryConfiguration : public testing::TestWithParam<fs::path> {};

TEST_P(EveryConfiguration, IsStoredAndReadAsTheSame) {
  LoadOptions options;
  options.keep = true;
  const LoadResult first = load_file(GetParam().string(), options);
  if (!first.ok()) return;  // some are about machines that are not there
  char made[] = "/tmp/twinwall-stored-XXXXXX";
  const fs::path directory = mkdtemp(made);
  for (const StoredFile& file : first.stored->files) std::ofstream(directory / file.name) << file.text;
  options.withheld_key = [&](const std::string& of) {
    const std::string secret = settings_of(first.config).at(of).secret;
    return std::vector<uint8_t>(secret.begin(), secret.end());
  };
  const LoadResult again = load_file((directory / kStoredMain).string(), options);
  EXPECT_TRUE(again.ok()) << to_string(again.diagnostics) << first.stored->files[0].text;
  EXPECT_EQ(print_ruleset(again.config.rules, true), print_ruleset(first.config.rules, true));
  const Difference d = compare(first.config, again.config);
  EXPECT_TRUE(d.empty()) << first.stored->files[0].text;
  fs::remove_all(directory);
}

std::vector<fs::path> configurations() {
  std::vector<fs::path> out;
  for (const char* folder : {EXAMPLES, TEST_DATA "/config-print"})
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".yaml") out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

INSTANTIATE_TEST_SUITE_P(Config, EveryConfiguration, testing::ValuesIn(configurations()), [](const auto& p) {
  std::string name = p.param.stem().string();
  for (char& ch : name)
    if (std::isalnum(static_cast<unsigned char>(ch)) == 0) ch = '_';
  return name;
});

}  // namespace
}  // namespace twinwall::config
