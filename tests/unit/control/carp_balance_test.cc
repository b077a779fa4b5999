// Groups that share their load: who takes what, and what goes out under which address.
#include <gtest/gtest.h>

#include <random>

#include "lib/carp/balance.h"
#include "tests/unit/control/carp_lab.h"

namespace twinwall {
namespace {

using config::Balancing;

config::Carp sharing_config(bool first, Balancing mode = Balancing::ip) {
  config::Carp c;
  c.preempt = true;
  c.balancing = mode;
  config::CarpGroup g;
  g.interface = carp_lab::kInside;
  g.key = {'k', 'e', 'y'};
  g.addresses = {*parse_prefix("192.0.3.1/24"), *parse_prefix("2001:db8::1/64")};
  g.nodes = {{10, static_cast<uint8_t>(first ? 0 : 100)}, {20, static_cast<uint8_t>(first ? 100 : 0)}};
  g.vhid = g.nodes[0].vhid;
  g.advskew = g.nodes[0].advskew;
  g.balancing = mode;
  c.groups.push_back(g);
  return c;
}

class SharedLoad : public carp_lab::Pair {
 protected:
  void begin_both(Balancing mode = Balancing::ip) {
    begin(a, 1, sharing_config(true, mode));
    begin(b, 2, sharing_config(false, mode));
  }
  static uint32_t masters(const NodeUnderTest& n) { return n.side.roles->sharing.at(0).masters; }
  // How many of the living take a packet between these.
  int takers(const Address& src, const Address& dst) const {
    int n = 0;
    for (const auto* node : {&a, &b}) {
      if (!node->alive) continue;
      const CarpSharing& s = node->side.roles->sharing.at(0);
      n += carp::balance_accepts(Af::inet, src, dst, s.nodes, s.masters) ? 1 : 0;
    }
    return n;
  }
  void expect_each_taken_once() const {
    std::mt19937 random(7);
    for (int i = 0; i < 200; ++i) {
      const Address src = Address::v4(static_cast<uint32_t>(random())),
                    dst = Address::v4(static_cast<uint32_t>(random()));
      EXPECT_EQ(takers(src, dst), 1);
      EXPECT_EQ(takers(dst, src), 1);
    }
  }
};

TEST_F(SharedLoad, EachIsMasterOfOneNodeAndEveryPacketIsTakenOnce) {
  begin_both();
  advance(10s);
  EXPECT_EQ(masters(a), 1u);
  EXPECT_EQ(masters(b), 2u);
  expect_each_taken_once();
}

TEST_F(SharedLoad, TheOtherTakesAllAndGivesTheShareBackAtOnce) {
  begin_both();
  advance(10s);
  a.side.cut = true;
  a.runner.link_change(now, carp_lab::kInside, false);
  EXPECT_EQ(masters(a), 0u);
  advance(4s);
  EXPECT_EQ(masters(b), 3u);
  expect_each_taken_once();

  a.side.cut = false;
  a.runner.link_change(now, carp_lab::kInside, true);
  // Whenever something is published, no packet is for two.
  for (int i = 0; i < 200; ++i) {
    advance(50ms);
    EXPECT_EQ(masters(a) & masters(b), 0u);
  }
  EXPECT_EQ(masters(a), 1u);
  EXPECT_EQ(masters(b), 2u);
  expect_each_taken_once();
}

TEST_F(SharedLoad, NothingIsAnnounced) {
  begin_both();
  advance(10s);
  a.alive = false;
  advance(10s);
  for (const auto& [side, what] : history) EXPECT_TRUE(what != "arp" && what != "na") << side << ' ' << what;
}

TEST_F(SharedLoad, ALeavingNodeForwardsUntilItsSuccessorIsHeard) {
  begin_both();
  advance(10s);
  a.runner.bow_out(now);
  EXPECT_EQ(masters(a), 1u);
  exchange();  // its goodbye, and the other's first word as its successor
  EXPECT_EQ(masters(b), 3u);
  EXPECT_EQ(masters(a), 0u);
}

TEST_F(SharedLoad, AdvertisementsDoNotTeachSwitchesTheSharedAddress) {
  struct Case {
    Balancing mode;
    Mac shared, source;
  };
  const Mac own{{2, 0, 0, 0, 1, 1}};  // of node 1's inside interface
  for (const Case& c :
       {Case{Balancing::ip, Mac{{1, 0, 0x5e, 0, 1, 10}}, own}, Case{Balancing::ip_stealth, virtual_mac(10), own},
        Case{Balancing::ip_unicast, virtual_mac(10), virtual_mac(10)}}) {
    NodeUnderTest node{3};
    begin(node, 1, sharing_config(true, c.mode));
    EXPECT_EQ(node.side.roles->sharing.at(0).mac, c.shared);
    EXPECT_EQ(node.side.macs.at(0).second, c.shared);
    now += 5s;
    node.runner.poll(now);
    int adverts = 0;
    for (const auto& e : node.side.take()) {
      if (e.what != "advert") continue;
      ++adverts;
      EXPECT_EQ(Mac::from_wire(&e.frame[6]), c.source);
    }
    EXPECT_EQ(adverts, 4);  // two nodes, two families
    EXPECT_EQ(node.runner.status(now)[1].leader, 10);
  }
}

TEST_F(SharedLoad, AReloadMovesAShareByItsSkew) {
  begin_both();
  advance(10s);
  for (auto* n : {&a, &b}) {
    auto wanted = sharing_config(n == &a);
    wanted.groups[0].nodes[1].advskew = n == &a ? 0 : 200;
    n->runner.configure(now, wanted, carp_lab::interfaces(n == &a ? 1 : 2), [](InterfaceId) { return true; });
  }
  advance(10s);
  EXPECT_EQ(masters(a), 3u);
  EXPECT_EQ(masters(b), 0u);
}

TEST_F(SharedLoad, DemotionGivesEveryShareAway) {
  begin_both();
  advance(10s);
  a.runner.set_operator_demotion(now, 5);
  advance(3s);
  EXPECT_EQ(masters(a), 0u);
  EXPECT_EQ(masters(b), 3u);
  a.runner.set_operator_demotion(now, 0);
  advance(3s);
  EXPECT_EQ(masters(a), 1u);
}

}  // namespace
}  // namespace twinwall
