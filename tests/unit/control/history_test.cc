#include "control/history.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace twinwall {
namespace {

namespace fs = std::filesystem;

class HistoryTest : public testing::Test {
 protected:
  HistoryTest() {
    char made[] = "/tmp/twinwall-history-XXXXXX";
    directory = std::string(mkdtemp(made)) + "/a/history";
  }
  ~HistoryTest() override { fs::remove_all(fs::path(directory).parent_path().parent_path()); }

  static config::StoredCopy copy(const std::string& text) { return {{{"twinwall.yaml", text}, {"table-1.txt", "x"}}}; }
  bool add(const std::string& text, const char* by = "reload") {
    return History(directory).add(copy(text), by, 3, 1700000000, error);
  }
  static std::string contents(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::string directory, error;
};

TEST_F(HistoryTest, NothingYet) { EXPECT_TRUE(History(directory).list().empty()); }

TEST_F(HistoryTest, TheNewestComesFirstAndIsComplete) {
  ASSERT_TRUE(add("one", "start")) << error;
  ASSERT_TRUE(add("two")) << error;
  const auto entries = History(directory).list();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].id, 2u);
  EXPECT_EQ(entries[0].by, "reload");
  EXPECT_EQ(entries[0].rules, 3u);
  EXPECT_EQ(entries[0].time, 1700000000);
  EXPECT_EQ(contents(entries[0].configuration), "two");
  EXPECT_EQ(contents(fs::path(entries[1].configuration).parent_path() / "table-1.txt"), "x");
  struct stat st {};
  ASSERT_EQ(stat(entries[0].configuration.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 077, 0u);
}

TEST_F(HistoryTest, TheSameAgainIsNoNewEntry) {
  ASSERT_TRUE(add("one"));
  ASSERT_TRUE(add("one"));
  EXPECT_EQ(History(directory).list().size(), 1u);
}

TEST_F(HistoryTest, TenAreKeptAndNumbersAreNeverUsedAgain) {
  for (int i = 0; i < 14; ++i) ASSERT_TRUE(add("text " + std::to_string(i))) << error;
  const auto entries = History(directory).list();
  ASSERT_EQ(entries.size(), History::kKept);
  EXPECT_EQ(entries.front().id, 14u);
  EXPECT_EQ(entries.back().id, 5u);
}

TEST_F(HistoryTest, WhatACrashLeftIsCleanedUpAndNeverListed) {
  fs::create_directories(directory + "/.new-abc");
  fs::create_directories(directory + "/000007");  // without about.json
  ASSERT_TRUE(add("one")) << error;
  EXPECT_FALSE(fs::exists(directory + "/.new-abc"));
  const auto entries = History(directory).list();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].id, 8u);
}

TEST_F(HistoryTest, WhereNothingCanBeWrittenNothingChanges) {
  fs::create_directories(fs::path(directory).parent_path());
  std::ofstream(directory) << "a file in the way";
  EXPECT_FALSE(add("one"));
  EXPECT_NE(error.find(directory), std::string::npos) << error;
  EXPECT_TRUE(History(directory).list().empty());
}

}  // namespace
}  // namespace twinwall
