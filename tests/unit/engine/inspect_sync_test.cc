// Where the looking into a connection stands, told by one engine and taken by another.
#include <gtest/gtest.h>

#include <string_view>

#include "told_node.h"

namespace twinwall {
namespace {

using test::kLanSide;
using test::kWanSide;
using test::ToldNode;

constexpr uint8_t kFlagSyn = 2, kFlagAck = 16;

// One TCP connection through a node: what its two ends would send next.
struct InspectedTalk {
  uint32_t seq[2] = {1000, 500000};  // of the initiator, of the responder

  test::Datagram segment(unsigned from, uint8_t flags, std::string_view text = {}) {
    test::Datagram d;
    d.src = Address::v4(from == 0 ? 0x0a000005u : 0xc0000209u);
    d.dst = Address::v4(from == 0 ? 0xc0000209u : 0x0a000005u);
    d.proto = kProtoTcp;
    d.l4.assign(20, 0);
    d.set_word(0, from == 0 ? 4000 : 80);
    d.set_word(2, from == 0 ? 80 : 4000);
    d.set_number(4, seq[from]);
    if ((flags & kFlagAck) != 0) d.set_number(8, seq[1 - from]);
    d.l4[12] = 0x50;
    d.l4[13] = flags;
    d.set_word(14, 30000);
    d.l4.insert(d.l4.end(), text.begin(), text.end());
    test::put_sum(d);
    seq[from] += static_cast<uint32_t>(text.size()) + ((flags & kFlagSyn) != 0 ? 1 : 0);
    return d;
  }
  Fate say(ToldNode& node, unsigned from, std::string_view text) {
    return node.send(from == 0 ? kLanSide : kWanSide, segment(from, kFlagAck, text));
  }
  void shake_hands(ToldNode& node) {
    EXPECT_EQ(node.send(kLanSide, segment(0, kFlagSyn)), Fate::forward);
    EXPECT_EQ(node.send(kWanSide, segment(1, kFlagSyn | kFlagAck)), Fate::forward);
    EXPECT_EQ(say(node, 0, ""), Fate::forward);
  }
};

// Every rule looks for this; drops.
ToldNode::Change looks_for(std::string_view pattern) {
  return [pattern](config::Config& config) {
    auto group = std::make_shared<inspect::Group>();
    group->name = "group";
    group->signatures.push_back({1, {std::string(pattern)}, "found"});
    group->close(nullptr);
    std::string error;
    inspect::Detector::Reference wrong;
    const auto detector = inspect::Detector::make({group}, error, wrong);
    ASSERT_NE(detector, nullptr) << error;
    config.inspection.groups = {group};
    config.inspection.detectors = {detector};
    for (auto& rule : config.rules.rules)
      if (rule.direction == Direction::in)
        rule.inspect = std::make_shared<const inspect::Policy>(inspect::Policy{detector, inspect::OnMatch::drop});
  };
}

constexpr const char* kRules = "pass in\npass out\n";

struct InspectedPair : testing::Test {
  ToldNode a{1, kRules, looks_for("needle")}, b{2, kRules, looks_for("needle")};
  InspectedTalk talk;

