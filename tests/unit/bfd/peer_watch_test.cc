// The rule over all paths: when the peer is gone, when only a path is, and what flapping does to it.
#include "lib/bfd/peer_watch.h"

#include <gtest/gtest.h>

namespace twinwall::bfd {
namespace {

class BfdWatch : public testing::Test {
 protected:
  Finding lose(size_t path, Loss loss = Loss::silent) { return watch.lost(now, path, loss); }
  void up(size_t path) { watch.up(path); }
  // Lost and back, so often that the next loss is damped.
  void wear_out(size_t path) {
    for (unsigned i = 0; i < Damping::kFlaps; ++i) {
      (void)lose(path, Loss::signaled);
      now += 100ms;
      up(path);
    }
  }

  Time now{std::chrono::hours(1)};
  PeerWatch watch;
  size_t a = watch.add(), b = watch.add();
};

TEST_F(BfdWatch, LastPathIsThePeer) {
  up(a);
  up(b);
  EXPECT_EQ(watch.paths_up(), 2u);
  EXPECT_EQ(lose(a), Finding::path_lost);
  EXPECT_EQ(watch.paths_up(), 1u);
  EXPECT_EQ(lose(b), Finding::peer_lost);
  EXPECT_EQ(watch.next_deadline(), Time::max());
}

TEST_F(BfdWatch, PathThatWasNeverUpDoesNotCount) {
  up(a);
  EXPECT_EQ(lose(a), Finding::peer_lost);
  EXPECT_EQ(lose(b), Finding::none);
}

TEST_F(BfdWatch, PeerIsLostOnce) {
  up(a);
  EXPECT_EQ(lose(a), Finding::peer_lost);
  EXPECT_EQ(lose(a), Finding::none);
  now += 10s;
  EXPECT_EQ(watch.deadline(now), Finding::none);
  up(a);
  EXPECT_EQ(lose(a), Finding::peer_lost);
}

TEST_F(BfdWatch, PeerThatSpeaksIsNotLost) {
  up(a);
  EXPECT_EQ(lose(a, Loss::signaled), Finding::path_lost);
}

TEST_F(BfdWatch, NoLinkHereSaysNothingAboutThePeer) {
  up(a);
  up(b);
  EXPECT_EQ(lose(a, Loss::own_link), Finding::path_lost);
  EXPECT_EQ(lose(b, Loss::own_link), Finding::path_lost);
}

TEST_F(BfdWatch, SilenceAfterALostLinkDoes) {
  up(a);
  up(b);
  EXPECT_EQ(lose(a, Loss::own_link), Finding::path_lost);
  now += 150ms;
  EXPECT_EQ(lose(b), Finding::peer_lost);
}

TEST_F(BfdWatch, LinkLostJustAfterSilenceIsOneEvent) {
  up(a);
  up(b);
  EXPECT_EQ(lose(b), Finding::path_lost);
  now += 100ms;
  EXPECT_EQ(lose(a, Loss::own_link), Finding::peer_lost);
}

TEST_F(BfdWatch, LinkLostLongAfterSilenceIsNot) {
  up(a);
  up(b);
  EXPECT_EQ(lose(b), Finding::path_lost);
  now += 2s;
  EXPECT_EQ(lose(a, Loss::own_link), Finding::path_lost);
}

TEST_F(BfdWatch, OnePathThatSaysItLeavesIsEnough) {
  up(a);
  up(b);
  EXPECT_EQ(lose(a, Loss::leaving), Finding::peer_leaving);
}

TEST_F(BfdWatch, WithdrawnPathsLoseNobody) {
  up(a);
  up(b);
  EXPECT_EQ(lose(a, Loss::withdrawn), Finding::withdrawn);
  EXPECT_EQ(lose(b, Loss::withdrawn), Finding::withdrawn);
  up(a);
  up(b);
  EXPECT_EQ(lose(a, Loss::withdrawn), Finding::withdrawn);
  EXPECT_EQ(lose(b), Finding::peer_lost) << "what is left is all there is";
}

TEST_F(BfdWatch, RemovedPathIsNoPath) {
  up(a);
  up(b);
  watch.remove(b);
  EXPECT_EQ(lose(a), Finding::peer_lost);
  EXPECT_EQ(watch.add(), b) << "its place is used again";
  EXPECT_EQ(watch.paths_up(), 0u);
}

TEST_F(BfdWatch, FlappingPathCountsOnlyWhenItStaysDown) {
  up(a);
  wear_out(a);
  EXPECT_TRUE(watch.damped(now, a));
  EXPECT_EQ(lose(a), Finding::path_damped);
  EXPECT_EQ(watch.next_deadline(), now + 2s);
  now += 1999ms;
  EXPECT_EQ(watch.deadline(now), Finding::none);
  now += 1ms;
  EXPECT_EQ(watch.deadline(now), Finding::peer_lost);
  EXPECT_EQ(watch.next_deadline(), Time::max());
}

TEST_F(BfdWatch, FlappingPathThatReturnsTakesNothingOver) {
  up(a);
  wear_out(a);
  EXPECT_EQ(lose(a), Finding::path_damped);
  now += 500ms;
  up(a);
  now += 10s;
  EXPECT_EQ(watch.deadline(now), Finding::none);
}

TEST_F(BfdWatch, DampedPathHoldsThePeerUntilItsTime) {
  up(a);
  up(b);
  wear_out(a);
  EXPECT_EQ(lose(a), Finding::path_damped);
  now += 100ms;
  EXPECT_EQ(lose(b), Finding::path_lost);
  now += 1900ms;
  EXPECT_EQ(watch.deadline(now), Finding::peer_lost);
}

TEST_F(BfdWatch, GoodPathHoldsThePeerWhenADampedOneGoes) {
  up(a);
  up(b);
  wear_out(a);
  EXPECT_EQ(lose(a), Finding::path_damped);
  now += 2s;
  EXPECT_EQ(watch.deadline(now), Finding::none);
  EXPECT_EQ(lose(b), Finding::peer_lost);
}

TEST_F(BfdWatch, PeerThatWasRestartedIsNoFlappingPath) {
  up(a);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(lose(a), Finding::peer_lost);
    now += 1s;
    watch.up(a, true);
  }
}

TEST_F(BfdWatch, DampingPassesWithTime) {
  up(a);
  wear_out(a);
  now += 61s;
  EXPECT_FALSE(watch.damped(now, a));
  EXPECT_EQ(lose(a), Finding::peer_lost);
}

TEST_F(BfdWatch, FindingsHaveNames) {
  for (size_t f = 0; f < kFindings; ++f) EXPECT_NE(to_string(static_cast<Finding>(f)), "unknown");
}

}  // namespace
}  // namespace twinwall::bfd
