// Random histories: that they hold, that they are of their seed, and that something happens in them.
#include "control/simulation/trial.h"

#include <gtest/gtest.h>

#include "tests/unit/rounds.h"

namespace twinwall::simulation {
namespace {

using std::chrono_literals::operator""min;

TrialResult run(uint64_t seed, Duration length, std::vector<std::string>* story = nullptr) {
  TrialOptions o;
  o.seed = seed;
  o.length = length;
  if (story != nullptr)
    o.story = [story](Duration since, const std::string& what) {
      story->push_back(std::to_string(since.count()) + " " + what);
    };
  return run_trial(o);
}

TEST(Trial, TheSameSeedTellsTheSameStory) {
  std::vector<std::string> first, second, other;
  (void)run(5, 20min, &first);
  (void)run(6, 20min, &other);
  (void)run(5, 20min, &second);
  EXPECT_GT(first.size(), 50u);
  EXPECT_EQ(first, second);
  EXPECT_NE(first, other);
}

TEST(Trial, WhatMustHoldHolds) {
  Judge::Counters sum;
  Traffic::Counters traffic;
  for (uint64_t seed = 1; seed <= test::rounds(19); ++seed) {
    const TrialResult r = run(seed, 30min);
    EXPECT_EQ(r.error, "") << "seed " << seed;
    ASSERT_FALSE(r.violation) << "seed " << seed << ": " << r.violation->rule << ": " << r.violation->text;
    sum.role_changes += r.judged.role_changes;
    sum.audited_states += r.judged.audited_states;
    sum.updates += r.judged.updates;
    sum.good_exchanges += r.judged.good_exchanges;
    sum.settled_checks += r.judged.settled_checks;
    sum.returns += r.judged.returns;
    traffic.established += r.traffic.established;
  }
  // Each promise was put to the test.
  EXPECT_GT(sum.role_changes, test::often(500));
  EXPECT_GT(sum.audited_states, test::often(500));
  EXPECT_GT(sum.updates, test::often(500));
  EXPECT_GT(sum.good_exchanges, test::often(500));
  EXPECT_GT(sum.settled_checks, test::often(100));
  EXPECT_GE(sum.returns, test::often(1));
  EXPECT_GT(traffic.established, test::often(200));
}

}  // namespace
}  // namespace twinwall::simulation
