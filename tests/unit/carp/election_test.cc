// The election step and the timer lengths, at their edges.
#include "lib/carp/election.h"

#include <gtest/gtest.h>

namespace twinwall::carp {

namespace {

using std::chrono::microseconds;

Decision step(Role role, Priority own, Advertised peer, bool preempt = false, Rules rules = Rules::openbsd) {
  return elect(rules, role, own, preempt, peer).decision;
}
Cause cause(Role role, Priority own, Advertised peer, bool preempt = false) {
  return elect(Rules::openbsd, role, own, preempt, peer).cause;
}

TEST(OpenbsdMaster, YieldsToFasterAndToAnExactTie) {
  EXPECT_EQ(step(Role::master, {1, 100, 0}, {1, 99, 0}), Decision::become_backup);
  EXPECT_EQ(step(Role::master, {1, 100, 0}, {1, 100, 0}), Decision::become_backup);
  EXPECT_EQ(step(Role::master, {1, 100, 0}, {1, 101, 0}), Decision::stay_master);
  EXPECT_EQ(step(Role::master, {2, 0, 0}, {1, 255, 0}), Decision::become_backup);
}

TEST(OpenbsdMaster, YieldsToTheLessDemotedWhateverTheSkew) {
  EXPECT_EQ(step(Role::master, {1, 0, 1}, {1, 254, 0}), Decision::become_backup);
  EXPECT_EQ(step(Role::master, {1, 254, 0}, {1, 0, 1}), Decision::stay_master);
  EXPECT_EQ(cause(Role::master, {1, 0, 1}, {1, 254, 0}), Cause::peer_better);
}

TEST(OpenbsdMaster, ABowOutDoesNotMoveIt) {
  EXPECT_EQ(step(Role::master, {1, 100, 0}, {255, 255, 0}), Decision::stay_master);
}

TEST(OpenbsdBackup, PreemptsOnlyWhenAskedAndNotMoreDemoted) {
  EXPECT_EQ(step(Role::backup, {1, 0, 0}, {1, 100, 0}), Decision::restart_timer);
  EXPECT_EQ(step(Role::backup, {1, 0, 0}, {1, 100, 0}, true), Decision::become_master);
  EXPECT_EQ(step(Role::backup, {1, 0, 1}, {1, 100, 0}, true), Decision::restart_timer);
  EXPECT_EQ(step(Role::backup, {1, 100, 0}, {1, 100, 0}, true), Decision::restart_timer) << "a tie";
  EXPECT_EQ(cause(Role::backup, {1, 0, 0}, {1, 100, 0}, true), Cause::preempted);
}

TEST(OpenbsdBackup, TakesOverFromTheMoreDemotedEvenWithoutPreempt) {
  EXPECT_EQ(step(Role::backup, {1, 254, 0}, {1, 0, 1}), Decision::become_master);
  EXPECT_EQ(cause(Role::backup, {1, 254, 0}, {1, 0, 1}), Cause::peer_demoted);
  EXPECT_EQ(step(Role::backup, {1, 254, 1}, {1, 0, 1}), Decision::restart_timer);
}

TEST(OpenbsdBackup, TakesOverFromOneTooSlow) {
  EXPECT_EQ(step(Role::backup, {1, 0, 0}, {3, 0, 0}), Decision::restart_timer) << "exactly three times";
  EXPECT_EQ(step(Role::backup, {1, 0, 0}, {3, 1, 0}), Decision::become_master);
  EXPECT_EQ(cause(Role::backup, {1, 0, 0}, {255, 255, 0}), Cause::peer_slow);
  EXPECT_EQ(step(Role::backup, {0, 100, 0}, {5, 0, 0}), Decision::restart_timer) << "switched off by advbase 0";
  EXPECT_EQ(step(Role::backup, {86, 0, 0}, {255, 255, 0}), Decision::restart_timer) << "too slow itself";
}

TEST(Demotion, CountsAsAtMost255OnTheWireAndInTheElection) {
  EXPECT_EQ(advertised(Rules::openbsd, {1, 7, 1000}), (Advertised{1, 7, 255}));
  EXPECT_EQ(advertised(Rules::openbsd, {1, 7, -3}), (Advertised{1, 7, 0}));
  EXPECT_EQ(step(Role::backup, {1, 0, 1000}, {1, 100, 255}, true), Decision::become_master);
}

TEST(Freebsd, AddsItsDemotionToTheSkewAndIgnoresTheDemoteByte) {
  EXPECT_EQ(advertised(Rules::freebsd, {1, 40, 40}), (Advertised{1, 80, 0}));
  EXPECT_EQ(advertised(Rules::freebsd, {1, 40, 340}), (Advertised{1, 240, 0}));
  EXPECT_EQ(advertised(Rules::freebsd, {1, 40, -100}), (Advertised{1, 0, 0}));
  EXPECT_EQ(advertised(Rules::freebsd, {1, 254, 0}), (Advertised{1, 240, 0}));
  EXPECT_EQ(advertised(Rules::freebsd, {1, 254, 0x7fffffff}), (Advertised{1, 240, 0})) << "no overflow";
  EXPECT_EQ(step(Role::master, {1, 0, 240}, {1, 100, 0}, false, Rules::freebsd), Decision::become_backup);
  EXPECT_EQ(step(Role::master, {1, 100, 0}, {1, 0, 255}, false, Rules::freebsd), Decision::become_backup);
  EXPECT_EQ(step(Role::backup, {1, 100, 0}, {1, 0, 255}, false, Rules::freebsd), Decision::restart_timer);
  EXPECT_EQ(step(Role::backup, {1, 100, 0}, {255, 255, 0}, false, Rules::freebsd), Decision::become_master);
}

TEST(Init, IgnoresEverything) {
  for (const bool preempt : {false, true})
    EXPECT_EQ(step(Role::init, {1, 0, 0}, {255, 255, 255}, preempt), Decision::ignore);
}

TEST(Timers, OpenbsdsAreCutToWholeMicroseconds) {
  EXPECT_EQ(advert_interval(Rules::openbsd, {1, 0, 0}), microseconds(1000000));
  EXPECT_EQ(advert_interval(Rules::openbsd, {1, 254, 99}), microseconds(1992187)) << "demotion does not slow it";
  EXPECT_EQ(master_down_interval(Rules::openbsd, {1, 100, 0}), microseconds(3390625)) << "one skew, not three";
  EXPECT_EQ(master_down_interval(Rules::openbsd, {0, 100, 0}), microseconds(1171875)) << "three skews at advbase 0";
  EXPECT_EQ(advert_interval(Rules::openbsd, {0, 0, 0}), microseconds(3906));
  EXPECT_EQ(master_down_interval(Rules::openbsd, {0, 0, 0}), microseconds(11718));
}

TEST(Timers, FreebsdsFirstGapLeavesTheDemotionOut) {
  EXPECT_EQ(advert_interval(Rules::freebsd, {1, 100, 240}), microseconds(1937500));
  EXPECT_EQ(advert_interval(Rules::freebsd, {1, 100, 240}, true), microseconds(1390625));
  EXPECT_EQ(master_down_interval(Rules::freebsd, {1, 100, 240}), microseconds(3390625));
}

TEST(Names, OfRolesDecisionsAndCauses) {
  EXPECT_EQ(to_string(Role::init), "init");
  EXPECT_EQ(to_string(Role::backup), "backup");
  EXPECT_EQ(to_string(Role::master), "master");
  EXPECT_EQ(to_string(Decision::restart_timer), "restart-master-down-timer");
  for (int i = 0; i <= static_cast<int>(Cause::handed_over); ++i)
    EXPECT_NE(to_string(static_cast<Cause>(i)), "unknown") << i;
}

}  // namespace

}  // namespace twinwall::carp
