#include "lib/state/timer_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "lib/base/random.h"

namespace twinwall {
namespace {

class Wheel : public testing::Test {
 protected:
  std::vector<StateIndex> due(uint32_t now, size_t limit = 1000000) {
    std::vector<StateIndex> out;
    wheel_.advance(now, limit, [&](StateIndex i) {
      out.push_back(i);
      return 0u;
    });
    return out;
  }

  std::vector<State> states_ = std::vector<State>(1000);
  TimerWheel wheel_{states_.data(), 100, 64};
};

TEST_F(Wheel, AStateIsDueInItsSecondAndNotBefore) {
  wheel_.insert(3, 110);
  EXPECT_TRUE(due(109).empty());
  EXPECT_EQ(due(110), std::vector<StateIndex>{3});
  EXPECT_FALSE(wheel_.contains(3));
  EXPECT_EQ(wheel_.size(), 0u);
}

TEST_F(Wheel, DeadlinesBeyondOneTurnWaitForTheirTurn) {
  wheel_.insert(1, 100 + 64 * 5 + 7);
  for (uint32_t now = 101; now < 100 + 64 * 5 + 7; ++now) ASSERT_TRUE(due(now).empty()) << now;
  EXPECT_EQ(due(100 + 64 * 5 + 7).size(), 1u);
}

TEST_F(Wheel, PastDeadlinesAreDueInTheNextSecond) {
  wheel_.insert(1, 5);
  EXPECT_TRUE(due(100).empty());
  EXPECT_EQ(due(101).size(), 1u);
}

TEST_F(Wheel, SaysWhichIsNext) {
  for (StateIndex i = 10; i < 20; ++i) wheel_.insert(i, 110);
  std::vector<StateIndex> announced, looked_at;
  wheel_.advance(
      110, 1000,
      [&](StateIndex i) {
        looked_at.push_back(i);
        return 0u;
      },
      [&](StateIndex i) { announced.push_back(i); });
  ASSERT_EQ(looked_at.size(), 10u);
  // Nothing of the first two could be fetched before.
  EXPECT_EQ(announced, std::vector<StateIndex>(looked_at.begin() + 2, looked_at.end()));
}

TEST_F(Wheel, TheCallbackMayRearm) {
  wheel_.insert(1, 110);
  int looks = 0;
  const auto rearm = [&](StateIndex) {
    ++looks;
    return 130u;
  };
  for (uint32_t now = 101; now < 130; ++now) wheel_.advance(now, 100, rearm);
  EXPECT_EQ(looks, 1);
  EXPECT_EQ(due(130).size(), 1u);
}

TEST_F(Wheel, InsertingAgainMovesAndRemovingTwiceIsNothing) {
  wheel_.insert(1, 110);
  wheel_.insert(2, 110);
  wheel_.insert(1, 120);
  EXPECT_EQ(due(110), std::vector<StateIndex>{2});
  wheel_.remove(1);
  wheel_.remove(1);
  EXPECT_TRUE(due(200).empty());
}

TEST_F(Wheel, ACallLooksAtNoMoreThanItsLimitAndTheRestComesNext) {
  for (StateIndex i = 0; i < 1000; ++i) wheel_.insert(i, 110);
  EXPECT_EQ(due(115, 300).size(), 300u);
  EXPECT_TRUE(wheel_.behind(115));
  EXPECT_EQ(wheel_.size(), 700u);
  EXPECT_EQ(due(115, 0).size(), 0u);
  EXPECT_EQ(due(115, 1000).size(), 700u);
  EXPECT_FALSE(wheel_.behind(115));
}

TEST_F(Wheel, TheRestOfADueSlotCanStillLeave) {
  for (StateIndex i = 0; i < 10; ++i) wheel_.insert(i, 110);
  const std::vector<StateIndex> first = due(110, 4);
  std::set<StateIndex> rest;
  for (StateIndex i = 0; i < 10; ++i)
    if (wheel_.contains(i)) rest.insert(i);
  ASSERT_EQ(rest.size(), 6u);
  for (const StateIndex i : std::set<StateIndex>(rest)) {
    if (i % 2 == 0) continue;
    wheel_.remove(i);
    rest.erase(i);
  }
  const std::vector<StateIndex> second = due(110);
  EXPECT_EQ(std::set<StateIndex>(second.begin(), second.end()), rest);
}

TEST_F(Wheel, TheCallbackMayRemoveOthers) {
  for (StateIndex i = 0; i < 10; ++i) wheel_.insert(i, 110);
  int looks = 0;
  wheel_.advance(110, 100, [&](StateIndex i) {
    ++looks;
    wheel_.remove(i ^ 1);  // the other hook's state goes with it
    return 0u;
  });
  EXPECT_EQ(looks, 5);
  EXPECT_EQ(wheel_.size(), 0u);
}

TEST_F(Wheel, AfterALongPauseEverySlotIsSeenOnce) {
  for (StateIndex i = 0; i < 1000; ++i) wheel_.insert(i, 101 + i);
  EXPECT_EQ(due(1'000'000).size(), 1000u);
  EXPECT_FALSE(wheel_.behind(1'000'000));
  wheel_.insert(1, 1'000'005);
  EXPECT_EQ(due(1'000'005).size(), 1u);
}

TEST_F(Wheel, RandomUseAgreesWithASortedList) {
  Random random(3);
  std::map<StateIndex, uint32_t> model;
  uint32_t now = 100;
  for (int step = 0; step < 20000; ++step) {
    const StateIndex i = random.below(1000);
    switch (random.below(4)) {
      case 0:
      case 1:
        model[i] = now + 1 + random.below(300);
        wheel_.insert(i, model[i]);
        break;
      case 2:
        model.erase(i);
        wheel_.remove(i);
        break;
      case 3: {
        now += random.below(3);
        std::set<StateIndex> got;
        while (wheel_.behind(now)) {
          wheel_.advance(now, 5, [&](StateIndex due) {
            got.insert(due);
            return 0u;
          });
        }
        std::set<StateIndex> expected;
        for (const auto& [index, deadline] : model)
          if (deadline <= now) expected.insert(index);
        ASSERT_EQ(got, expected) << step;
        for (const StateIndex e : expected) model.erase(e);
        break;
      }
    }
    ASSERT_EQ(wheel_.size(), model.size());
  }
}

}  // namespace
}  // namespace twinwall
