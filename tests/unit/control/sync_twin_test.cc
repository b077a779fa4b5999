// Two twinwall nodes: what they do beyond pfsync, and what of it a BSD gets to see.
#include <gtest/gtest.h>

#include "log_capture.h"
#include "sync_pair.h"

namespace twinwall {
namespace {

using test::Frame;
using test::LogCapture;
using test::record;
using test::SyncPair;

constexpr auto kObsd = pfsync::System::openbsd74;
constexpr std::string_view kTwinSecret = "another secret of thirty-two byte";

class TwinPair : public SyncPair, public testing::WithParamInterface<std::string_view> {
 protected:
  TwinPair() {
    become(a, 1, kObsd, GetParam(), 1, true);
    become(b, 2, kObsd, GetParam(), 2, true);
  }
  void fill(Side& s, uint64_t n, uint32_t creator = 1) {
    for (uint64_t i = 1; i <= n; ++i) s.plane.create(record(i, creator, static_cast<uint16_t>(i)));
  }
  void restart(Side& s, Side& peer, uint8_t number, uint64_t seed) {
    become(s, number, kObsd, GetParam(), seed, true);
    start(s, peer);
  }
  static bool alike(const Side& x, const Side& y) { return x.engine->status().digest == y.engine->status().digest; }
  static SyncStatus::Peer peer_of(const Side& s) { return s.engine->status().peers.at(0); }
};

INSTANTIATE_TEST_SUITE_P(Keys, TwinPair, testing::Values(std::string_view{}, kTwinSecret),
                         [](const auto& key) { return key.param.empty() ? "plain" : "key"; });

TEST_P(TwinPair, PeersFindEachOtherAndAgree) {
  both();
  fill(a, 100);
  run(1s);
  EXPECT_EQ(peer_of(a).twin, TwinState::alive);
  EXPECT_EQ(peer_of(b).version, pfsync::kTwinVersion);
  EXPECT_EQ(b.plane.states(), 100u);
  EXPECT_TRUE(alike(a, b));
  EXPECT_TRUE(peer_of(a).proven);
  EXPECT_EQ(peer_of(a).confirmed, 100u);
  EXPECT_EQ(peer_of(a).in_flight, 0u);
  const auto c = a.engine->confirmed();
  EXPECT_GT(c.sent, 0u);
  EXPECT_EQ(c.sent, c.taken);
}

TEST_P(TwinPair, StatesSayWhoseRuleTheyAre) {
  both();
  pfsync::StateRecord r = record(1, 1);
  r.nat_rule = 77;  // what the rule says
  a.plane.create(r);
  run(100ms);
  ASSERT_NE(b.plane.find(1, 1), nullptr);
  EXPECT_EQ(b.plane.find(1, 1)->nat_rule, 77u);
}

TEST_P(TwinPair, TransferGoesAsFastAsThePeerTakesIt) {
  start(a, b);
  fill(a, 20000);
  run(200ms);
  start(b, a);
  run(500ms);
  EXPECT_EQ(b.plane.states(), 20000u);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_EQ(b.engine->status().bulk, BulkState::complete);
  EXPECT_TRUE(alike(a, b));
}

TEST_P(TwinPair, NodeStaysDemotedUntilTheDigestsAgree) {
  start(a, b);
  fill(a, 500);
  run(200ms);
  // One that the peer is never told of.
  bool hide = true;
  lose = [&](const Frame& f) { return hide && f.size() > 1000; };
  start(b, a);
  run(400ms);
  EXPECT_TRUE(b.host.demoted());
  hide = false;
  run(3s);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_EQ(b.plane.states(), 500u);
  EXPECT_TRUE(alike(a, b));
}

TEST_P(TwinPair, LostBulkFrameIsMadeGoodWithoutANewTransfer) {
  start(a, b);
  fill(a, 3000);
  run(200ms);
  int n = 0;
  lose = [&](const Frame& f) { return f.size() > 1000 && ++n % 20 == 0; };
  start(b, a);
  run(2s);
  EXPECT_GE(n, 40);
  EXPECT_EQ(b.plane.states(), 3000u);
  EXPECT_EQ(a.engine->status().bulk_transfers_answered, 1u);
  EXPECT_GT(peer_of(a).frames_lost, 0u);
  EXPECT_GT(a.engine->status().told_again, 0u);
  EXPECT_FALSE(b.host.demoted());
}

TEST_P(TwinPair, InterruptedTransferGoesOnWhereItStopped) {
  start(a, b);
  fill(a, 20000);
  run(200ms);
  start(b, a);
  run(60ms);
  const uint64_t before = b.plane.states();
  ASSERT_GT(before, 100u);
  ASSERT_LT(before, 15000u);
  cut = true;
  a.engine->link_change(now, false);
  b.engine->link_change(now, false);
  run(1s);
  a.engine->link_change(now, true);
  b.engine->link_change(now, true);
  cut = false;
  run(2s);
  EXPECT_EQ(b.plane.states(), 20000u);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_EQ(a.engine->status().bulk_transfers_answered, 1u);
  EXPECT_LT(a.engine->status().bulk_states_sent, 20001u);
}

// A loop whose deadline lies in the past never waits.
TEST_P(TwinPair, NodeWhoseLinkFlapsIsNotBusyAllTheTime) {
  both();
  fill(a, 2000);
  run(500ms);
  for (const bool up : {false, true, false}) a.engine->link_change(now, up);
  unsigned busy = 0;
  const Time end = now + 2s;
  for (; now < end; now += 1ms) {
    a.engine->poll(now);
    (void)a.plane.take_sync_sent();
    busy += a.engine->next_deadline() <= now ? 1 : 0;
  }
  EXPECT_LT(busy, 20u);
}

TEST_P(TwinPair, LostFramesOfOrdinaryTrafficAreMadeGood) {
  both();
  run(300ms);
  int n = 0;
  lose = [&](const Frame&) { return ++n % 3 == 0; };
  for (uint64_t i = 1; i <= 300; ++i) {
    a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
    if (i > 10 && i % 2 == 0) a.plane.remove(i - 10, 1);
    run(2ms);
  }
  run(1s);
  lose = nullptr;
  run(3s);
  EXPECT_EQ(a.plane.states(), b.plane.states());
  for (uint64_t i = 1; i <= 300; ++i) EXPECT_EQ(a.plane.find(i, 1) == nullptr, b.plane.find(i, 1) == nullptr) << i;
  EXPECT_EQ(a.engine->status().bulk_transfers_answered, 1u);
}

TEST_P(TwinPair, WhatAnInterruptionHidIsFoundByTheDigests) {
  both();
  fill(a, 200);
  run(1s);
  cut = true;
  a.engine->link_change(now, false);
  b.engine->link_change(now, false);
  run(1s);
  a.plane.create(record(1000, 1, 1000));  // told to nobody
  a.plane.remove(7, 1);                   // nor this
  b.plane.create(record(2000, 2, 2000));  // nor what the other one made
  b.plane.of_peer.insert({7, 1});
  run(100ms);
  cut = false;
  a.engine->link_change(now, true);
  b.engine->link_change(now, true);
  run(3s);
  EXPECT_NE(b.plane.find(1000, 1), nullptr);
  EXPECT_EQ(b.plane.find(7, 1), nullptr);
  EXPECT_NE(a.plane.find(2000, 2), nullptr);
  EXPECT_TRUE(alike(a, b));
  EXPECT_EQ(a.engine->status().bulk_transfers_answered, 1u) << "no new transfer";
  EXPECT_EQ(peer_of(a).differing_slices, 0u);
}

// Of a connection that is silent both may think that the other one had the last word. A peer that has it no more
// because it restarted has not ended it.
TEST_P(TwinPair, WhatARestartedPeerLacksIsNotTakenForDone) {
  both();
  fill(a, 200);
  run(1s);
  a.plane.of_peer.insert({7, 1});
  a.plane.word = 1;  // before it restarted
  b.plane.erase(0, 7, 1);
  run(5s);
  EXPECT_NE(a.plane.find(7, 1), nullptr);
  EXPECT_NE(b.plane.find(7, 1), nullptr) << "it was told again";
  EXPECT_TRUE(alike(a, b));
}

TEST_P(TwinPair, LevelThatWasNotHeardOfIsFound) {
  both();
  fill(a, 50);
  run(1s);
  pfsync::StateRecord r = record(9, 1, 9);
  r.dst.level = kTcpFinWait2;
  b.plane.of_peer.insert({9, 1});
  a.plane.put(0, r);  // as if the update had been lost for good
  run(3s);
  EXPECT_EQ(b.plane.find(9, 1)->dst.level, kTcpFinWait2);
  EXPECT_TRUE(alike(a, b));
}

TEST_P(TwinPair, DifferenceIsShownWhileItLasts) {
  both();
  fill(a, 50);
  run(1s);
  lose = [](const Frame& f) { return f.size() < 1000; };  // digests pass, inventories and repairs do not
  a.plane.put(0, record(60, 1, 60));
  run(2s);
  EXPECT_EQ(peer_of(b).differing_slices, 1u);
  EXPECT_FALSE(peer_of(b).proven);
  EXPECT_GT(peer_of(b).oldest, 500ms);
  EXPECT_FALSE(alike(a, b));
}

TEST_P(TwinPair, DifferenceThatLastsIsSaidOnceAndItsEndToo) {
  both();
  fill(a, 50);
  run(1s);
  lose = [](const Frame& f) { return f.size() < 1000; };  // digests pass, inventories and repairs do not
  a.plane.put(0, record(60, 1, 60));
  LogCapture log;
  run(50s);
  EXPECT_EQ(log.count("have differed"), 0u);
  run(100s);
  EXPECT_GE(log.count("have differed"), 1u);
  EXPECT_LE(log.count("have differed"), 2u) << "one line a node";
  EXPECT_EQ(log.count("differs from"), 0u);
  lose = {};
  run(90s);
  EXPECT_GE(log.count("no slice of the states differs from"), 1u);
  EXPECT_TRUE(alike(a, b));
}

TEST_P(TwinPair, PeerThatRestartsIsMetAnewAndGetsTheTable) {
  both();
  fill(a, 300);
  run(1s);
  b.running = false;
  run(4s);
  EXPECT_NE(peer_of(a).twin, TwinState::alive);
  a.plane.create(record(400, 1, 400));
  run(1s);
  restart(b, a, 2, 9);
  run(2s);
  EXPECT_EQ(b.plane.states(), 301u);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_TRUE(peer_of(a).proven);
}

TEST_P(TwinPair, RestartInTheMiddleOfATransferBeginsAnother) {
  start(a, b);
  fill(a, 20000);
  run(200ms);
  start(b, a);
  run(60ms);
  ASSERT_LT(b.plane.states(), 20000u);
  restart(b, a, 2, 9);
  run(4s);
  EXPECT_EQ(b.plane.states(), 20000u);
  EXPECT_FALSE(b.host.demoted());
  EXPECT_TRUE(alike(a, b));
}

TEST_P(TwinPair, SlowWorkersHoldTheSenderBack) {
  start(a, b);
  fill(a, 30000);
  run(300ms);
  b.plane.sync_commands_blocked = true;
  start(b, a);
  run(1s);
  EXPECT_EQ(b.engine->status().commands_lost, 0u);
  EXPECT_LT(a.engine->status().bulk_states_sent, 20000u);
  b.plane.sync_commands_blocked = false;
  run(2s);
  EXPECT_EQ(b.plane.states(), 30000u);
  EXPECT_FALSE(b.host.demoted());
}

// A node that speaks a newer dialect: an item of an unknown type, and more behind the known fields of another.
TEST_P(TwinPair, NewerReleaseIsUnderstood) {
  if (!GetParam().empty()) return;  // the frame is changed on its way
  both();
  lose = [&](const Frame& f) {
    Frame newer = f;
    const size_t trailer = newer.size() - pfsync::kTwinTrailerSize;
    const auto twin = pfsync::open_twin(Bytes(f).subspan(34));
    if (!twin) return false;
    const std::vector<uint8_t> unknown = {200, 0, 0, 4, 1, 2, 3, 4};
    newer.insert(newer.begin() + static_cast<long>(trailer), unknown.begin(), unknown.end());
    uint8_t* const end = newer.data() + newer.size() - pfsync::kTwinTrailerSize;
    store_be16(end + 26, static_cast<uint16_t>(load_be16(end + 26) + unknown.size()));
    end[29] = pfsync::kTwinVersion + 1;
    store_be16(&newer[16], static_cast<uint16_t>(newer.size() - 14));
    store_be16(&newer[24], 0);
    uint32_t sum = 0;
    for (size_t i = 14; i < 34; i += 2) sum += load_be16(&newer[i]);
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    store_be16(&newer[24], static_cast<uint16_t>(~sum));
    Side& to = Mac::from_wire(newer.data()) == a.plane.macs()[0] ? a : b;
    to.plane.receive_sync(test::kSyncLink, newer);
    return true;
  };
  fill(a, 50);
  run(2s);
  EXPECT_EQ(b.plane.states(), 50u);
  EXPECT_EQ(peer_of(a).version, pfsync::kTwinVersion + 1);
  EXPECT_TRUE(peer_of(a).proven);
}

// Next to a node that knows nothing of this, as a BSD.
TEST_F(SyncPair, ToAnotherSystemNothingIsCountedAndNothingBreaks) {
  become(a, 1, kObsd, std::string_view{}, 1, true);
  both();
  for (uint64_t i = 1; i <= 100; ++i) a.plane.create(record(i, 1, static_cast<uint16_t>(i)));
  run(2s);
  EXPECT_EQ(b.plane.states(), 100u);
  EXPECT_EQ(a.engine->status().peers.at(0).twin, TwinState::unknown);
  const SyncStatus s = b.engine->status();
  for (size_t f = 1; f < s.received.faults.size(); ++f) EXPECT_EQ(s.received.faults[f], 0u) << f;
  EXPECT_EQ(s.received.skipped_sections, 0u);
  EXPECT_EQ(s.received.bad_values, 0u);
  EXPECT_EQ(s.not_pfsync, 0u);
}

TEST_F(SyncPair, BsdsReceiversTakeAHelloForSilence) {
  become(a, 1, kObsd, std::string_view{}, 1, true);
  start(a, b);
  a.engine->poll(now);
  bool hello = false;
  for (const Frame& f : a.plane.take_sync_sent()) {
    const auto datagram = pfsync::open_datagram(Bytes(f).subspan(14));
    ASSERT_TRUE(datagram);
    hello |= load_be16(&datagram->payload[2]) == pfsync::kHeaderSize && pfsync::open_twin(datagram->payload);
    for (const auto system : {pfsync::System::openbsd73, kObsd}) {
      pfsync::RxCounters counters;
      pfsync::IgnoreAll nobody;
      EXPECT_EQ(pfsync::receive(system, true, 255, datagram->payload, nobody, counters), pfsync::Verdict::accept);
      EXPECT_EQ(counters.skipped_sections, 0u);
      for (const uint64_t n : counters.faults) EXPECT_EQ(n, 0u);
    }
  }
  EXPECT_TRUE(hello);
}

InspectionWord word_about(uint64_t id, uint32_t bytes) {
  InspectionWord w;
  w.id = {id, 1};
  w.length = bytes;
  w.bytes[0] = InspectionWord::looked_at;
  for (uint32_t i = InspectionWord::kHead; i < bytes; ++i) w.bytes[i] = static_cast<uint8_t>(id + i);
  return w;
}

TEST_P(TwinPair, WhereInspectionStandsIsToldToAPeerWithTheKey) {
  both();
  fill(a, 3);
  run(100ms);
  for (uint64_t id = 1; id <= 3; ++id) a.plane.inspections.push_back(word_about(id, InspectionWord::kMost));
  a.plane.inspections.push_back(word_about(2, 4));
  run(50ms);
  const SyncStatus told = a.engine->status(), heard = b.engine->status();
  if (GetParam().empty()) {
    EXPECT_EQ(told.inspections_sent, 0u);
    EXPECT_TRUE(b.plane.told_inspections.empty());
    return;
  }
  EXPECT_EQ(told.inspections_sent, 4u);
  EXPECT_EQ(heard.inspections_received, 4u);
  ASSERT_EQ(b.plane.told_inspections.size(), 4u);
  for (uint64_t id = 1; id <= 3; ++id) {
    const auto& [worker, w] = b.plane.told_inspections[id - 1];
    const InspectionWord wanted = word_about(id, InspectionWord::kMost);
    EXPECT_EQ(worker, 0u);
    EXPECT_EQ(w.id, wanted.id);
    EXPECT_EQ(w.length, wanted.length);
    EXPECT_EQ(w.bytes, wanted.bytes);
  }
}

TEST_P(TwinPair, LostWordsAreToldAnewWithTheirStates) {
  if (GetParam().empty()) return;
  both();
  fill(a, 3);
  run(100ms);
  int lost = 0;
  lose = [&](const Frame& f) { return f.size() > 1000 && ++lost != 0; };
  a.plane.inspections.push_back(word_about(1, InspectionWord::kMost));
  run(5ms);
  lose = nullptr;
  EXPECT_EQ(lost, 1);
  run(1s);
  EXPECT_GE(a.engine->status().told_again, 1u);
  EXPECT_TRUE(std::ranges::any_of(a.plane.sync_commands, [](const auto& c) {
    return c.second.kind == Command::Kind::tell_again && c.second.id == pfsync::StateId{1, 1};
  }));
}

TEST_P(TwinPair, NodeThatHasGotTheTableIsToldAllOfThem) {
  start(a, b);
  fill(a, 10);
  run(200ms);
  start(b, a);
  run(500ms);
  // Once behind each transfer: with a key the first request may come before it is known who asks.
  if (GetParam().empty())
    EXPECT_EQ(a.plane.asked_for_inspections, 0u);
  else
    EXPECT_EQ(a.plane.asked_for_inspections, b.engine->status().bulk_requests_sent);
}

TEST_P(TwinPair, WordsWaitForTheCommandsBeforeThem) {
  if (GetParam().empty()) return;
  both();
  b.plane.sync_commands_blocked = true;
  fill(a, 3);
  run(20ms);
  a.plane.inspections.push_back(word_about(1, 100));
  run(20ms);
  EXPECT_TRUE(b.plane.told_inspections.empty());
  b.plane.sync_commands_blocked = false;
  run(20ms);
  EXPECT_EQ(b.plane.told_inspections.size(), 1u);
  EXPECT_EQ(b.plane.states(), 3u);
}

TEST_P(TwinPair, KeyChangesWhileTheyRun) {
  if (GetParam().empty()) return;
  both();
  fill(a, 10);
  run(100ms);
  const uint64_t requests = a.engine->status().bulk_requests_sent;
  const std::vector<uint8_t> next(32, 'n');
  a.engine->change_key(now, next);
  fill(a, 20);
  run(3s);
  EXPECT_EQ(b.plane.states(), 20u) << "the other has the old one";
  EXPECT_TRUE(alike(a, b));
  EXPECT_GT(a.engine->status().old_key, 0u);
  b.engine->change_key(now, next);
  run(3s);
  const uint64_t old = a.engine->status().old_key;
  fill(a, 30);
  run(a.options.old_key_for);
  EXPECT_EQ(a.engine->status().old_key, old) << "both have shown the new one";
  EXPECT_EQ(b.plane.states(), 30u);
  EXPECT_TRUE(alike(a, b));
  EXPECT_EQ(peer_of(a).twin, TwinState::alive);
  EXPECT_EQ(a.engine->status().bulk_requests_sent, requests) << "nothing began anew";
}

TEST_P(TwinPair, OldKeyEndsThoughThePeerKeepsIt) {
  if (GetParam().empty()) return;
  both();
  a.engine->change_key(now, std::vector<uint8_t>(32, 'n'));
  run(a.options.old_key_for - 1s);
  EXPECT_EQ(peer_of(a).twin, TwinState::alive);
  run(6s);
  EXPECT_EQ(peer_of(a).twin, TwinState::silent);
  EXPECT_EQ(peer_of(b).twin, TwinState::silent);
}

TEST_P(TwinPair, MessagesArriveWholeAndOnce) {
  both();
  std::vector<uint8_t> longest(50'000);
  for (size_t i = 0; i < longest.size(); ++i) longest[i] = static_cast<uint8_t>(i * 7);
  const bool key = !GetParam().empty();
  EXPECT_EQ(a.engine->send_message(now, 0, longest), key);
  EXPECT_EQ(b.engine->send_message(now, 0, Bytes(longest).first(3)), key);
  int n = 0;
  lose = [&](const Frame&) { return ++n % 5 == 0; };
  run(5s);
  if (!key) {
    EXPECT_TRUE(b.host.messages.empty());
    return;
  }
  using Messages = std::vector<std::vector<uint8_t>>;
  EXPECT_EQ(b.host.messages, Messages{longest});
  const std::vector<uint8_t> shortest(longest.begin(), longest.begin() + 3);
  EXPECT_EQ(a.host.messages, Messages{shortest});
  EXPECT_EQ(a.host.met, 1u);
  restart(b, a, 2, 9);
  run(3s);
  EXPECT_EQ(a.host.met, 2u);
}

}  // namespace
}  // namespace twinwall
