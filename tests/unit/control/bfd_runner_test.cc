// Two runners on two wires: they find each other, lose each other, refuse strangers, follow the configuration.
#include "control/bfd_runner.h"

#include <gtest/gtest.h>

#include <set>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

using BfdFrame = std::vector<uint8_t>;

constexpr InterfaceId kBfdSync = 1, kBfdLan = 2;

struct BfdSent {
  InterfaceId interface = kNoInterface;
  BfdFrame frame;
};

class BfdWires final : public BfdOutput {
 public:
  bool send(InterfaceId interface, Bytes frame) override {
    frames.push_back({interface, BfdFrame(frame.begin(), frame.end())});
    return true;
  }
  const Mac* peer_mac(InterfaceId, const IpAddress&) override { return resolved ? &peer : nullptr; }
  void peer_gone(bfd::Finding f) override { gone.push_back(f); }

  std::vector<BfdSent> frames;
  std::vector<bfd::Finding> gone;
  bool resolved = true;
  Mac peer{{2, 0, 0, 0, 9, 9}};
};

struct BfdBox {
  explicit BfdBox(int n) : number(n) {
    for (const InterfaceId id : {kBfdSync, kBfdLan}) {
      config::Interface i;
      i.id = id;
      i.name = id == kBfdSync ? "sync" : "lan";
      i.addresses = {*parse_prefix((id == kBfdSync ? "10.255.0." : "10.0.0.") + std::to_string(n) + "/24"),
                     *parse_prefix("2001:db8:" + std::to_string(id) + "::" + std::to_string(n) + "/64")};
      interfaces.push_back(i);
      InterfaceInfo info;
      info.id = id;
      info.name = i.name;
      info.mac = Mac{{2, 0, 0, 0, static_cast<uint8_t>(n), static_cast<uint8_t>(id)}};
      ports.push_back(info);
    }
  }
  [[nodiscard]] config::Bfd wanted() const {
    const std::string other = std::to_string(3 - number);
    config::Bfd c;
    c.peers = {{*parse_ip("10.255.0." + other), kBfdSync}, {*parse_ip("2001:db8:2::" + other), kBfdLan}};
    c.interval = 50ms;
    c.multiplier = 3;
    return c;
  }
  void configure(Time now, const std::optional<config::Bfd>& c) { runner.configure(now, c, interfaces, ports); }

  int number;
  std::vector<config::Interface> interfaces;
  std::vector<InterfaceInfo> ports;
  BfdWires wires;
  BfdRunner runner{wires, [seed = uint64_t(number) << 40]() mutable {
                     return seed = seed * 6364136223846793005ull + 1442695040888963407ull;
                   }};
  bool alive = true;
};

class BfdRunners : public testing::Test {
 protected:
  void begin(const std::function<void(config::Bfd&)>& change = nullptr) {
    for (BfdBox* b : {&one, &two}) {
      config::Bfd c = b->wanted();
      if (change) change(c);
      b->configure(now, c);
      b->runner.start(now);
    }
  }
  void cross(BfdBox& from, BfdBox& to) {
    for (const BfdSent& s : std::exchange(from.wires.frames, {})) {
      last = s;
      if (to.alive && !cut.contains(s.interface)) to.runner.receive(now, s.interface, s.frame, kEthernetHeader);
    }
  }
  void run(Duration d) {
    const Time end = now + d;
    for (; now < end; now += 1ms) {
      for (BfdBox* b : {&one, &two})
        if (b->alive && b->runner.next_deadline() <= now) b->runner.poll(now);
      cross(one, two);
      cross(two, one);
    }
  }
  void come_up() {
    run(5s);
    for (BfdBox* b : {&one, &two})
      for (const BfdStatus& s : b->runner.status(now)) {
        ASSERT_EQ(s.state, bfd::State::up);
        ASSERT_EQ(s.detection_time, 150ms);
        ASSERT_EQ(s.transmit_interval, 50ms);
        ASSERT_FALSE(s.polling);
      }
  }
  static bfd::State state(const BfdBox& b, size_t path) {
    return b.runner.status(Time(std::chrono::hours(1000)))[path].state;
  }
  static uint64_t count(const BfdBox& b, bfd::Verdict v) { return b.runner.verdicts()[static_cast<size_t>(v)]; }
  static uint64_t found(const BfdBox& b, bfd::Finding f) { return b.runner.findings()[static_cast<size_t>(f)]; }
  // A frame of the peer's as two would get it.
  BfdFrame from_one(InterfaceId interface) {
    for (;;) {
      now = std::max(now + 1ms, one.runner.next_deadline());
      one.runner.poll(now);
      for (const BfdSent& s : std::exchange(one.wires.frames, {}))
        if (s.interface == interface) return s.frame;
    }
  }
  void give_two(InterfaceId interface, const BfdFrame& f) { two.runner.receive(now, interface, f, kEthernetHeader); }

