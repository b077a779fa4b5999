#include "control/carp_runner.h"

#include <gtest/gtest.h>

#include "control/link_messages.h"
#include "lib/net/headers.h"
#include "tests/unit/control/carp_lab.h"

namespace twinwall {
namespace {

using namespace carp_lab;  // NOLINT(google-build-using-namespace)

TEST_F(Pair, BetterNodeBecomesMasterOfBothGroups) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(2900ms);
  EXPECT_EQ(role(a), Role::backup);
  advance(200ms);
  for (size_t g : {0u, 1u}) {
    EXPECT_EQ(role(a, g), Role::master);
    EXPECT_EQ(role(b, g), Role::backup);
  }
  advance(60s);
  EXPECT_EQ(role(b), Role::backup);
  EXPECT_EQ(b.runner.status(now)[0].transitions, 1u);
  EXPECT_TRUE(a.side.roles->is_master(kOutside, 1));
  EXPECT_TRUE(a.side.roles->is_master(kInside, 2));
  EXPECT_FALSE(b.side.roles->is_master(kOutside, 1));
}

TEST_F(Pair, RoleIsPublishedThenAnnouncedAndTheAdvertisementIsTheLastWord) {
  begin(a, 1, carp_config(0));
  b.alive = false;
  a.side.take();
  now += 3s;
  a.runner.poll(now);
  std::vector<std::string> order;
  for (const auto& e : a.side.take()) order.push_back(e.what);
  const std::vector<std::string> wan = {"roles", "changed", "arp", "na", "advert", "advert"};
  ASSERT_GE(order.size(), wan.size());
  EXPECT_EQ(std::vector<std::string>(order.begin(), order.begin() + 6), wan);
}

// A node that is held up between two frames of one turn: the other hears the first and has answered before the second
// is sent. The switches must believe the new master all the same, whenever it comes back.
TEST_F(Pair, SwitchesLearnTheNewMasterThoughTheOldOneIsHeldUpInMidTurn) {
  std::array<const NodeUnderTest*, 3> learnt{};  // by interface: where the virtual MAC was seen last
  const auto note = [&](const NodeUnderTest& from, const Event& e) {
    if (e.frame.size() <= kEthernetHeader) return;
    if (Mac::from_wire(&e.frame[6]) == virtual_mac(static_cast<uint8_t>(e.interface))) learnt[e.interface] = &from;
  };
  const auto say = [&](NodeUnderTest& from, NodeUnderTest& to) {
    for (const auto& e : from.side.take()) {
      note(from, e);
      const size_t before = to.side.events.size();
      if (e.what == "advert") to.runner.receive(now, e.interface, e.frame, kEthernetHeader);
      for (size_t i = before; i < to.side.events.size(); ++i) note(to, to.side.events[i]);
    }
  };
  for (int tenth = 0; tenth < 60; ++tenth) {
    SCOPED_TRACE(tenth);
    begin(a, 1, carp_config(0));
    begin(b, 2, carp_config(100));
    advance(10s);
    a.runner.link_change(now, kOutside, false);
    advance(4s + tenth * 100ms);
    ASSERT_EQ(role(b, 0), Role::master);
    ASSERT_EQ(role(b, 1), Role::master);
    a.runner.link_change(now, kOutside, true);
    std::array<int, 2> taken{};
    for (int turn = 0; turn < 400; ++turn) {
      const std::array before = {role(a, 0), role(a, 1)};
      now += 10ms;
      b.runner.poll(now);
      say(b, a);
      for (size_t g : {0u, 1u}) {
        if (before[g] == Role::master || role(a, g) != Role::master) continue;
        ++taken[g];
        EXPECT_EQ(learnt[g + 1], &a) << "group " << g;
      }
      exchange();
      a.runner.poll(now);
      exchange();
    }
    EXPECT_EQ(taken, (std::array{1, 1}));
  }
}

TEST_F(Pair, AnnouncementComesFromTheVirtualMacAndIsRepeated) {
  begin(a, 1, carp_config(0));
  now += 3s;
  a.runner.poll(now);
  int arps = 0;
  for (int second = 0; second < 5; ++second) {
    for (const auto& e : a.side.take()) {
      if (e.what != "arp" || e.interface != kOutside) continue;
      ++arps;
      EXPECT_EQ(Mac::from_wire(&e.frame[6]), virtual_mac(1));
      const auto m = parse_arp(Bytes(e.frame).subspan(14));
      ASSERT_TRUE(m);
      EXPECT_EQ(m->sender_mac, virtual_mac(1));
      EXPECT_EQ(m->sender, m->target);
    }
    now += 1s;
    a.runner.poll(now);
  }
  EXPECT_EQ(arps, 2);
}

TEST_F(Pair, DeadMasterIsReplacedWithinTheMasterDownTime) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  a.alive = false;
  const Time died = now;
  advance(2300ms);
  EXPECT_EQ(role(b), Role::backup);
  advance(1200ms);
  EXPECT_EQ(role(b), Role::master);
  EXPECT_LE(b.runner.status(now)[0].in_role, now - died);
}

