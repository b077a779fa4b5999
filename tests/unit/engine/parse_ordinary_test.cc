// What the short look takes for ordinary is what the long one makes of it, byte for byte and field for field.
#include "lib/engine/parse_ordinary.h"

#include <gtest/gtest.h>

#include <vector>

#include "lib/base/random.h"
#include "lib/engine/flow.h"
#include "lib/engine/parse.h"
#include "tests/unit/rounds.h"

namespace twinwall {
namespace {

using Frame = std::vector<uint8_t>;

Frame good_frame(Random& random) {
  const bool tcp = random.below(2) == 0;
  const size_t payload = random.below(40);
  const bool v6 = random.below(3) == 0;
  const size_t l4 = (tcp ? kTcpHeader + (random.below(4) == 0 ? 12 : 0) : kUdpHeader) + payload;
  const size_t l3 = v6 ? kIpv6Header : kIpv4Header;
  Frame f(kEthernetHeader + l3 + l4 + random.below(20));
  store_be16(&f[12], v6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
  uint8_t* const h = &f[kEthernetHeader];
  const uint8_t ttl = static_cast<uint8_t>(1 + random.below(255)), proto = tcp ? kProtoTcp : kProtoUdp;
  if (v6) {
    store_be32(h, 6u << 28 | random.below(1u << 28));
    store_be16(h + 4, static_cast<uint16_t>(l4));
    h[6] = proto;
    h[7] = ttl;
    for (size_t at = 8; at < kIpv6Header; at += 4) store_be32(h + at, random.next32());
  } else {
    h[0] = 0x45;
    h[1] = static_cast<uint8_t>(random.below(256));
    store_be16(h + 2, static_cast<uint16_t>(kIpv4Header + l4));
    store_be16(h + 4, static_cast<uint16_t>(random.next()));
    store_be16(h + 6, random.below(2) == 0 ? kIpv4DontFragment : uint16_t{0});
    h[8] = ttl;
    h[9] = proto;
    store_be32(h + 12, random.next32());
    store_be32(h + 16, random.next32());
  }
  uint8_t* const t = h + l3;
  store_be32(t, random.next32());
  if (tcp) {
    store_be32(t + 4, random.next32());
    store_be32(t + 8, random.next32());
    t[12] = static_cast<uint8_t>((l4 - payload) / 4 << 4);
    t[13] = static_cast<uint8_t>(random.below(4) == 0 ? random.below(256) : kTcpAck | (random.below(2) * kTcpPush));
    if (random.below(8) == 0) store_be16(t + 18, static_cast<uint16_t>(random.next()));
  } else {
    store_be16(t + 4, static_cast<uint16_t>(l4));
  }
  return f;
}

void damage(Frame& f, Random& random) {
  for (uint32_t n = random.below(3); n > 0; --n)
    f[12 + random.below(static_cast<uint32_t>(f.size()) - 12)] ^= 1 << random.below(8);
  if (random.below(10) == 0) f.resize(random.below(static_cast<uint32_t>(f.size()) + 1));
}

void mend_checksum(Frame& f) {
  if (f.size() < kEthernetHeader + kIpv4Header || load_be16(&f[12]) != kEtherTypeIpv4) return;
  uint8_t* const h = &f[kEthernetHeader];
  store_raw<uint16_t>(h + 10, 0);
  store_raw(h + 10, checksum(h, kIpv4Header));
}

Packet packet_of(Frame& f) {
  Packet p;
  p.frame = f.data();
  p.length = static_cast<uint32_t>(f.size());
  return p;
}

bool parse_long(Packet& p) {
  LinkType type = LinkType::other;
  if (parse_link(p, type) != kParsed || type != LinkType::ip || parse_ip(p) != kParsed || p.is_fragment) return false;
  return p.proto != kProtoTcp || normalise_tcp(p) == kParsed;
}

TEST(ParseOrdinary, SaysWhatTheLongWaySays) {
  Random random(1);
  uint64_t ordinary = 0, other = 0;
  for (uint64_t run = 0; run < test::rounds(200000); ++run) {
    Frame f = good_frame(random);
    damage(f, random);
    if (random.below(8) != 0) mend_checksum(f);
    Frame same = f;
    Packet quick = packet_of(f), slow = packet_of(same);
    Ordinary seen;
    if (!look_ordinary(quick.frame, quick.length, seen)) {
      ++other;
      continue;
    }
    fill_ordinary(quick, seen);
    FlowKey key;
    Ordinary::Head head;
    std::memcpy(&head, &seen, sizeof head);
    key.set(Ordinary::key(quick.frame, head));
    ASSERT_TRUE(key == flow_key(quick, Direction::in));
    ++ordinary;
    ASSERT_TRUE(parse_long(slow));
    ASSERT_EQ(f, same);
    if (slow.af == Af::inet) {
      ASSERT_EQ(load_be16(slow.ip() + 6) & ~kIpv4DontFragment, 0);  // PF would clear the other flags
    }
    ASSERT_EQ(quick.af, slow.af);
    ASSERT_EQ(quick.proto, slow.proto);
    ASSERT_EQ(quick.tcp_flags, slow.tcp_flags);
    ASSERT_EQ(quick.tos, slow.tos);
    ASSERT_EQ(quick.ttl, slow.ttl);
    ASSERT_EQ(quick.ip_options, slow.ip_options);
    ASSERT_EQ(quick.l3, slow.l3);
    ASSERT_EQ(quick.l4, slow.l4);
    ASSERT_EQ(quick.l3_length, slow.l3_length);
    ASSERT_EQ(quick.l4_length, slow.l4_length);
    ASSERT_EQ(quick.payload, slow.payload);
    ASSERT_EQ(quick.src, slow.src);
    ASSERT_EQ(quick.dst, slow.dst);
    ASSERT_EQ(quick.sport, slow.sport);
    ASSERT_EQ(quick.dport, slow.dport);
    ASSERT_EQ(quick.icmp_type, slow.icmp_type);
    ASSERT_EQ(quick.icmp_code, slow.icmp_code);
    ASSERT_EQ(quick.icmp_id, slow.icmp_id);
  }
  EXPECT_GE(ordinary, test::often(40000));
  EXPECT_GE(other, test::often(40000));
}

}  // namespace
}  // namespace twinwall
