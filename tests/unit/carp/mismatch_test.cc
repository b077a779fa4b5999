#include "lib/carp/mismatch.h"

#include <gtest/gtest.h>

namespace twinwall::carp {
namespace {

constexpr uint8_t kVhid = 7;
constexpr uint64_t kCounter = 0x1122334455667788;

IpAddress ip(const char* text) { return *parse_ip(text); }

const std::vector<IpAddress> kOurs{ip("192.0.2.1"), ip("192.0.2.9"), ip("2001:db8::1")};

MismatchFound found(const Key& key, const std::vector<IpAddress>& addresses, std::optional<Mac> lladdr = std::nullopt,
                    uint8_t vhid = kVhid) {
  const Authenticator theirs(key, vhid, addresses, lladdr);
  const Advert advert = make_advert(theirs, AddressSet::without_link_local, kVhid, {}, kCounter);
  Suspect s;
  s.key = key_from_passphrase("secret");
  s.vhid = kVhid;
  s.addresses = kOurs;
  s.others = {ip("192.0.2.3"), ip("10.0.0.1")};
  s.source_mac = Mac{{2, 0, 0, 0, 0, 5}};
  return find_mismatch(advert, s);
}

TEST(Mismatch, AnotherKeyTellsNothing) {
  const auto f = found(key_from_passphrase("another"), kOurs);
  EXPECT_EQ(f.kind, Mismatch::unknown);
  EXPECT_NE(advice(f, kVhid).find("vhid 7"), std::string::npos);
}

TEST(Mismatch, AddressesThatTheSenderLacksAreNamed) {
  const Key key = key_from_passphrase("secret");
  for (const std::vector<IpAddress>& theirs :
       {std::vector{kOurs[0]}, std::vector{kOurs[1], kOurs[2]}, std::vector{kOurs[0], kOurs[1]}}) {
    const auto f = found(key, theirs);
    EXPECT_EQ(f.kind, Mismatch::fewer_addresses);
    EXPECT_EQ(f.theirs, theirs);
  }
  EXPECT_NE(advice(found(key, {kOurs[0]}), kVhid).find("only 192.0.2.1"), std::string::npos);
}

TEST(Mismatch, AnAddressTooMuchIsNamed) {
  auto theirs = kOurs;
  theirs.push_back(ip("10.0.0.1"));
  const auto f = found(key_from_passphrase("secret"), theirs);
  EXPECT_EQ(f.kind, Mismatch::more_addresses);
  EXPECT_NE(advice(f, kVhid).find("10.0.0.1"), std::string::npos);
  theirs.push_back(ip("192.0.2.3"));
  EXPECT_EQ(found(key_from_passphrase("secret"), theirs).kind, Mismatch::more_addresses);
}

TEST(Mismatch, SlipsWithTheKeyAreTold) {
  EXPECT_EQ(found(Key{}, kOurs).kind, Mismatch::no_key);
  EXPECT_EQ(found(key_from_passphrase("secret\n"), kOurs).kind, Mismatch::line_end_in_key);
  EXPECT_EQ(found(key_from_passphrase("secret"), kOurs, Mac{{2, 0, 0, 0, 0, 5}}).kind, Mismatch::link_layer_address);
}

TEST(Mismatch, ManyAddressesAreBounded) {
  const Authenticator theirs(key_from_passphrase("x"), kVhid, kOurs);
  Suspect s;
  s.vhid = kVhid;
  for (uint32_t i = 1; i < 200; ++i) s.addresses.push_back({Af::inet, Address::v4(0x0a000000 + i)});
  s.others = s.addresses;
  EXPECT_EQ(find_mismatch(make_advert(theirs, AddressSet::all, kVhid, {}, 1), s).kind, Mismatch::unknown);
}

}  // namespace
}  // namespace twinwall::carp