TEST_F(Pair, ReturningNodePreemptsOnlyWhenItsBulkTransferIsComplete) {
  begin(b, 2, carp_config(100));
  advance(10s);
  ASSERT_EQ(role(b), Role::master);
  a.runner.set_bulk_demotion(now, true);
  begin(a, 1, carp_config(0));
  advance(30s);
  EXPECT_EQ(role(a), Role::backup);
  EXPECT_EQ(role(b), Role::master);
  a.runner.set_bulk_demotion(now, false);
  advance(2s);
  EXPECT_EQ(role(a), Role::master);
  EXPECT_EQ(role(b), Role::backup);
  // The old master forwards for a moment longer, then no more.
  advance(CarpRunner::kLinger);
  EXPECT_FALSE(b.side.roles->is_master(kOutside, 1));
}

TEST_F(Pair, LosingMasterForwardsAMomentLonger) {
  begin(b, 2, carp_config(100));
  advance(10s);
  begin(a, 1, carp_config(0));
  while (role(a) != Role::master) advance(1ms);
  EXPECT_EQ(role(b), Role::backup);
  EXPECT_TRUE(b.side.roles->is_master(kOutside, 1));
  advance(CarpRunner::kLinger + 1ms);
  EXPECT_FALSE(b.side.roles->is_master(kOutside, 1));
  EXPECT_TRUE(a.side.roles->is_master(kOutside, 1));
}

TEST_F(Pair, WithoutPreemptTheReturningNodeStaysBackup) {
  begin(b, 2, carp_config(100, false));
  advance(10s);
  begin(a, 1, carp_config(0, false));
  advance(30s);
  EXPECT_EQ(role(a), Role::backup);
  EXPECT_EQ(role(b), Role::master);
}

TEST_F(Pair, LostLinkGivesUpAllGroupsAndItsReturnTakesThemBack) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  a.runner.link_change(now, kOutside, false);
  EXPECT_EQ(role(a, 0), Role::init);
  EXPECT_EQ(a.runner.demotion(), 240);
  EXPECT_FALSE(a.side.roles->is_master(kOutside, 1));  // nothing can arrive there any more
  advance(5s);
  EXPECT_EQ(role(b, 0), Role::master);
  EXPECT_EQ(role(b, 1), Role::master);
  EXPECT_EQ(role(a, 1), Role::backup);
  a.runner.link_change(now, kOutside, true);
  advance(5s);
  EXPECT_EQ(a.runner.demotion(), 0);
  for (size_t g : {0u, 1u}) {
    EXPECT_EQ(role(a, g), Role::master);
    EXPECT_EQ(role(b, g), Role::backup);
  }
}

TEST_F(Pair, BowOutHandsOverAtOnceAndWorkersForwardUntilReleased) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  a.runner.bow_out(now);
  EXPECT_TRUE(a.runner.had_masters_at_bow_out());
  EXPECT_FALSE(a.runner.successors_heard());
  EXPECT_EQ(role(a), Role::init);
  EXPECT_TRUE(a.side.roles->is_master(kOutside, 1));
  exchange();
  EXPECT_EQ(role(b, 0), Role::master);
  EXPECT_EQ(role(b, 1), Role::master);
  EXPECT_TRUE(a.runner.successors_heard());
  advance(5s);
  EXPECT_EQ(role(a), Role::init);
  EXPECT_TRUE(a.side.roles->is_master(kOutside, 1));
  a.side.take();
  a.runner.repeat_bow_out(now);
  EXPECT_TRUE(a.side.take().empty());  // a frame from the virtual MAC would turn the switches back
  a.runner.release(now);
  EXPECT_FALSE(a.side.roles->is_master(kOutside, 1));
}

TEST_F(Pair, LostBowOutIsRepeated) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  a.runner.bow_out(now);
  a.side.take();  // lost on the way
  advance(300ms);
  EXPECT_EQ(role(b), Role::backup);
  a.runner.repeat_bow_out(now);
  exchange();
  EXPECT_EQ(role(b), Role::master);
  EXPECT_TRUE(a.runner.successors_heard());
}

