// A reload of both nodes, in the words that cross between them.
#include "control/pair_reload.h"

#include <gtest/gtest.h>

#include <deque>

namespace twinwall {
namespace {

using namespace std::chrono_literals;

// A side: what it was wished, and what it says to that.
struct Side final : PairReloadHost {
  void tell_peer(size_t peer, std::vector<uint8_t> message) override {
    if (deaf)
      reload.unsent(peer);
    else
      sent.emplace_back(peer, std::move(message));
  }
  void try_files(size_t peer, uint64_t id, config::SharedFiles files, bool dry_run,
                 std::chrono::seconds within) override {
    tried = std::move(files);
    was_dry = dry_run;
    waits = within;
    if (refusal.empty() && !dry_run) holds = id;
    reload.answer(peer, id, refusal);
  }
  std::string keep_files(size_t, uint64_t id) override {
    if (holds != id) return "it went back";
    ++kept;
    holds = 0;
    return "";
  }
  void drop_files(size_t, uint64_t id) override {
    if (holds != id) return;
    ++dropped;
    holds = 0;
  }
  std::deque<std::pair<size_t, std::vector<uint8_t>>> sent;
  config::SharedFiles tried;
  std::string refusal;
  std::chrono::seconds waits{};
  uint64_t holds = 0;
  int kept = 0, dropped = 0;
  bool was_dry = false, deaf = false;
  PairReload reload{*this};
};

class PairReloadTest : public testing::Test {
 protected:
  void cross() {
    for (bool any = true; any;) {
      any = false;
      while (!a.sent.empty()) {
        const auto [peer, message] = std::move(a.sent.front());
        a.sent.pop_front();
        any = peers[peer].reload.take(0, message) || any;
      }
      for (size_t i = 0; i < peers.size(); ++i)
        while (!peers[i].sent.empty()) {
          const auto message = std::move(peers[i].sent.front().second);
          peers[i].sent.pop_front();
          any = a.reload.take(i, message) || any;
        }
    }
  }
  void offer(bool dry_run = false) {
    a.reload.offer(now, ++id, peers.size(), files, dry_run, 90s, [this](const PairReload::Problems& p) {
      ++ended;
      problems = p;
    });
  }
  void keep() {
    a.reload.keep(now, [this](const PairReload::Problems& p) {
      ++ended;
      problems = p;
    });
  }
  Time now = Time(100s);
  uint64_t id = 40;
  Side a;
  std::array<Side, 2> peers;
  const config::SharedFiles files = {{"rules.yaml", "rules: []"}};
  PairReload::Problems problems;
  int ended = 0;
};

TEST_F(PairReloadTest, AllAcceptAndKeep) {
  offer();
  EXPECT_TRUE(a.reload.busy());
  cross();
  EXPECT_EQ(ended, 1);
  EXPECT_TRUE(problems.empty());
  for (const Side& p : peers) {
    EXPECT_EQ(p.tried, files);
    EXPECT_EQ(p.waits, 90s);
    EXPECT_EQ(p.kept, 0) << "not before this node has done the same";
  }
  keep();
  cross();
  EXPECT_EQ(ended, 2);
  EXPECT_TRUE(problems.empty());
  for (const Side& p : peers) EXPECT_EQ(p.kept, 1);
  EXPECT_FALSE(a.reload.busy());
}

TEST_F(PairReloadTest, OneRefusesAndTheOtherGoesBack) {
  peers[1].refusal = "rules.yaml:3:1: no such interface";
  offer();
  cross();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0], (std::pair<size_t, std::string>{1, peers[1].refusal}));
  EXPECT_EQ(peers[0].dropped, 1);
  EXPECT_EQ(peers[1].dropped, 0);
}

TEST_F(PairReloadTest, DryRunHoldsNothing) {
  offer(true);
  cross();
  EXPECT_EQ(ended, 1);
  EXPECT_TRUE(peers[0].was_dry);
  a.reload.take_back();
  cross();
  EXPECT_EQ(peers[0].dropped, 0);
}

TEST_F(PairReloadTest, TakenBackHere) {
  offer();
  cross();
  a.reload.take_back();
  cross();
  for (const Side& p : peers) EXPECT_EQ(p.dropped, 1);
}

TEST_F(PairReloadTest, NoAnswerInTimeIsARefusal) {
  offer();
  a.sent.pop_back();  // the second never hears of it
  cross();
  EXPECT_EQ(ended, 0);
  EXPECT_EQ(a.reload.next_deadline(), now + PairReload::kAnswerWithin);
  now = a.reload.next_deadline();
  a.reload.poll(now);
  EXPECT_EQ(ended, 1);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].first, 1u);
  cross();
  EXPECT_EQ(peers[0].dropped, 1);
}

TEST_F(PairReloadTest, PeerThatCannotBeToldIsNamedAtOnce) {
  a.deaf = true;
  offer();
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(problems.size(), 2u);
  EXPECT_FALSE(a.reload.busy());
}

TEST_F(PairReloadTest, PeerThatWentBackBeforeItWasToldToKeepSaysSo) {
  offer();
  cross();
  peers[0].holds = 0;
  keep();
  cross();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].second, "it went back");
  EXPECT_EQ(peers[1].kept, 1);
}

TEST_F(PairReloadTest, AnswersToAnEarlierOfferCountForNothing) {
  offer();
  const auto late = a.sent;
  a.sent.clear();
  now += PairReload::kAnswerWithin;
  a.reload.poll(now);
  a.sent.clear();
  offer();
  a.sent.clear();
  for (const auto& [peer, message] : late) peers[peer].reload.take(0, message);
  cross();
  EXPECT_TRUE(a.reload.busy());
}

}  // namespace
}  // namespace twinwall