  Time now{std::chrono::hours(3)};
  BfdBox one{1}, two{2};
  std::set<InterfaceId> cut;
  BfdSent last;
};

TEST_F(BfdRunners, ComeUpOnEveryPathOverBothFamilies) {
  begin();
  come_up();
  EXPECT_TRUE(one.wires.gone.empty());
  const auto s = one.runner.status(now);
  EXPECT_EQ(to_string(s[0].local), "10.255.0.1");
  EXPECT_EQ(to_string(s[1].local), "2001:db8:2::1");
  EXPECT_NE(s[0].discriminator, s[1].discriminator);
  EXPECT_EQ(s[0].remote.discriminator, two.runner.status(now)[0].discriminator);
  EXPECT_EQ(count(one, bfd::Verdict::accept), s[0].received + s[1].received);
}

TEST_F(BfdRunners, FramesAreWhatRfc5881Wants) {
  begin();
  come_up();
  BfdFrame f = from_one(kBfdSync);
  const uint8_t* ip = &f[kEthernetHeader];
  EXPECT_EQ(Mac::from_wire(&f[6]), one.ports[0].mac);
  EXPECT_EQ(ip[8], 255);
  const uint16_t port = load_be16(ip + kIpv4Header);
  EXPECT_GE(port, 49152);
  EXPECT_EQ(load_be16(ip + kIpv4Header + 2), 3784);
  EXPECT_EQ(load_be16(&from_one(kBfdSync)[kEthernetHeader + kIpv4Header]), port) << "a session keeps its port";
}

TEST_F(BfdRunners, DeadPeerIsFoundOnceWhenTheLastPathIsSilent) {
  begin();
  come_up();
  one.alive = false;
  const Time died = now;
  while (two.wires.gone.empty() && now < died + 1s) run(1ms);
  EXPECT_EQ(two.wires.gone, std::vector{bfd::Finding::peer_lost});
  EXPECT_LE(now - died, 152ms);
  EXPECT_GE(now - died, 98ms);
  run(10s);
  EXPECT_EQ(two.wires.gone.size(), 1u);
  EXPECT_EQ(found(two, bfd::Finding::path_lost), 1u);
  EXPECT_EQ(found(two, bfd::Finding::peer_lost), 1u);
}

TEST_F(BfdRunners, OnePathIsAnAlarmOnly) {
  begin();
  come_up();
  cut.insert(kBfdLan);
  run(10s);
  for (BfdBox* b : {&one, &two}) {
    EXPECT_EQ(state(*b, 0), bfd::State::up);
    EXPECT_EQ(state(*b, 1), bfd::State::down);
    EXPECT_TRUE(b->wires.gone.empty());
    EXPECT_EQ(found(*b, bfd::Finding::path_lost), 1u);
  }
  cut.clear();
  come_up();
}

TEST_F(BfdRunners, OwnLinkIsNoDeadPeer) {
  begin();
  come_up();
  cut = {kBfdSync, kBfdLan};
  two.runner.link_change(now, kBfdSync, false);
  two.runner.link_change(now, kBfdLan, false);
  run(1s);
  EXPECT_TRUE(two.wires.gone.empty());
  EXPECT_EQ(two.runner.status(now)[0].diag, bfd::Diag::path_down);
}

TEST_F(BfdRunners, LeavingIsSaidAndHeard) {
  begin();
  come_up();
  one.runner.leave(now);
  run(2ms);
  EXPECT_EQ(two.wires.gone.front(), bfd::Finding::peer_leaving);
  EXPECT_EQ(state(one, 0), bfd::State::admin_down);
  EXPECT_EQ(state(two, 0), bfd::State::down);
  one.alive = false;
  run(5s);
  for (const bfd::Finding f : two.wires.gone)
    EXPECT_EQ(f, bfd::Finding::peer_leaving) << "silence afterwards is no news";
  EXPECT_TRUE(one.wires.gone.empty());
}

