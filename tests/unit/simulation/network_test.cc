// What links do to frames.
#include "control/simulation/network.h"

#include <gtest/gtest.h>

namespace twinwall::simulation {
namespace {

Mac mac(uint8_t n) { return Mac{{2, 0, 0, 0, 0, n}}; }

struct Wires {
  Wires() : link(net.add_link("wan", true, 7)), a(net.attach(link, 0, 1)), b(net.attach(link, 1, 1)) {}

  void send(Attachment from, const Mac& source, const Mac& to) {
    std::vector<uint8_t> frame(60, 0);
    std::copy(to.bytes.begin(), to.bytes.end(), frame.begin());
    std::copy(source.bytes.begin(), source.bytes.end(), frame.begin() + 6);
    net.transmit(now, from, frame);
  }
  // The ports that frames reach, with the times since they were sent.
  std::vector<std::pair<PortId, Duration>> arrivals() {
    std::vector<std::pair<PortId, Duration>> out;
    while (net.next() != Time::max()) {
      Network::Delivery d;
      Bytes frame;
      if (net.take(d, frame)) out.emplace_back(d.port, d.when - now);
    }
    return out;
  }

  Time now{Duration(1s)};
  Network net;
  LinkId link;
  Attachment a, b;
};

class Links : public testing::Test, protected Wires {};

using Arrivals = std::vector<std::pair<PortId, Duration>>;

TEST_F(Links, AFrameToNobodyKnownGoesToAllOthers) {
  send(a, mac(1), mac(9));
  EXPECT_EQ(arrivals(), (Arrivals{{kHosts, 50us}, {b.port, 50us}}));
}

TEST_F(Links, ASwitchLearnsAndForgetsWithTheCable) {
  send(b, mac(2), kBroadcastMac);
  (void)arrivals();
  send(a, mac(1), mac(2));
  EXPECT_EQ(arrivals(), (Arrivals{{b.port, 50us}}));
  send(a, mac(2), mac(1));  // it moved
  EXPECT_EQ(net.moves(), 1u);
  EXPECT_EQ(net.learnt(link, mac(2)), a.port);
  (void)arrivals();
  net.set_cable(a, false);
  EXPECT_EQ(net.learnt(link, mac(2)), std::nullopt);
}

TEST_F(Links, ACutCableTakesWhatIsOnItsWay) {
  send(a, mac(1), mac(9));
  net.set_cable(b, false);
  EXPECT_EQ(arrivals(), (Arrivals{{kHosts, 50us}}));
  EXPECT_FALSE(net.carrier(b));
  EXPECT_FALSE(net.connected(a, b));
  send(b, mac(2), mac(9));
  EXPECT_TRUE(arrivals().empty());
}

TEST_F(Links, OneCableShowsTheOthersPower) {
  net.set_power(b, false);
  EXPECT_TRUE(net.carrier(a));
  net.set_direct(link, true);
  EXPECT_FALSE(net.carrier(a));
}

TEST_F(Links, ChancesAreOfTheSeed) {
  Quality q;
  q.drop = 300'000;
  q.duplicate = 200'000;
  q.reorder = 100'000;
  q.jitter = 2ms;
  const auto run = [&](uint64_t seed) {
    Wires other;
    other.link = other.net.add_link("lossy", false, seed);
    other.a = other.net.attach(other.link, 0, 1);
    other.b = other.net.attach(other.link, 1, 1);
    other.net.set_quality(other.link, q);
    for (int i = 0; i < 1000; ++i) other.send(other.a, mac(1), kBroadcastMac);
    const Network::Counters& c = other.net.counters(other.link);
    EXPECT_NEAR(static_cast<double>(c.lost), 300, 60);
    EXPECT_NEAR(static_cast<double>(c.duplicated), 140, 50);
    EXPECT_EQ(other.net.last_trouble(other.link), other.now);
    return other.arrivals();
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST_F(Links, CertainLossLosesEverything) {
  Quality q;
  q.drop = kCertain;
  net.set_quality(link, q);
  for (int i = 0; i < 100; ++i) send(a, mac(1), kBroadcastMac);
  EXPECT_TRUE(arrivals().empty());
  EXPECT_TRUE(net.carrier(a));
}

}  // namespace
}  // namespace twinwall::simulation
