// Tables: what their entries may be, how many there may be, and those that stand in files.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/pfconf/reading.h"

namespace twinwall::pfconf {
namespace {

TEST(PfconfTables, HoldNetworksAndGroups) {
  EXPECT_EQ(printed("table <t> { vio0:network !vio1:broadcast egress self:0 }\n"),
            "table <t> { 10.30.0.0/24, fd00:30::/64, !10.30.1.255, 10.30.1.1, 10.30.0.1, fd00:30::1, 10.30.1.1 }\n");
  for (const char* entry : {"vio0:junk", "vio0:peer", "any", "10.0.0.1%vio0", "port"})
    EXPECT_FALSE(accepted(std::string("table <t> { ") + entry + " }")) << entry;
}

TEST(PfconfTables, AnInterfaceWithoutAddressesIsNoEntry) {
  auto interfaces = test_interfaces();
  interfaces[1].addresses.clear();
  EXPECT_FALSE(parse("table <t> { vio1 }\n", interfaces).ok());
}

TEST(PfconfTables, TheirEntriesAreLimited) {
  const std::string tables = "table <a> { 10.0.0.1 10.0.0.2 }\ntable <b> { 10.0.0.3 }\npass from (self)\n";
  EXPECT_TRUE(accepted("set limit table-entries 3\n" + tables));
  EXPECT_EQ(printed("set limit table-entries 2\n" + tables),
            "pf.conf:2:7: the tables hold 3 entries: 'set limit table-entries' allows 2\n");
  EXPECT_EQ(parse("set limit { table-entries 7 }\n", test_interfaces()).config.options.limit_table_entries, 7u);
}

class PfconfTableFiles : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(directory_); }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void write(const std::string& name, const std::string& text) { std::ofstream(directory_ / name) << text; }
  std::string read(std::string_view text) { return printed(text, test_interfaces(), directory_.string()); }

  std::filesystem::path directory_ =
      std::filesystem::path(testing::TempDir()) /
      (std::string("pfconf-") + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(PfconfTableFiles, AreFoundBesideThePfConf) {
  write("bad", "# these\n10.0.0.1 !10.0.0.2\n\n172.16/12\t# and those\nfd00::/8");
  EXPECT_EQ(read("table <t> persist file \"bad\" { 10.9.9.9 }\n"),
            "table <t> persist { 10.0.0.1, !10.0.0.2, 172.16.0.0/12, fd00::/8, 10.9.9.9 }\n");
  EXPECT_EQ(read("table <t> file '" + (directory_ / "bad").string() + "'\n"),
            "table <t> { 10.0.0.1, !10.0.0.2, 172.16.0.0/12, fd00::/8 }\n");
  EXPECT_TRUE(
      parse("table <t> file 'bad'", test_interfaces(), {}, directory_.string()).config.rules.tables[0]->addressed);
}

TEST_F(PfconfTableFiles, AreReportedWithTheirLines) {
  write("bad", "10.0.0.1\n  example.org\n");
  EXPECT_EQ(read("table <t> file \"bad\"\n"), "bad:2:3: 'example.org' is neither an address nor a network\n");
  const std::string missing = read("table <t> file \"none\"\n");
  EXPECT_TRUE(missing.starts_with("pf.conf:1:16: cannot read '")) << missing;
  write(
      "long", std::string(1000, 'x') + "\n" + [] {
        std::string lines;
        for (int i = 0; i < 1000; ++i) lines += "y\n";
        return lines;
      }());
  EXPECT_LT(read("table <t> file \"long\"\n").size(), 4000u);
}

TEST_F(PfconfTableFiles, AreNotReadWithoutADirectory) {
  write("bad", "10.0.0.1\n");
  EXPECT_EQ(printed("table <t> file '" + (directory_ / "bad").string() + "'\n"), "unsupported tables from files\n");
}

}  // namespace
}  // namespace twinwall::pfconf
