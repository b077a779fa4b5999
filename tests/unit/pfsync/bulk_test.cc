#include "lib/pfsync/bulk.h"

#include <gtest/gtest.h>

#include "lib/pfsync/packet.h"
#include "tests/unit/pfsync/random_records.h"

namespace twinwall::pfsync {
namespace {

RequesterOptions requester_options(System system = System::openbsd74) {
  RequesterOptions o;
  o.system = system;
  return o;
}

TEST(PfsyncBulkRequester, AsksTwelveTimesAndThenGoesOnWithout) {
  BulkRequester r(requester_options());
  Time now{100s};
  EXPECT_EQ(r.handle(BulkEvent::up, now).demotion, 32);
  int requests = r.handle(BulkEvent::link_up, now).send_request ? 1 : 0;
  int demotion = r.demotion_held();
  while (const auto deadline = r.next_deadline()) {
    ASSERT_LE(*deadline - now, 2s);
    now = *deadline;
    const BulkStep step = r.poll(now);
    requests += step.send_request ? 1 : 0;
    demotion += step.demotion;
    r.handle(BulkEvent::bus_end, now);  // an empty peer's answer changes nothing
  }
  EXPECT_EQ(requests, 12);
  EXPECT_EQ(now - Time{100s}, 24s);
  EXPECT_EQ(r.phase(), BulkPhase::done);
  EXPECT_EQ(demotion, 0);
}

TEST(PfsyncBulkRequester, NothingIsPolledBeforeItsTime) {
  BulkRequester r(requester_options());
  r.handle(BulkEvent::up, Time{1s});
  EXPECT_FALSE(r.poll(Time{30999ms}).send_request);
  EXPECT_EQ(r.phase(), BulkPhase::start);
  EXPECT_EQ(r.poll(Time{31s}).demotion, -32) << "no link for thirty seconds";
  EXPECT_EQ(r.phase(), BulkPhase::done);
}

TEST(PfsyncBulkRequester, ATransferEndsTheDemotion) {
  BulkRequester r(requester_options());
  r.handle(BulkEvent::up, Time{1s});
  r.handle(BulkEvent::link_up, Time{1s});
  EXPECT_EQ(r.handle(BulkEvent::bus_start, Time{2s}).timer, Duration(1600s));
  const BulkStep end = r.handle(BulkEvent::bus_end, Time{3s});
  EXPECT_EQ(end.demotion, -32);
  EXPECT_EQ(end.phase, BulkPhase::done);
  EXPECT_FALSE(r.next_deadline());
}

TEST(PfsyncBulkRequester, ALoneEndCountsOnlyWhereAllowed) {
  auto options = requester_options();
  options.accept_lone_end = true;
  BulkRequester r(options);
  r.handle(BulkEvent::up, Time{1s});
  r.handle(BulkEvent::bus_end, Time{1s});
  EXPECT_EQ(r.phase(), BulkPhase::start) << "nothing was asked yet";
  r.handle(BulkEvent::link_up, Time{1s});
  EXPECT_EQ(r.handle(BulkEvent::bus_end, Time{2s}).demotion, -32);
}

TEST(PfsyncBulkRequester, OlderVariantTestsTheAgeOfTheEnd) {
  BulkRequester r(requester_options(System::freebsd13));
  EXPECT_EQ(r.handle(BulkEvent::up, Time{100s}).demotion, kBulkDemotionFreebsd);
  r.handle(BulkEvent::bus_start, Time{101s});
  EXPECT_EQ(r.handle(BulkEvent::bus_end, Time{104s}, 5).demotion, 0) << "of an older request";
  EXPECT_EQ(r.handle(BulkEvent::bus_end, Time{104s}, 4).demotion, -kBulkDemotionFreebsd);
  EXPECT_EQ(r.phase(), BulkPhase::done);
}

TEST(PfsyncBulkRequester, OlderOpenbsdAsksAgainWhenTheLinkReturns) {
  BulkRequester r(requester_options(System::openbsd73));
  EXPECT_EQ(r.handle(BulkEvent::up, Time{1s}).demotion, 33);
  r.handle(BulkEvent::bus_end, Time{2s}, 0);
  EXPECT_EQ(r.demotion_held(), 0);
  const BulkStep again = r.handle(BulkEvent::link_up, Time{10s});
  EXPECT_TRUE(again.send_request);
  EXPECT_EQ(again.demotion, 1);
}

// Whatever happens in whatever order, the demotion that was given is taken back exactly, and nothing is asked for more
// than the tries of one life.
TEST(PfsyncBulkRequester, DemotionAlwaysBalances) {
  Random random(31);
  constexpr BulkEvent kAll[] = {BulkEvent::up,        BulkEvent::link_up, BulkEvent::timeout,
                                BulkEvent::bus_start, BulkEvent::bus_end, BulkEvent::down};
  for (const System system : {System::openbsd74, System::openbsd73, System::freebsd13}) {
    for (int life = 0; life < 2000; ++life) {
      BulkRequester r(requester_options(system));
      Time now{1s};
      int demotion = 0;
      for (int i = 0; i < 60; ++i) {
        now += std::chrono::milliseconds(random.below(3000));
        const BulkStep step = r.handle(kAll[random.below(std::size(kAll))], now, random.below(5));
        demotion += step.demotion;
        ASSERT_EQ(demotion, r.demotion_held());
        ASSERT_GE(demotion, 0);
        ASSERT_TRUE(!r.next_deadline() || demotion > 0) << "a timer runs only while something is awaited";
      }
      demotion += r.handle(BulkEvent::down, now).demotion;
      ASSERT_EQ(demotion, 0);
    }
  }
}

class Table : public BulkSource {
 public:
  explicit Table(size_t size) : size_(size) {}
  bool current(StateRecord& out) override {
    if (at_ == size_) return false;
    out = ordinary_state(at_ + 1);
    return true;
  }
  void advance() override { ++at_; }