TEST_F(BfdRunners, PeerTakenOutOfTheConfigurationLosesNobody) {
  begin();
  come_up();
  one.configure(now, std::nullopt);
  EXPECT_FALSE(one.runner.enabled());
  run(20s);
  EXPECT_TRUE(two.wires.gone.empty());
  EXPECT_EQ(found(two, bfd::Finding::withdrawn), 2u);
  EXPECT_EQ(state(two, 0), bfd::State::down);
  EXPECT_EQ(two.runner.status(now)[0].remote.state, bfd::State::down) << "it fell silent after a while";
  one.configure(now, one.wanted());
  come_up();
}

TEST_F(BfdRunners, NewTimingKeepsTheSessionsUp) {
  begin();
  come_up();
  for (BfdBox* b : {&one, &two}) {
    config::Bfd c = b->wanted();
    c.interval = 200ms;
    c.multiplier = 5;
    b->configure(now, c);
    run(3s);
  }
  for (BfdBox* b : {&one, &two})
    for (const BfdStatus& s : b->runner.status(now)) {
      EXPECT_EQ(s.state, bfd::State::up);
      EXPECT_EQ(s.losses, 0u);
      EXPECT_EQ(s.transmit_interval, 200ms);
      EXPECT_EQ(s.detection_time, 1s);
    }
}

TEST_F(BfdRunners, OneOfTwoPeersMayGo) {
  begin();
  come_up();
  for (BfdBox* b : {&one, &two}) {
    config::Bfd c = b->wanted();
    c.peers.pop_back();
    b->configure(now, c);
    run(100ms);
  }
  EXPECT_EQ(one.runner.status(now).size(), 1u);
  EXPECT_EQ(state(one, 0), bfd::State::up);
  one.alive = false;
  run(1s);
  EXPECT_EQ(two.wires.gone, std::vector{bfd::Finding::peer_lost});
}

config::BfdAuth bfd_auth(const char* secret, bool meticulous = true) {
  config::BfdAuth a;
  a.meticulous = meticulous;
  a.key.assign(secret, secret + std::string_view(secret).size());
  return a;
}

TEST_F(BfdRunners, ComeUpWithBothKindsOfAuthentication) {
  for (const bool meticulous : {true, false}) {
    begin([&](config::Bfd& c) { c.auth = bfd_auth("sesame", meticulous); });
    come_up();
    EXPECT_EQ(count(one, bfd::Verdict::bad_auth), 0u);
    run(60s);
    EXPECT_EQ(one.runner.status(now)[0].losses, 0u);
  }
}

TEST_F(BfdRunners, OtherKeyOrNoneIsNoPeer) {
  begin();
  config::Bfd c = two.wanted();
  c.auth = bfd_auth("sesame");
  two.configure(now, c);
  run(5s);
  EXPECT_EQ(state(one, 0), bfd::State::down);
  EXPECT_EQ(state(two, 0), bfd::State::down);
  EXPECT_GT(count(two, bfd::Verdict::auth_missing), 3u);
  EXPECT_GT(count(one, bfd::Verdict::auth_unwanted), 3u);
  config::Bfd other = one.wanted();
  other.auth = bfd_auth("barley");
  one.configure(now, other);
  run(5s);
  EXPECT_EQ(state(one, 0), bfd::State::down);
  EXPECT_GT(count(one, bfd::Verdict::bad_auth), 3u);
  one.configure(
      now, c = [&] {
        config::Bfd right = one.wanted();
        right.auth = bfd_auth("sesame");
        return right;
      }());
  come_up();
}

TEST_F(BfdRunners, RestartedPeerIsBelievedAgainAfterTwoDetectionTimes) {
  begin([](config::Bfd& c) { c.auth = bfd_auth("sesame"); });
  come_up();
  config::Bfd c = one.wanted();
  c.auth = bfd_auth("sesame");
  one.configure(now, std::nullopt);
  one.configure(now, c);  // other discriminators, other numbers
  run(10s);
  EXPECT_EQ(state(one, 0), bfd::State::up);
  EXPECT_EQ(state(two, 0), bfd::State::up);
}

