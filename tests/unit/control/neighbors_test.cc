#include "control/neighbors.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace twinwall {
namespace {

using Frame = std::vector<uint8_t>;

struct Sent {
  InterfaceId interface = kNoInterface;
  Frame frame;
};

class Recorder final : public NeighborOutput {
 public:
  bool send(InterfaceId interface, Bytes frame) override {
    sent.push_back({interface, Frame(frame.begin(), frame.end())});
    return true;
  }
  void publish(std::shared_ptr<const NeighborTable> t) override {
    table = std::move(t);
    ++published;
  }
  void conflict(InterfaceId, const IpAddress& address, const Mac&) override { conflicts.push_back(address); }

  std::vector<Sent> take() { return std::exchange(sent, {}); }

  std::vector<Sent> sent;
  std::shared_ptr<const NeighborTable> table;
  int published = 0;
  std::vector<IpAddress> conflicts;
};

const Mac kOurs{{2, 0, 0, 0, 0, 1}};
const Mac kHost{{2, 0, 0, 0, 0, 9}};
const Mac kOther{{2, 0, 0, 0, 0, 8}};
constexpr InterfaceId kLink = 1;
constexpr uint8_t kVhid = 7;

IpAddress ip(const char* text) { return *parse_ip(text); }

class NeighborsTest : public testing::Test {
 protected:
  NeighborsTest() { configure(); }

  void configure() {
    NeighborInterface i;
    i.id = kLink;
    i.mac = kOurs;
    i.link_local = link_local_of(kOurs);
    i.own = {*parse_prefix("10.0.0.2/24"), *parse_prefix("2001:db8::2/64")};
    i.virtuals = {{*parse_prefix("10.0.0.1/24"), kVhid, virtual_mac(kVhid)},
                  {*parse_prefix("2001:db8::1/64"), kVhid, virtual_mac(kVhid)}};
    neighbors.configure({i});
  }

  static Frame data(uint8_t tag) {
    Frame f(60, tag);
    std::fill_n(f.begin(), 6, uint8_t{0});
    return f;
  }
  void arp(uint16_t operation, const Mac& sender_mac, const char* sender, const char* target) {
    std::array<uint8_t, kLinkMessageMax> f;
    const size_t n =
        build_arp(kBroadcastMac, sender_mac, {operation, sender_mac, {}, ip(sender).addr, ip(target).addr}, f);
    neighbors.receive_arp(now, kLink, Bytes(f).first(n), kEthernetHeader);
  }
  void nd(const Mac& from, const DiscoveryMessage& m) {
    std::array<uint8_t, kLinkMessageMax> f;
    const size_t n = build_discovery(kOurs, from, m, f);
    neighbors.receive_discovery(now, kLink, Bytes(f).first(n), kEthernetHeader);
  }
  static DiscoveryMessage solicit(const char* source, const char* target, std::optional<Mac> mac) {
    DiscoveryMessage m;
    m.type = kIcmp6NeighborSolicit;
    m.source = ip(source).addr;
    m.target = ip(target).addr;
    m.destination = solicited_node(m.target);
    m.link_layer = mac;
    return m;
  }
  static DiscoveryMessage advert(const char* target, const Mac& mac, bool solicited, bool override_entry) {
    DiscoveryMessage m;
    m.type = kIcmp6NeighborAdvert;
    m.source = m.target = ip(target).addr;
    m.destination = ip("2001:db8::2").addr;
    m.solicited = solicited;
    m.override_entry = override_entry;
    m.link_layer = mac;
    return m;
  }
  void advance(Duration d) {
    const Time end = now + d;
    while (neighbors.next_deadline() <= end) {
      now = std::max(now, neighbors.next_deadline());
      neighbors.poll(now);
    }
    now = end;
    neighbors.poll(now);
  }
  const Mac* known(const char* address) { return out.table == nullptr ? nullptr : out.table->find(kLink, ip(address)); }

