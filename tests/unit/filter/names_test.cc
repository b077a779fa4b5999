#include "lib/filter/names.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace twinwall {
namespace {

TEST(Names, EveryProtocolNameLeadsToANumberWithAName) {
  for (const std::string_view name : protocol_names()) {
    ASSERT_TRUE(protocol_by_name(name)) << name;
    EXPECT_FALSE(protocol_name(*protocol_by_name(name)).empty()) << name;
  }
  EXPECT_EQ(protocol_by_name("tcp"), 6);
  EXPECT_EQ(protocol_by_name("icmp6"), 58);
  EXPECT_EQ(protocol_by_name("carp"), 112);
  EXPECT_EQ(protocol_name(112), "carp");
  EXPECT_FALSE(protocol_by_name("TCP"));
  EXPECT_TRUE(protocol_name(253).empty());
}

TEST(Names, IcmpTypesDependOnTheFamily) {
  EXPECT_EQ(icmp_type_by_name(Af::inet, "echoreq"), 8);
  EXPECT_EQ(icmp_type_by_name(Af::inet6, "echoreq"), 128);
  EXPECT_EQ(icmp_type_name(Af::inet, 0), "echorep");
  EXPECT_EQ(icmp_type_name(Af::inet6, 2), "toobig");
  EXPECT_FALSE(icmp_type_by_name(Af::inet, "toobig"));
  for (const Af af : {Af::inet, Af::inet6})
    for (const std::string_view name : icmp_type_names(af)) {
      const auto type = icmp_type_by_name(af, name);
      ASSERT_TRUE(type) << name;
      EXPECT_EQ(icmp_type_by_name(af, icmp_type_name(af, *type)), type) << name;
    }
}

TEST(Names, IcmpCodesDependOnTheType) {
  EXPECT_EQ(icmp_code_by_name(Af::inet, 3, "needfrag"), 4);
  EXPECT_EQ(icmp_code_by_name(Af::inet6, 1, "port-unr"), 4);
  EXPECT_FALSE(icmp_code_by_name(Af::inet, 11, "needfrag"));
  EXPECT_EQ(icmp_code_name(Af::inet, 11, 1), "reassemb");
  EXPECT_TRUE(icmp_code_name(Af::inet, 8, 0).empty());
}

TEST(Names, ServicesAreDistinctNames) {
  std::set<std::string_view> seen;
  for (const std::string_view name : service_names()) {
    EXPECT_TRUE(seen.insert(name).second) << name;
    EXPECT_TRUE(service_by_name(name));
  }
  EXPECT_EQ(service_by_name("domain"), 53);
  EXPECT_EQ(service_by_name("https"), 443);
  EXPECT_FALSE(service_by_name("no-such-service"));
}

TEST(Names, EveryFlagByteSurvivesItsLetters) {
  for (int flags = 0; flags < 256; ++flags)
    EXPECT_EQ(tcp_flags_by_letters(tcp_flag_letters(static_cast<uint8_t>(flags))), flags);
  EXPECT_EQ(tcp_flags_by_letters("SA"), 0x12);
  EXPECT_FALSE(tcp_flags_by_letters("SS"));
  EXPECT_FALSE(tcp_flags_by_letters("X"));
}

}  // namespace
}  // namespace twinwall