TEST_F(Pair, RefusedAdvertisementsAreCountedByReasonAndHaveNoEffect) {
  begin(b, 2, carp_config(100));
  advance(10s);
  ASSERT_EQ(role(b), Role::master);
  config::Carp other_key = carp_config(0);
  for (auto& g : other_key.groups) g.key = {'n', 'o'};
  begin(a, 1, other_key);
  advance(10s);
  EXPECT_EQ(role(b), Role::master);
  EXPECT_GT(b.runner.verdicts()[static_cast<size_t>(carp::Verdict::badauth)], 0u);
  EXPECT_EQ(b.runner.verdicts()[static_cast<size_t>(carp::Verdict::accept)], 0u);
  Frame damaged(70, 0);
  b.runner.receive(now, kOutside, damaged, kEthernetHeader);
  EXPECT_EQ(b.runner.verdicts()[static_cast<size_t>(carp::Verdict::not_carp)], 1u);
  b.runner.receive(now, kOutside, Bytes(damaged).first(3), kEthernetHeader);
  EXPECT_EQ(b.runner.verdicts()[static_cast<size_t>(carp::Verdict::not_carp)], 2u);
}

TEST_F(Pair, OwnAdvertisementThatComesBackIsALoop) {
  begin(a, 1, carp_config(0));
  now += 3s;
  a.runner.poll(now);
  size_t echoed = 0;
  for (const auto& e : a.side.take()) {
    if (e.what != "advert") continue;
    a.runner.receive(now, e.interface, e.frame, kEthernetHeader);
    ++echoed;
  }
  EXPECT_EQ(echoed, 3u);
  EXPECT_EQ(a.runner.verdicts()[static_cast<size_t>(carp::Verdict::loop)], echoed);
  EXPECT_EQ(role(a), Role::master);
}

TEST_F(Pair, ReloadKeepsRolesTakesNewSkewAndDropsVanishedGroups) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  config::Carp changed = carp_config(200);
  changed.groups.pop_back();
  a.runner.configure(now, changed, interfaces(1), [](InterfaceId) { return true; });
  EXPECT_EQ(role(a), Role::master);
  ASSERT_EQ(a.runner.status(now).size(), 1u);
  advance(100ms);
  EXPECT_EQ(role(b, 1), Role::master);  // the vanished group bowed out
  EXPECT_FALSE(a.side.roles->is_master(kInside, 2));
  advance(5s);
  EXPECT_EQ(role(a), Role::backup);  // 200 is slower than 100
  EXPECT_EQ(role(b), Role::master);
}

TEST_F(Pair, ReloadThatAddsAGroupNeverTakesTheOthersRolesFromTheWorkers) {
  begin(a, 1, carp_config(0));
  advance(4s);
  ASSERT_EQ(role(a, 1), Role::master);
  config::Carp more = carp_config(0);
  config::CarpGroup added = more.groups[0];
  added.vhid = 9;
  added.addresses = {*parse_prefix("192.0.2.9/24")};
  more.groups.insert(more.groups.begin(), added);
  a.side.published.clear();
  a.runner.configure(now, more, interfaces(1), [](InterfaceId) { return true; });
  EXPECT_EQ(role(a, 0), Role::backup);
  for (const auto& r : a.side.published) EXPECT_TRUE(r->is_master(kOutside, 1) && r->is_master(kInside, 2));
  EXPECT_TRUE(a.side.roles->is_master(kOutside, 1) && a.side.roles->is_master(kInside, 2));
}

TEST_F(Pair, NewAddressOfAMasterIsAnnounced) {
  begin(a, 1, carp_config(0));
  now += 3s;
  a.runner.poll(now);
  a.side.take();
  config::Carp more = carp_config(0);
  more.groups[1].addresses.push_back(*parse_prefix("192.0.3.99/24"));
  a.runner.configure(now, more, interfaces(1), [](InterfaceId) { return true; });
  bool announced = false;
  for (const auto& e : a.side.take())
    if (e.what == "arp")
      announced = announced || parse_arp(Bytes(e.frame).subspan(14))->sender == parse_ip("192.0.3.99")->addr;
  EXPECT_TRUE(announced);
}

TEST_F(Pair, OperatorsDemotionMovesTheRole) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  a.runner.set_operator_demotion(now, 10);
  advance(100ms);
  EXPECT_EQ(role(b), Role::master);
  a.runner.set_operator_demotion(now, 0);
  advance(3s);
  EXPECT_EQ(role(a), Role::master);
}

TEST_F(Pair, BackupFollowsALostPeerAtOnce) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  a.alive = false;
  b.runner.peer_gone(now);
  EXPECT_EQ(role(b, 0), Role::master);
  EXPECT_EQ(role(b, 1), Role::master);
  EXPECT_EQ(b.runner.status(now)[0].cause, carp::Cause::peer_lost);
}

