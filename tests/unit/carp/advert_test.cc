// Advertisements: bytes against frames that real systems sent, and the receiver's tests in their order.
#include "lib/carp/advert.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/random.h"
#include "lib/net/checksum.h"
#include "tests/unit/carp/hex.h"

namespace twinwall::carp {

namespace {

IpAddress ip(std::string_view text) { return parse_ip(text).value(); }

// Published: an OpenBSD 7.8 advertisement of vhid 42, pass "interop-pass", address 10.0.253.42, advskew 100.
constexpr std::string_view kPublished = "212a64070001d21b98bbdb7da8ddc1192cd567a8f43f54fe6c2aa17ceb57d320efaf30f5";
constexpr uint64_t kPublishedCounter = 0x98bbdb7da8ddc119;

class PublishedVhid : public testing::Test {
 protected:
  static constexpr uint8_t kVhid = 42;
  const std::vector<IpAddress> addresses_{ip("10.0.253.42")};
  const Authenticator auth_{key_from_passphrase("interop-pass"), kVhid, addresses_};
  Receiver receiver_{.vhid = kVhid, .authenticator = &auth_, .own_counter = 1};

  // An IPv4 packet around the published advertisement; `edit` changes the 36 bytes before they are summed again.
  template <class Edit>
  std::vector<uint8_t> packet(Edit edit) const {
    auto header = *parse_header(unhex(kPublished));
    edit(header);
    Envelope e;
    e.source = ip("10.0.253.1");
    std::array<uint8_t, kFrameMax> frame{};
    const size_t n = build_frame(header, e, frame);
    return {frame.begin() + kEthernetHeader, frame.begin() + static_cast<std::ptrdiff_t>(n)};
  }
  std::vector<uint8_t> packet() const {
    return packet([](Advert&) {});
  }
  Verdict verdict(Bytes p, const ReceiveRules& rules = kTwinwallReceive) const {
    return verify(p, std::span(&receiver_, 1), rules).verdict;
  }
};

TEST_F(PublishedVhid, DigestAndChecksumAreThoseOfARealNode) {
  const auto advert =
      make_advert(auth_, AddressSet::without_link_local, kVhid, {.advbase = 1, .advskew = 100}, kPublishedCounter);
  std::array<uint8_t, kHeaderLength> bytes{};
  ASSERT_TRUE(build_header(advert, bytes));
  EXPECT_EQ(hex(bytes), kPublished);
}

TEST_F(PublishedVhid, ParsingGivesEveryField) {
  const auto a = parse_header(unhex(kPublished));
  ASSERT_TRUE(a);
  EXPECT_EQ(a->version(), 2);
  EXPECT_EQ(a->type(), 1);
  EXPECT_EQ(a->vhid, 42);
  EXPECT_EQ(a->advskew, 100);
  EXPECT_EQ(a->auth_length, 7);
  EXPECT_EQ(a->demote, 0);
  EXPECT_EQ(a->advbase, 1);
  EXPECT_EQ(a->checksum, 0xd21b);
  EXPECT_EQ(a->counter, kPublishedCounter);
  EXPECT_EQ(hex(a->md), "2cd567a8f43f54fe6c2aa17ceb57d320efaf30f5");
}

TEST_F(PublishedVhid, AShorterHeaderIsNone) {
  const auto bytes = unhex(kPublished);
  for (size_t n = 0; n < kHeaderLength; ++n) EXPECT_FALSE(parse_header(Bytes(bytes).first(n))) << n;
}

TEST_F(PublishedVhid, AHeaderIsNotWrittenIntoLessThan36Bytes) {
  std::array<uint8_t, kHeaderLength - 1> bytes{};
  EXPECT_FALSE(build_header(Advert{}, bytes));
  EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; }));
}