TEST_F(BfdRunners, StrangersAreCountedByReason) {
  begin();
  come_up();
  const BfdFrame good = from_one(kBfdSync);
  const auto refused = [&](bfd::Verdict v, InterfaceId interface, const std::function<void(BfdFrame&)>& change) {
    BfdFrame f = good;
    if (v != bfd::Verdict::bad_checksum) store_be16(&f[kEthernetHeader + kIpv4Header + 6], 0);
    change(f);
    const uint64_t before = count(two, v);
    give_two(interface, f);
    EXPECT_EQ(count(two, v), before + 1) << to_string(v);
  };
  constexpr size_t kIp = kEthernetHeader, kBfd = kEthernetHeader + kIpv4Header + kUdpHeader;
  refused(bfd::Verdict::bad_ttl, kBfdSync, [](BfdFrame& f) { f[kIp + 8] = 254; });
  refused(bfd::Verdict::unknown_peer, kBfdSync, [](BfdFrame& f) { f[kIp + 15] = 77; });
  refused(bfd::Verdict::unknown_peer, kBfdLan, [](BfdFrame&) {});
  refused(bfd::Verdict::not_bfd, kBfdSync, [](BfdFrame& f) { f.resize(kBfd - 1); });
  refused(bfd::Verdict::bad_checksum, kBfdSync, [](BfdFrame& f) { f.back() ^= 1; });
  refused(bfd::Verdict::bad_version, kBfdSync, [](BfdFrame& f) { f[kBfd] = 0x40; });
  refused(bfd::Verdict::bad_length, kBfdSync, [](BfdFrame& f) { f[kBfd + 3] = 99; });
  refused(bfd::Verdict::bad_multiplier, kBfdSync, [](BfdFrame& f) { f[kBfd + 2] = 0; });
  refused(bfd::Verdict::multipoint, kBfdSync, [](BfdFrame& f) { f[kBfd + 1] |= 1; });
  refused(bfd::Verdict::bad_mine, kBfdSync, [](BfdFrame& f) { store_be32(&f[kBfd + 4], 0); });
  refused(bfd::Verdict::bad_state, kBfdSync, [](BfdFrame& f) { store_be32(&f[kBfd + 8], 0); });
  refused(bfd::Verdict::no_session, kBfdSync, [](BfdFrame& f) { f[kBfd + 11] ^= 1; });
  // Another session's discriminator is none of this peer's.
  const uint32_t other = two.runner.status(now)[1].discriminator;
  refused(bfd::Verdict::no_session, kBfdSync, [&](BfdFrame& f) { store_be32(&f[kBfd + 8], other); });
  EXPECT_EQ(state(two, 0), bfd::State::up);
}

TEST_F(BfdRunners, UnknownMacIsCountedAndTriedAgain) {
  one.wires.resolved = false;
  begin();
  run(3s);
  EXPECT_GE(one.runner.status(now)[0].send_errors, 2u);
  EXPECT_LE(one.runner.status(now)[0].send_errors, 10u) << "at its pace";
  one.wires.resolved = true;
  come_up();
}

TEST_F(BfdRunners, NothingIsSentBeforeTheStart) {
  one.configure(now, one.wanted());
  EXPECT_EQ(one.runner.next_deadline(), Time::max());
  one.runner.poll(now);
  EXPECT_TRUE(one.wires.frames.empty());
}

TEST_F(BfdRunners, FlappingPathTakesOverOnlyWhenItStaysDown) {
  begin();
  come_up();
  cut.insert(kBfdLan);
  run(1s);
  for (int i = 0; i < 4; ++i) {
    cut.insert(kBfdSync);
    run(400ms);
    cut.erase(kBfdSync);
    run(5s);
  }
  EXPECT_EQ(two.wires.gone.size(), 3u) << "the fourth was damped, and over in time";
  EXPECT_TRUE(two.runner.status(now)[0].damped);
  cut.insert(kBfdSync);
  run(500ms);
  EXPECT_EQ(two.wires.gone.size(), 3u);
  run(2s);
  EXPECT_EQ(two.wires.gone.size(), 4u);
}

}  // namespace
}  // namespace twinwall
