#include "control/sync_engine.h"

#include <gtest/gtest.h>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "sync_pair.h"

namespace twinwall {
namespace {

using test::FakeDataplane;
using test::Frame;
using test::group;
using test::kSyncLink;
using test::record;
using test::SyncPair;
using test::SyncTestHost;

TEST_F(SyncPair, InsertUpdateAndDeleteReachThePeersTable) {
  both();
  a.plane.create(record(1, 1));
  run(5ms);
  ASSERT_NE(b.plane.find(1, 1), nullptr);
  EXPECT_EQ(b.plane.find(1, 1)->wire, record(1, 1).wire);

  pfsync::StateRecord changed = record(1, 1);
  changed.src.seqlo = 4711;
  changed.dst.level = kTcpFinWait2;
  a.plane.deltas.push_back({SyncQueue::upd_c, changed});
  run(5ms);
  EXPECT_EQ(b.plane.find(1, 1)->src.seqlo, 4711u);
  EXPECT_EQ(b.plane.find(1, 1)->dst.level, kTcpFinWait2);

  a.plane.remove(1, 1);
  run(5ms);
  EXPECT_EQ(b.plane.find(1, 1), nullptr);
  EXPECT_EQ(b.engine->status().received.bad_values, 0u);
}

TEST_F(SyncPair, FramesAreAddressedToThePeerAndLeaveOnce) {
  both();
  a.plane.create(record(1, 1));
  a.engine->poll(now);
  const auto frames = a.plane.take_sync_sent();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(Mac::from_wire(frames[0].data()), b.plane.macs()[0]);
  EXPECT_EQ(Mac::from_wire(&frames[0][6]), a.plane.macs()[0]);
  EXPECT_EQ(frames[0][14 + 8], 255);
  EXPECT_EQ(frames[0][14 + 9], kProtoPfsync);
  EXPECT_EQ(load_be32(&frames[0][14 + 16]), 0x0aff0002u);
}

TEST_F(SyncPair, DeltasArePackedToTheMtu) {
  both();
  crossed = 0;
  for (uint64_t i = 1; i <= 100; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(5ms);
  EXPECT_EQ(b.plane.states(), 100u);
  EXPECT_EQ(crossed, 20u);  // five full states to a packet of 1500 bytes
}

TEST_F(SyncPair, StateMadeAndRemovedInOneTurnDoesNotStayAtThePeer) {
  both();
  a.plane.create(record(1, 1));
  a.plane.remove(1, 1);
  run(5ms);
  EXPECT_EQ(b.plane.find(1, 1), nullptr);
}

TEST_F(SyncPair, UnknownUpdateIsAskedForOnceAndTheStateComesWhole) {
  both();
  a.plane.create(record(1, 1));
  a.plane.deltas.clear();  // its insert was lost
  for (int i = 0; i < 5; ++i) a.plane.deltas.push_back({SyncQueue::upd_c, record(1, 1)});
  run(20ms);
  ASSERT_NE(b.plane.find(1, 1), nullptr);
  const SyncStatus s = b.engine->status();
  EXPECT_EQ(s.items_sent[static_cast<size_t>(pfsync::ItemKind::upd_req)], 1u + 1u);  // and the bulk request
  EXPECT_GE(s.unknown_states, 1u);
}

TEST_F(SyncPair, UnknownStateThatNobodyHasIsAskedForAgainOnlyAfterASecond) {
  both();
  const auto requests = [&] { return b.engine->status().items_sent[static_cast<size_t>(pfsync::ItemKind::upd_req)]; };
  const uint64_t before = requests();
  for (int i = 0; i < 500; ++i) {
    a.plane.deltas.push_back({SyncQueue::upd_c, record(99, 1)});
    run(1ms);
  }
  EXPECT_EQ(requests() - before, 1u);
  run(600ms);
  a.plane.deltas.push_back({SyncQueue::upd_c, record(99, 1)});
  run(5ms);
  EXPECT_EQ(requests() - before, 2u);
}

TEST_F(SyncPair, ReturningNodeGetsTheWholeTableAndIsDemotedUntilThen) {
  start(a, b);
  for (uint64_t i = 1; i <= 2000; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  a.plane.create(record(5000, 2));  // the dead node's own, held here
  run(50ms);
  start(b, a);
  EXPECT_TRUE(b.host.demoted());
  EXPECT_EQ(b.host.changes.back(), std::make_pair(true, true));
  run(10ms);
  EXPECT_TRUE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::receiving);
  run(500ms);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  EXPECT_EQ(b.plane.states(), 2001u);
  EXPECT_EQ(b.engine->status().bulk_states_received, 2001u);
  EXPECT_EQ(a.engine->status().bulk_states_sent, 2001u);
}

TEST_F(SyncPair, DemotionStaysUntilTheWorkersTookTheStatesIn) {
  start(a, b);
  for (uint64_t i = 1; i <= 50; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(50ms);
  b.plane.sync_commands_blocked = true;
  start(b, a);
  run(300ms);
  EXPECT_EQ(b.plane.states(), 0u);
  EXPECT_TRUE(b.host.demoted());
  EXPECT_GT(b.engine->status().commands_waiting, 0u);
  b.plane.sync_commands_blocked = false;
  run(50ms);
  EXPECT_EQ(b.plane.states(), 50u);
  EXPECT_FALSE(b.host.demoted());
}

TEST_F(SyncPair, EmptyTableIsAnsweredWithStartAndEnd) {
  start(a, b);
  run(10ms);
  start(b, a);
  run(50ms);
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  EXPECT_EQ(b.engine->status().received.items[static_cast<size_t>(pfsync::ItemKind::bus)], 2u);
}

TEST_F(SyncPair, RemovalDuringATransferIsNotUndoneByIt) {
  start(a, b);
  for (uint64_t i = 1; i <= 3000; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(50ms);
  start(b, a);
  run(8ms);  // the walk has come by every state, few have been sent
  ASSERT_LT(b.plane.states(), 2000u);
  for (uint64_t i = 2900; i <= 3000; ++i) a.plane.remove(i, 1);
  run(500ms);
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  for (uint64_t i = 2900; i <= 3000; ++i) EXPECT_EQ(b.plane.find(i, 1), nullptr) << i;
  EXPECT_EQ(b.plane.states(), 2899u);
}

TEST_F(SyncPair, StatesThatAreNotSynchronisedAreNotTransferred) {
  start(a, b);
  pfsync::StateRecord secret = record(1, 1);
  secret.state_flags = kStateNoSync;
  a.plane.create(secret);
  a.plane.create(record(2, 1));
  a.plane.deltas.clear();
  run(10ms);
  start(b, a);
  run(100ms);
  EXPECT_EQ(b.plane.find(1, 1), nullptr);
  EXPECT_NE(b.plane.find(2, 1), nullptr);
}

TEST_F(SyncPair, WithoutAPeerTheDemotionEndsAfterTheTries) {
  start(b, a);
  run(20s);
  EXPECT_TRUE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::requested);
  run(10s);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::failed);
  EXPECT_EQ(b.engine->status().bulk_requests_sent, 12u);
}

TEST_F(SyncPair, PeerThatDiesDuringItsTransferIsNotWaitedForLong) {
  start(a, b);
  for (uint64_t i = 1; i <= 3000; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(50ms);
  start(b, a);
  run(10ms);
  a.running = false;
  ASSERT_EQ(b.engine->status().bulk, BulkState::receiving);
  run(12s);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::failed);
}

TEST_F(SyncPair, InterruptedLinkIsFollowedByANewTransfer) {
  both();
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  cut = true;
  a.engine->link_change(now, false);
  b.engine->link_change(now, false);
  a.plane.create(record(7, 1));
  run(100ms);
  EXPECT_EQ(a.engine->status().deltas_lost, 1u);
  cut = false;
  a.engine->link_change(now, true);
  b.engine->link_change(now, true);
  EXPECT_EQ(b.host.changes.back(), std::make_pair(true, false));
  run(200ms);
  EXPECT_NE(b.plane.find(7, 1), nullptr);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
}

TEST_F(SyncPair, EndOfAnInterruptedTransferIsNotThatOfTheNextOne) {
  start(a, b);
  for (uint64_t i = 1; i <= 50; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(50ms);
  b.plane.sync_commands_blocked = true;
  start(b, a);
  run(300ms);  // all has come, the workers have taken nothing of it yet
  cut = true;
  b.engine->link_change(now, false);
  b.engine->link_change(now, true);
  b.plane.sync_commands_blocked = false;
  run(50ms);
  EXPECT_TRUE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::requested);
  cut = false;
  run(3s);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
}

TEST_F(SyncPair, RequestThatComesBeforeThePeersAddressIsKnownIsAnsweredLater) {
  a.engine->start(now, true);
  a.running = true;
  start(b, a);
  run(50ms);
  EXPECT_EQ(b.engine->status().bulk, BulkState::requested);
  a.engine->set_peer_mac(now, 0, b.plane.macs()[0]);
  run(50ms);
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  EXPECT_EQ(b.engine->status().bulk_requests_sent, 1u);
}

TEST_F(SyncPair, FullPortLosesNothing) {
  both();
  a.plane.sync_blocked = true;
  for (uint64_t i = 1; i <= 500; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(100ms);
  EXPECT_EQ(b.plane.states(), 0u);
  EXPECT_FALSE(a.engine->drained());
  a.plane.sync_blocked = false;
  run(20ms);
  EXPECT_EQ(b.plane.states(), 500u);
  EXPECT_EQ(a.engine->status().packets_lost, 0u);
  EXPECT_TRUE(a.engine->drained());
}

TEST_F(SyncPair, PortThatStaysFullIsGivenUpAndCounted) {
  both();
  a.plane.sync_blocked = true;
  a.plane.create(record(1, 1));
  run(1200ms);
  EXPECT_EQ(a.engine->status().packets_lost, 1u);
  EXPECT_TRUE(a.engine->drained());
}

TEST_F(SyncPair, ClearOfTheOperatorRemovesOurStatesAtThePeerOnly) {
  both();
  a.plane.create(record(1, 1));
  b.plane.create(record(2, 2));
  run(10ms);
  ASSERT_EQ(b.plane.states(), 2u);
  a.engine->send_clear(now);
  run(10ms);
  EXPECT_EQ(b.plane.find(1, 1), nullptr);
  EXPECT_NE(b.plane.find(2, 2), nullptr);
}

TEST_F(SyncPair, ForeignFramesAreCountedByReason) {
  both();
  a.plane.create(record(1, 1));
  a.engine->poll(now);
  const Frame good = a.plane.take_sync_sent().at(0);

  Frame ttl = good;
  ttl[14 + 8] = 64;
  store_raw<uint16_t>(&ttl[14 + 10], 0);
  store_raw(&ttl[14 + 10], checksum(&ttl[14], kIpv4Header));
  b.plane.receive_sync(kSyncLink, ttl);
  b.plane.receive_sync(kSyncLink + 1, good);
  Frame version = good;
  version[34] = 9;
  b.plane.receive_sync(kSyncLink, version);
  b.plane.receive_sync(kSyncLink, Frame(good.begin(), good.begin() + 30));
  b.plane.receive_sync(kSyncLink, Frame(10, 0));
  b.engine->poll(now);
  const SyncStatus s = b.engine->status();
  EXPECT_EQ(s.received.fault(pfsync::Fault::badttl), 1u);
  EXPECT_EQ(s.received.fault(pfsync::Fault::badif), 1u);
  EXPECT_EQ(s.received.fault(pfsync::Fault::badver), 1u);
  EXPECT_EQ(s.not_pfsync, 2u);
  EXPECT_EQ(b.plane.states(), 0u);
}

TEST(SyncWorkers, RecordsWithKeysGoToTheirOwnerAndIdsToAll) {
  FakeDataplane plane(1, 1, 3);
  FakeDataplane peer_plane(2, 1, 1);
  SyncTestHost host, peer_host;
  SyncOptions o;
  o.hostid = 1;
  o.interface = kSyncLink;
  o.mac = plane.macs()[0];
  o.peers = {{group(), {Af::inet, Address::v4(1)}}};
  o.workers = 3;
  SyncEngine engine(o, plane, host);  // multicast: needs no peer's address
  o.hostid = 2;
  o.workers = 1;
  o.mac = peer_plane.macs()[0];
  o.peers = {{group(), {Af::inet, Address::v4(2)}}};
  SyncEngine peer(o, peer_plane, peer_host);
  Time now(1s);
  engine.start(now, true);
  peer.start(now, true);
  const auto run = [&](int turns) {
    for (int i = 0; i < turns; ++i, now += 1ms) {
      engine.poll(now);
      peer.poll(now);
      for (auto& f : plane.take_sync_sent()) peer_plane.receive_sync(kSyncLink, f);
      for (auto& f : peer_plane.take_sync_sent()) plane.receive_sync(kSyncLink, f);
    }
  };
  run(50);
  for (uint64_t i = 1; i <= 60; ++i) peer_plane.create(record(i, 2, static_cast<uint16_t>(i * 7)));
  run(10);
  EXPECT_EQ(plane.states(), 60u);
  for (unsigned w = 0; w < 3; ++w) EXPECT_GT(plane.table_size(w), 0u) << "nothing for worker " << w;
  for (uint64_t i = 1; i <= 60; ++i) {
    const auto r = record(i, 2, static_cast<uint16_t>(i * 7));
    bool at_owner = false;
    for (const auto& [worker, c] : plane.sync_commands)
      if (c.kind == Command::Kind::import_state && c.record.id == i) at_owner = worker == owner_of(r, 3);
    EXPECT_TRUE(at_owner) << i;
  }
  plane.sync_commands.clear();
  peer_plane.deltas.push_back({SyncQueue::upd_c, record(999, 2)});
  peer_plane.remove(5, 2);
  run(5);
  unsigned updates = 0, reporting = 0, deletes = 0;
  for (const auto& [worker, c] : plane.sync_commands) {
    if (c.kind == Command::Kind::update_compressed) {
      ++updates;
      reporting += c.report_unknown ? 1 : 0;
    }
    deletes += c.kind == Command::Kind::delete_state ? 1 : 0;
  }
  EXPECT_EQ(updates, 3u);
  EXPECT_EQ(reporting, 1u);
  EXPECT_EQ(deletes, 3u);
  EXPECT_EQ(plane.find(5, 2), nullptr);
}

TEST(SyncWorkers, UpdateReachesAStateThatAnotherWorkerOwns) {
  FakeDataplane plane(1, 1, 2);
  SyncTestHost host;
  SyncOptions o;
  o.hostid = 1;
  o.interface = kSyncLink;
  o.peers = {{group(), {Af::inet, Address::v4(1)}}};
  o.workers = 2;
  SyncEngine engine(o, plane, host);
  Time now(1s);
  engine.start(now, true);
  const auto r = record(1, 1);
  const unsigned other = 1 - owner_of(r, 2);
  plane.create(r, other);  // made here, on the worker its packets came to
  plane.deltas.clear();

  std::vector<uint8_t> buffer(1514);
  pfsync::PacketOptions packet;
  packet.source = {Af::inet, Address::v4(2)};
  packet.destination = {Af::inet, Address::v4(pfsync::kGroupV4)};
  pfsync::PacketBuilder builder(MutableBytes(buffer).subspan(14), packet);
  auto newer = r;
  newer.src.seqlo = 77;
  ASSERT_TRUE(builder.add_update(newer));
  buffer.resize(14 + builder.finish(1));
  plane.receive_sync(kSyncLink, buffer);
  engine.poll(now);
  ASSERT_NE(plane.find(1, 1), nullptr);
  EXPECT_EQ(plane.find(1, 1)->src.seqlo, 77u);
  EXPECT_EQ(plane.states(), 1u);
}

}  // namespace
}  // namespace twinwall