  Time now = Time(1000s);
  Recorder out;
  Neighbors neighbors{out};
};

TEST_F(NeighborsTest, SharedAddressIsToldByTheLeadersMasterFromTheMacAddressThatMayBeLearnt) {
  Mac shared = virtual_mac(kVhid);
  shared.bytes[0] |= 1;
  NeighborInterface i;
  i.id = kLink;
  i.mac = kOurs;
  i.own = {*parse_prefix("10.0.0.2/24")};
  i.virtuals = {{*parse_prefix("10.0.0.1/24"), kVhid, shared, true},
                {*parse_prefix("2001:db8::1/64"), kVhid, shared, true}};
  neighbors.configure({i});
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.1");
  EXPECT_TRUE(out.take().empty());
  neighbors.set_master(kLink, kVhid, true);
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.1");
  auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(Mac::from_wire(&sent[0].frame[6]), kOurs);
  EXPECT_EQ(parse_arp(Bytes(sent[0].frame).subspan(kEthernetHeader))->sender_mac, shared);
  nd(kHost, solicit("2001:db8::9", "2001:db8::1", kHost));
  sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(Mac::from_wire(&sent[0].frame[6]), kOurs);
  DiscoveryMessage m;
  ASSERT_EQ(parse_discovery(Bytes(sent[0].frame).subspan(kEthernetHeader), m), DiscoveryFault::none);
  EXPECT_EQ(m.link_layer, shared);
}

TEST_F(NeighborsTest, SharedAddressOfOthersIsANeighbour) {
  const Mac shared{{1, 0, 0x5e, 0, 1, 99}};
  neighbors.resolve(now, kLink, ip("10.0.0.77"), data(1));
  out.take();
  arp(kArpReply, Mac{{1, 0, 0x5e, 0, 0, 99}}, "10.0.0.77", "10.0.0.2");  // any other group
  EXPECT_TRUE(out.take().empty());
  arp(kArpReply, shared, "10.0.0.77", "10.0.0.2");
  const auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(Mac::from_wire(sent[0].frame.data()), shared);
}

TEST_F(NeighborsTest, UnknownNextHopIsAskedForAndTheFrameFollowsTheAnswer) {
  neighbors.resolve(now, kLink, ip("10.0.0.9"), data(1));
  auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  const auto question = parse_arp(Bytes(sent[0].frame).subspan(14));
  ASSERT_TRUE(question);
  EXPECT_EQ(question->operation, kArpRequest);
  EXPECT_EQ(question->sender, ip("10.0.0.2").addr);
  EXPECT_EQ(question->target, ip("10.0.0.9").addr);
  EXPECT_EQ(Mac::from_wire(sent[0].frame.data()), kBroadcastMac);

  arp(kArpReply, kHost, "10.0.0.9", "10.0.0.2");
  sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(Mac::from_wire(sent[0].frame.data()), kHost);
  EXPECT_EQ(sent[0].frame[20], 1);
  neighbors.poll(now);
  ASSERT_NE(known("10.0.0.9"), nullptr);
  EXPECT_EQ(*known("10.0.0.9"), kHost);
}

TEST_F(NeighborsTest, Ipv6IsAskedForByTheSolicitedNodeGroup) {
  neighbors.resolve(now, kLink, ip("2001:db8::9"), data(1));
  auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  DiscoveryMessage m;
  ASSERT_EQ(parse_discovery(Bytes(sent[0].frame).subspan(14), m), DiscoveryFault::none);
  EXPECT_EQ(m.destination, solicited_node(ip("2001:db8::9").addr));
  EXPECT_EQ(m.source, ip("2001:db8::2").addr);
  EXPECT_EQ(m.link_layer, kOurs);
  EXPECT_EQ(sent[0].frame[0], 0x33);
  nd(kHost, advert("2001:db8::9", kHost, true, true));
  ASSERT_EQ(out.take().size(), 1u);
  neighbors.poll(now);
  ASSERT_NE(known("2001:db8::9"), nullptr);
}

TEST_F(NeighborsTest, ThreeQuestionsASecondApartThenTheFramesAreDroppedAndCounted) {
  neighbors.resolve(now, kLink, ip("10.0.0.9"), data(1));
  neighbors.resolve(now, kLink, ip("10.0.0.9"), data(2));
  EXPECT_EQ(out.take().size(), 1u);
  advance(999ms);
  EXPECT_EQ(out.take().size(), 0u);
  advance(2ms + 50ms);
  EXPECT_EQ(out.take().size(), 1u);
  advance(1s);
  EXPECT_EQ(out.take().size(), 1u);
  advance(2s);
  EXPECT_EQ(out.take().size(), 0u);
  EXPECT_EQ(neighbors.counters().dropped_unreachable, 2u);
  EXPECT_EQ(neighbors.size(), 0u);
  EXPECT_EQ(neighbors.waiting_frames(), 0u);
  // An answer that comes now is nobody's.
  arp(kArpReply, kHost, "10.0.0.9", "10.0.0.2");
  EXPECT_EQ(neighbors.size(), 0u);
}

TEST_F(NeighborsTest, QueueKeepsTheNewestFrames) {
  const size_t room = NeighborLimits{}.queue;
  for (uint8_t i = 1; i <= room + 3; ++i) neighbors.resolve(now, kLink, ip("10.0.0.9"), data(i));
  EXPECT_EQ(neighbors.waiting_frames(), room);
  EXPECT_EQ(neighbors.counters().dropped_queue_full, 3u);
  out.take();
  arp(kArpReply, kHost, "10.0.0.9", "10.0.0.2");
  const auto sent = out.take();
  ASSERT_EQ(sent.size(), room);
  for (size_t i = 0; i < room; ++i) EXPECT_EQ(sent[i].frame[20], i + 4);
}

TEST(NeighborLimitsTest, AllQueuesTogetherAndTheTableAreBounded) {
  Recorder out;
  NeighborLimits limits;
  limits.incomplete = 10;
  limits.queue_total = 15;
  Neighbors n(out, limits);
  NeighborInterface i;
  i.id = kLink;
  i.mac = kOurs;
  i.own = {*parse_prefix("10.0.0.2/16")};
  n.configure({i});
  const Frame f(60);
  for (uint32_t k = 0; k < 100; ++k)
    for (int twice = 0; twice < 2; ++twice) n.resolve(Time(1s), kLink, {Af::inet, Address::v4(0x0a000100 + k)}, f);
  EXPECT_EQ(n.size(), 10u);
  EXPECT_EQ(n.waiting_frames(), 15u);
  EXPECT_EQ(n.counters().dropped_table_full, 180u);
  EXPECT_EQ(n.counters().dropped_queue_full, 5u);
  EXPECT_EQ(out.sent.size(), 10u);
}

TEST_F(NeighborsTest, RequestForOwnAddressIsAnsweredAndItsSenderLearnt) {
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.2");
  const auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  const auto reply = parse_arp(Bytes(sent[0].frame).subspan(14));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->operation, kArpReply);
  EXPECT_EQ(reply->sender_mac, kOurs);
  EXPECT_EQ(reply->sender, ip("10.0.0.2").addr);
  EXPECT_EQ(reply->target_mac, kHost);
  EXPECT_EQ(Mac::from_wire(sent[0].frame.data()), kHost);
  neighbors.poll(now);
  EXPECT_NE(known("10.0.0.9"), nullptr);
}

