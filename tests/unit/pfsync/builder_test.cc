#include "lib/pfsync/builder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/pfsync/packet.h"
#include "tests/unit/pfsync/random_records.h"

namespace twinwall::pfsync {
namespace {

TEST(PfsyncBuilder, HeadersAreThoseOfTheOriginals) {
  std::vector<uint8_t> buffer(1500, 0xee);
  auto options = options_for(System::openbsd74);
  options.ruleset_checksum[0] = 0x42;
  PacketBuilder b(buffer, options);
  ASSERT_TRUE(b.add_id(ItemKind::upd_req, {}));
  ASSERT_EQ(b.finish(0x1234), 56u);
  const uint8_t ip[] = {0x45, 0x10, 0, 56, 0x12, 0x34, 0x40, 0, 255, 240};
  EXPECT_TRUE(std::equal(std::begin(ip), std::end(ip), buffer.begin()));
  EXPECT_EQ(checksum(buffer.data(), 20), 0);
  const uint8_t header[] = {6, 0, 0, 36, 0x42};
  EXPECT_TRUE(std::equal(std::begin(header), std::end(header), buffer.begin() + 20));
  const uint8_t section[] = {5, 3, 0, 1};
  EXPECT_TRUE(std::equal(std::begin(section), std::end(section), buffer.begin() + 40));
  EXPECT_EQ(buffer[56], 0xee);
}

TEST(PfsyncBuilder, FreebsdEndsWithItsEndSection) {
  std::vector<uint8_t> buffer(1500);
  PacketBuilder b(buffer, options_for(System::freebsd13));
  ASSERT_TRUE(b.add_id(ItemKind::del_c, {1, 2}));
  const size_t length = b.finish(0);
  ASSERT_EQ(length, 60u);
  EXPECT_EQ(buffer[20], 5);
  EXPECT_EQ(buffer[41], 0) << "no item size on FreeBSD";
  const uint8_t end[] = {12, 0, 0, 1};
  EXPECT_TRUE(std::equal(std::begin(end), std::end(end), buffer.begin() + 56));
}

TEST(PfsyncBuilder, GoesOverIpv6) {
  std::vector<uint8_t> buffer(1500);
  auto options = options_for(System::freebsd14);
  options.source = *parse_ip("fe80::1");
  options.destination = *parse_ip("ff12::f0");
  PacketBuilder b(buffer, options);
  ASSERT_TRUE(b.add_insert(ordinary_state()));
  buffer.resize(b.finish(0));
  const auto d = open_datagram(buffer);
  ASSERT_TRUE(d);
  EXPECT_EQ(to_string(d->destination), "ff12::f0");
  EXPECT_EQ(d->ttl, 255);
  PacketWalk walk(System::freebsd14, true, d->ttl, d->payload);
  Section s;
  ASSERT_TRUE(walk.next(s));
  EXPECT_EQ(s.action, 13);
  EXPECT_EQ(s.count, 1);
}

TEST(PfsyncBuilder, PacketsHoldAsManyItemsAsTheOriginals) {
  const auto fits = [](System system, size_t mtu, auto add) {
    std::vector<uint8_t> buffer(mtu);
    auto options = options_for(system);
    options.mtu = mtu;
    PacketBuilder b(buffer, options);
    size_t n = 0;
    while (add(b)) ++n;
    EXPECT_LE(b.finish(0), mtu);
    return n;
  };
  const auto insert = [](PacketBuilder& b) { return b.add_insert(ordinary_state()); };
  const auto update = [](PacketBuilder& b) { return b.add_compressed_update({}); };
  const auto remove = [](PacketBuilder& b) { return b.add_id(ItemKind::del_c, {}); };
  EXPECT_EQ(fits(System::openbsd74, 1500, insert), 5u);
  EXPECT_EQ(fits(System::openbsd74, 1500, update), 17u);
  EXPECT_EQ(fits(System::openbsd74, 1500, remove), 121u);
  EXPECT_EQ(fits(System::openbsd74, 9000, insert), 33u);
  EXPECT_EQ(fits(System::freebsd13, 1500, insert), 6u);
  EXPECT_EQ(fits(System::freebsd14, 1500, insert), 5u);
  EXPECT_EQ(fits(System::freebsd15, 1500, insert), 3u);
}

// What the budget reckons at the time of queueing is what the builder takes when it drains the queues in order.
TEST(PfsyncBuilder, BudgetAndBuilderAgree) {
  Random random(11);
  for (int round = 0; round < 2000; ++round) {
    const System system = kSystems[random.below(std::size(kSystems))];
    const auto order = section_order(system);
    auto options = options_for(system);
    options.mtu = 400 + random.below(2000);
    PacketBudget budget(system, options.format, options.mtu);
    while (budget.add(order[random.below(static_cast<uint32_t>(order.size()))])) {}
    std::vector<uint8_t> buffer(options.mtu);
    PacketBuilder b(buffer, options);
    uint32_t items = 0;
    for (const ItemKind kind : order) {
      items += budget.count(kind);
      for (uint32_t i = 0; i < budget.count(kind); ++i) {
        bool added = false;
        if (kind == ItemKind::ins || kind == ItemKind::upd) added = b.add_state(kind, ordinary_state());
        if (kind == ItemKind::upd_c) added = b.add_compressed_update({});
        if (kind == ItemKind::clr) added = b.add_clear({});
        if (kind == ItemKind::bus) added = b.add_bulk({});
        if (kind == ItemKind::tdb) added = b.add_tdb({});
        if (kind == ItemKind::ins_ack || kind == ItemKind::del_c || kind == ItemKind::upd_req)
          added = b.add_id(kind, {});
        ASSERT_TRUE(added) << "system " << static_cast<int>(system) << " kind " << static_cast<int>(kind);
      }
    }
    const size_t length = b.finish(0);
    const size_t reckoned_for_ipv6 = system == System::freebsd14 || system == System::freebsd15 ? 20 : 0;
    if (items == 0) continue;  // a header alone has no end section
    ASSERT_EQ(length + reckoned_for_ipv6, budget.length());
    ASSERT_LE(length, options.mtu);
  }
}

TEST(PfsyncBuilder, WithoutItemsThereIsTheHeaderAlone) {
  for (const System system : kSystems) {
    std::vector<uint8_t> buffer(200);
    PacketBuilder b(buffer, options_for(system));
    EXPECT_EQ(b.finish(0), kIpv4Header + kHeaderSize);
    EXPECT_EQ(load_be16(&buffer[kIpv4Header + 2]), kHeaderSize);
  }
}

TEST(PfsyncBuilder, SmallBuffersTakeNothingAndOverrunNothing) {
  for (const System system : kSystems) {
    for (size_t size = 0; size < 120; ++size) {
      std::vector<uint8_t> buffer(size);
      PacketBuilder b(buffer, options_for(system));
      b.add_insert(ordinary_state());
      b.add_compressed_update({});
      const bool added = b.add_id(ItemKind::del_c, {1, 2});
      const size_t length = b.finish(0);
      EXPECT_LE(length, size);
      EXPECT_EQ(added, b.items() == 1);
      EXPECT_EQ(b.empty(), !added);
    }
  }
}

TEST(PfsyncBuilder, AKindMayNotBeAddedByTheWrongDoor) {
  std::vector<uint8_t> buffer(1500);
  PacketBuilder b(buffer, options_for(System::openbsd74));
  EXPECT_FALSE(b.add_id(ItemKind::ins, {}));
  EXPECT_FALSE(b.add_state(ItemKind::upd_c, ordinary_state()));
  EXPECT_TRUE(b.empty());
}

TEST(PfsyncBuilder, OlderFormatsCanBeChosenOnFreebsd) {
  std::vector<uint8_t> buffer(1500);
  auto options = options_for(System::freebsd15);
  options.format = StateFormat::v1301;
  PacketBuilder b(buffer, options);
  ASSERT_TRUE(b.add_update(ordinary_state()));
  ASSERT_NE(b.finish(0), 0u);
  EXPECT_EQ(buffer[40], 3);
}

}  // namespace
}  // namespace twinwall::pfsync
