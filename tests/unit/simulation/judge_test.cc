// That the judge sees what it is there for: each promise is broken on purpose, by somebody whom no part of twinwall
// expects.
#include "control/simulation/judge.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "control/simulation/trial_pair.h"
#include "lib/carp/advert.h"
#include "lib/config/load.h"
#include "lib/net/headers.h"
#include "lib/scenario/node.h"

namespace twinwall::simulation {
namespace {

using std::chrono_literals::operator""min;

class Judged : public testing::Test {
 protected:
  Judged() { spdlog::set_level(spdlog::level::off); }

  void build() {
    for (unsigned m = 0; m < 2; ++m) {
      MachineOptions o;
      o.name = m == 0 ? "a" : "b";
      o.load = [this, m] {
        config::LoadResult r = load_setup(setup, m);
        if (m == 0 && change_a) change_a(r.config);
        return r;
      };
      world.add_machine(std::move(o));
    }
    for (InterfaceId i = kOutsidePort; i <= kSyncPort; ++i) {
      links.push_back(world.network().add_link("link", i != kSyncPort, i));
      for (MachineId m = 0; m < 2; ++m) world.plug(m, i, links.back());
    }
    judge = std::make_unique<Judge>(world,
                                    JudgeOptions{links[1], links[0], links[2], kInsidePort, kOutsidePort, kSyncPort});
    TrafficPlan plan;
    plan.inside = links[1];
    plan.outside = links[0];
    plan.inside_router = virtual_mac(kInsideVhid);
    plan.outside_router = virtual_mac(kOutsideVhid);
    plan.gateway = scenario::Node::neighbor_mac({Af::inet, Address::v4(0xc00002fe)});
    plan.v6 = false;
    plan.between = 1s;
    traffic = std::make_unique<Traffic>(world, plan, 1, *judge);
    world.on_turn = [this](MachineId m) { judge->turned(m); };
    world.on_host_frame = [this](LinkId link, Bytes frame) { traffic->arrived(link, frame); };
    std::string error;
    for (MachineId m = 0; m < 2; ++m) ASSERT_TRUE(world.power_on(m, error)) << error;
    judge->disturbed();
  }
  void run(Duration d) {
    const Time end = world.now() + d;
    while (world.now() < end && !judge->violation()) {
      world.run_until(std::min(end, world.now() + 1s));
      judge->audit();
    }
  }
  // As node a would.
  void advertise(const carp::Authenticator& key, Af af) {
    carp::Envelope envelope;
    envelope.source = {af, af == Af::inet ? Address::v4(0xc0000202) : link_local_of(world.machine(0).mac(1))};
    std::array<uint8_t, carp::kFrameMax> frame;
    const carp::Advert advert =
        carp::make_advert(key, carp::AddressSet::without_link_local, kOutsideVhid, {0, 1, 0}, 99);
    const size_t n = carp::build_frame(advert, envelope, frame);
    ASSERT_NE(n, 0u);
    world.send_from_host(links[0], Bytes(frame).first(n));
  }
  [[nodiscard]] std::string broken() const { return judge->violation() ? judge->violation()->rule : ""; }

