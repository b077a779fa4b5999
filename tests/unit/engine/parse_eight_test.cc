// The look at eight frames at once says what the look at each says, and reads nothing beyond them.
#include "lib/engine/parse_eight.h"

#include <gtest/gtest.h>

#include <vector>

#include "lib/base/random.h"
#include "lib/engine/hosts.h"
#include "tests/unit/rounds.h"

namespace twinwall {
namespace {

using Octets = std::vector<uint8_t>;

constexpr uint64_t kMac = 0x010000000002;  // 02:00:00:00:00:01, as it is in memory
constexpr uint64_t kInWord = 0xffffffffffff;
constexpr size_t kShortest = kEthernetHeader + kIpv4Header + kTcpHeader;

Octets good_v4_frame(Random& random) {
  const bool tcp = random.below(2) == 0;
  const size_t payload = random.below(3) == 0 ? 0 : random.below(60);
  const size_t header = tcp ? kTcpHeader + (random.below(3) == 0 ? 12 : 0) : kUdpHeader;
  const size_t l4 = header + payload;
  Octets f(std::max<size_t>(kEthernetHeader + kIpv4Header + l4, kShortest) + random.below(3));
  const uint64_t mac = kMac;
  std::memcpy(f.data(), &mac, 6);
  store_be16(&f[12], kEtherTypeIpv4);
  uint8_t* const h = &f[kEthernetHeader];
  h[0] = 0x45;
  h[1] = static_cast<uint8_t>(random.below(256));
  store_be16(h + 2, static_cast<uint16_t>(kIpv4Header + l4));
  store_be16(h + 4, static_cast<uint16_t>(random.next()));
  store_be16(h + 6, random.below(2) == 0 ? kIpv4DontFragment : uint16_t{0});
  h[8] = static_cast<uint8_t>(random.below(256));
  h[9] = tcp ? kProtoTcp : kProtoUdp;
  store_be32(h + 12, random.next32());
  store_be32(h + 16, random.next32());
  uint8_t* const t = h + kIpv4Header;
  store_be16(t, static_cast<uint16_t>(random.next()));
  store_be16(t + 2, static_cast<uint16_t>(1 + random.below(65535)));
  if (tcp) {
    store_be32(t + 4, random.next32());
    store_be32(t + 8, random.next32());
    t[12] = static_cast<uint8_t>(header / 4 << 4);
    constexpr uint8_t kFlags[] = {kTcpAck, kTcpAck | kTcpPush, kTcpAck | kTcpFin, kTcpSyn, kTcpSyn | kTcpAck, 0xd0};
    t[13] = kFlags[random.below(6)];
    store_be16(t + 14, static_cast<uint16_t>(random.next()));
  } else {
    store_be16(t + 4, static_cast<uint16_t>(l4));
  }
  return f;
}

void mend_header(Octets& f) {
  uint8_t* const h = &f[kEthernetHeader];
  store_raw<uint16_t>(h + 10, 0);
  store_raw(h + 10, checksum(h, kIpv4Header));
}

// One bit somewhere, or the end of the frame is missing.
void hurt(Octets& f, Random& random) {
  if (random.below(8) == 0)
    f.resize(kEthernetHeader + kIpv4Header + random.below(30));
  else
    f[random.below(kShortest)] ^= 1 << random.below(8);
}

#ifdef __AVX2__  // elsewhere nothing is ever said
TEST(ParseEight, SaysWhatTheLookAtEachSays) {
  Random random(1);
  uint64_t all = 0, not_all = 0;
  for (uint64_t run = 0; run < test::rounds(100000); ++run) {
    std::array<Octets, Eight::kFrames> frames;
    Eight e;
    bool every = true;
    std::array<Ordinary::Head, Eight::kFrames> heads{};
    std::array<uint32_t, Eight::kFrames> payloads{};
    for (size_t i = 0; i < Eight::kFrames; ++i) {
      Octets& f = frames[i];
      f = good_v4_frame(random);
      const bool damaged = random.below(20) == 0;
      if (damaged) hurt(f, random);
      if (!damaged || random.below(2) == 0) mend_header(f);
      f.shrink_to_fit();
      e.frames[i] = f.data();
      e.lengths[i] = static_cast<uint32_t>(f.size());
      heads[i] = look_at_v4(f.data(), e.lengths[i], payloads[i]);
      every = every && heads[i] != 0 && f.size() >= kShortest && (load_raw<uint64_t>(f.data()) & kInWord) == kMac;
    }
    ASSERT_EQ(look_at_eight(e, kMac), every) << "run " << run;
    ++(every ? all : not_all);
    if (!every) continue;
    for (size_t i = 0; i < Eight::kFrames; ++i) {
      ASSERT_EQ(e.heads[i], heads[i]);
      ASSERT_EQ(e.payloads[i], payloads[i]);
      const FlowKey::Words key = Ordinary::key(e.frames[i], heads[i]);
      ASSERT_EQ(e.addresses[i], key[0] | key[2] << 32);
      ASSERT_EQ(e.rests[i], key[4]);
      ASSERT_EQ(key[1] | key[3], 0u);
    }
  }
  EXPECT_GE(all, test::often(20000));
  EXPECT_GE(not_all, test::often(20000));
}

// Addresses that nobody may send from or to, and neighbours of such, at every place.
TEST(ParseEight, TellsHostsFromOthersAsTheLookAtEachDoes) {
  constexpr std::array kAddresses = {0x00000000u, 0x00000001u, 0x0a000001u, 0x7effffffu, 0x7f000000u, 0x7f123456u,
                                     0x80000000u, 0xdfffffffu, 0xe0000000u, 0xe0000001u, 0xefffffffu, 0xf0000000u,
                                     0xfffffffeu, 0xffffffffu, 0xc0000209u, 0x0a0000e0u};
  Random random(2);
  uint64_t all = 0;
  for (uint64_t run = 0; run < test::rounds(100000); ++run) {
    Eight e;
    bool every = true;
    std::array<uint32_t, Eight::kFrames> destinations{};
    const auto draw = [&] {
      const uint32_t some = 0x0a000000u + random.below(0x1000000);
      return random.below(20) == 0 ? kAddresses[random.below(kAddresses.size())] : some;
    };
    for (size_t i = 0; i < Eight::kFrames; ++i) {
      const uint32_t src = draw(), dst = destinations[i] = draw();
      e.addresses[i] = uint64_t{bswap(src)} | uint64_t{bswap(dst)} << 32;
      every = every && between_hosts(Af::inet, Address::v4(src), Address::v4(dst));
    }
    ASSERT_EQ(look_between_hosts(e), every) << "run " << run;
    if (!every) continue;
    ++all;
    ASSERT_EQ(e.destinations, destinations);
  }
  EXPECT_GE(all, test::often(20000));
}
#endif

}  // namespace
}  // namespace twinwall
