// Whom the sync engine speaks with: peers in other dialects, with other names of interfaces, several of them, over
// IPv6, and peers that must prove themselves.
#include <gtest/gtest.h>

#include "lib/net/checksum.h"
#include "sync_pair.h"

namespace twinwall {
namespace {

using test::FakeDataplane;
using test::Frame;
using test::kSyncLink;
using test::record;
using test::SyncPair;
using test::SyncTestHost;

constexpr std::string_view kSyncSecret = "a secret of thirty-two bytes ...";

struct Dialects {
  pfsync::System a, b;
};
class SyncDialects : public SyncPair, public testing::WithParamInterface<Dialects> {
 protected:
  SyncDialects() : SyncPair(GetParam().a, GetParam().b) {}
};

TEST_P(SyncDialects, TablesStayAlikeWhateverEachSideSends) {
  start(a, b);
  for (uint64_t i = 1; i <= 300; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(50ms);
  start(b, a);
  run(500ms);
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  EXPECT_EQ(b.engine->status().bulk_states_received, 300u);
  ASSERT_EQ(b.plane.states(), 300u);

  b.plane.create(record(1000, 2, 1000));
  a.plane.remove(7, 1);
  auto changed = record(8, 1, 8);
  changed.src.seqlo = 4711;
  a.plane.deltas.push_back({SyncQueue::upd_c, changed});
  run(20ms);
  EXPECT_NE(a.plane.find(1000, 2), nullptr);
  EXPECT_EQ(a.plane.find(1000, 2)->wire, record(1000, 2, 1000).wire);
  EXPECT_EQ(b.plane.find(7, 1), nullptr);
  EXPECT_EQ(b.plane.find(8, 1)->src.seqlo, 4711u);

  a.engine->send_clear(now);
  run(20ms);
  EXPECT_EQ(b.plane.states(), 1u);
  EXPECT_EQ(a.engine->status().peer_dialect, pfsync::dialect_of(GetParam().b));
  EXPECT_EQ(b.engine->status().peer_dialect, pfsync::dialect_of(GetParam().a));
  for (const auto* s : {&a, &b}) {
    EXPECT_EQ(s->engine->status().received.bad_values, 0u);
    for (const uint64_t fault : s->engine->status().received.faults) EXPECT_EQ(fault, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Mixed, SyncDialects,
                         testing::Values(Dialects{pfsync::System::freebsd13, pfsync::System::freebsd13},
                                         Dialects{pfsync::System::freebsd14, pfsync::System::openbsd74},
                                         Dialects{pfsync::System::openbsd74, pfsync::System::freebsd15},
                                         Dialects{pfsync::System::freebsd15, pfsync::System::freebsd13}));

// The IPv4 header's checksum put right after a change.
Frame with_checksum(Frame f) {
  store_raw<uint16_t>(&f[14 + 10], 0);
  store_raw(&f[14 + 10], checksum(&f[14], kIpv4Header));
  return f;
}

uint64_t refused_for(const SyncEngine& e, std::string_view wanted) {
  uint64_t found = 0;
  each_sync_refusal(e.status(), [&](std::string_view reason, uint64_t n) { found += reason == wanted ? n : 0; });
  return found;
}

TEST_F(SyncPair, StrangersAndFramesForOthersAreIgnored) {
  both();
  a.plane.create(record(1, 1));
  a.engine->poll(now);
  const Frame good = a.plane.take_sync_sent().at(0);
  Frame stranger = good;
  store_be32(&stranger[14 + 12], 0x0aff0009);
  b.plane.receive_sync(kSyncLink, with_checksum(stranger));
  Frame for_another = good;
  store_be32(&for_another[14 + 16], 0x0aff0009);
  b.plane.receive_sync(kSyncLink, with_checksum(for_another));
  b.engine->poll(now);
  EXPECT_EQ(b.plane.states(), 0u);
  EXPECT_EQ(refused_for(*b.engine, "stranger"), 1u);
  EXPECT_EQ(refused_for(*b.engine, "misaddressed"), 1u);
  b.plane.receive_sync(kSyncLink, good);
  b.engine->poll(now);
  EXPECT_EQ(b.plane.states(), 1u);
}

TEST_F(SyncPair, InterfacesMayHaveOtherNamesAtThePeer) {
  SyncOptions o = b.options;
  o.names.add("em0", "wan");
  b.engine = std::make_unique<SyncEngine>(o, b.plane, b.host);
  both();
  auto r = record(1, 1);
  r.ifname = pfsync::make_name("em0");
  a.plane.create(r);
  auto mine = record(2, 2, 2);
  mine.ifname = pfsync::make_name("wan");
  b.plane.create(mine);
  run(10ms);
  ASSERT_NE(b.plane.find(1, 1), nullptr);
  EXPECT_EQ(b.plane.find(1, 1)->interface_name(), "wan");
  ASSERT_NE(a.plane.find(2, 2), nullptr);
  EXPECT_EQ(a.plane.find(2, 2)->interface_name(), "em0");
}

// Three nodes, each of which names both others.
class SyncThree : public testing::Test {
 protected:
  SyncThree() {
    for (uint8_t n = 1; n <= 3; ++n) planes.push_back(std::make_unique<FakeDataplane>(n, 1, 1));
    for (uint8_t n = 1; n <= 3; ++n) {
      SyncOptions o;
      o.hostid = n;
      o.interface = kSyncLink;
      o.mac = planes[n - 1u]->macs()[0];
      for (uint8_t other = 1; other <= 3; ++other)
        if (other != n) o.peers.push_back({of(other), of(n)});
      o.key.assign(kSyncSecret.begin(), kSyncSecret.end());
      o.random = [this] { return random.next(); };
      engines.push_back(std::make_unique<SyncEngine>(o, *planes[n - 1u], host));
    }
  }
  static IpAddress of(uint8_t n) {
    IpAddress a = *parse_ip("2001:db8::");
    a.addr.bytes[15] = n;
    return a;
  }
  void start(size_t n) {
    size_t peer = 0;
    for (size_t other = 0; other < 3; ++other)
      if (other != n) engines[n]->set_peer_mac(now, peer++, planes[other]->macs()[0]);
    engines[n]->start(now, true);
  }
  void run(Duration d) {
    for (const Time end = now + d; now <= end; now += 1ms) {
      for (auto& e : engines) e->poll(now);
      for (auto& p : planes)
        for (const Frame& f : p->take_sync_sent())
          for (auto& to : planes)
            if (to != p) to->receive_sync(kSyncLink, f);  // a hub: frames for others are heard too
    }
  }
  Random random{7};
  Time now = Time(50s);
  SyncTestHost host;
  std::vector<std::unique_ptr<FakeDataplane>> planes;
  std::vector<std::unique_ptr<SyncEngine>> engines;
};

TEST_F(SyncThree, EachIsToldByItselfOverIpv6) {
  for (size_t n = 0; n < 3; ++n) start(n);
  run(300ms);
  for (uint64_t n = 0; n < 3; ++n)
    planes[n]->create(record(n + 1, static_cast<uint32_t>(n + 1), static_cast<uint16_t>(n + 1)));
  run(20ms);
  for (size_t n = 0; n < 3; ++n) {
    EXPECT_EQ(planes[n]->states(), 3u);
    EXPECT_EQ(engines[n]->status().bulk, BulkState::complete);
    EXPECT_GT(refused_for(*engines[n], "misaddressed"), 0u);
    EXPECT_EQ(refused_for(*engines[n], "stranger"), 0u);
    EXPECT_EQ(refused_for(*engines[n], "replayed"), 0u);
  }
}

class SyncWithKey : public SyncPair {
 protected:
  SyncWithKey() {
    become(a, 1, pfsync::System::openbsd74, kSyncSecret, 1);
    become(b, 2, pfsync::System::openbsd74, kSyncSecret, 2);
  }
  // The node's next life, with an empty table.
  void restart(Side& s, Side& peer, uint8_t number, uint64_t seed) {
    become(s, number, pfsync::System::openbsd74, kSyncSecret, seed);
    start(s, peer);
  }
};

TEST_F(SyncWithKey, PeersThatHaveMetStayInStep) {
  both();
  run(300ms);
  EXPECT_TRUE(a.engine->status().peers.at(0).in_session);
  EXPECT_EQ(a.engine->status().sessions, 1u);
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  for (uint64_t i = 1; i <= 100; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(10ms);
  EXPECT_EQ(b.plane.states(), 100u);
  for (const char* reason : {"unauthenticated", "badauth", "reflected", "replayed", "unexpected_auth"})
    EXPECT_EQ(refused_for(*b.engine, reason), 0u) << reason;
}

TEST_F(SyncWithKey, FramesKeepToTheMtu) {
  both();
  run(300ms);
  for (uint64_t i = 1; i <= 100; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  a.engine->poll(now);
  size_t longest = 0;
  for (const Frame& f : a.plane.take_sync_sent()) {
    longest = std::max(longest, f.size());
    EXPECT_EQ(load_be16(&f[16]) + 14u, f.size());
  }
  EXPECT_LE(longest, 14u + 1500u);
  EXPECT_GT(longest, 14u + 1400u);
}

TEST_F(SyncWithKey, AnotherKeySyncsNothingAndIsCounted) {
  become(b, 2, pfsync::System::openbsd74, "another secret of that length ..", 2);
  both();
  a.plane.create(record(1, 1));
  run(1s);
  EXPECT_EQ(b.plane.states(), 0u);
  EXPECT_GT(refused_for(*b.engine, "badauth"), 0u);
  EXPECT_GT(refused_for(*a.engine, "badauth"), 0u);
  EXPECT_FALSE(b.engine->status().peers.at(0).in_session);
  EXPECT_LT(crossed, 30u) << "they say hello five times a second and answer nothing";
}

TEST_F(SyncWithKey, OneSideWithoutAKeySyncsNothingAndBothSaySo) {
  become(b, 2, pfsync::System::openbsd74);
  both();
  a.plane.create(record(1, 1));
  b.plane.create(record(2, 2, 2));
  run(1s);
  EXPECT_EQ(a.plane.states(), 1u);
  EXPECT_EQ(b.plane.states(), 1u);
  EXPECT_GT(refused_for(*a.engine, "unauthenticated"), 0u);
  EXPECT_GT(refused_for(*b.engine, "unexpected_auth"), 0u);
}

TEST_F(SyncWithKey, NodeThatRestartsIsTakenInAgainAndGetsTheTable) {
  both();
  run(300ms);
  for (uint64_t i = 1; i <= 200; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(50ms);
  ASSERT_EQ(b.plane.states(), 200u);
  restart(b, a, 2, 3);
  run(500ms);
  EXPECT_EQ(b.plane.states(), 200u);
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  EXPECT_EQ(a.engine->status().sessions, 2u);
}

TEST_F(SyncWithKey, RecordingIsRefusedWhetherOrNotANodeHasRestarted) {
  both();
  run(300ms);
  a.plane.create(record(1, 1));
  std::vector<Frame> recording;
  a.engine->poll(now);
  for (const Frame& f : a.plane.take_sync_sent()) {
    recording.push_back(f);
    b.plane.receive_sync(kSyncLink, f);
  }
  run(10ms);
  ASSERT_EQ(b.plane.states(), 1u);
  a.plane.remove(1, 1);
  run(10ms);
  ASSERT_EQ(b.plane.states(), 0u);
  const auto replay = [&] {
    for (const Frame& f : recording) b.plane.receive_sync(kSyncLink, f);
    run(10ms);
    return b.plane.states();
  };
  EXPECT_EQ(replay(), 0u);
  EXPECT_EQ(refused_for(*b.engine, "replayed"), recording.size());
  restart(b, a, 2, 4);
  EXPECT_EQ(replay(), 0u);
  run(300ms);
  EXPECT_EQ(replay(), 0u);
  restart(a, b, 1, 5);
  EXPECT_EQ(replay(), 0u);
  run(300ms);
  EXPECT_EQ(replay(), 0u);
  EXPECT_TRUE(b.engine->status().peers.at(0).in_session);
  a.plane.create(record(9, 1));
  run(10ms);
  EXPECT_EQ(b.plane.states(), 1u);
}

TEST_F(SyncWithKey, FloodOfHellosIsAnsweredWithFewFrames) {
  both();
  run(300ms);
  Side old(1, pfsync::System::openbsd74, kSyncSecret, 99);
  start(old, b);
  old.engine->poll(now);
  const std::vector<Frame> hello = old.plane.take_sync_sent();
  ASSERT_EQ(hello.size(), 1u);
  size_t answers = 0;
  for (int i = 0; i < 1000; ++i, now += 100us) {
    b.plane.receive_sync(kSyncLink, hello[0]);
    b.engine->poll(now);
    answers += b.plane.take_sync_sent().size();
  }
  EXPECT_LE(answers, 20u);
  EXPECT_GE(answers, 8u);
  EXPECT_TRUE(b.engine->status().peers.at(0).in_session);
}

}  // namespace
}  // namespace twinwall
