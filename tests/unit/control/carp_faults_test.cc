// What goes wrong around an election, and what the operator is told of it.
#include <gtest/gtest.h>

#include "tests/unit/control/carp_lab.h"

namespace twinwall {
namespace {

using carp::Role;
using carp::Verdict;
using carp_lab::carp_config;
using carp_lab::kInside;
using carp_lab::kOutside;

class Faults : public carp_lab::Pair {
 protected:
  // What a node of the given number and configuration says on the outside, heard by `a`.
  void hear(uint8_t number, const config::Carp& c) {
    NodeUnderTest stranger{number};
    begin(stranger, number, c);
    now += 10s;
    stranger.runner.poll(now);
    for (const auto& e : stranger.side.take())
      if (e.what == "advert" && e.interface == kOutside) a.runner.receive(now, e.interface, e.frame, kEthernetHeader);
  }
  [[nodiscard]] uint64_t count(Verdict v) const { return a.runner.verdicts()[static_cast<size_t>(v)]; }
};

TEST_F(Faults, AdvertisementsThatCannotBeSentDemoteEveryGroupUntilTheyCanBeAgain) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  ASSERT_EQ(role(a, 1), Role::master);
  a.side.mute = kOutside;
  advance(1100ms);  // two packets each time, one for a family
  EXPECT_EQ(a.runner.demotion(), 0);
  advance(1s);
  EXPECT_EQ(a.runner.demotion(), 240);
  advance(4s);
  for (const size_t g : {0u, 1u}) {
    EXPECT_EQ(role(a, g), Role::backup);
    EXPECT_EQ(role(b, g), Role::master);
  }
  a.side.mute = kNoInterface;
  b.alive = false;
  advance(4s);
  EXPECT_EQ(role(a, 0), Role::master);
  advance(2s);
  EXPECT_EQ(a.runner.demotion(), 0);
}

TEST_F(Faults, ALinkThatWasAwayBeginsWithoutErrors) {
  begin(a, 1, carp_config(0));
  advance(10s);
  a.side.mute = kOutside;
  advance(5s);
  EXPECT_EQ(a.runner.demotion(), 240);
  a.side.mute = kNoInterface;
  a.runner.link_change(now, kOutside, false);
  a.runner.link_change(now, kOutside, true);
  EXPECT_EQ(a.runner.demotion(), 0);
}

TEST_F(Faults, OneLostAdvertisementIsNoFault) {
  begin(a, 1, carp_config(0));
  advance(10s);
  for (int i = 0; i < 10; ++i) {
    a.side.mute = kOutside;
    advance(1s);
    a.side.mute = kNoInterface;
    advance(1s);
  }
  EXPECT_EQ(a.runner.demotion(), 0);
  EXPECT_GE(a.runner.totals().send_errors, 20u);
}

TEST_F(Faults, SenderWithOtherAddressesIsNamedAndTheDifferenceToo) {
  begin(a, 1, carp_config(0));
  auto fewer = carp_config(0);
  fewer.groups[0].addresses.pop_back();
  hear(7, fewer);
  const CarpRefusal& r = a.runner.last_refusal();
  EXPECT_EQ(r.verdict, Verdict::badauth);
  EXPECT_EQ(r.vhid, 1);
  EXPECT_EQ(r.interface, kOutside);
  EXPECT_EQ(to_string(r.source), "192.0.2.8");
  EXPECT_EQ(r.source_mac, virtual_mac(1));
  EXPECT_NE(r.advice.find("only 192.0.2.1"), std::string::npos) << r.advice;
  EXPECT_EQ(count(Verdict::badauth), 1u);
}

TEST_F(Faults, SenderWithAnAddressOfAnotherGroupIsNamed) {
  auto ours = carp_config(0);
  config::CarpGroup other = ours.groups[0];
  other.vhid = 9;
  other.addresses = {*parse_prefix("192.0.2.77/24")};
  ours.groups.push_back(other);
  begin(a, 1, ours);
  auto more = carp_config(0);
  more.groups[0].addresses.push_back(*parse_prefix("192.0.2.77/24"));
  hear(7, more);
  EXPECT_NE(a.runner.last_refusal().advice.find("192.0.2.77"), std::string::npos) << a.runner.last_refusal().advice;
}

TEST_F(Faults, AnotherKeyIsToldOnceAWhileAndCountedAlways) {
  begin(a, 1, carp_config(0));
  auto wrong = carp_config(0);
  wrong.groups[0].key = {'x'};
  hear(7, wrong);
  EXPECT_NE(a.runner.last_refusal().advice.find("another key"), std::string::npos);
  const Time told = a.runner.last_refusal().at;
  for (int i = 0; i < 3; ++i) {
    now -= 9s;
    hear(8, wrong);
  }
  EXPECT_EQ(a.runner.last_refusal().at, told);
  EXPECT_EQ(count(Verdict::badauth), 8u);
  now += 20s;
  hear(8, wrong);
  EXPECT_EQ(to_string(a.runner.last_refusal().source), "192.0.2.9");
}

TEST_F(Faults, UnicastToAnInterfaceWithoutAGroupIsOfTheWrongInterface) {
  auto outside_only = carp_config(0);
  outside_only.groups.pop_back();
  begin(a, 1, outside_only);
  auto unicast = outside_only;
  unicast.groups[0].peer = *parse_ip("192.0.2.2");
  unicast.groups[0].addresses.pop_back();
  NodeUnderTest peer{3};
  peer.side.peer_known = true;
  begin(peer, 7, unicast);
  now += 10s;
  peer.runner.poll(now);
  for (const auto& e : peer.side.take()) {
    if (e.what != "advert") continue;
    a.runner.receive(now, kInside, e.frame, kEthernetHeader);
    a.runner.receive(now, kOutside, e.frame, kEthernetHeader);
  }
  EXPECT_EQ(count(Verdict::badif), 1u);
  EXPECT_EQ(count(Verdict::badvhid), 1u);  // unicast to a group that listens to multicast
  EXPECT_EQ(a.runner.totals().received[0], 2u);
}

TEST_F(Faults, PacketsAreCountedByFamilyAndTransitionsToMasterInAll) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  const CarpTotals& sent = a.runner.totals();
  EXPECT_EQ(sent.became_master, 2u);
  EXPECT_GT(sent.sent[1], 5u);
  EXPECT_GT(sent.sent[0], sent.sent[1]);
  EXPECT_EQ(b.runner.totals().received[0], sent.sent[0]);
  EXPECT_EQ(b.runner.totals().received[1], sent.sent[1]);
  EXPECT_EQ(b.runner.totals().became_master, 0u);
}

}  // namespace
}  // namespace twinwall
