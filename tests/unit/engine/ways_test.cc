// What is kept of where an established connection's packets go: neighbours and routes that change, and numbers of
// courses that become another's.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "lib/engine/courses.h"
#include "told_node.h"

namespace twinwall {
namespace {

using test::datagram;
using test::kLanSide;
using test::kWanSide;
using test::ToldNode;

constexpr Mac kFirst{{2, 9, 9, 9, 9, 1}}, kSecond{{2, 9, 9, 9, 9, 2}};

// To 198.51.100.7, behind the gateway.
test::Datagram far(uint16_t port) {
  test::Datagram d = datagram(port);
  d.dst = Address::v4(0xc6336407);
  test::put_sum(d);
  return d;
}

test::Datagram answer_to(test::Datagram d) {
  std::swap(d.src, d.dst);
  const uint16_t port = d.word(0);
  d.set_word(0, d.word(2));
  d.set_word(2, port);
  test::put_sum(d);
  return d;
}

void talk(ToldNode& n, const test::Datagram& d) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(n.send(kLanSide, d), Fate::forward);
    ASSERT_EQ(n.send(kWanSide, answer_to(d)), Fate::forward);
  }
}

std::vector<NeighborTable::Entry> gateway_at(const Mac& mac) {
  return {{kWanSide, *parse_ip("192.0.2.254"), mac}, {kLanSide, *parse_ip("10.0.0.5"), Mac{{2, 5, 5, 5, 5, 5}}}};
}

void route(config::Config& c) {
  config::Route r;
  r.to = *parse_prefix("0.0.0.0/0");
  r.via = *parse_ip("192.0.2.254");
  r.interface = kWanSide;
  c.routes.push_back(r);
}

Mac sent_to(const ToldNode& n) {
  Mac mac;
  std::memcpy(mac.bytes.data(), n.last().frame, sizeof mac);
  return mac;
}

TEST(Ways, AGatewayThatMovesIsFollowed) {
  ToldNode a(1, "pass\n", route);
  a.know(gateway_at(kFirst));
  talk(a, far(1000));
  ASSERT_EQ(a.twins(), 1u);
  ASSERT_EQ(a.send(kLanSide, far(1000)), Fate::forward);
  EXPECT_EQ(sent_to(a), kFirst);
  a.know(gateway_at(kSecond));
  ASSERT_EQ(a.send(kLanSide, far(1000)), Fate::forward);
  EXPECT_EQ(sent_to(a), kSecond);
  EXPECT_EQ(a.twins(), 1u) << "by the same way";
  a.know({});
  EXPECT_EQ(a.send(kLanSide, far(1000)), Fate::punt) << "to be asked for";
  a.know(gateway_at(kFirst));
  ASSERT_EQ(a.send(kLanSide, far(1000)), Fate::forward);
  EXPECT_EQ(sent_to(a), kFirst);
}

TEST(Ways, OtherRoutesAreFollowed) {
  ToldNode a(1, "pass\n", route), elsewhere(2, "pass\n", [](config::Config&c) {
    route(c);
    c.routes.back().to = *parse_prefix("198.51.0.0/16");
    c.routes.back().via = *parse_ip("192.0.2.253");
  });
  auto hosts = gateway_at(kFirst);
  hosts.push_back({kWanSide, *parse_ip("192.0.2.253"), kSecond});
  a.know(hosts);
  talk(a, far(1000));
  ASSERT_EQ(a.send(kLanSide, far(1000)), Fate::forward);
  EXPECT_EQ(sent_to(a), kFirst);
  a.snapshot_ = elsewhere.snapshot_;
  ASSERT_EQ(a.send(kLanSide, far(1000)), Fate::forward);
  EXPECT_EQ(sent_to(a), kSecond);
}