  void tell() {
    b.take(a.deltas());
    b.take(a.words());
  }
};

TEST_F(InspectedPair, ASignatureIsFoundOverTwoNodes) {
  talk.shake_hands(a);
  EXPECT_EQ(talk.say(a, 0, "a nee"), Fate::forward);
  tell();
  EXPECT_EQ(b.inspection(InspectCounter::taken), 1u);
  EXPECT_EQ(talk.say(b, 0, "dle"), Fate::drop);
  EXPECT_EQ(b.inspection(InspectCounter::blocked), 1u);
}

TEST_F(InspectedPair, WithoutAWordItIsNot) {
  talk.shake_hands(a);
  EXPECT_EQ(talk.say(a, 0, "a nee"), Fate::forward);
  b.take(a.deltas());
  EXPECT_EQ(talk.say(b, 0, "dle"), Fate::forward);
}

TEST_F(InspectedPair, ABurstIsToldOnce) {
  talk.shake_hands(a);
  for (const char* text : {"one ", "two ", "a n", "ee"}) EXPECT_EQ(talk.say(a, 0, text), Fate::forward);
  b.take(a.deltas());
  const auto words = a.words();
  EXPECT_EQ(words.size(), 1u);
  EXPECT_TRUE(a.words().empty()) << "nothing was said since";
  b.take(words);
  EXPECT_EQ(talk.say(b, 0, "dle"), Fate::drop);
}

TEST_F(InspectedPair, AFullRingIsTriedAgain) {
  talk.shake_hands(a);
  EXPECT_EQ(talk.say(a, 0, "a nee"), Fate::forward);
  b.take(a.deltas());
  a.ring_full = true;
  EXPECT_TRUE(a.words().empty());
  a.ring_full = false;
  b.take(a.words());
  EXPECT_EQ(talk.say(b, 0, "dle"), Fate::drop);
}

TEST_F(InspectedPair, AConnectionThatIsBlockedStaysSo) {
  talk.shake_hands(a);
  EXPECT_EQ(talk.say(a, 0, "a needle"), Fate::drop);
  tell();
  EXPECT_EQ(talk.say(b, 0, "harmless"), Fate::drop);
  EXPECT_EQ(talk.say(b, 1, "harmless"), Fate::drop);
}

TEST_F(InspectedPair, AConnectionThatIsFreeStaysSo) {
  ToldNode little{1, kRules, [](config::Config& c) {
                    looks_for("needle")(c);
                    c.inspection.settings.bytes = 4;
                  }};
  talk.shake_hands(little);
  b.take(little.deltas());
  b.take(little.words());
  EXPECT_EQ(talk.say(little, 0, "some"), Fate::forward);
  EXPECT_EQ(talk.say(little, 1, "more"), Fate::forward);
  b.take(little.deltas());
  b.take(little.words());
  EXPECT_EQ(talk.say(b, 0, "a needle"), Fate::forward);
  EXPECT_EQ(b.counters().inspected_now.get(), 0u);
}

TEST_F(InspectedPair, AllOfItIsToldToAPeerThatHasGotTheTable) {
  talk.shake_hands(a);
  EXPECT_EQ(talk.say(a, 0, "a nee"), Fate::forward);
  const auto states = a.deltas();
  (void)a.words();  // the peer was not there
  b.take(states);
  Command c;
  c.kind = Command::Kind::tell_inspections;
  a.command(c);
  b.take(a.words());
  EXPECT_EQ(talk.say(b, 0, "dle"), Fate::drop);
}

TEST_F(InspectedPair, WhatWasLostIsToldWithItsState) {
  talk.shake_hands(a);
  EXPECT_EQ(talk.say(a, 0, "a nee"), Fate::forward);
  b.take(a.deltas());
  for (const InspectionWord& lost : a.words()) {
    Command c;
    c.kind = Command::Kind::tell_again;
    c.id = lost.id;
    a.command(c);
  }
  tell();
  EXPECT_EQ(talk.say(b, 0, "dle"), Fate::drop);
}

TEST_F(InspectedPair, OtherPatternsAreLookedForFromTheSamePlace) {
  ToldNode other{3, kRules, looks_for("haystack")};
  talk.shake_hands(a);
  EXPECT_EQ(talk.say(a, 0, "a nee"), Fate::forward);
  other.take(a.deltas());
  other.take(a.words());
  EXPECT_EQ(other.inspection(InspectCounter::taken_afresh) + other.inspection(InspectCounter::taken_refused), 1u);
}

TEST_F(InspectedPair, WordsThatFitNothingAreRefused) {
  talk.shake_hands(a);
  EXPECT_EQ(talk.say(a, 0, "a nee"), Fate::forward);
  const auto states = a.deltas();
  const auto words = a.words();
  ASSERT_EQ(words.size(), 1u);
  b.take(words);
  EXPECT_EQ(b.inspection(InspectCounter::taken_refused), 1u) << "no such state";
  b.take(states);
  for (uint32_t length = 0; length < words[0].length; ++length) {
    InspectionWord cut = words[0];
    cut.length = length;
    b.take({cut});
  }
  EXPECT_EQ(b.inspection(InspectCounter::taken_refused), 1u + words[0].length);
  EXPECT_EQ(b.counters().inspected_now.get(), 0u);
  b.take(words);
  b.take(words);
  EXPECT_EQ(b.inspection(InspectCounter::taken), 1u) << "the second says nothing new";
}

}  // namespace
}  // namespace twinwall