 private:
  size_t size_;
  size_t at_ = 0;
};

struct Received : IgnoreAll {
  std::vector<uint64_t> updates;
  std::vector<BulkRecord> bulks;
  void on_update(const StateRecord& r) { updates.push_back(r.id); }
  void on_bulk(const BulkRecord& r) { bulks.push_back(r); }
};

// Runs a whole transfer; returns the number of packets.
size_t transfer(BulkAnswerer& answerer, BulkSource& table, System system, Received& received, Time now) {
  RxCounters counters;
  size_t packets = 0;
  bool ended = false;
  while (!ended && packets < 10000) {
    std::vector<uint8_t> buffer(1500);
    PacketBuilder b(buffer, options_for(system));
    ended = answerer.fill(b, table, now);
    EXPECT_FALSE(b.empty());
    EXPECT_NE(b.finish(0), 0u);
    receive(system, true, kTtl, b.payload(), received, counters);
    ++packets;
    if (!ended) {
      EXPECT_EQ(answerer.next_deadline(), now + kBulkPacing);
      now += kBulkPacing;
    }
  }
  return packets;
}

TEST(PfsyncBulkAnswer, SendsEveryStateOnceBetweenStartAndEnd) {
  for (const System system : kSystems) {
    for (const size_t states : {0u, 1u, 4u, 5u, 6u, 500u}) {
      AnswerOptions options;
      options.system = system;
      options.creator = 77;
      BulkAnswerer answerer(options);
      ASSERT_TRUE(answerer.request(Time{5s}));
      Table table(states);
      Received received;
      transfer(answerer, table, system, received, Time{5s});
      ASSERT_EQ(received.updates.size(), states);
      for (size_t i = 0; i < states; ++i) ASSERT_EQ(received.updates[i], i + 1);
      ASSERT_EQ(received.bulks.size(), 2u);
      EXPECT_EQ(received.bulks[0].status, 1);
      EXPECT_EQ(received.bulks[1].status, 2);
      EXPECT_EQ(received.bulks[1].creator, 77u);
      EXPECT_FALSE(answerer.active());
      EXPECT_FALSE(answerer.next_deadline());
    }
  }
}

TEST(PfsyncBulkAnswer, TellsItsAgeToOlderPeersOnly) {
  for (const System system : kSystems) {
    AnswerOptions options;
    options.system = system;
    BulkAnswerer answerer(options);
    answerer.request(Time{5s});
    Table table(500);  // over two seconds at one packet every 20 ms
    Received received;
    transfer(answerer, table, system, received, Time{5s});
    EXPECT_EQ(received.bulks.back().endtime == 0, system == System::openbsd74) << static_cast<int>(system);
  }
}

TEST(PfsyncBulkAnswer, ASecondRequestDoesNotStartASecondTransfer) {
  BulkAnswerer openbsd(AnswerOptions{});
  EXPECT_TRUE(openbsd.request(Time{1s}));
  EXPECT_FALSE(openbsd.request(Time{1s}));
  AnswerOptions options;
  options.system = System::freebsd13;
  BulkAnswerer freebsd(options);
  EXPECT_TRUE(freebsd.request(Time{1s}));
  EXPECT_TRUE(freebsd.request(Time{1s})) << "FreeBSD starts again";
}

TEST(PfsyncBulkAnswer, AnEmptyTableAnswersAsConfigured) {
  AnswerOptions options;
  options.start_when_empty = false;
  BulkAnswerer answerer(options);
  answerer.request(Time{1s});
  Table table(0);
  Received received;
  EXPECT_EQ(transfer(answerer, table, System::openbsd74, received, Time{1s}), 1u);
  ASSERT_EQ(received.bulks.size(), 1u);
  EXPECT_EQ(received.bulks[0].status, 2);
}

TEST(PfsyncBulkAnswer, GivesUpWhenNoPacketCanHoldAState) {
  BulkAnswerer answerer(AnswerOptions{});
  answerer.request(Time{1s});
  Table table(3);
  auto options = options_for(System::openbsd74);
  options.mtu = 200;
  for (int i = 0; i < 5 && answerer.active(); ++i) {
    std::vector<uint8_t> buffer(200);
    PacketBuilder b(buffer, options);
    answerer.fill(b, table, Time{1s});
  }
  EXPECT_FALSE(answerer.active());
}

// The two halves together, against each other.
TEST(PfsyncBulk, ARequesterIsDoneAsSoonAsItsPeerAnswered) {
  for (const size_t states : {0u, 40u}) {
    BulkRequester requester(requester_options());
    requester.handle(BulkEvent::up, Time{1s});
    ASSERT_TRUE(requester.handle(BulkEvent::link_up, Time{1s}).send_request);
    BulkAnswerer answerer(AnswerOptions{});
    ASSERT_TRUE(answerer.request(Time{1s}));
    Table table(states);
    Received received;
    transfer(answerer, table, System::openbsd74, received, Time{1s});
    for (const auto& bulk : received.bulks)
      requester.handle(bulk.status == 1 ? BulkEvent::bus_start : BulkEvent::bus_end, Time{1s}, bulk.endtime);
    EXPECT_EQ(requester.phase(), BulkPhase::done);
    EXPECT_EQ(requester.demotion_held(), 0);
  }
}

TEST(PfsyncBulk, TimersAreTheOriginalsFormulas) {
  EXPECT_EQ(bulk_timer_seconds(100000, 1500), 1600u);
  EXPECT_EQ(bulk_timer_seconds(3, 1500), 4u);
  EXPECT_EQ(bulk_timer_seconds(100000, 0), 8000u) << "an MTU of nothing divides by one";
  EXPECT_EQ(bulk_timer_ticks(System::freebsd13, 397000, 1500), 66166u);
}

}  // namespace
}  // namespace twinwall::pfsync
