#include "lib/pfsync/packet.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "lib/net/checksum.h"
#include "tests/unit/pfsync/random_records.h"

namespace twinwall::pfsync {
namespace {

struct Collector : IgnoreAll {
  std::vector<StateRecord> inserts, updates;
  std::vector<UpdateRecord> compressed;
  std::vector<StateId> acks, requests, deletes;
  std::vector<ClearRecord> clears;
  std::vector<BulkRecord> bulks;
  std::vector<TdbRecord> tdbs;

  void on_insert(const StateRecord& r) { inserts.push_back(r); }
  void on_update(const StateRecord& r) { updates.push_back(r); }
  void on_compressed_update(const UpdateRecord& r) { compressed.push_back(r); }
  void on_insert_ack(const StateId& r) { acks.push_back(r); }
  void on_request(const StateId& r) { requests.push_back(r); }
  void on_delete(const StateId& r) { deletes.push_back(r); }
  void on_clear(const ClearRecord& r) { clears.push_back(r); }
  void on_bulk(const BulkRecord& r) { bulks.push_back(r); }
  void on_tdb(const TdbRecord& r) { tdbs.push_back(r); }
};

// The payload of a packet with two deletes and one compressed update.
std::vector<uint8_t> sample_payload(System system) {
  std::vector<uint8_t> buffer(1500);
  PacketBuilder builder(buffer, options_for(system));
  EXPECT_TRUE(builder.add_id(ItemKind::del_c, {1, 2}));
  EXPECT_TRUE(builder.add_id(ItemKind::del_c, {3, 4}));
  UpdateRecord u;
  u.id = 5;
  u.creator = 6;
  EXPECT_TRUE(builder.add_compressed_update(u));
  EXPECT_NE(builder.finish(1), 0u);
  const auto payload = builder.payload();
  return {payload.begin(), payload.end()};
}

Fault fault_of(System system, bool on_sync, uint8_t ttl, Bytes payload) {
  Collector c;
  RxCounters counters;
  receive(system, on_sync, ttl, payload, c, counters);
  PacketWalk walk(system, on_sync, ttl, payload);
  Section s;
  while (walk.next(s)) {}
  return walk.fault();
}

TEST(PfsyncPacket, EveryKindIsDelivered) {
  for (const System system : kSystems) {
    std::vector<uint8_t> buffer(9000);
    auto options = options_for(system);
    options.mtu = 9000;
    PacketBuilder b(buffer, options);
    ASSERT_TRUE(b.add_id(ItemKind::ins_ack, {1, 1}));
    ASSERT_TRUE(b.add_compressed_update({2, 1, {}, {}, 0, 7, 0}));
    ASSERT_TRUE(b.add_id(ItemKind::del_c, {3, 1}));
    ASSERT_TRUE(b.add_insert(ordinary_state(4)));
    ASSERT_TRUE(b.add_update(ordinary_state(5)));
    ASSERT_TRUE(b.add_id(ItemKind::upd_req, {0, 0}));
    ASSERT_TRUE(b.add_clear({make_name("wan"), 9}));
    ASSERT_TRUE(b.add_bulk({9, 0, static_cast<uint8_t>(BulkStatus::start)}));
    ASSERT_TRUE(b.add_tdb({256, *parse_ip("2001:db8::1"), 1, 2, 50, 0, 0}));
    ASSERT_NE(b.finish(0), 0u);
    Collector c;
    RxCounters counters;
    EXPECT_EQ(receive(system, true, kTtl, b.payload(), c, counters), Verdict::accept);
    ASSERT_EQ(c.acks.size(), 1u);
    ASSERT_EQ(c.compressed.size(), 1u);
    EXPECT_EQ(c.compressed[0].timeout, 7);
    ASSERT_EQ(c.deletes.size(), 1u);
    EXPECT_EQ(c.deletes[0], (StateId{3, 1}));
    ASSERT_EQ(c.inserts.size(), 1u);
    EXPECT_EQ(c.inserts[0].id, 4u);
    EXPECT_EQ(c.inserts[0].wire.addr[0], Address::v4(0x0a000001));
    ASSERT_EQ(c.updates.size(), 1u);
    ASSERT_EQ(c.requests.size(), 1u);
    EXPECT_EQ(c.requests[0], StateId{});
    ASSERT_EQ(c.clears.size(), 1u);
    EXPECT_EQ(name_text(c.clears[0].ifname), "wan");
    ASSERT_EQ(c.bulks.size(), 1u);
    ASSERT_EQ(c.tdbs.size(), 1u);
    EXPECT_EQ(to_string(c.tdbs[0].dst), "2001:db8::1");
    EXPECT_EQ(counters.items[static_cast<size_t>(ItemKind::del_c)], 1u);
    EXPECT_EQ(counters.bad_values, 0u);
  }
}

TEST(PfsyncPacket, HeaderIsTestedInTheKernelsOrder) {
  for (const System system : kSystems) {
    auto payload = sample_payload(system);
    EXPECT_EQ(fault_of(system, true, 255, payload), Fault::none);
    EXPECT_EQ(fault_of(system, false, 1, payload), Fault::badif) << "before the TTL";
    EXPECT_EQ(fault_of(system, true, 254, Bytes(payload).first(3)), Fault::badttl) << "before the length";
    EXPECT_EQ(fault_of(system, true, 255, Bytes(payload).first(19)), Fault::hdrops);
    auto wrong = payload;
    wrong[0] ^= 3;  // 5 and 6 into one another
    EXPECT_EQ(fault_of(system, true, 255, wrong), Fault::badver);
    wrong = payload;
    store_be16(&wrong[2], static_cast<uint16_t>(payload.size() + 1));
    EXPECT_EQ(fault_of(system, true, 255, wrong), Fault::badlen);
    store_be16(&wrong[2], 19);
    EXPECT_EQ(fault_of(system, true, 255, wrong), Fault::badlen);
  }
}

TEST(PfsyncPacket, WhatWasDoneBeforeAFaultStaysDone) {
  auto payload = sample_payload(System::openbsd74);
  store_be16(&payload[kHeaderSize + 4 + 24 + 2], 2);  // one compressed update more than there is
  Collector c;
  RxCounters counters;
  EXPECT_EQ(receive(System::openbsd74, true, kTtl, payload, c, counters), Verdict::partial);
  EXPECT_EQ(c.deletes.size(), 2u);
  EXPECT_TRUE(c.compressed.empty());
  EXPECT_EQ(counters.fault(Fault::badlen), 1u);
}

TEST(PfsyncPacket, LargerItemsAreSteppedOverBySenderSize) {
  // Two deletes of 16 bytes each, the last four unknown here.
  std::vector<uint8_t> payload(kHeaderSize + 4 + 32);
  payload[0] = 6;
  store_be16(&payload[2], static_cast<uint16_t>(payload.size()));
  payload[20] = 7;
  payload[21] = 4;
  store_be16(&payload[22], 2);
  store_be64(&payload[24], 11);
  store_be64(&payload[40], 22);
  Collector c;
  RxCounters counters;
  EXPECT_EQ(receive(System::openbsd74, true, kTtl, payload, c, counters), Verdict::accept);
  ASSERT_EQ(c.deletes.size(), 2u);
  EXPECT_EQ(c.deletes[1].id, 22u);
}

TEST(PfsyncPacket, UnknownSectionsAreSkippedAndCounted) {
  std::vector<uint8_t> payload(kHeaderSize + 4 + 8 + 4 + 12);
  payload[0] = 6;
  store_be16(&payload[2], static_cast<uint16_t>(payload.size()));
  payload[20] = 77;
  payload[21] = 2;
  store_be16(&payload[22], 1);
  payload[32] = 7;
  payload[33] = 3;
  store_be16(&payload[34], 1);
  Collector c;
  RxCounters counters;
  EXPECT_EQ(receive(System::openbsd74, true, kTtl, payload, c, counters), Verdict::accept);
  EXPECT_EQ(counters.skipped_sections, 1u);
  EXPECT_EQ(c.deletes.size(), 1u);
  payload[20] = 3;  // a number without a handler: 7.3 stops there
  EXPECT_EQ(receive(System::openbsd74, true, kTtl, payload, c, counters), Verdict::accept);
  EXPECT_EQ(receive(System::openbsd73, true, kTtl, payload, c, counters), Verdict::drop);
  EXPECT_EQ(counters.fault(Fault::badact), 1u);
}

TEST(PfsyncPacket, AnEmptyBulkSectionReadsNoItem) {
  std::vector<uint8_t> payload(kHeaderSize + 4);
  payload[0] = 6;
  store_be16(&payload[2], static_cast<uint16_t>(payload.size()));
  payload[20] = 10;
  payload[21] = 3;
  Collector c;
  RxCounters counters;
  EXPECT_EQ(receive(System::openbsd74, true, kTtl, payload, c, counters), Verdict::accept);
  EXPECT_TRUE(c.bulks.empty());
}

TEST(PfsyncPacket, ABadItemIsDroppedAlone) {
  std::vector<uint8_t> buffer(1500);
  PacketBuilder b(buffer, options_for(System::openbsd74));
  ASSERT_TRUE(b.add_insert(ordinary_state(1)));
  StateRecord bad = ordinary_state(2);
  bad.src.level = 13;
  ASSERT_TRUE(b.add_insert(bad));
  ASSERT_TRUE(b.add_insert(ordinary_state(3)));
  ASSERT_NE(b.finish(0), 0u);
  Collector c;
  RxCounters counters;
  EXPECT_EQ(receive(System::openbsd74, true, kTtl, b.payload(), c, counters), Verdict::accept);
  ASSERT_EQ(c.inserts.size(), 2u);
  EXPECT_EQ(c.inserts[1].id, 3u);
  EXPECT_EQ(counters.bad_values, 1u);
  EXPECT_EQ(counters.items[static_cast<size_t>(ItemKind::ins)], 2u);
}

TEST(PfsyncPacket, FreebsdCountsWhatFollowsTheEnd) {
  auto payload = sample_payload(System::freebsd13);
  payload.insert(payload.end(), 8, 0);
  store_be16(&payload[2], static_cast<uint16_t>(payload.size()));
  Collector c;
  RxCounters counters;
  EXPECT_EQ(receive(System::freebsd13, true, kTtl, payload, c, counters), Verdict::accept);
  EXPECT_EQ(counters.fault(Fault::badlen), 1u);
  EXPECT_EQ(c.deletes.size(), 2u);
}

// Hostile bytes: valid packets with random damage, cuts and made-up lengths. Each lies in a block of exactly its size,
// so that the address sanitizer sees any read outside; the sum keeps the work from being optimised away.
TEST(PfsyncPacket, DamageNeverReadsOutsideThePacket) {
  Random random(7);
  uint64_t delivered = 0, accepted = 0, dropped = 0;
  for (int round = 0; round < 30000; ++round) {
    const System system = kSystems[random.below(std::size(kSystems))];
    std::vector<uint8_t> buffer(1500);
    PacketBuilder b(buffer, options_for(system));
    const uint32_t items = random.below(12);
    for (uint32_t i = 0; i < items; ++i) {
      const uint32_t kind = random.below(4);
      if (kind == 0) b.add_id(ItemKind::del_c, {random.next(), 1});
      if (kind == 1) b.add_compressed_update(random_update(random));
      if (kind == 2) b.add_insert(ordinary_state(random.next()));
      if (kind == 3) b.add_bulk({1, 2, 1});
    }
    b.finish(0);
    const auto whole = b.payload();
    std::vector<uint8_t> payload(whole.begin(), whole.end());
    if (random.below(4) == 0) payload.resize(random.below(static_cast<uint32_t>(payload.size() + 1)));
    const uint32_t hits = random.below(6);
    for (uint32_t i = 0; i < hits && !payload.empty(); ++i)
      payload[random.below(static_cast<uint32_t>(payload.size()))] = static_cast<uint8_t>(random.next());
    if (payload.size() >= 4 && random.below(2) == 0) store_be16(&payload[2], static_cast<uint16_t>(payload.size()));
    payload.shrink_to_fit();
    Collector c;
    RxCounters counters;
    const Verdict verdict = receive(system, true, kTtl, payload, c, counters);
    accepted += verdict == Verdict::accept;
    dropped += verdict != Verdict::accept;
    for (const uint64_t n : counters.items) delivered += n;
    ASSERT_LE(c.inserts.size() * 242 + c.compressed.size() * kCompressedSize + c.deletes.size() * kIdSize,
              payload.size());
  }
  EXPECT_GT(delivered, 1000u);
  EXPECT_GT(accepted, 1000u);
  EXPECT_GT(dropped, 1000u);
}

TEST(PfsyncPacket, PureNoiseIsSurvived) {
  Random random(8);
  for (int round = 0; round < 50000; ++round) {
    std::vector<uint8_t> payload(random.below(120));
    fill(random, payload);
    const System system = kSystems[random.below(std::size(kSystems))];
    if (!payload.empty()) payload[0] = version_byte(dialect_of(system));
    if (payload.size() >= 4) store_be16(&payload[2], static_cast<uint16_t>(payload.size()));
    payload.shrink_to_fit();
    Collector c;
    RxCounters counters;
    receive(system, true, kTtl, payload, c, counters);
    ASSERT_LE((c.deletes.size() + c.acks.size() + c.requests.size()) * kIdSize, payload.size());
  }
}

TEST(PfsyncPacket, DatagramsAreOpenedOnlyWhenWhole) {
  std::vector<uint8_t> buffer(1500);
  PacketBuilder b(buffer, options_for(System::openbsd74));
  ASSERT_TRUE(b.add_id(ItemKind::del_c, {1, 2}));
  buffer.resize(b.finish(77));
  const auto d = open_datagram(buffer);
  ASSERT_TRUE(d);
  EXPECT_EQ(to_string(d->source), "192.0.2.10");
  EXPECT_EQ(to_string(d->destination), "224.0.0.240");
  EXPECT_EQ(d->ttl, 255);
  EXPECT_EQ(d->payload.size(), kHeaderSize + kSectionHeaderSize + kIdSize);
  for (size_t size = 0; size < buffer.size(); ++size) {
    const std::vector<uint8_t> cut(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(open_datagram(cut)) << size;
  }
  for (const size_t at : {0u, 2u, 6u, 8u, 9u, 12u}) {
    auto damaged = buffer;
    damaged[at] ^= 1;
    EXPECT_FALSE(open_datagram(damaged)) << "the header checksum covers byte " << at;
  }
  auto fragment = buffer;
  store_be16(&fragment[6], 0x2000);
  store_raw<uint16_t>(&fragment[10], 0);
  store_raw(&fragment[10], checksum(fragment.data(), 20));
  EXPECT_FALSE(open_datagram(fragment));
}

}  // namespace
}  // namespace twinwall::pfsync