// A line counts bytes in 32 bits, and the states what is beyond.
TEST(Ways, MoreThanFourGigabytesAreCounted) {
  ToldNode a(1, "pass\n", [](config::Config& c) {
    for (auto& i : c.interfaces) i.mtu = 65535;
  });
  test::Datagram large = datagram(1000);
  large.l4.resize(60008);
  large.set_word(4, 60008);
  test::put_sum(large);
  constexpr uint64_t kLength = 60008 + 20, kTimes = (uint64_t{1} << 32) / kLength + 100;
  talk(a, datagram(1000));
  ASSERT_EQ(a.twins(), 1u);
  const auto record = [&a] {
    const auto all = a.all_states();
    return all[all[0].record.direction == static_cast<uint8_t>(Direction::in) ? 0 : 1].record;
  };
  const pfsync::StateRecord before = record();
  ASSERT_EQ(a.send(kLanSide, datagram(1000)), Fate::forward);
  ASSERT_EQ(a.twins(), 1u);
  ASSERT_EQ(a.repeat(kLanSide, large, kTimes), kTimes);
  ASSERT_EQ(a.repeat(kWanSide, answer_to(large), kTimes), kTimes);
  EXPECT_EQ(a.twins(), 1u);
  const pfsync::StateRecord after = record();
  EXPECT_EQ(after.packets[0] - before.packets[0], kTimes + 1);
  EXPECT_EQ(after.bytes[0] - before.bytes[0], kTimes * kLength + 28);
  EXPECT_EQ(after.packets[1] - before.packets[1], kTimes);
  EXPECT_EQ(after.bytes[1] - before.bytes[1], kTimes * kLength);
}

// The numbers of a connection that has ended are the next one's, which other rules let through. Which of them is for
// which direction depends on who joins the states.
TEST(Ways, PacketsCountForTheirOwnRules) {
  for (const std::string order : {"ccaaccc", "cacaaaa"}) {  // of the client and of its answers
    ToldNode a(1, "pass proto udp to port 53\npass proto udp to port 54\n");
    test::Datagram other = datagram(2000);
    other.set_word(2, 54);
    test::put_sum(other);
    for (int i = 0; i < 2; ++i) talk(a, datagram(1000));
    ASSERT_EQ(a.twins(), 1u);
    Command kill;
    kill.kind = Command::Kind::kill_states;
    a.command(kill);
    ASSERT_EQ(a.twins(), 0u);
    const auto say = [&](bool answers) {
      ASSERT_EQ(a.send(answers ? kWanSide : kLanSide, answers ? answer_to(other) : other), Fate::forward);
    };
    for (size_t i = 0; i < order.size() && a.twins() == 0; ++i) say(order[i] == 'a');
    ASSERT_EQ(a.twins(), 1u) << order;
    const auto counted = [&a](size_t rule) { return a.counters().rules[a.slot_of(rule)].packets[0].get(); };
    const uint64_t before = counted(0), own = counted(1);
    for (const bool answers : {false, true, false, true}) say(answers);
    EXPECT_EQ(counted(0), before) << order;
    EXPECT_EQ(counted(1), own + 4) << order;
  }
}

TEST(Courses, EqualOnesShareANumber) {
  Courses all;
  const Course one{.way = 1, .in_rule = 2}, two{.way = 1, .in_rule = 2, .bound = 3};
  const uint16_t a = all.acquire(one), b = all.acquire(two);
  EXPECT_NE(a, 0);
  EXPECT_NE(a, b);
  EXPECT_EQ(all.acquire(one), a);
  EXPECT_EQ(all.at(b), two);
  EXPECT_FALSE(all.release(a)) << "somebody has it still";
  EXPECT_TRUE(all.release(a));
  const Course three{.way = 9};
  EXPECT_EQ(all.acquire(three), a) << "it was given back";
  EXPECT_EQ(all.at(a), three);
  EXPECT_NE(all.acquire(one), a);
}

TEST(Courses, AreBounded) {
  Courses all;
  for (uint32_t i = 1; i <= Courses::kMost; ++i) ASSERT_NE(all.acquire({.way = i}), 0);
  EXPECT_EQ(all.acquire({.way = Courses::kMost + 1u}), 0);
  EXPECT_NE(all.acquire({.way = 7}), 0) << "one that is there";
  EXPECT_FALSE(all.release(0));
  uint16_t freed = 1;
  while (!(all.at(freed) == Course{.way = 1000})) ++freed;
  EXPECT_TRUE(all.release(freed));
  EXPECT_EQ(all.acquire({.way = Courses::kMost + 1u}), freed);
}

}  // namespace
}  // namespace twinwall
