// What twinwall nodes put behind their frames, which frames count as lost, and which slices as different.
#include "lib/pfsync/twin.h"

#include <gtest/gtest.h>

#include "lib/pfsync/actions.h"
#include "lib/pfsync/slices.h"
#include "lib/pfsync/twin_ledger.h"

namespace twinwall::pfsync {
namespace {

std::vector<uint8_t> frame_with(Bytes items, const TwinTrailer& t) {
  std::vector<uint8_t> f(kHeaderSize);
  f[0] = 6;
  store_be16(&f[2], kHeaderSize);
  f.insert(f.end(), items.begin(), items.end());
  f.resize(f.size() + kTwinTrailerSize);
  write_twin_trailer(t, MutableBytes(f).last(kTwinTrailerSize));
  return f;
}

TEST(Twin, TrailerComesBackAsItWasWritten) {
  TwinTrailer t;
  t.session = 1;
  t.peer_session = 2;
  t.sequence = 3;
  t.base = 4;
  t.ack = 5;
  t.window = 6;
  t.items = 8;
  t.flags = kTwinReady;
  const std::vector<uint8_t> items = {200, 0, 0, 4, 9, 9, 9, 9};
  const auto f = frame_with(items, t);
  const auto back = open_twin(f);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->trailer.session, 1u);
  EXPECT_EQ(back->trailer.peer_session, 2u);
  EXPECT_EQ(back->trailer.sequence, 3u);
  EXPECT_EQ(back->trailer.base, 4u);
  EXPECT_EQ(back->trailer.ack, 5u);
  EXPECT_EQ(back->trailer.window, 6u);
  EXPECT_EQ(back->trailer.flags, kTwinReady);
  EXPECT_EQ(back->trailer.version, kTwinVersion);
  EXPECT_EQ(back->items.size(), 8u);
  EXPECT_EQ(back->plain.size(), kHeaderSize);
  int seen = 0;
  EXPECT_TRUE(each_twin_item(back->items, [&](uint8_t type, Bytes data) {
    ++seen;
    EXPECT_EQ(type, 200);
    EXPECT_EQ(data.size(), 4u);
  }));
  EXPECT_EQ(seen, 1);
}

TEST(Twin, FrameWithoutOrWithAWrongOneIsNone) {
  TwinTrailer t;
  t.session = 1;
  const auto good = frame_with({}, t);
  ASSERT_TRUE(open_twin(good));
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(open_twin(Bytes(good).first(n))) << n;
  auto other = good;
  store_be16(&other[2], kHeaderSize + 4);  // the header claims what is ours
  EXPECT_FALSE(open_twin(other));
  other = good;
  other[kHeaderSize] ^= 1;  // magic
  EXPECT_FALSE(open_twin(other));
  EXPECT_FALSE(open_twin(frame_with({}, TwinTrailer{}))) << "no session";
  t.items = 4;
  EXPECT_FALSE(open_twin(frame_with({}, t))) << "more items than there are";
}

TEST(Twin, ItemThatRunsOutOfTheFrameEndsTheWalk) {
  const std::vector<uint8_t> items = {1, 0, 0, 8, 1, 2, 3, 4};
  EXPECT_FALSE(each_twin_item(items, [](uint8_t, Bytes) { FAIL(); }));
}

struct Ledger : testing::Test {
  uint32_t send(uint64_t id) {
    auto c = std::make_shared<FrameContent>();
    c->states.push_back({id, 1});
    return out.add(now, c);
  }
  // The inbox' word reaches the outbox.
  void answer() {
    const auto taken = in.taken();
    out.acknowledged(in.ack(), taken, kFramesInFlight);
  }
  Time now = Time(10s);
  FrameOutbox out;
  FrameInbox in;
};

TEST_F(Ledger, TakenFramesAreSettled) {
  for (uint64_t i = 1; i <= 10; ++i) in.add(send(i), out.base());
  EXPECT_EQ(out.in_flight(), 10u);
  answer();
  EXPECT_EQ(out.in_flight(), 0u);
  EXPECT_EQ(out.base(), 11u);
  EXPECT_EQ(out.lost(now + 10s), nullptr);
}

TEST_F(Ledger, FrameThatManyOvertookIsLost) {
  for (uint64_t i = 1; i <= 40; ++i) {
    const uint32_t n = send(i);
    if (i != 5) in.add(n, out.base());
    answer();
  }
  EXPECT_EQ(in.ack(), 5u);
  const auto content = out.lost(now);
  ASSERT_NE(content, nullptr);
  ASSERT_EQ(content->states.size(), 1u);
  EXPECT_EQ(content->states[0].id, 5u);
  EXPECT_EQ(out.lost(now), nullptr);
  in.add(send(41), out.base());
  EXPECT_EQ(in.ack(), 42u) << "the peer waits for it no longer";
  EXPECT_EQ(in.missed(), 1u);
}

TEST_F(Ledger, LastFrameIsLostWhenNothingIsHeardOfIt) {
  (void)send(1);
  EXPECT_EQ(out.lost(now + 50ms), nullptr);
  EXPECT_NE(out.lost(now + 500ms), nullptr);
}

TEST_F(Ledger, FramesOutOfOrderAndTwiceAreTakenOnce) {
  EXPECT_TRUE(in.add(2, 1));
  EXPECT_TRUE(in.gap());
  EXPECT_EQ(in.ack(), 1u);
  EXPECT_FALSE(in.add(2, 1));
  EXPECT_TRUE(in.add(1, 1));
  EXPECT_EQ(in.ack(), 3u);
  EXPECT_FALSE(in.gap());
  EXPECT_FALSE(in.add(1, 1));
}

TEST_F(Ledger, WindowIsThePeersToSay) {
  out.acknowledged(1, {}, 4);
  for (uint64_t i = 1; i <= 4; ++i) {
    EXPECT_TRUE(out.open());
    (void)send(i);
  }
  EXPECT_FALSE(out.open());
  EXPECT_FALSE(out.open(1));
  out.acknowledged(5, {}, 4);
  EXPECT_TRUE(out.open());
  out.acknowledged(1000, {}, 500);  // of what was never sent
  EXPECT_EQ(out.next(), 5u);
}

TEST_F(Ledger, FarAheadAndNonsenseAreBounded) {
  in.add(1u << 31, 1);
  in.add(5000, 4000);
  in.add(0xfffffff0u, 1);
  EXPECT_LE(in.taken().size(), 64u);
}

TEST(Slices, SameDifferenceTwiceIsADifferenceAndZeroEndsIt) {
  SliceComparison c;
  Time now = Time(1s);
  c.look(now, 3, 10, 4);
  c.look(now += 200ms, 3, 20, 4);  // something was under way
  EXPECT_EQ(c.differing(), 0u);
  c.look(now += 200ms, 3, 26, 10);
  EXPECT_EQ(c.differing(), 1u);
  EXPECT_EQ(c.differs_since(), Time(1s));
  EXPECT_EQ(c.to_repair(now, 8), std::vector<uint16_t>{3});
  EXPECT_TRUE(c.to_repair(now, 8).empty()) << "not at once again";
  EXPECT_EQ(c.to_repair(now + 2s, 8).size(), 1u);
  c.look(now, 3, 7, 7);
  EXPECT_EQ(c.differing(), 0u);
  std::array<uint64_t, kSlices> states;
  states.fill(5);
  EXPECT_EQ(c.confirmed(states), 5u) << "of the only slice that was ever equal";
  EXPECT_FALSE(c.proven());
  for (uint16_t i = 0; i < kSlices; ++i) c.look(now, i, 0, 0);
  EXPECT_TRUE(c.proven());
}

TEST(Slices, StatesSpreadOverAllSlices) {
  std::array<unsigned, kSlices> n{};
  const uint64_t base = uint64_t{1700000000} << 32;
  for (uint64_t i = 0; i < 100 * kSlices; ++i) ++n[slice_of(base + i, 0x12345678)];
  for (const unsigned k : n) {
    EXPECT_GT(k, 40u);
    EXPECT_LT(k, 200u);
  }
}

TEST(Slices, InventoryComesBackAsItWasWritten) {
  InventoryHead h;
  h.run = 7;
  h.frame = 1;
  h.frames = 2;
  h.count = 1;
  h.slices[0] = 1023;
  std::vector<uint8_t> bytes(kInventoryHeadSize + kInventoryEntrySize);
  write_inventory_head(h, bytes);
  write_inventory_entry({{5, 6}, 0x44}, &bytes[kInventoryHeadSize]);
  InventoryHead back;
  ASSERT_TRUE(read_inventory_head(bytes, back));
  EXPECT_EQ(back.run, 7u);
  EXPECT_EQ(back.frames, 2u);
  EXPECT_EQ(back.slices[0], 1023);
  const InventoryEntry e = read_inventory_entry(&bytes[kInventoryHeadSize]);
  EXPECT_EQ(e.id, (StateId{5, 6}));
  EXPECT_EQ(e.levels, 0x44);
  bytes.pop_back();
  EXPECT_FALSE(read_inventory_head(bytes, back));
}

}  // namespace
}  // namespace twinwall::pfsync
