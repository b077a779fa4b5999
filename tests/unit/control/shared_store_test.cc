#include "control/shared_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace twinwall {
namespace {

namespace fs = std::filesystem;

class SharedStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::temp_directory_path() / ("twinwall-store-" + std::to_string(getpid()));
    fs::create_directories(directory_);
    for (const auto& [name, text] : there_) std::ofstream(directory_ / name) << text;
  }
  void TearDown() override { fs::remove_all(directory_); }
  [[nodiscard]] config::SharedFiles on_disk() const {
    config::SharedFiles out;
    for (const auto& entry : fs::recursive_directory_iterator(directory_)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path());
      out[entry.path().lexically_relative(directory_).string()] = {std::istreambuf_iterator<char>(in), {}};
    }
    return out;
  }
  fs::path directory_;
  const config::SharedFiles there_ = {{"same.yaml", "1"}, {"changed.yaml", "old"}, {"gone.yaml", "x"}};
  const config::SharedFiles wanted_ = {{"same.yaml", "1"}, {"changed.yaml", "new"}, {"rules.d/new.yaml", "y"}};
};

TEST_F(SharedStoreTest, NothingIsInPlaceUntilItIsPutThere) {
  SharedStore store(directory_.string(), there_, wanted_);
  ASSERT_TRUE(store.ok()) << store.error();
  for (const auto& [name, text] : there_) EXPECT_EQ(on_disk()[name], text);
  EXPECT_FALSE(on_disk().contains("rules.d/new.yaml"));
  EXPECT_EQ(store.put_in_place(), "");
  EXPECT_EQ(on_disk(), wanted_);
}

TEST_F(SharedStoreTest, WhatIsNotPutInPlaceLeavesNothing) {
  { const SharedStore store(directory_.string(), there_, wanted_); }
  EXPECT_EQ(on_disk(), there_);
}

TEST_F(SharedStoreTest, KeepsWhoMayReadAFile) {
  ASSERT_EQ(chmod((directory_ / "changed.yaml").c_str(), 0640), 0);
  SharedStore store(directory_.string(), there_, wanted_);
  ASSERT_EQ(store.put_in_place(), "");
  struct stat now {};
  ASSERT_EQ(stat((directory_ / "changed.yaml").c_str(), &now), 0);
  EXPECT_EQ(now.st_mode & 0777u, 0640u);
}

TEST_F(SharedStoreTest, WhatCannotBeWrittenIsToldBeforeAnythingChanges) {
  std::ofstream(directory_ / "rules.d") << "a file where a directory should be";
  const SharedStore store(directory_.string(), there_, wanted_);
  EXPECT_FALSE(store.ok());
  EXPECT_NE(store.error().find("rules.d/new.yaml"), std::string::npos) << store.error();
}

}  // namespace
}  // namespace twinwall
