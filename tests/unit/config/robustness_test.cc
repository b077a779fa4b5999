// Whatever stands in a file, loading ends with a result: no crash, no exception, no runaway.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "lib/config/load.h"
#include "tests/unit/rounds.h"

namespace twinwall::config {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> corpus(std::initializer_list<const char*> directories) {
  std::vector<std::string> out;
  for (const char* directory : directories)
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().extension() != ".yaml" || entry.file_size() > 4096) continue;
      std::ifstream stream(entry.path());
      out.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
    }
  return out;
}

// Changes a few bytes, cuts or doubles pieces: most results are broken in some new way.
std::string mutate(std::string text, Random& random) {
  static constexpr std::string_view kInteresting = "{}[],:-&*!|>'\"%@`#$?~ \n\t0a/<=\\\xff\0";
  for (uint32_t n = 1 + random.below(2); n > 0 && !text.empty(); --n) {
    const size_t at = random.below(static_cast<uint32_t>(text.size()));
    switch (random.below(5)) {
      case 0: text[at] = kInteresting[random.below(static_cast<uint32_t>(kInteresting.size()))]; break;
      case 1: text.insert(at, 1, kInteresting[random.below(static_cast<uint32_t>(kInteresting.size()))]); break;
      case 2: text.erase(at, 1 + random.below(20)); break;
      case 3: text.insert(at, text.substr(random.below(static_cast<uint32_t>(text.size())), random.below(40))); break;
      default: text[at] = static_cast<char>(random.below(256)); break;
    }
  }
  return text;
}

// Everything a caller may rely on in a result.
void expect_sane(const LoadResult& result, const std::string& text) {
  for (const Diagnostic& d : result.diagnostics) {
    EXPECT_FALSE(d.message.empty()) << text;
    EXPECT_FALSE(d.at.file.empty()) << text;
    EXPECT_GE(d.at.line, 0) << text;
  }
  if (!result.ok()) return;
  EXPECT_FALSE(result.config.interfaces.empty()) << text;
  for (const Route& r : result.config.routes) EXPECT_TRUE(r.blackhole || r.interface != kNoInterface) << text;
  for (const CarpGroup& g : result.config.carp.groups) {
    EXPECT_TRUE(g.vhid != 0 && g.interface != kNoInterface && !g.addresses.empty()) << text;
    EXPECT_LE(g.key.size(), 19u) << text;
  }
  for (size_t i = 0; i < result.config.rules.rules.size(); ++i) {
    const Rule& rule = result.config.rules.rules[i];
    EXPECT_EQ(rule.position, i) << text;
    EXPECT_LE(rule.number, i) << text;
    EXPECT_NE(rule.identity, 0u) << text;
    EXPECT_EQ(rule.flags & ~rule.flag_mask, 0) << text;
    for (const Translation* t : {&rule.nat_to, &rule.rdr_to}) {
      EXPECT_EQ(t->enabled, !t->pool.empty()) << text;
      EXPECT_FALSE(t->enabled && rule.af == Af::none) << text;
    }
  }
}

TEST(Robustness, DamagedFilesNeverBreakTheLoader) {
  const auto good = corpus({TEST_DATA "/config-print", EXAMPLES});
  const auto bad = corpus({TEST_DATA "/config-errors"});
  ASSERT_GT(good.size(), 10u);
  ASSERT_GT(bad.size(), 50u);
  Random random(1);
  size_t refused = 0, accepted = 0;
  for (uint64_t i = 0; i < test::rounds(4000); ++i) {
    const auto& files = i % 4 == 0 ? bad : good;
    const std::string text = mutate(files[random.below(static_cast<uint32_t>(files.size()))], random);
    const LoadResult result = load_text(text, "x.yaml", TEST_DATA "/config-errors");
    expect_sane(result, text);
    ++(result.ok() ? accepted : refused);
  }
  EXPECT_GT(refused, test::rounds(1000));
  EXPECT_GT(accepted, test::rounds(50));  // the mutations are gentle enough to reach deep
}

TEST(Robustness, RandomBytesNeverBreakTheLoader) {
  Random random(2);
  for (uint64_t i = 0; i < test::rounds(3000); ++i) {
    std::string text;
    for (uint32_t n = random.below(200); n > 0; --n) text += static_cast<char>(random.below(i % 2 == 0 ? 256 : 128));
    const LoadResult result = load_text(text, "x.yaml", "");
    EXPECT_FALSE(result.ok()) << text;
    expect_sane(result, text);
  }
}

TEST(Robustness, DeepAndWideFilesAreRefusedInTime) {
  for (const std::string& text :
       {std::string(100000, '['), "rules: " + std::string(50000, '{'), std::string(200000, '-') + "\n",
        "a: &a [" + std::string(5000, '1') + ", *a]\n", std::string(17u << 20, ' ')})
    EXPECT_FALSE(load_text(text, "x.yaml", "").ok());
}

TEST(Robustness, MacrosThatMultiplyAreRefused) {
  std::string text = "interfaces: {a: {port: \"kernel:a\"}}\ndefine:\n  m0: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string use = "$m" + std::to_string(i - 1);
    text += "  m" + std::to_string(i) + ": [" + use;
    for (int k = 0; k < 9; ++k) text += ", " + use;
    text += "]\n";
  }
  EXPECT_FALSE(load_text(text, "x.yaml", "").ok());
}

}  // namespace
}  // namespace twinwall::config
