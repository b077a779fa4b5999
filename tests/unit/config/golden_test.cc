// Every file of tests/data/config-errors gives exactly the problems of its .err, every file of tests/data/config-print
// expands to exactly the rules of its .ok, and every example configuration loads.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "lib/config/load.h"
#include "lib/filter/print_ruleset.h"

namespace twinwall::config {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream stream(path);
  EXPECT_TRUE(stream.is_open()) << path;
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<fs::path> yaml_files(const fs::path& directory) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.path().extension() == ".yaml") out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

LoadResult load(const fs::path& path) {
  LoadOptions options;
  options.advise = path.parent_path().filename() == "config-errors";
  return load_text(contents(path), path.filename().string(), path.parent_path().string(), options);
}

std::string test_name(const testing::TestParamInfo<fs::path>& info) {
  std::string name = info.param.stem().string();
  for (char& ch : name)
    if (std::isalnum(static_cast<unsigned char>(ch)) == 0) ch = '_';
  return name;
}

class Problems : public testing::TestWithParam<fs::path> {};

TEST_P(Problems, AreReportedExactly) {
  const LoadResult result = load(GetParam());
  ASSERT_FALSE(result.diagnostics.empty());
  EXPECT_EQ(to_string(result.diagnostics), contents(fs::path(GetParam()).replace_extension(".err")));
}

INSTANTIATE_TEST_SUITE_P(Config, Problems, testing::ValuesIn(yaml_files(TEST_DATA "/config-errors")), test_name);

class Expansion : public testing::TestWithParam<fs::path> {};

TEST_P(Expansion, GivesTheseRules) {
  const LoadResult result = load(GetParam());
  ASSERT_EQ(to_string(result.diagnostics), "");
  EXPECT_EQ(print_ruleset(result.config.rules, false), contents(fs::path(GetParam()).replace_extension(".ok")));
}

INSTANTIATE_TEST_SUITE_P(Config, Expansion, testing::ValuesIn(yaml_files(TEST_DATA "/config-print")), test_name);

class Example : public testing::TestWithParam<fs::path> {};

TEST_P(Example, LoadsWithoutAProblem) {
  const LoadResult result = load_file(GetParam().string());
  EXPECT_EQ(to_string(result.diagnostics), "");
  EXPECT_FALSE(result.config.rules.rules.empty());
}

INSTANTIATE_TEST_SUITE_P(Config, Example, testing::ValuesIn(yaml_files(EXAMPLES)), test_name);

TEST(Golden, CorporaAreNotEmpty) {
  EXPECT_GE(yaml_files(TEST_DATA "/config-errors").size(), 126u);
  EXPECT_GE(yaml_files(TEST_DATA "/config-print").size(), 10u);
  EXPECT_GE(yaml_files(EXAMPLES).size(), 3u);
}

}  // namespace
}  // namespace twinwall::config
