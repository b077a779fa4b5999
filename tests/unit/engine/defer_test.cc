// First packets that wait for the peer (pfsync.defer), with an engine whose deltas and acknowledgements the test moves.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "lib/engine/engine.h"
#include "lib/engine/snapshot.h"
#include "lib/net/headers.h"
#include "lib/pfconf/pfconf.h"
#include "wire.h"

namespace twinwall {
namespace {

constexpr InterfaceId kNear = 1, kFar = 2;
constexpr uint32_t kDeferringHost = 0x11223344;

config::Interface deferring_port(InterfaceId id, const std::string& name, const char* address) {
  config::Interface i;
  i.id = id;
  i.name = name;
  i.addresses = {*parse_prefix(address)};
  return i;
}

class Waiting : public testing::Test, public EngineHost {
 protected:
  explicit Waiting(const std::string& rules = "pass\n") {
    const std::vector<config::Interface> ports = {deferring_port(kNear, "in0", "10.0.0.1/8"),
                                                  deferring_port(kFar, "out0", "192.0.2.1/24")};
    config_ = pfconf::parse(rules, ports, {}).config;
    const std::array<Mac, 2> macs{mac(kNear), mac(kFar)};
    snapshot_ = make_snapshot(config_, macs, make_plain_routes);
    RuleSlot slot = 1;
    for (auto& rule : snapshot_->rules.rules) rule.slot = slot++;
    snapshot_->rules.index_slots();
    const NeighborTable::Entry server{kFar, *parse_ip("192.0.2.9"), Mac{{2, 9, 9, 9, 9, 9}}};
    neighbors_ = std::make_unique<NeighborTable>(std::span(&server, 1));
    StateTableOptions table;
    table.capacity = 1000;
    table_ = std::make_unique<StateTable>(table);
    EngineOptions options;
    options.hostid = kDeferringHost;
    options.id_base = 1;
    options.fragment_limit = 16;
    options.source_nodes = 16;
    options.sync = options.defer = true;
    engine_ = std::make_unique<Engine>(options, *table_, *this);
    engine_->tick(view(), now);
  }
  static Mac mac(InterfaceId id) { return Mac{{2, 0, 0, 0, 0, static_cast<uint8_t>(id)}}; }
  [[nodiscard]] View view() const { return {snapshot_.get(), neighbors_.get(), nullptr}; }

  Packet* allocate(uint32_t) override { return nullptr; }
  void submit(Packet* packet) override {
    EXPECT_EQ(packet->fate, Fate::forward);
    released.push_back(packet);
  }
  void log(const LogRecord&) override {}

  // A datagram from inside to the neighbour outside; what became of it.
  Packet* send(uint16_t sport, uint8_t last = 5) {
    test::Datagram d;
    d.src = Address::v4(0x0a000000u + last);
    d.dst = Address::v4(0xc0000209);
    d.proto = kProtoUdp;
    d.l4 = {0, 0, 0, 53, 0, 8, 0, 0};
    d.set_word(0, sport);
    test::put_sum(d);
    const test::Frame frame = test::frame_of(d, mac(kNear));
    auto& memory = memory_.emplace_back(128 + frame.size() + 128);
    std::copy(frame.begin(), frame.end(), memory.begin() + 128);
    Packet& p = packets_.emplace_back();
    p.frame = memory.data() + 128;
    p.headroom = p.tailroom = 128;
    p.length = static_cast<uint32_t>(frame.size());
    p.in = kNear;
    Packet* const pointer = &p;
    engine_->process({&pointer, 1}, view(), now);
    return pointer;
  }
  std::vector<Delta> deltas() {
    std::vector<Delta> out;
    engine_->drain_deltas(view(), now, [&](const Delta& d) {
      each_state(d, [&out](const Delta& one) { out.push_back(one); });
      return true;
    });
    return out;
  }
  void acknowledge(const pfsync::StateId& id) {
    Command c;
    c.kind = Command::Kind::acknowledge;
    c.id = id;
    engine_->execute(
        c, view(), now, [](void*, const Reply&) { return true; }, nullptr);
  }
  void pass_time(Duration d) {
    now += d;
    engine_->tick(view(), now);
  }