TEST_F(NeighborsTest, VirtualAddressIsAnsweredFromTheVirtualMacWhileMasterOnly) {
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.1");
  nd(kHost, solicit("2001:db8::9", "2001:db8::1", kHost));
  EXPECT_TRUE(out.take().empty());

  neighbors.set_master(kLink, kVhid, true);
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.1");
  nd(kHost, solicit("2001:db8::9", "2001:db8::1", kHost));
  const auto sent = out.take();
  ASSERT_EQ(sent.size(), 2u);
  for (const auto& s : sent) EXPECT_EQ(Mac::from_wire(&s.frame[6]), virtual_mac(kVhid));
  EXPECT_EQ(parse_arp(Bytes(sent[0].frame).subspan(14))->sender_mac, virtual_mac(kVhid));
  DiscoveryMessage m;
  ASSERT_EQ(parse_discovery(Bytes(sent[1].frame).subspan(14), m), DiscoveryFault::none);
  EXPECT_EQ(m.link_layer, virtual_mac(kVhid));
  EXPECT_TRUE(m.solicited && m.override_entry && m.router);
  EXPECT_EQ(m.destination, ip("2001:db8::9").addr);

  neighbors.set_master(kLink, kVhid, false);
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.1");
  EXPECT_TRUE(out.take().empty());
}

