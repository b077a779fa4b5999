// The codec: fields, every test of RFC 5880 section 6.8.6 that needs no session, and the datagram of RFC 5881.
#include "lib/bfd/packet.h"

#include <gtest/gtest.h>

#include <vector>

#include "lib/net/checksum.h"

namespace twinwall::bfd {
namespace {

using PacketBytes = std::vector<uint8_t>;

// Up, poll, multiplier 3, 50 ms both ways; as RFC 5880 section 4.1 draws it.
const PacketBytes kSample = {0x20, 0xe0, 0x03, 0x18, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
                             0x00, 0x00, 0xc3, 0x50, 0x00, 0x00, 0xc3, 0x50, 0x00, 0x00, 0x00, 0x00};

Verdict verdict(const PacketBytes& w) {
  Packet p;
  return parse(w, p);
}
Verdict with(size_t at, uint8_t value) {
  PacketBytes w = kSample;
  w[at] = value;
  return verdict(w);
}

TEST(BfdPacket, FieldsAreWhereTheRfcHasThem) {
  Packet p;
  ASSERT_EQ(parse(kSample, p), Verdict::accept);
  EXPECT_EQ(p, (Packet{.diag = Diag::none,
                       .state = State::up,
                       .poll = true,
                       .detect_multiplier = 3,
                       .length = 24,
                       .my_discriminator = 0x11223344,
                       .your_discriminator = 0x55667788,
                       .desired_min_tx = 50000,
                       .required_min_rx = 50000}));
  PacketBytes out(24);
  ASSERT_TRUE(build(p, out));
  EXPECT_EQ(out, kSample);
}

TEST(BfdPacket, EveryFlagAndDiagnosticSurvives) {
  for (unsigned flags = 0; flags < 256; ++flags)
    for (unsigned diag = 0; diag < 32; ++diag) {
      PacketBytes w = kSample;
      w[0] = static_cast<uint8_t>(0x20 | diag);
      w[1] = static_cast<uint8_t>(flags);
      Packet p;
      (void)parse(w, p);
      PacketBytes out(24);
      ASSERT_TRUE(build(p, out));
      ASSERT_EQ(out, w);
      ASSERT_FALSE(to_string(p.diag).empty());
    }
}

TEST(BfdPacket, OtherVersionsAreRefused) {
  EXPECT_EQ(with(0, 0x00), Verdict::bad_version);
  EXPECT_EQ(with(0, 0x40), Verdict::bad_version);
}

TEST(BfdPacket, LengthMustHoldAPacketAndLieInTheDatagram) {
  EXPECT_EQ(verdict({}), Verdict::bad_length);
  EXPECT_EQ(verdict(PacketBytes(kSample.begin(), kSample.end() - 1)), Verdict::bad_length);
  EXPECT_EQ(with(3, 23), Verdict::bad_length);
  EXPECT_EQ(with(3, 25), Verdict::bad_length);
  PacketBytes longer = kSample;
  longer.resize(40);  // padding behind the packet is allowed
  EXPECT_EQ(verdict(longer), Verdict::accept);
}

TEST(BfdPacket, WithTheAuthenticationBitTheLengthMustHoldItsHeader) {
  PacketBytes w = kSample;
  w[1] |= 0x04;
  EXPECT_EQ(verdict(w), Verdict::bad_length);
  w.resize(26);
  w[3] = 25;
  EXPECT_EQ(verdict(w), Verdict::bad_length);
  w[3] = 26;
  EXPECT_EQ(verdict(w), Verdict::accept);
}

TEST(BfdPacket, MultiplierMultipointAndMyDiscriminator) {
  EXPECT_EQ(with(2, 0), Verdict::bad_multiplier);
  EXPECT_EQ(with(1, 0xe1), Verdict::multipoint);
  PacketBytes w = kSample;
  for (size_t i = 4; i < 8; ++i) w[i] = 0;
  EXPECT_EQ(verdict(w), Verdict::bad_mine);
}

TEST(BfdPacket, WithoutYourDiscriminatorOnlyDownAndAdminDown) {
  PacketBytes w = kSample;
  for (size_t i = 8; i < 12; ++i) w[i] = 0;
  const Verdict expected[] = {Verdict::accept, Verdict::accept, Verdict::bad_state, Verdict::bad_state};
  for (uint8_t state = 0; state < 4; ++state) {
    w[1] = static_cast<uint8_t>(state << 6);
    EXPECT_EQ(verdict(w), expected[state]) << int{state};
  }
}

TEST(BfdPacket, NamesAreThere) {
  for (size_t v = 0; v < kVerdicts; ++v) EXPECT_NE(to_string(static_cast<Verdict>(v)), "unknown");
  EXPECT_EQ(to_string(static_cast<Verdict>(kVerdicts)), "unknown");
  EXPECT_EQ(to_string(State::admin_down), "AdminDown");
  EXPECT_EQ(to_string(Diag::neighbor_signaled_down), "neighbor signaled session down");
}

struct Case {
  const char* source;
  const char* destination;
};

class BfdDatagram : public testing::TestWithParam<Case> {
 protected:
  Envelope envelope() const {
    Envelope e;
    e.ethernet_source = Mac{{2, 0, 0, 0, 0, 1}};
    e.ethernet_destination = Mac{{2, 0, 0, 0, 0, 2}};
    e.source = *parse_ip(GetParam().source);
    e.destination = parse_ip(GetParam().destination)->addr;
    e.source_port = 50000;
    e.ip_id = 7;
    return e;
  }
  PacketBytes ip() const {
    std::array<uint8_t, kFrameMax> frame;
    const size_t n = build_frame(kSample, envelope(), frame);
    return {frame.begin() + kEthernetHeader, frame.begin() + static_cast<long>(n)};
  }
  [[nodiscard]] bool v4() const { return envelope().source.af == Af::inet; }
  [[nodiscard]] size_t udp() const { return v4() ? kIpv4Header : kIpv6Header; }
  static Verdict open(const PacketBytes& w) {
    Datagram d;
    return open_datagram(w, d);
  }
};

TEST_P(BfdDatagram, ComesOutAsItWentIn) {
  std::array<uint8_t, kFrameMax> frame;
  const size_t n = build_frame(kSample, envelope(), frame);
  ASSERT_EQ(n, kEthernetHeader + udp() + kUdpHeader + kSample.size());
  EXPECT_EQ(Mac::from_wire(frame.data()), envelope().ethernet_destination);
  EXPECT_EQ(Mac::from_wire(&frame[6]), envelope().ethernet_source);
  EXPECT_EQ(frame[kEthernetHeader + (v4() ? 8 : 7)], 255);
  const PacketBytes w = ip();
  Datagram d;
  ASSERT_EQ(open_datagram(w, d), Verdict::accept);
  EXPECT_EQ(d.source, envelope().source);
  EXPECT_EQ(d.destination.addr, envelope().destination);
  EXPECT_EQ(d.source_port, 50000);
  EXPECT_TRUE(std::equal(d.payload.begin(), d.payload.end(), kSample.begin(), kSample.end()));
  if (v4()) {
    EXPECT_EQ(checksum(w.data(), kIpv4Header), 0);
  }
}

TEST_P(BfdDatagram, DoesNotFitIntoLess) {
  const size_t whole = kEthernetHeader + ip().size();
  for (size_t n = 0; n < whole; ++n) {
    PacketBytes out(n);
    ASSERT_EQ(build_frame(kSample, envelope(), out), 0u) << n;
  }
}

TEST_P(BfdDatagram, MustComeFromThisWire) {
  PacketBytes w = ip();
  w[v4() ? 8 : 7] = 254;
  EXPECT_EQ(open(w), Verdict::bad_ttl);
}

TEST_P(BfdDatagram, IsWholeUdpToThePort) {
  PacketBytes w = ip();
  for (size_t n = 0; n < w.size(); ++n)
    ASSERT_EQ(open(PacketBytes(w.begin(), w.begin() + static_cast<long>(n))), Verdict::not_bfd);
  w[v4() ? 9 : 6] = kProtoTcp;
  EXPECT_EQ(open(w), Verdict::not_bfd);
  w = ip();
  w[udp() + 3] ^= 1;
  EXPECT_EQ(open(w), Verdict::not_bfd);
  w = ip();
  store_be16(&w[udp() + 4], 7);
  EXPECT_EQ(open(w), Verdict::not_bfd);
  store_be16(&w[udp() + 4], static_cast<uint16_t>(w.size() - udp() + 1));
  EXPECT_EQ(open(w), Verdict::not_bfd);
}

TEST_P(BfdDatagram, ChecksumIsTested) {
  PacketBytes w = ip();
  w.back() ^= 1;
  EXPECT_EQ(open(w), Verdict::bad_checksum);
  w = ip();
  store_be16(&w[udp() + 6], 0);
  EXPECT_EQ(open(w), v4() ? Verdict::accept : Verdict::bad_checksum);
}

INSTANTIATE_TEST_SUITE_P(Families, BfdDatagram,
                         testing::Values(Case{"10.255.0.1", "10.255.0.2"}, Case{"2001:db8::1", "2001:db8::2"}));

}  // namespace
}  // namespace twinwall::bfd