TEST_F(PublishedVhid, TheWholePacketIsAccepted) {
  const auto got = verify(packet(), std::span(&receiver_, 1));
  EXPECT_EQ(got.verdict, Verdict::accept);
  EXPECT_EQ(got.af, Af::inet);
  EXPECT_EQ(got.receiver, 0u);
  EXPECT_EQ(got.advert.advskew, 100);
}

// One packet with every fault: each repair shows the next test, so the order is the kernels'.
TEST_F(PublishedVhid, TestsRunInTheKernelsOrder) {
  auto p = packet([](Advert& a) {
    a.version_type = 0x32;
    a.vhid = 43;
    a.md[0] ^= 1;
  });
  const auto resum = [&] {
    store_raw(&p[kIpv4Header + 6], uint16_t{0});
    store_raw(&p[kIpv4Header + 6], checksum(&p[kIpv4Header], kHeaderLength));
  };
  p[kIpv4Header + 6] ^= 1;
  p[8] = 254;
  store_be16(&p[2], kIpv4Header + kHeaderLength - 1);
  receiver_.own_counter = kPublishedCounter;
  EXPECT_EQ(verdict(p), Verdict::badttl);
  p[8] = 255;
  EXPECT_EQ(verdict(p), Verdict::badlen);
  store_be16(&p[2], kIpv4Header + kHeaderLength);
  EXPECT_EQ(verdict(p), Verdict::badsum);
  resum();
  EXPECT_EQ(verdict(p), Verdict::badvhid);
  p[kIpv4Header + 1] = 42;
  resum();
  EXPECT_EQ(verdict(p), Verdict::badver);
  p[kIpv4Header] = 0x22;  // no system looks at the type
  resum();
  EXPECT_EQ(verdict(p), Verdict::badauth);
  p[kIpv4Header + 16] ^= 1;
  resum();
  EXPECT_EQ(verdict(p), Verdict::loop);
  receiver_.own_counter = 1;
  EXPECT_EQ(verdict(p), Verdict::accept);
}

TEST_F(PublishedVhid, FieldsOutsideTheDigestDoNotMatter) {
  EXPECT_EQ(verdict(packet([](Advert& a) {
              a.advskew = 3;
              a.advbase = 9;
              a.demote = 200;
              a.auth_length = 0;
            })),
            Verdict::accept);
}

TEST_F(PublishedVhid, TheCounterIsInsideTheDigest) {
  EXPECT_EQ(verdict(packet([](Advert& a) { ++a.counter; })), Verdict::badauth);
}

TEST_F(PublishedVhid, TheBsdsIgnoreTheTypeAndFreebsdItsOwnCounter) {
  const auto other_type = packet([](Advert& a) { a.version_type = 0x22; });
  EXPECT_EQ(verdict(other_type, kOpenbsdReceive), Verdict::accept);
  EXPECT_EQ(verdict(other_type, kFreebsdReceive), Verdict::accept);
  receiver_.own_counter = kPublishedCounter;
  EXPECT_EQ(verdict(packet(), kOpenbsdReceive), Verdict::loop);
  EXPECT_EQ(verdict(packet(), kFreebsdReceive), Verdict::accept);
}

TEST_F(PublishedVhid, UnicastIsForUnicastPeersOnly) {
  auto p = packet();
  const Address unicast = ip("10.0.253.2").addr;
  std::copy_n(unicast.bytes.begin(), 4, p.begin() + 16);
  EXPECT_EQ(verdict(p), Verdict::badvhid);
  EXPECT_EQ(verdict(p, kFreebsdReceive), Verdict::accept);
  receiver_.unicast_peer = true;
  EXPECT_EQ(verdict(p), Verdict::accept);
  EXPECT_EQ(verdict(packet()), Verdict::badvhid);
}