TEST_F(NeighborsTest, LinkLocalAddressIsOurs) {
  const std::string mine = to_string(Af::inet6, link_local_of(kOurs));
  nd(kHost, solicit("fe80::9", mine.c_str(), kHost));
  const auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(Mac::from_wire(&sent[0].frame[6]), kOurs);
}

TEST_F(NeighborsTest, DuplicateDetectionOfOthersIsAnsweredToAllNodes) {
  nd(kHost, solicit("::", "2001:db8::2", std::nullopt));
  const auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  DiscoveryMessage m;
  ASSERT_EQ(parse_discovery(Bytes(sent[0].frame).subspan(14), m), DiscoveryFault::none);
  EXPECT_EQ(m.destination, ip("ff02::1").addr);
  EXPECT_FALSE(m.solicited);
}

TEST_F(NeighborsTest, WhatThePeerSendsFromTheSharedVirtualMacIsIgnored) {
  neighbors.set_master(kLink, kVhid, true);
  arp(kArpRequest, virtual_mac(kVhid), "10.0.0.1", "10.0.0.1");
  arp(kArpRequest, virtual_mac(kVhid), "10.0.0.2", "10.0.0.2");
  EXPECT_TRUE(out.take().empty());
  EXPECT_TRUE(out.conflicts.empty());
  EXPECT_EQ(neighbors.counters().arp_ignored, 2u);
}

TEST_F(NeighborsTest, ForeignClaimToOurAddressIsReportedAndNotLearnt) {
  arp(kArpRequest, kOther, "10.0.0.2", "10.0.0.2");
  nd(kOther, advert("2001:db8::2", kOther, false, true));
  EXPECT_EQ(out.conflicts.size(), 2u);
  EXPECT_EQ(neighbors.size(), 0u);
}

TEST_F(NeighborsTest, GratuitousArpChangesWhatIsKnownAndAddsNothing) {
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.9");
  EXPECT_EQ(neighbors.size(), 0u);
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.2");
  neighbors.poll(now);
  arp(kArpRequest, kOther, "10.0.0.9", "10.0.0.9");
  advance(10ms);
  ASSERT_NE(known("10.0.0.9"), nullptr);
  EXPECT_EQ(*known("10.0.0.9"), kOther);
}

TEST_F(NeighborsTest, SendersOfOtherNetworksAreNotLearnt) {
  arp(kArpRequest, kHost, "192.168.1.9", "10.0.0.2");
  EXPECT_EQ(out.take().size(), 1u);  // answered all the same
  EXPECT_EQ(neighbors.size(), 0u);
}

TEST_F(NeighborsTest, AdvertisementWithoutOverrideMakesUsAskTheStationItself) {
  nd(kHost, solicit("2001:db8::9", "2001:db8::2", kHost));
  neighbors.poll(now);
  out.take();
  nd(kOther, advert("2001:db8::9", kOther, false, false));
  advance(60ms);
  ASSERT_NE(known("2001:db8::9"), nullptr);
  EXPECT_EQ(*known("2001:db8::9"), kHost);
  const auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(Mac::from_wire(sent[0].frame.data()), kHost);  // unicast probe
  nd(kOther, advert("2001:db8::9", kOther, false, true));
  advance(10ms);
  EXPECT_EQ(*known("2001:db8::9"), kOther);
}

