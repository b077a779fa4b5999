#include "lib/net/address.h"

#include <gtest/gtest.h>

namespace twinwall {
namespace {

TEST(Address, ReadsAndPrintsBothFamilies) {
  EXPECT_EQ(to_string(*parse_ip("192.0.2.1")), "192.0.2.1");
  EXPECT_EQ(to_string(*parse_ip("2001:db8:0:0::1")), "2001:db8::1");
  EXPECT_FALSE(parse_ip("192.0.2"));
  EXPECT_FALSE(parse_ip("fw.example"));
}

TEST(Prefix, SplitsNetworkAndBroadcast) {
  const auto p = parse_prefix("10.1.2.3/20");
  ASSERT_TRUE(p);
  EXPECT_EQ(to_string(Af::inet, p->network()), "10.1.0.0");
  EXPECT_EQ(to_string(Af::inet, p->broadcast()), "10.1.15.255");
  EXPECT_TRUE(p->contains(parse_ip("10.1.15.9")->addr));
  EXPECT_FALSE(p->contains(parse_ip("10.1.16.0")->addr));
}

TEST(Prefix, ZeroLengthHoldsEverything) { EXPECT_TRUE(parse_prefix("::/0")->contains(parse_ip("2001:db8::1")->addr)); }

TEST(Prefix, RefusesWhatIsNone) {
  for (const char* bad : {"10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/8x", "/8", ""})
    EXPECT_FALSE(parse_prefix(bad)) << bad;
}

TEST(Mac, GroupsOfMulticastAddresses) {
  EXPECT_EQ(to_string(multicast_mac(Af::inet, parse_ip("224.0.0.18")->addr)), "01:00:5e:00:00:12");
  EXPECT_EQ(to_string(multicast_mac(Af::inet6, parse_ip("ff02::12")->addr)), "33:33:00:00:00:12");
  EXPECT_EQ(to_string(virtual_mac(7)), "00:00:5e:00:01:07");
}

TEST(Mac, ReadsItsOwnText) {
  EXPECT_EQ(to_string(*parse_mac("02:00:5e:aB:01:ff")), "02:00:5e:ab:01:ff");
  EXPECT_FALSE(parse_mac("02:00:5e:ab:01"));
  EXPECT_FALSE(parse_mac("02-00-5e-ab-01-ff"));
}

TEST(Address, SolicitedNodeGroup) {
  EXPECT_EQ(to_string(Af::inet6, solicited_node(parse_ip("2001:db8::12:3456")->addr)), "ff02::1:ff12:3456");
}

}  // namespace
}  // namespace twinwall
