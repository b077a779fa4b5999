// What the names of interfaces stand for: addresses in rules, pools and antispoof.
#include <gtest/gtest.h>

#include "tests/unit/pfconf/reading.h"

namespace twinwall::pfconf {
namespace {

std::vector<config::Interface> interfaces() {
  std::vector<config::Interface> all = test_interfaces();
  all[0].addresses = {*parse_prefix("fe80::1/64"), *parse_prefix("10.30.0.1/24"), *parse_prefix("10.30.9.1/25"),
                      *parse_prefix("fd00:30::1/64")};
  config::Interface bare, link;
  bare.id = 3;
  bare.name = "vio9";
  link.id = 4;
  link.name = "vio4";
  link.addresses = {*parse_prefix("fe80::4/64")};
  all.push_back(bare);
  all.push_back(link);
  return all;
}

std::string lines(std::string_view text) { return printed(text, interfaces()); }

std::string pool(std::string_view text) {
  const std::string rule = lines("match out on vio1 inet nat-to " + std::string(text));
  const std::string before = "match out on vio1 inet all nat-to ";
  return rule.starts_with(before) ? rule.substr(before.size(), rule.size() - before.size() - 1) : rule;
}

TEST(PfconfInterfaceNames, LeaveOutTheNetworkOfALink) {
  EXPECT_EQ(lines("block inet6 from vio0:network\n"), "block drop inet6 from fd00:30::/64 to any\n");
  EXPECT_EQ(lines("block inet6 from (vio0:network)\n"), "block drop inet6 from (vio0:network) to any\n");
  EXPECT_FALSE(parse("block from vio4:network\n", interfaces()).ok());
  EXPECT_EQ(lines("block from vio4\n"), "block drop inet6 from fe80::4 to any\n");
}

TEST(PfconfInterfaceNames, HaveNetworksBroadcastAddressesAndAFirstOne) {
  EXPECT_EQ(lines("block from vio0:broadcast\n"),
            "block drop inet from 10.30.0.255 to any\nblock drop inet from 10.30.9.127 to any\n");
  EXPECT_EQ(lines("block inet from vio0:0\n"), "block drop inet from 10.30.0.1 to any\n");
  EXPECT_EQ(lines("block inet from vio0:network:0\n"), "block drop inet from 10.30.0.0/24 to any\n");
  EXPECT_EQ(lines("block inet from vio0/16\n"),
            "block drop inet from 10.30.0.0/16 to any\nblock drop inet from 10.30.0.0/16 to any\n");
  for (const char* bad :
       {"vio0:junk", "vio0:network:broadcast", "vio0:network/24", "vio0:", "vio9", "nosuch", "vio0/129"})
    EXPECT_FALSE(parse(std::string("block from ") + bad, interfaces()).ok()) << bad;
}

TEST(PfconfInterfaceNames, MayBeGroups) {
  EXPECT_EQ(lines("block from egress to ! egress:network\n"), "block drop inet from 10.30.1.1 to ! 10.30.1.0/24\n");
}

TEST(PfconfInterfaceNames, InBracketsMayHaveALength) {
  EXPECT_EQ(lines("block from (vio1)/24\n"), "block drop from (vio1)/24 to any\n");
  const Result r = parse("block from (\"vio1\")/24\n", interfaces());
  ASSERT_TRUE(r.ok());
  const auto& table = r.config.rules.rules.at(0).from.address.table;
  EXPECT_TRUE(table->contains(Af::inet, parse_ip("10.30.1.77")->addr));
  EXPECT_FALSE(table->contains(Af::inet, parse_ip("10.30.2.77")->addr));
  for (const char* bad : {"(vio1:junk)", "(vio1/24)", "(vio1)/129", "(in)"})
    EXPECT_FALSE(parse(std::string("block from ") + bad, interfaces()).ok()) << bad;
}

TEST(PfconfPools, TakeWhatTheNameOfAnInterfaceStandsFor) {
  EXPECT_EQ(pool("vio0"), "{ 10.30.0.1, 10.30.9.1 } round-robin");
  EXPECT_EQ(pool("vio0:0"), "10.30.0.1");
  EXPECT_EQ(pool("vio0:network:0"), "10.30.0.0/24");
  EXPECT_EQ(pool("vio1:network"), "10.30.1.0/24");
  EXPECT_EQ(pool("egress"), "10.30.1.1");
  EXPECT_EQ(pool("vio0:peer"), "unsupported :peer\n");
  for (const char* bad : {"vio0:junk", "vio9", "vio4", "nosuch", "any"})
    EXPECT_FALSE(parse(std::string("match out nat-to ") + bad, interfaces()).ok()) << bad;
}

TEST(PfconfPools, AWeightIsOfAllAddressesOfItsElement) {
  EXPECT_EQ(pool("{ vio0 weight 3, 10.0.0.9 }"), "{ 10.30.0.1 weight 3, 10.30.9.1 weight 3, 10.0.0.9 } round-robin");
  EXPECT_FALSE(parse("match out nat-to vio9 weight 3\n", interfaces()).ok());
  EXPECT_FALSE(parse("match out nat-to vio4 weight 3\n", interfaces()).ok());
  EXPECT_FALSE(parse("match out nat-to (vio9) weight 3\n", interfaces()).ok());
}

TEST(PfconfPools, TablesAndDynamicInterfacesStandAlone) {
  for (const char* bad : {"{ <t> }", "{ (vio0) }", "{ 10.0.0.1 <t> }"})
    EXPECT_FALSE(parse(std::string("table <t> { 10.0.0.2 }\nmatch out nat-to ") + bad, interfaces()).ok()) << bad;
  EXPECT_FALSE(parse("pass in route-to (vio1)\n", interfaces()).ok());
}

TEST(PfconfAntispoof, GuardsGroupsAndDynamicAddresses) {
  EXPECT_EQ(lines("antispoof log quick for egress inet label x\n"),
            "block drop in log quick on ! egress inet from 10.30.1.0/24 to any label \"x\"\n"
            "block drop in log quick inet from 10.30.1.1 to any label \"x\"\n");
  EXPECT_EQ(lines("set block-policy return\nantispoof for { (vio1) vio1 }\n"),
            "block drop in on ! vio1 from (vio1:network) to any\nblock drop in from (vio1) to any\n"
            "block drop in on ! vio1 inet from 10.30.1.0/24 to any\nblock drop in inet from 10.30.1.1 to any\n");
  const Result r = parse("antispoof for egress\n", interfaces());
  ASSERT_EQ(r.config.rules.rules.size(), 2u);
  EXPECT_TRUE(r.config.rules.rules[0].interfaces[1] && !r.config.rules.rules[0].interfaces[2]);
  for (const char* bad : {"vio9", "nosuch", "self", "(vio1", "any"})
    EXPECT_FALSE(parse(std::string("antispoof for ") + bad, interfaces()).ok()) << bad;
}

}  // namespace
}  // namespace twinwall::pfconf