  Time now = Time(1000s);
  std::vector<Packet*> released;
  config::Config config_;
  std::shared_ptr<Snapshot> snapshot_;
  std::unique_ptr<NeighborTable> neighbors_;
  std::unique_ptr<StateTable> table_;
  std::deque<std::vector<uint8_t>> memory_;
  std::deque<Packet> packets_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(Waiting, FirstPacketGoesWhenItsLastStateIsAcknowledged) {
  Packet* const p = send(1000);
  EXPECT_EQ(p->fate, Fate::deferred);
  const auto told = deltas();  // at once
  ASSERT_EQ(told.size(), 2u);
  for (const Delta& d : told) EXPECT_EQ(d.action, SyncQueue::ins);
  EXPECT_EQ(told[0].record.direction, 1);
  EXPECT_EQ(told[0].record.state_flags & kStateAckWanted, 0);
  EXPECT_EQ(told[1].record.direction, 2);
  EXPECT_NE(told[1].record.state_flags & kStateAckWanted, 0);
  acknowledge({told[0].record.id, kDeferringHost});
  EXPECT_TRUE(released.empty());
  acknowledge({told[1].record.id, kDeferringHost});
  ASSERT_EQ(released.size(), 1u);
  EXPECT_EQ(released[0], p);
  EXPECT_EQ(engine_->counters().deferred.get(), 1u);
  EXPECT_EQ(engine_->counters().defer_acknowledged.get(), 1u);
  pass_time(100ms);
  EXPECT_EQ(released.size(), 1u);
}

TEST_F(Waiting, SecondPacketDoesNotWait) {
  (void)send(1000);
  EXPECT_EQ(send(1000)->fate, Fate::forward);
}

TEST_F(Waiting, WithoutAnAnswerItGoesAfterTwentyMilliseconds) {
  (void)send(1000);
  EXPECT_LE(engine_->next_deadline(now), now + 20ms);
  pass_time(19ms);
  EXPECT_TRUE(released.empty());
  pass_time(1ms);
  EXPECT_EQ(released.size(), 1u);
  EXPECT_EQ(engine_->counters().defer_timeout.get(), 1u);
}

TEST_F(Waiting, ForeignAndRepeatedAcknowledgementsDoNothing) {
  (void)send(1000);
  const auto told = deltas();
  ASSERT_EQ(told.size(), 2u);
  acknowledge({told[0].record.id, kDeferringHost + 1});
  acknowledge({told[1].record.id, kDeferringHost + 1});
  acknowledge({999, kDeferringHost});
  acknowledge({0, kDeferringHost});
  acknowledge({told[0].record.id, kDeferringHost});
  EXPECT_TRUE(released.empty());
  acknowledge({told[1].record.id, kDeferringHost});
  acknowledge({told[1].record.id, kDeferringHost});
  EXPECT_EQ(released.size(), 1u);
}

TEST_F(Waiting, WhenTooManyWaitTheOldestGoes) {
  Packet* const first = send(1000);
  for (uint16_t i = 1; i < 128; ++i) EXPECT_EQ(send(static_cast<uint16_t>(1000 + i))->fate, Fate::deferred);
  EXPECT_TRUE(released.empty());
  (void)send(2000);
  ASSERT_EQ(released.size(), 1u);
  EXPECT_EQ(released[0], first);
  EXPECT_EQ(engine_->counters().defer_overflow.get(), 1u);
  const auto told = deltas();
  for (size_t i = told.size(); i > 0; --i) acknowledge({told[i - 1].record.id, kDeferringHost});  // in any order
  EXPECT_EQ(released.size(), 129u);
  (void)send(3000);
  pass_time(20ms);
  EXPECT_EQ(released.size(), 130u);
}

TEST_F(Waiting, AtTheEndAllGo) {
  (void)send(1000);
  (void)send(1001);
  engine_->release_deferred();
  EXPECT_EQ(released.size(), 2u);
}

class NotTold : public Waiting {
 protected:
  NotTold() : Waiting("pass keep state (no-sync)\n") {}
};

TEST_F(NotTold, WhatThePeerIsNotToldDoesNotWait) { EXPECT_EQ(send(1000)->fate, Fate::forward); }

class Imported : public Waiting {};

TEST_F(Imported, StateOfAPeerThatWaitsIsAcknowledgedAtOnce) {
  (void)send(1000);
  const Delta theirs = deltas().at(1);
  Command c;
  c.kind = Command::Kind::import_state;
  c.record = theirs.record;
  c.record.id = 77;
  c.record.creator = kDeferringHost + 1;
  c.record.wire.port[1] = c.record.stack.port[1] = bswap(uint16_t{4444});
  engine_->execute(
      c, view(), now, [](void*, const Reply&) { return true; }, nullptr);
  const auto told = deltas();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].action, SyncQueue::ins_ack);
  EXPECT_EQ(told[0].record.id, 77u);
}

}  // namespace
}  // namespace twinwall