TEST_F(NeighborsTest, EntryInUseIsProbedByUnicastAndKeptWhenItAnswers) {
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.2");
  neighbors.poll(now);
  ASSERT_NE(known("10.0.0.9"), nullptr);  // this look-up marks it as used
  out.take();
  advance(59s);
  EXPECT_TRUE(out.take().empty());
  advance(1100ms);
  auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(Mac::from_wire(sent[0].frame.data()), kHost);
  EXPECT_EQ(parse_arp(Bytes(sent[0].frame).subspan(14))->operation, kArpRequest);
  arp(kArpReply, kHost, "10.0.0.9", "10.0.0.2");
  advance(10s);
  EXPECT_TRUE(out.take().empty());
  EXPECT_EQ(neighbors.list(now)[0].state, NeighborState::reachable);
}

TEST_F(NeighborsTest, EntryThatDoesNotAnswerItsProbesIsForgotten) {
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.2");
  neighbors.poll(now);
  ASSERT_NE(known("10.0.0.9"), nullptr);
  out.take();
  advance(61s);
  EXPECT_NE(known("10.0.0.9"), nullptr);  // still good while it is asked
  advance(4s);
  EXPECT_EQ(known("10.0.0.9"), nullptr);
  EXPECT_EQ(out.take().size(), 3u);
}

TEST_F(NeighborsTest, UnusedEntryIsNotProbedAndForgottenInTheEnd) {
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.2");
  neighbors.poll(now);
  out.take();
  advance(1000s);
  EXPECT_EQ(neighbors.size(), 1u);
  advance(300s);
  EXPECT_EQ(neighbors.size(), 0u);
  EXPECT_TRUE(out.take().empty());
}

TEST_F(NeighborsTest, LookupForTheControlCoreAsksAndThenKnows) {
  EXPECT_EQ(neighbors.lookup(now, kLink, ip("10.0.0.9")), nullptr);
  EXPECT_EQ(out.take().size(), 1u);
  arp(kArpReply, kHost, "10.0.0.9", "10.0.0.2");
  ASSERT_NE(neighbors.lookup(now, kLink, ip("10.0.0.9")), nullptr);
  EXPECT_EQ(*neighbors.lookup(now, kLink, ip("10.0.0.9")), kHost);
}

TEST_F(NeighborsTest, FrameForAResolvedNextHopIsSentAtOnce) {
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.2");
  out.take();
  neighbors.resolve(now, kLink, ip("10.0.0.9"), data(5));
  const auto sent = out.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(Mac::from_wire(sent[0].frame.data()), kHost);
}

TEST_F(NeighborsTest, ReconfigurationForgetsNetworksThatAreGone) {
  arp(kArpRequest, kHost, "10.0.0.9", "10.0.0.2");
  nd(kHost, solicit("2001:db8::9", "2001:db8::2", kHost));
  EXPECT_EQ(neighbors.size(), 2u);
  NeighborInterface i;
  i.id = kLink;
  i.mac = kOurs;
  i.link_local = link_local_of(kOurs);
  i.own = {*parse_prefix("10.9.0.2/24"), *parse_prefix("2001:db8::2/64")};
  neighbors.configure({i});
  advance(10ms);
  EXPECT_EQ(known("10.0.0.9"), nullptr);
  EXPECT_NE(known("2001:db8::9"), nullptr);
}

TEST_F(NeighborsTest, WithoutAnAddressOfTheFamilyNobodyCanBeAsked) {
  NeighborInterface i;
  i.id = kLink;
  i.mac = kOurs;
  i.link_local = link_local_of(kOurs);
  neighbors.configure({i});
  neighbors.resolve(now, kLink, ip("10.0.0.9"), data(1));
  EXPECT_EQ(neighbors.counters().dropped_no_source, 1u);
  EXPECT_TRUE(out.take().empty());
}

TEST_F(NeighborsTest, FloodOfChangesIsPublishedAtABoundedRate) {
  neighbors.poll(now);
  const int before = out.published;
  for (int i = 0; i < 1000; ++i) {
    arp(kArpRequest, i % 2 == 0 ? kHost : kOther, "10.0.0.9", "10.0.0.2");
    now += 10us;
    neighbors.poll(now);
  }
  EXPECT_LE(out.published - before, 4);
  advance(10ms);
  EXPECT_EQ(*known("10.0.0.9"), kOther);
}

}  // namespace
}  // namespace twinwall