TEST_F(PublishedVhid, AnotherAddressSetOrKeyOrVhidIsRefused) {
  const std::vector<IpAddress> more{ip("10.0.253.42"), ip("10.0.253.43")};
  const Authenticator other_set(key_from_passphrase("interop-pass"), kVhid, more);
  const Authenticator other_key(key_from_passphrase("interop-pasS"), kVhid, addresses_);
  const Authenticator other_vhid(key_from_passphrase("interop-pass"), 43, addresses_);
  for (const auto* a : {&other_set, &other_key, &other_vhid}) {
    receiver_.authenticator = a;
    EXPECT_EQ(verdict(packet()), Verdict::badauth);
  }
}

TEST_F(PublishedVhid, TheRightOneOfSeveralReceiversIsNamed) {
  const std::array receivers{Receiver{.vhid = 1, .authenticator = &auth_}, Receiver{.vhid = kVhid}, receiver_};
  const auto got = verify(packet(), receivers);
  EXPECT_EQ(got.verdict, Verdict::accept);
  EXPECT_EQ(got.receiver, 2u) << "a receiver without a key never matches";
  EXPECT_EQ(verify(packet(), {}).verdict, Verdict::badvhid);
}

TEST_F(PublishedVhid, CutOrForeignPacketsAreNoCarp) {
  const auto p = packet();
  for (size_t n = 0; n < p.size(); ++n) EXPECT_EQ(verdict(Bytes(p).first(n)), Verdict::not_carp) << n;
  auto tcp = p;
  tcp[9] = kProtoTcp;
  EXPECT_EQ(verdict(tcp), Verdict::not_carp);
  auto fragment = p;
  fragment[6] = 0x20;
  EXPECT_EQ(verdict(fragment), Verdict::not_carp);
  auto short_header = p;
  short_header[0] = 0x44;
  EXPECT_EQ(verdict(short_header), Verdict::not_carp);
  auto version = p;
  version[0] = 0x55;
  EXPECT_EQ(verdict(version), Verdict::not_carp);
}

TEST_F(PublishedVhid, IpOptionsAndTrailingBytesAreSkipped) {
  auto p = packet();
  p.insert(p.begin() + kIpv4Header, {1, 1, 1, 0});
  p[0] = 0x46;
  p.insert(p.end(), {9, 9, 9, 9});
  store_be16(&p[2], static_cast<uint16_t>(p.size()));
  EXPECT_EQ(verdict(p), Verdict::accept);
}

// Any bytes: no crash (the build with sanitizers sees over-reads), and nothing that was changed where it counts passes.
TEST_F(PublishedVhid, RandomDamageIsNeverAcceptedAsGenuine) {
  Random random(7);
  const auto good = packet();
  for (int i = 0; i < 20000; ++i) {
    auto p = good;
    const int edits = 1 + static_cast<int>(random.below(4));
    for (int k = 0; k < edits; ++k)
      p[random.below(static_cast<uint32_t>(p.size()))] = static_cast<uint8_t>(random.next32());
    p.resize(random.below(static_cast<uint32_t>(p.size() + 1)));
    const auto got = verify(p, std::span(&receiver_, 1));
    if (got.verdict != Verdict::accept) continue;
    EXPECT_TRUE(auth_.matches(AddressSet::all, got.advert.counter, got.advert.md));
  }
}

TEST(Key, IsCutAt19BytesAndAtANul) {
  EXPECT_EQ(key_from_passphrase(""), Key{});
  EXPECT_EQ(key_from_passphrase("0123456789abcdefghiJ"), key_from_passphrase("0123456789abcdefghi"));
  EXPECT_EQ(key_from_passphrase("0123456789abcdefghi")[18], 'i');
  EXPECT_EQ(key_from_passphrase("0123456789abcdefghi")[19], 0);
  EXPECT_EQ(key_from_passphrase(std::string_view("ab\0cd", 5)), key_from_passphrase("ab"));
}

class DigestSets : public testing::Test {
 protected:
  static std::string md(std::vector<IpAddress> addresses, AddressSet set = AddressSet::all,
                        std::optional<Mac> lladdr = std::nullopt) {
    return hex(Authenticator(key_from_passphrase("k"), 9, addresses, lladdr).digest(set, 77));
  }
};