TEST_F(Pair, LostLinkOfTheOnePeerMovesTheSilentGroupAtOnce) {
  for (const bool one_peer : {true, false}) {
    SCOPED_TRACE(one_peer);
    config::Carp first = carp_config(0);
    config::Carp second = carp_config(100);
    if (one_peer) second.bfd.emplace();
    begin(a, 1, first);
    begin(b, 2, second);
    advance(10s);
    a.runner.link_change(now, kOutside, false);
    advance(1ms);
    EXPECT_EQ(role(b, 1), Role::master) << "heard the demotion";
    EXPECT_EQ(role(b, 0), one_peer ? Role::master : Role::backup);
    advance(5s);
    a.runner.link_change(now, kOutside, true);
    advance(10s);
    for (size_t g : {0u, 1u}) EXPECT_EQ(role(b, g), Role::backup);
  }
}

TEST_F(Pair, PeerThatIsAsFitKeepsItsSilentGroup) {
  config::Carp second = carp_config(100);
  second.bfd.emplace();
  begin(a, 1, carp_config(0));
  begin(b, 2, second);
  advance(10s);
  b.runner.set_operator_demotion(now, 5);
  a.runner.set_operator_demotion(now, 5);
  advance(5s);
  for (size_t g : {0u, 1u}) EXPECT_EQ(role(b, g), Role::backup);
}

TEST_F(Pair, MasterDoesNothingAboutALostPeer) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  a.side.take();
  a.runner.peer_gone(now);
  EXPECT_TRUE(a.side.take().empty());
  EXPECT_EQ(role(a), Role::master);
}

TEST_F(Pair, OldMasterThatLivesGetsItsRoleBack) {
  for (const bool preempt : {true, false}) {
    begin(a, 1, carp_config(0, preempt));
    begin(b, 2, carp_config(100, preempt));
    advance(10s);
    b.runner.peer_gone(now);
    EXPECT_EQ(role(b), Role::master);
    advance(1ms);
    EXPECT_EQ(role(a), Role::master) << "its advertisement is the better one";
    EXPECT_EQ(role(b), Role::backup);
    advance(30s);
    EXPECT_EQ(role(a), Role::master);
    EXPECT_EQ(role(b), Role::backup);
  }
}

TEST_F(Pair, UnfitBackupWaitsForCarpsOwnTimer) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  b.runner.link_change(now, kLan, false);
  a.alive = false;
  b.runner.peer_gone(now);
  EXPECT_EQ(role(b, 0), Role::backup);
  advance(4s);
  EXPECT_EQ(role(b, 0), Role::master) << "better than nobody";
}

TEST_F(Pair, AsDemotedAsTheMasterIsFit) {
  begin(a, 1, carp_config(0));
  begin(b, 2, carp_config(100));
  advance(10s);
  b.runner.set_operator_demotion(now, 5);
  a.runner.set_operator_demotion(now, 5);
  advance(2s);
  a.alive = false;
  b.runner.peer_gone(now);
  EXPECT_EQ(role(b), Role::master);
}

TEST_F(Pair, WhoNeverHeardAMasterWaitsForCarpsOwnTimer) {
  begin(b, 2, carp_config(100));
  b.runner.peer_gone(now);
  EXPECT_EQ(role(b), Role::backup);
}

TEST_F(Pair, UnicastPeerNeedsItsMacAndIsSentFromOurOwn) {
  config::Carp c = carp_config(0);
  c.groups.pop_back();
  c.groups[0].addresses.pop_back();  // IPv4 only
  c.groups[0].peer = *parse_ip("192.0.2.3");
  begin(a, 1, c);
  now += 3s;
  a.runner.poll(now);
  for (const auto& e : a.side.take()) EXPECT_NE(e.what, "advert");
  EXPECT_EQ(a.runner.status(now)[0].counters.send_errors, 1u);
  a.side.peer_known = true;
  now += 1s;
  a.runner.poll(now);
  const auto events = a.side.take();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(Mac::from_wire(events[0].frame.data()), a.side.peer);
  EXPECT_EQ(Mac::from_wire(&events[0].frame[6]), interfaces(1)[0].mac);
}

TEST_F(Pair, VirtualMacsAreAskedOfThePorts) {
  begin(a, 1, carp_config(0));
  const std::vector<std::pair<InterfaceId, Mac>> expected = {{kOutside, virtual_mac(1)}, {kInside, virtual_mac(2)}};
  EXPECT_EQ(a.side.macs, expected);
}

}  // namespace
}  // namespace twinwall
