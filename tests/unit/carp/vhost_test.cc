// The machine: every event in every role, its timers, and two machines on one wire.
#include "lib/carp/vhost.h"

#include <gtest/gtest.h>

namespace twinwall::carp {

namespace {

constexpr Time kStart{std::chrono::hours(5)};
constexpr Advertised kBetter{1, 0, 0};
constexpr Advertised kWorse{1, 200, 0};

VhostConfig config(uint8_t advskew = 100, bool preempt = false) {
  return {.advbase = 1, .advskew = advskew, .preempt = preempt, .families = {.inet = true}};
}
VhostConfig dual(uint8_t advskew = 100) {
  auto c = config(advskew);
  c.families.inet6 = true;
  return c;
}

Vhost backup(const VhostConfig& c = config()) {
  Vhost v(c);
  v.start(kStart);
  return v;
}
Vhost master(const VhostConfig& c = config()) {
  Vhost v = backup(c);
  v.deadline(v.next_deadline());
  return v;
}
// A moment inside the master's first interval.
constexpr Time kMasterNow = kStart + 4s;

// ------------------------------------------------------------------------------------------------------------ INIT
TEST(VhostInit, DoesNothingAndWaitsForNothing) {
  Vhost v(config());
  EXPECT_EQ(v.role(), Role::init);
  EXPECT_EQ(v.next_deadline(), Time::max());
  EXPECT_TRUE(v.receive(kStart, Af::inet, {255, 255, 255}).none());
  EXPECT_TRUE(v.deadline(kStart + 100s).none());
  EXPECT_TRUE(v.set_demotion(kStart, 3).none());
  EXPECT_TRUE(v.peer_lost(kStart).none());
  EXPECT_TRUE(v.hand_over(kStart).none());
  EXPECT_TRUE(v.yield(kStart).none());
  EXPECT_TRUE(v.shutdown(kStart).none());
  EXPECT_TRUE(v.link_down(kStart).none());
  EXPECT_TRUE(v.configure(kStart, dual()).none());
  EXPECT_EQ(v.role(), Role::init);
}

TEST(VhostInit, StartGoesToBackupAndNeverToMaster) {
  Vhost v(config(0, true));
  const auto a = v.start(kStart);
  EXPECT_EQ(a, (Actions{.role_changed = true, .cause = Cause::started}));
  EXPECT_EQ(v.role(), Role::backup);
  EXPECT_EQ(v.role_since(), kStart);
  EXPECT_EQ(v.next_deadline(), kStart + 3s);
}

TEST(VhostInit, WaitsForLinkAddressesAndStartInAnyOrder) {
  auto none = config();
  none.families = {};
  Vhost v(none);
  v.link_down(kStart);
  EXPECT_TRUE(v.start(kStart).none());
  EXPECT_TRUE(v.link_up(kStart).none());
  EXPECT_TRUE(v.configure(kStart, config()).role_changed);
  EXPECT_EQ(v.role(), Role::backup);

  Vhost w(config());
  EXPECT_TRUE(w.link_up(kStart).none()) << "not started";
  w.link_down(kStart);
  EXPECT_TRUE(w.start(kStart).none());
  EXPECT_EQ(w.link_up(kStart + 1s).cause, Cause::started);
  EXPECT_EQ(w.next_deadline(), kStart + 1s + master_down_interval(Rules::openbsd, {1, 100, 0}));
}

// ---------------------------------------------------------------------------------------------------------- BACKUP
TEST(VhostBackup, TakesOverWhenItsTimerRunsOutAndNotBefore) {
  Vhost v = backup();
  const Time due = kStart + std::chrono::microseconds(3390625);
  EXPECT_EQ(v.next_deadline(), due);
  EXPECT_TRUE(v.deadline(due - 1ns).none());
  EXPECT_EQ(v.deadline(due),
            (Actions{.role_changed = true, .cause = Cause::master_down, .send_advert = true, .announce = true}));
  EXPECT_EQ(v.role(), Role::master);
  EXPECT_EQ(v.role_since(), due);
  EXPECT_EQ(v.transitions_to_master(), 1u);
  EXPECT_EQ(v.next_deadline(), due + std::chrono::microseconds(1390625));
}

TEST(VhostBackup, AnAdvertisementRestartsTheTimer) {
  Vhost v = backup();
  EXPECT_TRUE(v.receive(kStart + 2s, Af::inet, kBetter).none());
  EXPECT_EQ(v.next_deadline(), kStart + 2s + std::chrono::microseconds(3390625));
}

TEST(VhostBackup, EachFamilyHasItsOwnTimer) {
  Vhost v = backup(dual());
  v.receive(kStart + 2s, Af::inet, kBetter);
  EXPECT_EQ(v.next_deadline(), kStart + std::chrono::microseconds(3390625)) << "IPv6 has not been heard";
  v.receive(kStart + 3s, Af::inet6, kBetter);
  EXPECT_EQ(v.next_deadline(), kStart + 2s + std::chrono::microseconds(3390625));
  EXPECT_EQ(v.deadline(v.next_deadline()).cause, Cause::master_down) << "losing one family is enough";
}

TEST(VhostBackup, AFamilyItDoesNotHaveArmsNothing) {
  Vhost v = backup();
  v.receive(kStart + 1s, Af::inet6, kBetter);
  EXPECT_EQ(v.next_deadline(), kStart + std::chrono::microseconds(3390625));
}

TEST(VhostBackup, TakesOverAtOnceFromABowOut) {
  Vhost v = backup();
  const auto a = v.receive(kStart + 1s, Af::inet, {255, 255, 0});
  EXPECT_EQ(a, (Actions{.role_changed = true, .cause = Cause::peer_slow, .send_advert = true, .announce = true}));
  EXPECT_EQ(v.role(), Role::master);
}

TEST(VhostBackup, TakesOverAtOnceFromADemotedMasterOrByPreemption) {
  EXPECT_EQ(backup().receive(kStart, Af::inet, {1, 0, 1}).cause, Cause::peer_demoted);
  EXPECT_EQ(backup(config(100, true)).receive(kStart, Af::inet, kWorse).cause, Cause::preempted);
  EXPECT_TRUE(backup(config(100, false)).receive(kStart, Af::inet, kWorse).none());
}

TEST(VhostBackup, TakesOverAtOnceWhenThePeerIsKnownToBeGone) {
  Vhost v = backup();
  EXPECT_EQ(v.peer_lost(kStart + 50ms),
            (Actions{.role_changed = true, .cause = Cause::peer_lost, .send_advert = true, .announce = true}));
}

TEST(VhostBackup, LeavesSilently) {
  Vhost v = backup();
  EXPECT_EQ(v.shutdown(kStart + 1s), (Actions{.role_changed = true, .cause = Cause::stopped}));
  EXPECT_EQ(v.next_deadline(), Time::max());
  Vhost w = backup();
  EXPECT_EQ(w.link_down(kStart + 1s), (Actions{.role_changed = true, .cause = Cause::link_down}));
  EXPECT_TRUE(w.link_down(kStart + 1s).none());
}

TEST(VhostBackup, HasNothingToHandOverOrToAdvertise) {
  Vhost v = backup();
  EXPECT_TRUE(v.hand_over(kStart).none());
  EXPECT_TRUE(v.yield(kStart).none());
  EXPECT_TRUE(v.set_demotion(kStart, 5).none());
  EXPECT_EQ(v.demotion(), 5);
  EXPECT_TRUE(v.start(kStart + 1s).none()) << "started already: the timer goes on";
  EXPECT_TRUE(v.link_up(kStart + 1s).none());
  EXPECT_EQ(v.next_deadline(), kStart + std::chrono::microseconds(3390625));
}

TEST(VhostBackup, NewTimingRestartsTheTimerAndAnEqualOneDoesNot) {
  Vhost v = backup();
  EXPECT_TRUE(v.configure(kStart + 1s, config(100, true)).none());
  EXPECT_EQ(v.next_deadline(), kStart + std::chrono::microseconds(3390625));
  EXPECT_TRUE(v.configure(kStart + 1s, config(0)).none());
  EXPECT_EQ(v.next_deadline(), kStart + 4s);
}

TEST(VhostBackup, FamiliesComeAndGoWithTheirTimers) {
  Vhost v = backup(dual());
  v.receive(kStart + 1s, Af::inet, kBetter);
  v.configure(kStart + 1s, config());
  EXPECT_EQ(v.next_deadline(), kStart + 1s + std::chrono::microseconds(3390625)) << "IPv6's earlier timer is gone";
  v.configure(kStart + 2s, dual());
  EXPECT_EQ(v.next_deadline(), kStart + 2s + std::chrono::microseconds(3390625));
  auto none = config();
  none.families = {};
  EXPECT_EQ(v.configure(kStart + 3s, none), (Actions{.role_changed = true, .cause = Cause::no_addresses}));
  EXPECT_EQ(v.role(), Role::init);
}

// ---------------------------------------------------------------------------------------------------------- MASTER
TEST(VhostMaster, AdvertisesOneIntervalAfterTheLastSend) {
  Vhost v = master();
  const Time first = v.next_deadline();
  EXPECT_TRUE(v.deadline(first - 1ns).none());
  EXPECT_EQ(v.deadline(first + 500ms), Actions{.send_advert = true}) << "called late";
  EXPECT_EQ(v.next_deadline(), first + 500ms + std::chrono::microseconds(1390625)) << "no bunching";
}

TEST(VhostMaster, RepeatsTheAnnouncementAfterTheSecondNextAdvertisementOnly) {
  Vhost v = backup();
  std::vector<bool> announced;
  for (int i = 0; i < 6; ++i) {
    const auto a = v.deadline(v.next_deadline());
    EXPECT_TRUE(a.send_advert);
    announced.push_back(a.announce);
  }
  EXPECT_EQ(announced, (std::vector<bool>{true, false, true, false, false, false}));
}

TEST(VhostMaster, BalancedNodesNeverAnnounce) {
  auto c = config();
  c.announce = false;
  Vhost v = backup(c);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(v.deadline(v.next_deadline()).announce);
}

TEST(VhostMaster, ANodeThatBecomesBalancedDoesNotRepeatItsAnnouncement) {
  Vhost v = master();
  auto c = config();
  c.announce = false;
  v.configure(kMasterNow, c);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(v.deadline(v.next_deadline()).announce);
}

TEST(VhostMaster, YieldsToABetterPeerAndListensAgain) {
  Vhost v = master();
  EXPECT_EQ(v.receive(kMasterNow, Af::inet, kBetter), (Actions{.role_changed = true, .cause = Cause::peer_better}));
  EXPECT_EQ(v.role(), Role::backup);
  EXPECT_EQ(v.next_deadline(), kMasterNow + std::chrono::microseconds(3390625));
}

TEST(VhostMaster, StaysWithAWorsePeerOrItsBowOut) {
  Vhost v = master();
  const Time due = v.next_deadline();
  EXPECT_TRUE(v.receive(kMasterNow, Af::inet, kWorse).none());
  EXPECT_TRUE(v.receive(kMasterNow, Af::inet, {255, 255, 0}).none());
  EXPECT_EQ(v.next_deadline(), due);
}

TEST(VhostMaster, LeavesWithABowOut) {
  Vhost v = master();
  EXPECT_EQ(v.shutdown(kMasterNow), (Actions{.send_bow_out = true, .role_changed = true, .cause = Cause::stopped}));
  EXPECT_EQ(v.bow_out(), (Advertised{255, 255, 0}));
  EXPECT_EQ(v.role(), Role::init);
  EXPECT_EQ(v.next_deadline(), Time::max());
}

TEST(VhostMaster, CannotBowOutOverADeadLink) {
  Vhost v = master();
  EXPECT_EQ(v.link_down(kMasterNow), (Actions{.role_changed = true, .cause = Cause::link_down}));
  EXPECT_EQ(v.link_up(kMasterNow + 1s).cause, Cause::started);
  EXPECT_EQ(v.role(), Role::backup);
}

TEST(VhostMaster, LosingItsAddressesIsABowOut) {
  Vhost v = master();
  auto none = config();
  none.families = {};
  EXPECT_EQ(v.configure(kMasterNow, none),
            (Actions{.send_bow_out = true, .role_changed = true, .cause = Cause::no_addresses}));
}

TEST(VhostMaster, HandsOverWithABowOutAndStaysReady) {
  Vhost v = master();
  v.set_demotion(kMasterNow, 240);
  EXPECT_EQ(v.hand_over(kMasterNow),
            (Actions{.send_bow_out = true, .role_changed = true, .cause = Cause::handed_over}));
  EXPECT_EQ(v.role(), Role::backup);
  EXPECT_TRUE(v.receive(kMasterNow + 1s, Af::inet, kWorse).none()) << "demoted: it does not want it back";
  EXPECT_EQ(v.deadline(v.next_deadline()).cause, Cause::master_down) << "but it is there when the peer dies";
}

TEST(VhostMaster, YieldsSilentlyOnRequest) {
  Vhost v = master();
  EXPECT_EQ(v.yield(kMasterNow), (Actions{.role_changed = true, .cause = Cause::handed_over}));
  EXPECT_EQ(v.role(), Role::backup);
}

TEST(VhostMaster, TellsARiseOfItsDemotionAtOnceAndAFallInTime) {
  Vhost v = master();
  EXPECT_EQ(v.set_demotion(kMasterNow, 32), Actions{.send_advert = true});
  EXPECT_EQ(v.advertised().demote, 32);
  const Time due = kMasterNow + std::chrono::microseconds(1390625);
  EXPECT_EQ(v.next_deadline(), due) << "re-armed by the extra advertisement";
  EXPECT_TRUE(v.set_demotion(kMasterNow + 1ms, 32).none());
  EXPECT_TRUE(v.set_demotion(kMasterNow + 1ms, 0).none());
  EXPECT_EQ(v.next_deadline(), due);
  EXPECT_EQ(v.advertised().demote, 0);
}

TEST(VhostMaster, AnExtraAdvertisementCountsTowardsTheRepeat) {
  Vhost v = master();
  EXPECT_FALSE(v.set_demotion(kMasterNow, 1).announce);
  EXPECT_TRUE(v.set_demotion(kMasterNow, 2).announce);
}

TEST(VhostMaster, IsNotMovedByStartLinkUpOrALostPeer) {
  Vhost v = master();
  EXPECT_TRUE(v.start(kMasterNow).none());
  EXPECT_TRUE(v.link_up(kMasterNow).none());
  EXPECT_TRUE(v.peer_lost(kMasterNow).none());
  EXPECT_EQ(v.role(), Role::master);
}

TEST(VhostMaster, NewTimingCountsFromTheLastAdvertisement) {
  Vhost v = master(config(0));
  const Time sent = kStart + 3s;
  EXPECT_TRUE(v.configure(sent + 200ms, config(128)).none());
  EXPECT_EQ(v.next_deadline(), sent + 1500ms);
  auto slow = config(0);
  slow.advbase = 20;
  v.configure(sent + 300ms, slow);
  EXPECT_EQ(v.next_deadline(), sent + 20s);
  v.configure(sent + 5s, config(0));
  EXPECT_EQ(v.next_deadline(), sent + 5s) << "overdue under the new interval: at once";
}

TEST(VhostMaster, AnnouncesANewFamilyAtOnce) {
  Vhost v = master();
  EXPECT_EQ(v.configure(kMasterNow, dual()), (Actions{.send_advert = true, .announce = true}));
}

TEST(VhostMaster, TheRulesOfAVhostDoNotChange) {
  Vhost v = master();
  auto other = config();
  other.rules = Rules::freebsd;
  v.configure(kMasterNow, other);
  EXPECT_EQ(v.config().rules, Rules::openbsd);
}

// --------------------------------------------------------------------------------------------------------- FreeBSD
TEST(VhostFreebsd, SendsNoBowOutAnnouncesOnceAndTellsEveryDemotion) {
  auto c = config(40);
  c.rules = Rules::freebsd;
  Vhost v = backup(c);
  EXPECT_TRUE(v.deadline(v.next_deadline()).announce);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(v.deadline(v.next_deadline()).announce);
  const Time now = v.next_deadline() - 1ms;
  EXPECT_TRUE(v.set_demotion(now, 340).send_advert);
  EXPECT_EQ(v.advertised(), (Advertised{1, 240, 0}));
  EXPECT_TRUE(v.set_demotion(now, 0).send_advert);
  EXPECT_FALSE(v.shutdown(now).send_bow_out);
}

// The peer leaves: its bow-out over IPv4 makes us master, and its bow-out over IPv6, from the same MAC, arrives after
// our first advertisement. Switches then send everything to the node that is gone until we are heard again.
TEST(VhostMaster, ABowOutHeardAsMasterIsAnsweredAtOnce) {
  auto c = dual();
  c.answer_masters = true;
  Vhost v = backup(c);
  EXPECT_TRUE(v.receive(kStart + 1s, Af::inet, {255, 255, 0}).send_advert);
  ASSERT_EQ(v.role(), Role::master);
  const auto a = v.receive(kStart + 1001ms, Af::inet6, {255, 255, 0});
  EXPECT_EQ(a, (Actions{.send_advert = true}));
  EXPECT_EQ(v.role(), Role::master);
  EXPECT_GT(v.next_deadline(), kStart + 2s);
}

// The better node has taken over; an advertisement of the other that was on its way then arrives behind ours. Two that
// both stay master answer each other once a second, not without end.
TEST(VhostMaster, AnAdvertisementOfASlowerMasterIsAnsweredOnceASecond) {
  auto c = dual();
  c.answer_masters = true;
  Vhost v = backup(c);
  EXPECT_TRUE(v.receive(kStart + 1s, Af::inet, {255, 255, 0}).send_advert);
  ASSERT_EQ(v.role(), Role::master);
  const Advertised slower{1, 200, 0};
  EXPECT_EQ(v.receive(kStart + 1005ms, Af::inet, slower), (Actions{.send_advert = true}));
  EXPECT_TRUE(v.receive(kStart + 1006ms, Af::inet6, slower).none());
  EXPECT_TRUE(v.receive(kStart + 2004ms, Af::inet, slower).none());
  EXPECT_TRUE(v.receive(kStart + 2005ms, Af::inet, slower).send_advert);
  EXPECT_EQ(v.role(), Role::master);
}

// The same when we are demoted, because another of our interfaces is down: by its demotion the node that leaves would
// be the better one, and its second goodbye must not make us give the role back to nobody.
TEST(VhostMaster, ADemotedMasterDoesNotYieldToABowOut) {
  auto c = dual();
  c.answer_masters = true;
  Vhost v = backup(c);
  (void)v.set_demotion(kStart, 240);
  (void)v.receive(kStart + 1s, Af::inet, {255, 255, 0});
  ASSERT_EQ(v.role(), Role::master);
  EXPECT_EQ(v.receive(kStart + 1001ms, Af::inet6, {255, 255, 0}), (Actions{.send_advert = true}));
  EXPECT_EQ(v.role(), Role::master);
  // One that stays is another matter.
  (void)v.receive(kStart + 1002ms, Af::inet, {1, 200, 0});
  EXPECT_EQ(v.role(), Role::backup);
}

}  // namespace

}  // namespace twinwall::carp