TEST_F(DigestSets, OrderAndRepetitionDoNotMatter) {
  const auto a = ip("9.1.1.1"), b = ip("200.1.1.1"), c = ip("2001:db8::1"), d = ip("2001:db8::ff");
  EXPECT_EQ(md({a, b, c, d}), md({d, b, c, a, b, d}));
  EXPECT_NE(md({a, b, c, d}), md({a, b, c}));
}

TEST_F(DigestSets, ScopedAddressesAreInOneOfTheTwo) {
  const auto global = ip("2001:db8::1"), local = ip("fe80::200:5eff:fe00:109");
  EXPECT_EQ(md({global, local}, AddressSet::without_link_local), md({global}));
  EXPECT_NE(md({global, local}, AddressSet::all), md({global}));
  EXPECT_EQ(md({global}, AddressSet::without_link_local), md({global}, AddressSet::all));
}

TEST_F(DigestSets, AnInterfaceIndexInsideAScopedAddressIsCleared) {
  auto with_index = ip("fe80::1");
  with_index.addr.bytes[3] = 7;
  EXPECT_EQ(md({with_index}), md({ip("fe80::1")}));
}

TEST_F(DigestSets, TheSearchMarksOfTheKernelsAreNeverHashed) {
  const auto a = ip("10.0.0.1");
  EXPECT_EQ(md({a, ip("0.0.0.0"), ip("255.255.255.255"), ip("::"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}),
            md({a}));
}

TEST_F(DigestSets, AHandSetLinkLayerAddressChangesBoth) {
  const Mac mac{{2, 0x11, 0x22, 0x33, 0x44, 0x55}};
  const auto a = ip("10.0.0.1");
  EXPECT_NE(md({a}, AddressSet::all, mac), md({a}));
  EXPECT_NE(md({a}, AddressSet::without_link_local, mac), md({a}));
}

TEST_F(DigestSets, EitherDigestIsAcceptedAndFreebsdKnowsOnlyTheFullOne) {
  const std::vector<IpAddress> addresses{ip("10.0.0.1"), ip("2001:db8::1"), ip("fe80::1")};
  const Authenticator auth(key_from_passphrase("k"), 9, addresses);
  for (const auto set : {AddressSet::all, AddressSet::without_link_local}) {
    const auto advert = make_advert(auth, set, 9, {}, 5);
    Envelope e;
    e.source = ip("fe80::2");
    std::array<uint8_t, kFrameMax> frame{};
    const size_t n = build_frame(advert, e, frame);
    const Bytes packet = Bytes(frame).subspan(kEthernetHeader, n - kEthernetHeader);
    const Receiver receiver{.vhid = 9, .authenticator = &auth};
    EXPECT_EQ(verify(packet, std::span(&receiver, 1)).verdict, Verdict::accept);
    EXPECT_EQ(verify(packet, std::span(&receiver, 1), kFreebsdReceive).verdict,
              set == AddressSet::all ? Verdict::accept : Verdict::badauth);
  }
}

TEST(Ipv6, CutPacketsAndExtensionHeadersAreNoCarp) {
  const std::vector<IpAddress> addresses{ip("2001:db8::1")};
  const Authenticator auth(key_from_passphrase("k"), 9, addresses);
  const Receiver receiver{.vhid = 9, .authenticator = &auth};
  Envelope e;
  e.source = ip("fe80::2");
  std::array<uint8_t, kFrameMax> frame{};
  const size_t n = build_frame(make_advert(auth, AddressSet::all, 9, {}, 5), e, frame);
  std::vector<uint8_t> p(frame.begin() + kEthernetHeader, frame.begin() + static_cast<std::ptrdiff_t>(n));
  const auto verdict = [&](Bytes bytes) { return verify(bytes, std::span(&receiver, 1)).verdict; };
  EXPECT_EQ(verdict(p), Verdict::accept);
  for (size_t k = 0; k < p.size(); ++k) EXPECT_EQ(verdict(Bytes(p).first(k)), Verdict::not_carp) << k;
  p[4] = 0xff;
  EXPECT_EQ(verdict(p), Verdict::not_carp) << "a length beyond the packet";
  p[4] = 0;
  p[5] = kHeaderLength - 1;
  EXPECT_EQ(verdict(p), Verdict::badlen);
  p[7] = 64;
  EXPECT_EQ(verdict(p), Verdict::badttl);
  p[6] = kProtoHopByHop;
  EXPECT_EQ(verdict(p), Verdict::not_carp);
}

TEST(Frame, DialectsDifferInTosTrafficClassAndSourceMac) {
  Advert advert;
  advert.vhid = 0x2a;
  std::array<uint8_t, kFrameMax> f{};
  Envelope e;
  e.source = ip("192.0.2.1");
  e.ip_id = 0x1234;
  ASSERT_EQ(build_frame(advert, e, f), 70u);
  EXPECT_EQ(hex(Bytes(f).first(26)), "01005e00001200005e00012a08004510003812344000ff70" + hex(Bytes(f).subspan(24, 2)));
  EXPECT_EQ(checksum(&f[kEthernetHeader], kIpv4Header), 0);
  e.dialect = Dialect::freebsd;
  ASSERT_EQ(build_frame(advert, e, f), 70u);
  EXPECT_EQ(f[15], 0xe0);
  e.dialect = Dialect::ucarp;
  ASSERT_EQ(build_frame(advert, e, f), 70u);
  EXPECT_EQ(hex(Bytes(f).subspan(6, 6)), "00005e00002a");
  e.source = ip("fe80::1");
  e.dialect = Dialect::openbsd;
  ASSERT_EQ(build_frame(advert, e, f), 90u);
  EXPECT_EQ(hex(Bytes(f).first(22)), "33330000001200005e00012a86dd60000000002470ff");
  e.dialect = Dialect::freebsd;
  ASSERT_EQ(build_frame(advert, e, f), 90u);
  EXPECT_EQ(hex(Bytes(f).subspan(14, 4)), "6e000000");
}

TEST(Frame, AUnicastPeerNeedsBothMacAddresses) {
  Advert advert;
  Envelope e;
  e.source = ip("192.0.2.1");
  e.peer = ip("192.0.2.2").addr;
  std::array<uint8_t, kFrameMax> f{};
  EXPECT_EQ(build_frame(advert, e, f), 0u);
  e.ethernet_destination = Mac{{2, 0, 0, 0, 0, 2}};
  EXPECT_EQ(build_frame(advert, e, f), 0u);
  e.ethernet_source = Mac{{2, 0, 0, 0, 0, 1}};
  ASSERT_EQ(build_frame(advert, e, f), 70u);
  EXPECT_EQ(hex(Bytes(f).first(12)), "020000000002020000000001");
  EXPECT_EQ(hex(Bytes(f).subspan(30, 4)), "c0000202");
}

TEST(Frame, IsNotBuiltWhereItDoesNotFit) {
  Advert advert;
  Envelope e;
  std::array<uint8_t, kFrameMax> f{};
  EXPECT_EQ(build_frame(advert, e, f), 0u) << "no family";
  e.source = ip("192.0.2.1");
  for (size_t n = 0; n < 70; ++n) EXPECT_EQ(build_frame(advert, e, MutableBytes(f).first(n)), 0u);
  e.source = ip("fe80::1");
  for (size_t n = 0; n < 90; ++n) EXPECT_EQ(build_frame(advert, e, MutableBytes(f).first(n)), 0u);
}

TEST(Verdicts, HaveDistinctNames) {
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kVerdicts; ++i) names.push_back(to_string(static_cast<Verdict>(i)));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
  EXPECT_FALSE(std::binary_search(names.begin(), names.end(), "unknown"));
}

}  // namespace

}  // namespace twinwall::carp
