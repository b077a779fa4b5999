#include "control/link_messages.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "lib/base/random.h"
#include "lib/net/checksum.h"

namespace twinwall {
namespace {

using Frame = std::vector<uint8_t>;
const Mac kAlice{{2, 0, 0, 0, 0, 1}};
const Mac kBob{{2, 0, 0, 0, 0, 2}};

Address v6(const char* text) { return parse_ip(text)->addr; }

Frame arp(const ArpMessage& m) {
  std::array<uint8_t, kLinkMessageMax> out;
  const size_t n = build_arp(kBroadcastMac, kAlice, m, out);
  return Frame(out.begin(), out.begin() + static_cast<long>(n));
}

Frame discovery(const DiscoveryMessage& m) {
  std::array<uint8_t, kLinkMessageMax> out;
  const size_t n = build_discovery(kBob, kAlice, m, out);
  return Frame(out.begin(), out.begin() + static_cast<long>(n));
}

Bytes body(const Frame& f) { return Bytes(f).subspan(kEthernetHeader); }

// After a change the checksum must be right again, or every fault would be a checksum fault.
void fix_checksum(Frame& f) {
  uint8_t* ip = f.data() + kEthernetHeader;
  const size_t length = load_be16(ip + 4);
  store_raw<uint16_t>(ip + 42, 0);
  store_raw(ip + 42, l4_checksum(Af::inet6, ip + 8, ip + 24, kProtoIcmp6, ip + 40, length));
}

DiscoveryMessage solicit() {
  DiscoveryMessage m;
  m.type = kIcmp6NeighborSolicit;
  m.source = v6("2001:db8::1");
  m.target = v6("2001:db8::2");
  m.destination = solicited_node(m.target);
  m.link_layer = kAlice;
  return m;
}

DiscoveryMessage advert() {
  DiscoveryMessage m;
  m.type = kIcmp6NeighborAdvert;
  m.source = v6("2001:db8::2");
  m.destination = v6("2001:db8::1");
  m.target = v6("2001:db8::2");
  m.router = m.solicited = m.override_entry = true;
  m.link_layer = kBob;
  return m;
}

TEST(Arp, RequestIsTheBytesOfRfc826) {
  const Frame f = arp({kArpRequest, kAlice, {}, Address::v4(0xc0000201), Address::v4(0xc0000202)});
  const Frame expected = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,   0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0,   6, 4, 0,
                          1,    2,    0,    0,    0,    0,    1, 192, 0, 2, 1, 0, 0,    0,    0, 0, 0, 192, 0, 2, 2};
  EXPECT_EQ(f, expected);
}

TEST(Arp, WhatIsBuiltIsParsed) {
  const auto m = parse_arp(body(arp({kArpReply, kAlice, kBob, Address::v4(1), Address::v4(2)})));
  ASSERT_TRUE(m);
  EXPECT_EQ(m->operation, kArpReply);
  EXPECT_EQ(m->sender_mac, kAlice);
  EXPECT_EQ(m->target_mac, kBob);
  EXPECT_EQ(m->sender, Address::v4(1));
  EXPECT_EQ(m->target, Address::v4(2));
}

TEST(Arp, EveryTruncationIsRefused) {
  const Frame f = arp({kArpRequest, kAlice, {}, Address::v4(0x0a000001), Address::v4(0x0a000002)});
  for (size_t n = 0; n < kArpLength; ++n) EXPECT_FALSE(parse_arp(body(f).first(n))) << n;
}

TEST(Arp, OtherProtocolsOperationsAndImpossibleSendersAreRefused) {
  const Frame good = arp({kArpRequest, kAlice, {}, Address::v4(0x0a000001), Address::v4(0x0a000002)});
  ASSERT_TRUE(parse_arp(body(good)));
  struct Change {
    size_t offset;
    uint8_t value;
  };
  for (const Change c :
       {Change{1, 6}, Change{2, 9}, Change{4, 8}, Change{5, 16}, Change{7, 3}, Change{8, 3}, Change{14, 0xe0}}) {
    Frame f = good;
    f[kEthernetHeader + c.offset] = c.value;
    EXPECT_FALSE(parse_arp(body(f))) << c.offset;
  }
}

TEST(Discovery, WhatIsBuiltIsParsedAndItsChecksumIsRight) {
  for (const DiscoveryMessage& m : {solicit(), advert()}) {
    const Frame f = discovery(m);
    DiscoveryMessage got;
    ASSERT_EQ(parse_discovery(body(f), got), DiscoveryFault::none);
    EXPECT_EQ(got.type, m.type);
    EXPECT_EQ(got.source, m.source);
    EXPECT_EQ(got.destination, m.destination);
    EXPECT_EQ(got.target, m.target);
    EXPECT_EQ(got.link_layer, m.link_layer);
    EXPECT_EQ(got.router, m.router);
    EXPECT_EQ(got.solicited, m.solicited);
    EXPECT_EQ(got.override_entry, m.override_entry);
    const uint8_t* ip = f.data() + kEthernetHeader;
    EXPECT_EQ(l4_checksum(Af::inet6, ip + 8, ip + 24, kProtoIcmp6, ip + 40, f.size() - kEthernetHeader - 40), 0);
  }
}

TEST(Discovery, EveryTruncationIsRefused) {
  const Frame f = discovery(solicit());
  DiscoveryMessage m;
  for (size_t n = 0; n + kEthernetHeader < f.size(); ++n)
    EXPECT_EQ(parse_discovery(body(f).first(n), m), DiscoveryFault::length) << n;
}

TEST(Discovery, FaultsAreToldApart) {
  const auto fault = [](DiscoveryMessage m, auto change) {
    Frame f = discovery(m);
    change(f.data() + kEthernetHeader);
    fix_checksum(f);
    DiscoveryMessage out;
    return parse_discovery(body(f), out);
  };
  EXPECT_EQ(fault(solicit(), [](uint8_t* ip) { ip[7] = 254; }), DiscoveryFault::hop_limit);
  EXPECT_EQ(fault(solicit(), [](uint8_t* ip) { ip[41] = 1; }), DiscoveryFault::value);
  EXPECT_EQ(fault(solicit(), [](uint8_t* ip) { ip[40] = kIcmp6RouterAdvert; }), DiscoveryFault::not_discovery);
  EXPECT_EQ(fault(solicit(), [](uint8_t* ip) { ip[6] = kProtoHopByHop; }), DiscoveryFault::value);
  EXPECT_EQ(fault(solicit(), [](uint8_t* ip) { ip[65] = 0; }), DiscoveryFault::option);
  EXPECT_EQ(fault(solicit(), [](uint8_t* ip) { ip[65] = 2; }), DiscoveryFault::option);
  EXPECT_EQ(fault(solicit(), [](uint8_t* ip) { ip[66] = 0x33; }), DiscoveryFault::value);
  EXPECT_EQ(fault(solicit(), [](uint8_t* ip) { ip[48] = 0xff; }), DiscoveryFault::value);  // multicast target
  DiscoveryMessage to_all = advert();
  to_all.destination = v6("ff02::1");
  EXPECT_EQ(fault(to_all, [](uint8_t*) {}), DiscoveryFault::value);  // solicited and to a group
  DiscoveryMessage unspecified = solicit();
  unspecified.source = {};
  EXPECT_EQ(fault(unspecified, [](uint8_t*) {}), DiscoveryFault::value);  // with a link-layer address
  unspecified.link_layer.reset();
  EXPECT_EQ(fault(unspecified, [](uint8_t*) {}), DiscoveryFault::none);
}

TEST(Discovery, DamageIsSeenByTheChecksum) {
  const Frame good = discovery(advert());
  for (size_t i = 48; i < good.size() - kEthernetHeader; ++i) {
    Frame f = good;
    f[kEthernetHeader + i] ^= 0x10;
    DiscoveryMessage m;
    EXPECT_NE(parse_discovery(body(f), m), DiscoveryFault::none) << i;
  }
}

TEST(LinkMessages, RandomBytesAreNeverReadBeyondTheirEnd) {
  Random random(7);
  for (int round = 0; round < 20000; ++round) {
    // Exactly as long as it is, so that a sanitizer sees every step over the end.
    Frame f(random.below(100));
    for (auto& b : f) b = static_cast<uint8_t>(random.next());
    if (f.size() > 41 && round % 2 == 0) {
      f[0] = 0x60;
      store_be16(&f[4], static_cast<uint16_t>(f.size() - 40));
      f[6] = kProtoIcmp6;
      f[7] = 255;
      f[40] = kIcmp6NeighborSolicit;
      f[41] = 0;
    }
    DiscoveryMessage m;
    (void)parse_discovery(f, m);
    (void)parse_arp(f);
  }
}

TEST(LinkMessages, NothingIsBuiltIntoTooSmallABuffer) {
  std::array<uint8_t, 41> small;
  EXPECT_EQ(build_arp(kBob, kAlice, {kArpRequest, kAlice, {}, {}, {}}, small), 0u);
  EXPECT_EQ(build_discovery(kBob, kAlice, solicit(), small), 0u);
}

}  // namespace
}  // namespace twinwall
