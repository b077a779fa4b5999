// Merging, queueing and importing: the rules that need neither wire nor clock.
#include <gtest/gtest.h>

#include "lib/net/headers.h"
#include "lib/pfsync/import.h"
#include "lib/pfsync/merge.h"
#include "lib/pfsync/queue.h"
#include "tests/unit/pfsync/random_records.h"

namespace twinwall::pfsync {
namespace {

// ------------------------------------------------------------------------------------------------------------- merge
Merge merge(System system, EndPositions local, EndPositions update, uint8_t proto = kProtoTcp) {
  return merge_update(system, proto, local, update);
}

TEST(PfsyncMerge, NewerSequencesAreTakenAlsoAcrossTheWrap) {
  const Merge m = merge(System::openbsd74, {{4, 0xfffffff0}, {4, 100}}, {{4, 16}, {4, 101}});
  EXPECT_TRUE(m.take_src && m.take_dst && m.refresh);
  EXPECT_FALSE(m.answer);
}

TEST(PfsyncMerge, AnOlderUpdateIsRefusedAndAnswered) {
  const Merge m = merge(System::openbsd74, {{9, 100}, {9, 100}}, {{4, 500}, {4, 500}});
  EXPECT_FALSE(m.take_src || m.take_dst || m.refresh);
  EXPECT_EQ(m.stale, 2);
  EXPECT_TRUE(m.answer);
}

TEST(PfsyncMerge, AFinishedProxyHandshakeMayGoDown) {
  EXPECT_TRUE(merge(System::openbsd74, {{kTcpProxySrc, 100}, {0, 0}}, {{4, 50}, {4, 50}}).take_src);
  EXPECT_FALSE(merge(System::openbsd74, {{kTcpProxyDst, 100}, {0, 0}}, {{kTcpProxySrc, 50}, {4, 50}}).take_src);
  EXPECT_FALSE(merge(System::openbsd74, {{4, 0}, {kTcpProxySrc, 0}}, {{4, 0}, {4, 0}}).take_dst)
      << "only the source has the exception";
}

TEST(PfsyncMerge, TheOlderRuleTakesTheDestinationItJudgedStale) {
  const EndPositions local{{2, 100}, {4, 500}};
  const EndPositions update{{4, 100}, {9, 100}};
  EXPECT_EQ(merge(System::openbsd74, local, update).stale, 0);
  const Merge older = merge(System::freebsd13, local, update);
  EXPECT_EQ(older.stale, 1);
  EXPECT_TRUE(older.take_dst && older.answer);
}

TEST(PfsyncMerge, OtherProtocolsCompareLevelsOnly) {
  const Merge m = merge(System::openbsd74, {{2, 900}, {1, 900}}, {{1, 1}, {1, 1}}, kProtoUdp);
  EXPECT_FALSE(m.take_src);
  EXPECT_TRUE(m.take_dst);
}

// After merging in both directions nobody is behind any more: the exchange of answers ends.
TEST(PfsyncMerge, TwoNodesComeToAgree) {
  Random random(21);
  for (const System system : {System::openbsd74, System::freebsd13}) {
    for (int round = 0; round < 20000; ++round) {
      const auto end = [&] { return PeerPosition{static_cast<uint8_t>(random.below(11)), 1000000 + random.below(4)}; };
      EndPositions a{end(), end()};
      EndPositions b{end(), end()};
      int rounds = 0;
      bool answer = true;
      for (EndPositions *to = &a, *from = &b; answer && rounds < 10; std::swap(to, from), ++rounds) {
        const Merge m = merge(system, *to, *from);
        if (m.take_src) to->src = from->src;
        if (m.take_dst) to->dst = from->dst;
        answer = m.answer;
      }
      ASSERT_LT(rounds, 10) << "answers for ever";
    }
  }
}

// ------------------------------------------------------------------------------------------------------------- queue
QueueInput waiting(SyncQueue queue, uint8_t updates = 0) {
  QueueInput in;
  in.queue = queue;
  in.updates = updates;
  in.tcp = true;
  in.now = 1000;
  return in;
}

TEST(PfsyncQueue, ALifeInQueues) {
  const System s = System::openbsd74;
  EXPECT_EQ(queue_step(s, SyncEvent::created, waiting(SyncQueue::none)), (QueueStep{SyncQueue::ins, 0, false}));
  EXPECT_EQ(queue_step(s, SyncEvent::packet, waiting(SyncQueue::ins)), (QueueStep{SyncQueue::ins, 0, false}));
  EXPECT_EQ(queue_step(s, SyncEvent::removed, waiting(SyncQueue::ins)), (QueueStep{SyncQueue::none, 0, false}))
      << "nobody heard of it";
  EXPECT_EQ(queue_step(s, SyncEvent::packet, waiting(SyncQueue::none)), (QueueStep{SyncQueue::upd_c, 0, false}));
  EXPECT_EQ(queue_step(s, SyncEvent::requested, waiting(SyncQueue::upd_c)), (QueueStep{SyncQueue::upd, 0, true}));
  EXPECT_EQ(queue_step(s, SyncEvent::removed, waiting(SyncQueue::upd)), (QueueStep{SyncQueue::del_c, 0, false}));
  EXPECT_EQ(queue_step(s, SyncEvent::packet, waiting(SyncQueue::del_c)), (QueueStep{SyncQueue::del_c, 0, false}));
}

TEST(PfsyncQueue, AcknowledgementsLeaveAtOnce) {
  EXPECT_EQ(queue_step(System::openbsd74, SyncEvent::imported_ack_wanted, waiting(SyncQueue::none)),
            (QueueStep{SyncQueue::ins_ack, 0, true}));
  EXPECT_EQ(queue_step(System::openbsd74, SyncEvent::imported, waiting(SyncQueue::none)),
            (QueueStep{SyncQueue::none, 0, false}))
      << "never echoed";
}

TEST(PfsyncQueue, EveryMaxupdthTouchFlushes) {
  for (const uint8_t max : {uint8_t{0}, uint8_t{1}, uint8_t{128}, uint8_t{255}}) {
    QueueInput in = waiting(SyncQueue::none);
    in.max_updates = max;
    int touches = -1;  // the first only queues it
    QueueStep step;
    do {
      step = queue_step(System::openbsd74, SyncEvent::packet, in);
      in.queue = step.queue;
      in.updates = step.updates;
      ++touches;
    } while (!step.flush && touches < 1000);
    EXPECT_EQ(touches, max == 0 ? 1 : max);
  }
}

TEST(PfsyncQueue, OnlyTcpCountsTouches) {
  QueueInput in = waiting(SyncQueue::upd_c, 255);
  in.tcp = false;
  EXPECT_EQ(queue_step(System::openbsd74, SyncEvent::packet, in), (QueueStep{SyncQueue::upd_c, 255, false}));
}

TEST(PfsyncQueue, BothNodesOnOneConnectionTellEachOtherFast) {
  QueueInput in = waiting(SyncQueue::none);
  in.peer_update = in.now - 1;
  EXPECT_TRUE(queue_step(System::openbsd74, SyncEvent::packet, in).flush);
  in.peer_update = in.now - 2;
  EXPECT_FALSE(queue_step(System::openbsd74, SyncEvent::packet, in).flush);
  in.peer_update = 0;
  in.now = 1;
  EXPECT_FALSE(queue_step(System::openbsd74, SyncEvent::packet, in).flush) << "the peer never spoke of it";
}

TEST(PfsyncQueue, FlushTimerRunsFromTheFirstItem) {
  FlushTimer timer;
  EXPECT_FALSE(timer.deadline());
  timer.item_queued(Time{10s});
  timer.item_queued(Time{10500ms});
  EXPECT_EQ(timer.deadline(), Time{11s});
  EXPECT_FALSE(timer.due(Time{10999ms}));
  EXPECT_TRUE(timer.due(Time{11s}));
  timer.flushed();
  EXPECT_FALSE(timer.due(Time{12s}));
}

// ------------------------------------------------------------------------------------------------------------ import
ImportContext context_at(uint32_t now, System system = System::openbsd74) {
  ImportContext c;
  c.system = system;
  c.format = default_format(system);
  c.now = now;
  return c;
}

TEST(PfsyncImport, TimesAreTurnedFromRelativeToOurClock) {
  const Import i = import_state(context_at(100000), ordinary_state());
  ASSERT_EQ(i.result, ImportResult::store);
  EXPECT_EQ(i.creation, 99990);
  EXPECT_EQ(i.last_activity, 100000 - (86400 - 86000));
  EXPECT_EQ(i.timeout, TimeoutClass::tcp_established);
  EXPECT_FALSE(i.two_keys);
}

TEST(PfsyncImport, NothingLeftMeansAWholeTimeout) {
  StateRecord r = ordinary_state();
  r.expire = 0;
  EXPECT_EQ(import_state(context_at(5), r).last_activity, 5);
}

TEST(PfsyncImport, TimesBeforeTheClocksOriginStayNegative) {
  StateRecord r = ordinary_state();
  r.creation = 1000;
  r.expire = 1;
  const Import i = import_state(context_at(5), r);
  EXPECT_EQ(i.creation, -995);
  EXPECT_EQ(i.last_activity, 5 - 86399);
}

TEST(PfsyncImport, ARulesOwnTimeoutCountsWhereItIsBound) {
  std::vector<Rule> rules(4);
  rules[3].timeouts[static_cast<size_t>(TimeoutClass::tcp_established)] = 90000;
  StateRecord r = ordinary_state();
  r.rule = 3;
  ImportContext c = context_at(100000, System::openbsd73);
  c.rules = rules;
  c.ruleset_equal = true;
  EXPECT_EQ(import_state(c, r).rule, 3u);
  EXPECT_EQ(import_state(c, r).last_activity, 100000 - (90000 - 86000));
  r.rule = 4;
  EXPECT_EQ(import_state(c, r).rule, kNoRuleNumber) << "out of range";
  r.rule = 3;
  c.ruleset_equal = false;
  EXPECT_EQ(import_state(c, r).rule, kNoRuleNumber);
}

TEST(PfsyncImport, Refusals) {
  StateRecord r = ordinary_state();
  r.creator = 0;
  EXPECT_EQ(import_state(context_at(1), r).reason, ImportReason::creator_zero);
  r = ordinary_state();
  r.direction = 0;
  EXPECT_TRUE(state_values_ok(System::openbsd74, ItemKind::ins, r));
  EXPECT_EQ(import_state(context_at(1), r).reason, ImportReason::bad_direction);
  r = ordinary_state();
  r.af = Af::none;
  EXPECT_EQ(import_state(context_at(1), r).result, ImportResult::skip);
  r = ordinary_state();
  r.timeout = 20;
  EXPECT_EQ(import_state(context_at(1), r).result, ImportResult::refuse) << "tested again for an update";
}

TEST(PfsyncImport, UnknownInterfaces) {
  ImportContext c = context_at(1);
  c.interface_known = false;
  EXPECT_EQ(import_state(c, ordinary_state()).result, ImportResult::store) << "OpenBSD makes a place for it";
  c = context_at(1, System::freebsd13);
  c.interface_known = false;
  EXPECT_EQ(import_state(c, ordinary_state()).result, ImportResult::skip);
}

TEST(PfsyncImport, FreebsdsOwnTests) {
  ImportContext c = context_at(1, System::freebsd15);
  StateRecord r = ordinary_state();
  r.proto = kProtoSctp;
  EXPECT_EQ(import_state(c, r).reason, ImportReason::sctp_without_scrub);
  r.src.scrub_valid = r.dst.scrub_valid = 1;
  r.timeout = 22;
  const Import sctp = import_state(c, r);
  EXPECT_EQ(sctp.result, ImportResult::store);
  EXPECT_EQ(sctp.timeout, TimeoutClass::tcp_established) << "lives by TCP's classes here";
  r = ordinary_state();
  r.ifname.fill('x');
  EXPECT_EQ(import_state(c, r).reason, ImportReason::unterminated_name);
  r = ordinary_state();
  r.rtable[0] = 1;
  EXPECT_EQ(import_state(c, r).reason, ImportReason::unknown_routing_table);
  c = context_at(1, System::freebsd14);
  c.format = StateFormat::v1301;
  r = ordinary_state();
  r.rt_addr = Address::v4(0x0a000001);
  EXPECT_EQ(import_state(c, r).reason, ImportReason::no_route);
  c.ruleset_equal = c.rule_names_one_route = true;
  EXPECT_EQ(import_state(c, r).result, ImportResult::store);
}

TEST(PfsyncImport, KeysTakeTheStatesFamilyAndClearUnusedBytes) {
  StateRecord r = ordinary_state();
  r.wire.af = r.stack.af = Af::none;
  r.wire.addr[0].bytes[9] = 0xff;  // behind the IPv4 address
  const Import i = import_state(context_at(1), r);
  ASSERT_EQ(i.result, ImportResult::store);
  EXPECT_EQ(i.wire.af, Af::inet);
  EXPECT_FALSE(i.two_keys);
  EXPECT_EQ(i.wire.addr[0], Address::v4(0x0a000001));
}

TEST(PfsyncImport, IcmpChangesItsNumberBetweenFamilies) {
  StateRecord r = ordinary_state();
  r.proto = kProtoIcmp;
  r.timeout = 9;
  r.src.level = r.dst.level = 0;
  r.stack.af = Af::inet6;
  const Import i = import_state(context_at(1), r);
  EXPECT_EQ(i.wire.proto, kProtoIcmp);
  EXPECT_EQ(i.stack.proto, kProtoIcmp6);
  EXPECT_TRUE(i.two_keys);
}

TEST(PfsyncImport, FreebsdsEchoIdsComeIntoOurSlots) {
  StateRecord r = ordinary_state();
  r.proto = kProtoIcmp;
  r.timeout = 9;
  r.src.level = r.dst.level = 0;
  for (auto* key : {&r.wire, &r.stack}) key->port[0] = key->port[1] = bswap(uint16_t{0x1234});
  Import i = import_state(context_at(1, System::freebsd13), r);
  EXPECT_EQ(bswap(i.wire.port[0]), 0x1234);
  EXPECT_EQ(bswap(i.wire.port[1]), kIcmpEchoRequest);
  r.direction = 2;
  i = import_state(context_at(1, System::freebsd13), r);
  EXPECT_EQ(bswap(i.wire.port[1]), 0x1234);
  EXPECT_EQ(bswap(i.wire.port[0]), kIcmpEchoRequest);
}

TEST(PfsyncImport, AckWantedIsAnsweredAndNotKept) {
  StateRecord r = ordinary_state();
  r.state_flags = kStateAckWanted | kStateNoSync;
  const Import i = import_state(context_at(1), r);
  EXPECT_TRUE(i.acknowledge);
  EXPECT_EQ(i.flags, kStateNoSync);
  EXPECT_FALSE(i.announce);
}

TEST(PfsyncImport, RandomRecordsNeverHarm) {
  Random random(22);
  int stored = 0;
  const std::vector<Rule> rules(8);
  for (int round = 0; round < 50000; ++round) {
    const System system = kSystems[random.below(std::size(kSystems))];
    StateRecord r = random_state(random, default_format(system));
    if (random.below(2) == 0) {
      r.src.level %= 13;
      r.dst.level %= 13;
      r.timeout = static_cast<uint8_t>(r.timeout % 26);
      r.direction = static_cast<uint8_t>(r.direction % 3);
      r.rule %= 10;
      r.anchor = kNoRuleNumber;
    }
    ImportContext c = context_at(random.next32(), system);
    c.rules = rules;
    c.ruleset_equal = random.below(2) == 0;
    const Import i = import_state(c, r);
    if (i.result != ImportResult::store) continue;
    ++stored;
    ASSERT_LT(static_cast<size_t>(i.timeout), kTimeoutClasses);
    ASSERT_TRUE(i.rule == kNoRuleNumber || i.rule < rules.size());
    ASSERT_TRUE(r.direction == 1 || r.direction == 2);
  }
  EXPECT_GT(stored, 1000);
}

}  // namespace
}  // namespace twinwall::pfsync