  PairSetup setup;
  std::function<void(config::Config&)> change_a;
  World world{1};
  std::vector<LinkId> links;
  std::unique_ptr<Judge> judge;
  std::unique_ptr<Traffic> traffic;
};

TEST_F(Judged, AHealthyPairIsLeftAlone) {
  build();
  traffic->start(world.now() + 5min);
  run(5min);
  EXPECT_EQ(broken(), "");
  EXPECT_GT(judge->counters().audits, 10u);
  EXPECT_GT(judge->counters().audited_states, 100u);
  EXPECT_GT(judge->counters().good_exchanges, 100u);
  EXPECT_LE(judge->counters().longest_gap, 3s + 2ms);
}

TEST_F(Judged, NodesThatDoNotBelieveEachOtherAreTwoMasters) {
  change_a = [](config::Config& c) {
    for (auto& g : c.carp.groups) g.key = {'x'};
  };
  build();
  run(20s);
  EXPECT_EQ(broken(), "two-masters");
}

// Somebody with the key goes on advertising for a master that is gone.
TEST_F(Judged, AForgedMasterKeepsTheGroupWithoutOne) {
  build();
  run(20s);
  ASSERT_EQ(broken(), "");
  world.crash(0);
  judge->disturbed();
  const std::vector<IpAddress> addresses = {{Af::inet, Address::v4(0xc0000201)},
                                            world.machine(1).config().carp.groups[0].addresses[1].address()};
  const carp::Authenticator key(carp::key_from_passphrase("secret"), kOutsideVhid, addresses);
  for (int i = 0; i < 10 && !judge->violation(); ++i) {
    for (const Af af : {Af::inet, Af::inet6}) advertise(key, af);
    world.run_until(world.now() + 1s);
  }
  judge->finish();
  EXPECT_EQ(broken(), "master-missing");
}

TEST_F(Judged, AMasterThatRefusesConnectionsLosesThem) {
  build();
  run(20s);
  const config::LoadResult blocks = config::load_text(
      "interfaces: {wan: {port: \"kernel:wan\", addresses: [192.0.2.2/24]}}\nrules: [{action: block}]\n", "x", "");
  change_a = [&](config::Config& c) { c.rules = blocks.config.rules; };
  ASSERT_TRUE(world.machine(0).reload(world.now()).ok);
  traffic->start(world.now() + 1min);
  run(1min);
  EXPECT_EQ(broken(), "lost-on-the-way");
}

TEST_F(Judged, AStateThatTheBackupLostIsMissed) {
  build();
  traffic->start(world.now() + 10min);
  run(1min);
  ASSERT_EQ(broken(), "");
  Plane& plane = world.machine(1).plane();
  std::vector<pfsync::StateId> ids;
  plane.table().walk(0, 0, plane.table().capacity(), [&](State& s) { ids.push_back({s.id, s.creator}); });
  ASSERT_FALSE(ids.empty());
  for (const pfsync::StateId& id : ids) {
    Command c;
    c.kind = Command::Kind::delete_state;
    c.id = id;
    ASSERT_TRUE(plane.sync_command(0, c));
  }
  run(10s);
  EXPECT_EQ(broken(), "not-synchronised");
}

// The one way back that pfsync's rules leave open: from a level of a handshake that is answered by proxy. No history
// has one, since no rule of theirs asks for it.
TEST_F(Judged, AStateThatThePeerTakesBackIsSeen) {
  build();
  traffic->start(world.now() + 10min);
  run(1min);
  ASSERT_EQ(broken(), "");
  Plane& plane = world.machine(1).plane();
  Command c;
  c.kind = Command::Kind::update_compressed;
  plane.table().walk(0, 0, plane.table().capacity(), [&](State& s) {
    if (c.update.id != 0 || s.wire.proto != kProtoTcp || s.src.level != kTcpEstablished) return;
    s.src.level = kTcpProxySrc;
    c.update.id = s.id;
    c.update.creator = s.creator;
    c.update.src.level = kTcpEstablished;
    c.update.dst.level = s.dst.level;
    c.update.src.seqlo = s.src.seqlo;
    c.update.dst.seqlo = s.dst.seqlo;
  });
  ASSERT_NE(c.update.id, 0u);
  ASSERT_TRUE(plane.sync_command(0, c));
  EXPECT_EQ(broken(), "stale-update");
}

// Forged adverts of a more frequent master, which the better node believes.
TEST_F(Judged, AMasterThatYieldsToNobodyIsSeen) {
  setup.preempt = true;
  build();
  run(20s);
  ASSERT_EQ(broken(), "");
  const std::vector<IpAddress> addresses = {{Af::inet, Address::v4(0xc0000201)},
                                            world.machine(1).config().carp.groups[0].addresses[1].address()};
  const carp::Authenticator key(carp::key_from_passphrase("secret"), kOutsideVhid, addresses);
  for (int i = 0; i < 40 && !judge->violation(); ++i) {
    for (const Af af : {Af::inet, Af::inet6}) advertise(key, af);
    world.run_until(world.now() + 500ms);
    judge->audit();
  }
  EXPECT_TRUE(broken() == "wrong-master" || broken() == "master-missing") << broken();
}

}  // namespace
}  // namespace twinwall::simulation
