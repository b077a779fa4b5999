#include "control/node.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "control/metrics.h"
#include "control/show.h"
#include "fake_dataplane.h"
#include "lib/net/headers.h"
#include "sample_config.h"

namespace twinwall {
namespace {

using test::FakeDataplane;
using test::load;
using test::replaced;
using test::sample_text;

constexpr InterfaceId kWanId = 1;
constexpr InterfaceId kLanId = 2;
constexpr InterfaceId kSync = 3;

// A whole node on a virtual clock; its tasks are polled by hand.
class Box {
 public:
  Box(int number, const Time& clock, std::string config_text = "", const std::string& history = "")
      : text(config_text.empty() ? sample_text(number) : std::move(config_text)),
        plane(static_cast<uint8_t>(number), 3) {
    NodeOptions o;
    o.config_path = "test.yaml";
    o.load = [this](const std::string& file, const config::LoadOptions& options) {
      // What was stored is a file; the rest is at hand.
      return file == "test.yaml" ? config::load_text(text, file, "", options) : config::load_file(file, options);
    };
    o.random = [seed = uint64_t(number)]() mutable {
      return seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    };
    o.hostid = static_cast<uint32_t>(number);
    o.clock = [&clock] { return clock; };
    o.history = history;
    config::LoadOptions keep;
    keep.keep = true;
    o.stored = config::load_text(text, "test.yaml", "", keep).stored;
    node = std::make_unique<Node>(loop, plane, load(text), std::move(o));
    std::string error;
    EXPECT_TRUE(node->start(error)) << error;
    alive = true;
  }

  void poll(Time now) {
    if (!alive) return;
    node->poll(now);
    sync().poll(now);
  }
  SyncEngine& sync() { return const_cast<SyncEngine&>(*node->sync()); }
  carp::Role role(Time now, size_t group = 0) const { return node->carp().status(now)[group].role; }
  bool forwards() const { return plane.roles->is_master(kWanId, 1); }

  std::string text;
  EventLoop loop;
  FakeDataplane plane;
  std::unique_ptr<Node> node;
  bool alive = false;
};

Punt punt_kind(const test::Frame& f) {
  const uint16_t type = load_be16(&f[12]);
  if (type == kEtherTypeArp) return Punt::arp;
  if (type == kEtherTypeIpv6) return Punt::neighbor_discovery;
  if (f[23] == kProtoUdp && load_be16(&f[36]) == bfd::kPort) return Punt::bfd;
  return f[23] == kProtoCarp ? Punt::carp : Punt::unresolved;
}

class NodePair : public testing::Test {
 protected:
  void cross(Box& from, Box& to) {
    for (const auto& s : from.plane.take_sent())
      if (to.alive && punt_kind(s.frame) != Punt::unresolved) to.plane.punt(punt_kind(s.frame), s.interface, s.frame);
    for (const auto& f : from.plane.take_sync_sent())
      if (to.alive) to.plane.receive_sync(kSync, f);
  }
  void run(Duration d) {
    const Time end = now + d;
    for (; now < end; now += 1ms) {
      for (Box* b : {one.get(), two.get()})
        if (b != nullptr) b->poll(now);
      if (one && two) {
        cross(*one, *two);
        cross(*two, *one);
      }
    }
  }
  void pair() {
    one = std::make_unique<Box>(1, now);
    two = std::make_unique<Box>(2, now);
    run(6s);
    ASSERT_EQ(one->role(now), carp::Role::master);
    ASSERT_EQ(two->role(now), carp::Role::backup);
  }
  static pfsync::StateRecord state(uint64_t id, uint32_t creator) {
    pfsync::StateRecord r;
    r.id = id;
    r.creator = creator;
    r.ifname = {'a', 'l', 'l'};
    r.wire.af = r.stack.af = r.af = Af::inet;
    r.wire.addr[0] = Address::v4(0x0a000005);
    r.wire.addr[1] = Address::v4(0xc6336401);
    r.wire.port[0] = bswap(static_cast<uint16_t>(1000 + id));
    r.wire.port[1] = bswap(uint16_t{443});
    r.stack = r.wire;
    r.proto = kProtoTcp;
    r.direction = 1;
    r.src.level = r.dst.level = kTcpEstablished;
    r.timeout = static_cast<uint8_t>(TimeoutClass::tcp_established);
    return r;
  }

  Time now = Time(500s);
  std::unique_ptr<Box> one, two;
};

TEST_F(NodePair, StartPublishesEverythingTheWorkersNeed) {
  Box box(1, now);
  box.poll(now);
  ASSERT_NE(box.plane.snapshot, nullptr);
  EXPECT_EQ(box.plane.snapshot->rules.rules.size(), 1u);
  EXPECT_NE(box.plane.snapshot->rules.rules[0].slot, kDefaultRuleSlot);
  EXPECT_NE(box.plane.neighbors, nullptr);
  ASSERT_NE(box.plane.roles, nullptr);
  EXPECT_FALSE(box.forwards());
  EXPECT_TRUE(box.plane.extra_macs.contains({kWanId, virtual_mac(1)}));
}

TEST_F(NodePair, TheyFindEachOtherByArpAndExchangeTables) {
  pair();
  EXPECT_EQ(one->sync().status().bulk, BulkState::complete);
  EXPECT_EQ(two->sync().status().bulk, BulkState::complete);
  one->plane.create(state(1, 1));
  run(10ms);
  EXPECT_NE(two->plane.find(1, 1), nullptr);
}

TEST_F(NodePair, KilledMasterIsReplacedAndPreemptsOnlyWithItsStates) {
  pair();
  for (uint64_t i = 1; i <= 500; ++i) one->plane.create(state(i, 1));
  run(50ms);
  one->alive = false;
  run(4s);
  ASSERT_EQ(two->role(now), carp::Role::master);

  one = std::make_unique<Box>(1, now);
  bool preempted = false;
  for (int i = 0; i < 5000 && !preempted; ++i) {
    run(1ms);
    preempted = one->role(now) == carp::Role::master;
    if (preempted) {
      EXPECT_EQ(one->plane.states(), 500u) << "took over before it had the states";
    }
  }
  EXPECT_TRUE(preempted);
  run(200ms);
  EXPECT_EQ(two->role(now), carp::Role::backup);
}

TEST_F(NodePair, PlannedEndForwardsUntilThePeerHasTakenOver) {
  pair();
  bool done = false;
  one->node->shut_down(now, [&] { done = true; });
  const unsigned flushes = one->plane.flushes;
  EXPECT_GT(flushes, 0u);
  bool peer_was_master = false;
  Time peer_master_at{};
  while (!done) {
    run(1ms);
    const bool master = two->role(now) == carp::Role::master;
    if (master && !peer_was_master) peer_master_at = now;
    peer_was_master = peer_was_master || master;
    EXPECT_TRUE(done || one->forwards());
    ASSERT_LT(now, Time(520s));
  }
  EXPECT_TRUE(peer_was_master);
  EXPECT_GE(now - peer_master_at, 200ms);  // both forward for a while
  EXPECT_LT(now - peer_master_at, 600ms);
  EXPECT_FALSE(one->forwards());
}

TEST_F(NodePair, PlannedEndDoesNotAnswerForTheVirtualAddressAnyMore) {
  pair();
  one->node->shut_down(now, [] {});
  run(100ms);
  ASSERT_EQ(two->role(now), carp::Role::master);
  std::array<uint8_t, kLinkMessageMax> f;
  const Mac client{{2, 0, 0, 0, 7, 7}};
  const ArpMessage m{kArpRequest, client, {}, parse_ip("192.0.2.50")->addr, parse_ip("192.0.2.1")->addr};
  const size_t n = build_arp(kBroadcastMac, client, m, f);
  one->plane.punt(Punt::arp, kWanId, test::Frame(f.begin(), f.begin() + static_cast<long>(n)));
  one->plane.take_sent();
  one->node->poll(now);
  for (const auto& s : one->plane.take_sent()) EXPECT_NE(punt_kind(s.frame), Punt::arp);
}

TEST_F(NodePair, PlannedEndWithoutAPeerIsBounded) {
  one = std::make_unique<Box>(1, now);
  run(4s);
  ASSERT_EQ(one->role(now), carp::Role::master);
  bool done = false;
  const Time began = now;
  one->node->shut_down(now, [&] { done = true; });
  while (!done && now - began < 10s) run(1ms);
  EXPECT_TRUE(done);
  EXPECT_LT(now - began, 2s);
}

TEST_F(NodePair, BackupEndsAtOnce) {
  pair();
  bool done = false;
  const Time began = now;
  two->node->shut_down(now, [&] { done = true; });
  while (!done && now - began < 10s) run(1ms);
  EXPECT_LT(now - began, 100ms);
  EXPECT_EQ(one->role(now), carp::Role::master);
}

// With BFD on the sync link and the LAN.
std::string with_bfd(int node) {
  const std::string other = std::to_string(4 - node), sync = std::to_string(3 - node);
  return replaced(sample_text(node), "  preempt: true\n",
                  "  preempt: true\n  bfd: {peers: [10.255.0." + sync + ", 10.0.0." + other +
                      "], interval: 50ms, multiplier: 3, auth: {key: sesame}}\n");
}

TEST_F(NodePair, WithBfdAKilledMasterIsReplacedWithinTheDetectionTime) {
  one = std::make_unique<Box>(1, now, with_bfd(1));
  two = std::make_unique<Box>(2, now, with_bfd(2));
  run(8s);
  ASSERT_EQ(one->role(now), carp::Role::master);
  ASSERT_EQ(two->role(now), carp::Role::backup);
  for (const BfdStatus& s : two->node->bfd().status(now)) ASSERT_EQ(s.state, bfd::State::up);
  one->alive = false;
  run(160ms);
  EXPECT_EQ(two->role(now, 0), carp::Role::master);
  EXPECT_EQ(two->role(now, 1), carp::Role::master);
  EXPECT_TRUE(two->forwards());
}

TEST_F(NodePair, WithBfdAPlannedEndSaysSo) {
  one = std::make_unique<Box>(1, now, with_bfd(1));
  two = std::make_unique<Box>(2, now, with_bfd(2));
  run(8s);
  one->node->shut_down(now, [] {});
  run(100ms);
  EXPECT_EQ(two->role(now), carp::Role::master);
  for (const BfdStatus& s : two->node->bfd().status(now)) {
    EXPECT_EQ(s.remote.state, bfd::State::admin_down);
    EXPECT_EQ(s.remote.diag, bfd::Diag::administratively_down);
  }
  for (const BfdStatus& s : one->node->bfd().status(now)) EXPECT_EQ(s.state, bfd::State::admin_down);
}

TEST_F(NodePair, BfdIsTakenInAndOutByAReload) {
  pair();
  EXPECT_FALSE(two->plane.snapshot->bfd);
  for (Box* b : {one.get(), two.get()}) {
    b->text = with_bfd(b == one.get() ? 1 : 2);
    EXPECT_TRUE(b->node->reload(now).ok);
  }
  run(4s);
  EXPECT_TRUE(two->plane.snapshot->bfd);
  for (const BfdStatus& s : two->node->bfd().status(now)) EXPECT_EQ(s.state, bfd::State::up);
  one->text = sample_text(1);
  EXPECT_TRUE(one->node->reload(now).ok);
  run(6s);
  EXPECT_EQ(one->role(now), carp::Role::master);
  EXPECT_EQ(two->role(now), carp::Role::backup) << "a master without BFD is no dead master";
}

TEST_F(NodePair, LosingTheRoleFlushesWhatThePeerDoesNotKnowYet) {
  pair();
  const unsigned before = one->plane.flushes;
  one->node->set_demotion(now, 50);
  run(50ms);
  ASSERT_EQ(two->role(now), carp::Role::master);
  EXPECT_GT(one->plane.flushes, before);
}

TEST_F(NodePair, LinkLossIsToldToTheElectionAndTheSyncEngine) {
  pair();
  one->plane.set_link(kWanId, false);
  run(4s);
  EXPECT_EQ(one->role(now, 0), carp::Role::init);
  EXPECT_EQ(two->role(now, 0), carp::Role::master);
  EXPECT_EQ(two->role(now, 1), carp::Role::master);
  one->plane.set_link(kSync, false);
  run(10ms);
  EXPECT_FALSE(one->sync().status().link_up);
}

TEST_F(NodePair, InterruptedSyncLinkDoesNotCostTheMasterItsRole) {
  pair();
  for (Box* b : {one.get(), two.get()}) b->plane.set_link(kSync, false);
  run(100ms);
  for (Box* b : {one.get(), two.get()}) b->plane.set_link(kSync, true);
  for (int i = 0; i < 300; ++i) {
    run(10ms);
    ASSERT_EQ(one->role(now), carp::Role::master);
  }
}

TEST_F(NodePair, ReloadTakesNewRulesAndKeepsCounters) {
  Box box(1, now);
  const RuleSlot slot = box.plane.snapshot->rules.rules[0].slot;
  box.plane.counters(0).rules[slot].packets[0].add(12);
  box.text = sample_text(1, "  - {action: block, label: new}\n  - {action: pass, label: all}\n");
  const ReloadResult r = box.node->reload(now);
  ASSERT_TRUE(r.ok) << config::to_string(r.diagnostics);
  ASSERT_EQ(box.plane.snapshot->rules.rules.size(), 2u);
  EXPECT_EQ(box.plane.snapshot->rules.rules[1].slot, slot);
  EXPECT_EQ(box.plane.snapshot->generation, 2u);
  const Json rules = show_rules(*box.node)["rules"];
  EXPECT_EQ(rules[0]["packets"], 0);
  EXPECT_EQ(rules[1]["packets"], 12);
  EXPECT_EQ(rules[1]["label"], "all");
}

TEST_F(NodePair, RulesInsideAnAnchorHaveAPlaceOfTheirOwn) {
  Box box(1, now);
  box.text = sample_text(1, "  - {action: block}\n  - {action: anchor, rules: [{action: pass, label: in}]}\n");
  ASSERT_TRUE(box.node->reload(now).ok);
  const Json rules = show_rules(*box.node)["rules"];
  ASSERT_EQ(rules.size(), 3u);
  EXPECT_EQ(rules[1]["place"], "1");
  EXPECT_EQ(rules[2]["place"], "1.0");
  EXPECT_EQ(rules[2]["number"], 0);
}

TEST_F(NodePair, RefusedReloadsChangeNothing) {
  Box box(1, now);
  const auto before = box.plane.snapshot;
  box.text = replaced(sample_text(1), "action: pass", "acton: pass");
  ReloadResult r = box.node->reload(now);
  EXPECT_FALSE(r.ok);
  ASSERT_FALSE(r.diagnostics.empty());
  EXPECT_NE(config::to_string(r.diagnostics).find("acton"), std::string::npos);

  box.text = replaced(sample_text(1), "kernel:wan", "kernel:other");
  r = box.node->reload(now);
  EXPECT_FALSE(r.ok);
  EXPECT_NE(config::to_string(r.diagnostics).find("interfaces.wan.port"), std::string::npos);

  box.text = "system: {hostname: [\n";
  EXPECT_FALSE(box.node->reload(now).ok);
  EXPECT_EQ(box.plane.snapshot, before);
  EXPECT_EQ(box.node->reloads().refused, 3u);
  EXPECT_EQ(box.node->reloads().applied, 0u);
}

// A box whose configurations are kept in a directory of the test's.
class NodeHistory : public NodePair {
 protected:
  NodeHistory() {
    char made[] = "/tmp/twinwall-node-XXXXXX";
    directory = mkdtemp(made);
    box = std::make_unique<Box>(1, now, "", directory + "/history");
  }
  ~NodeHistory() override { std::filesystem::remove_all(directory); }

  ReloadResult reload(const std::string& label, std::chrono::seconds confirm = {}) {
    box->text = labelled(label);
    return box->node->reload(now, {false, confirm});
  }
  static std::string labelled(const std::string& label) {
    return sample_text(1, "  - {action: pass, label: " + label + "}\n");
  }
  std::string label() const { return box->plane.snapshot->rules.rules[0].label; }
  std::vector<std::string> by() const {
    std::vector<std::string> out;
    for (const HistoryEntry& e : box->node->history()) out.push_back(e.by);
    return out;
  }
  using Words = std::vector<std::string>;

  std::string directory;
  std::unique_ptr<Box> box;
};

TEST_F(NodeHistory, AnUnconfirmedReloadIsTakenBack) {
  ASSERT_TRUE(reload("second", 60s).ok);
  EXPECT_EQ(label(), "second");
  EXPECT_LE(box->node->next_deadline(), now + 60s);
  now += 59s;
  box->poll(now);
  EXPECT_EQ(label(), "second");
  now += 1s;
  box->poll(now);
  EXPECT_EQ(label(), "all");
  EXPECT_FALSE(box->node->unconfirmed(now));
  EXPECT_EQ(box->node->reloads().expired, 1u);
  EXPECT_EQ(by(), (Words{"expiry", "reload", "start"}));
}

TEST_F(NodeHistory, AConfirmedOneStays) {
  EXPECT_FALSE(box->node->confirm());
  ASSERT_TRUE(reload("second", 60s).ok);
  EXPECT_TRUE(box->node->confirm());
  now += 100s;
  box->poll(now);
  EXPECT_EQ(label(), "second");
  EXPECT_EQ(box->node->reloads().confirmed, 1u);
}

TEST_F(NodeHistory, NothingIsReloadedWhileOneWaits) {
  ASSERT_TRUE(reload("second", 60s).ok);
  const ReloadResult r = reload("third");
  EXPECT_FALSE(r.ok);
  EXPECT_NE(config::to_string(r.diagnostics).find("60 s left"), std::string::npos);
  EXPECT_TRUE(box->node->rollback(now, 1).ok);
  EXPECT_EQ(label(), "all");
  EXPECT_TRUE(reload("third").ok);
  EXPECT_EQ(box->node->reloads().rolled_back, 1u);
}

TEST_F(NodeHistory, CountersAndStatesSurviveTheWayBack) {
  const RuleSlot slot = box->plane.snapshot->rules.rules[0].slot;
  box->plane.counters(0).rules[slot].packets[0].add(12);
  ASSERT_TRUE(reload("second", 60s).ok);
  ASSERT_TRUE(box->node->rollback(now, 1).ok);
  EXPECT_EQ(box->plane.snapshot->generation, 3u);
  EXPECT_NE(box->plane.snapshot->rules.rules[0].slot, kDefaultRuleSlot);
}

TEST_F(NodeHistory, RollbackGoesBackByStepsAndKeepsTheKeys) {
  ASSERT_TRUE(reload("second").ok);
  ASSERT_TRUE(reload("third").ok);
  const ReloadResult r = box->node->rollback(now, 2);
  ASSERT_TRUE(r.ok) << config::to_string(r.diagnostics);
  EXPECT_EQ(label(), "all");
  EXPECT_EQ(std::string(box->node->config().carp.groups[0].key.begin(), box->node->config().carp.groups[0].key.end()),
            "sesame");
  EXPECT_EQ(by(), (Words{"rollback", "reload", "reload", "start"}));
  ASSERT_TRUE(box->node->rollback(now, 1).ok);  // the rollback itself is a change
  EXPECT_EQ(label(), "third");
  EXPECT_FALSE(box->node->rollback(now, 9).ok);
}

TEST_F(NodeHistory, WithoutRoomToKeepItNothingIsReloaded) {
  std::filesystem::remove_all(directory + "/history");
  std::ofstream(directory + "/history") << "in the way";
  const ReloadResult r = reload("second");
  EXPECT_FALSE(r.ok);
  EXPECT_NE(config::to_string(r.diagnostics).find("cannot be kept"), std::string::npos);
  EXPECT_EQ(label(), "all");
  EXPECT_EQ(box->node->reloads().refused, 1u);
}

// What is to be taken back must not depend on the disk.
TEST_F(NodeHistory, AnUnconfirmedReloadIsTakenBackWithoutADiskToo) {
  ASSERT_TRUE(reload("second", 60s).ok);
  std::filesystem::remove_all(directory + "/history");
  std::ofstream(directory + "/history") << "in the way";
  now += 61s;
  box->poll(now);
  EXPECT_EQ(label(), "all");
}

TEST_F(NodePair, StatesAreShownInPfsWords) {
  Box box(1, now);
  auto r = state(0x1122334455667788, 1);
  r.direction = 2;
  std::swap(r.wire.addr[0], r.wire.addr[1]);
  std::swap(r.wire.port[0], r.wire.port[1]);
  r.stack = r.wire;
  r.wire.addr[1] = Address::v4(0xc0000201);  // translated source
  box.plane.create(r);
  Json shown;
  ASSERT_TRUE(box.node->query_states(now, {StateFilter{}}, 10,
                                     [&](StateAnswer&& a) { shown = show_states(rule_names(*box.node), a); }));
  box.poll(now);
  ASSERT_EQ(shown["states"].size(), 1u);
  const Json& s = shown["states"][0];
  EXPECT_EQ(s["id"], "1122334455667788");
  EXPECT_EQ(s["creatorid"], "00000001");
  EXPECT_EQ(s["proto"], "tcp");
  EXPECT_EQ(s["direction"], "out");
  EXPECT_EQ(s["wire"]["src"]["address"], "192.0.2.1");
  EXPECT_EQ(s["stack"]["src"]["address"], "10.0.0.5");
  EXPECT_EQ(s["stack"]["dst"]["port"], 443);
  EXPECT_EQ(s["src"]["state"], "ESTABLISHED");
  EXPECT_EQ(s["translated"], true);
  EXPECT_EQ(shown["truncated"], false);
}

TEST_F(NodePair, AnswersAreCutAtTheLimitAndSaySo) {
  Box box(1, now);
  for (uint64_t i = 1; i <= 20; ++i) box.plane.create(state(i, 1));
  Json shown;
  ASSERT_TRUE(box.node->query_states(now, {StateFilter{}}, 5,
                                     [&](StateAnswer&& a) { shown = show_states(rule_names(*box.node), a); }));
  box.poll(now);
  EXPECT_EQ(shown["states"].size(), 5u);
  EXPECT_EQ(shown["count"], 20);
  EXPECT_EQ(shown["truncated"], true);
}

TEST_F(NodePair, QueriesBeyondTheBoundAreRefused) {
  Box box(1, now);
  int accepted = 0;
  for (int i = 0; i < 100; ++i)
    accepted += box.node->query_states(now, {StateFilter{}}, 5, [](StateAnswer&&) {}) ? 1 : 0;
  EXPECT_EQ(accepted, 16);
}

TEST_F(NodePair, FlushRemovesAllStatesHereAndAtThePeer) {
  pair();
  one->plane.create(state(1, 1));
  two->plane.create(state(2, 2));
  run(20ms);
  ASSERT_EQ(one->plane.states(), 2u);
  ASSERT_EQ(two->plane.states(), 2u);
  uint64_t flushed = 0;
  ASSERT_TRUE(one->node->flush_states(now, [&](uint64_t n, bool complete) {
    flushed = n;
    EXPECT_TRUE(complete);
  }));
  run(50ms);
  EXPECT_EQ(flushed, 2u);
  EXPECT_EQ(one->plane.states(), 0u);
  EXPECT_EQ(two->plane.states(), 0u);
}

TEST_F(NodePair, FilterWordsAreUnderstoodAndBadOnesNamed) {
  Box box(1, now, sample_text(1, "  - {action: pass, label: a}\n  - {action: pass, proto: udp, label: a}\n"));
  const auto filters = [&](Words w) { return state_filters(*box.node, w); };
  const auto f = filters({{"src", "10.0.0.0/8"}, {"proto", "tcp"}, {"port", "443"}, {"interface", "lan"}});
  ASSERT_EQ(f.error, "");
  ASSERT_EQ(f.filters.size(), 1u);
  EXPECT_TRUE(f.filters[0].has_src);
  EXPECT_EQ(f.filters[0].proto, kProtoTcp);
  EXPECT_EQ(f.filters[0].port, 443);
  EXPECT_EQ(f.filters[0].interface, 2);
  EXPECT_EQ(filters({{"label", "a"}}).filters.size(), 2u);
  EXPECT_EQ(filters({{"label", "a"}, {"rule", "1"}}).filters.size(), 1u);
  EXPECT_EQ(filters({{"label", "nobody"}}).filters.size(), 0u);
  const auto id = filters({{"id", "00000000000000ff/0000000a"}});
  EXPECT_EQ(id.filters[0].id, 0xffu);
  EXPECT_EQ(id.filters[0].creator, 10u);
  for (const auto& [key, value] : Words{{"src", "nonsense"},
                                        {"proto", "frob"},
                                        {"port", "70000"},
                                        {"port", "0"},
                                        {"interface", "dmz"},
                                        {"id", "xyz"},
                                        {"rule", "x"},
                                        {"colour", "red"}})
    EXPECT_NE(filters({{key, value}}).error.find(key), std::string::npos) << key << "=" << value;
}

TEST_F(NodePair, EveryViewIsThereAndNoneShowsTheKey) {
  pair();
  for (const std::string_view what : view_names()) {
    if (what == "states") continue;
    const Json view = show(*one->node, what, now);
    EXPECT_TRUE(view.is_object()) << what;
    EXPECT_EQ(view.dump().find("sesame"), std::string::npos) << what;
  }
  EXPECT_TRUE(show(*one->node, "nothing", now).is_null());
  EXPECT_EQ(show_carp(*one->node, now)["groups"][0]["role"], "MASTER");
  EXPECT_EQ(show_pfsync(*one->node)["bulk"], "complete");
  EXPECT_EQ(show_neighbors(*one->node, now)["neighbors"][0]["address"], "10.255.0.2");
}

TEST_F(NodePair, MetricsAreNamedByTheRulesAndFollowTheCounters) {
  pair();
  one->plane.counters(0).drops[static_cast<size_t>(DropReason::match)].add(3);
  one->plane.counters(0).interfaces[kLanId].hook[0][1][1].packets.add(7);
  const auto families = collect_metrics(*one->node, now);
  std::set<std::string> names;
  double dropped = 0, role = -1, ready = -1, buffers = -1, blocked = -1;
  for (const auto& f : families) {
    EXPECT_TRUE(names.insert(f.name).second) << f.name << " twice";
    EXPECT_EQ(f.name.rfind("twinwall_", 0), 0u);
    EXPECT_FALSE(f.help.empty()) << f.name;
    EXPECT_FALSE(f.metric.empty()) << f.name;
    const bool total = f.name.size() > 6 && f.name.substr(f.name.size() - 6) == "_total";
    EXPECT_EQ(total, f.type == prometheus::MetricType::Counter) << f.name;
    for (const auto& m : f.metric) {
      if (f.name == "twinwall_dropped_packets_total" && m.label[0].value == "match") dropped = m.counter.value;
      if (f.name == "twinwall_carp_role") role = m.gauge.value;
      if (f.name == "twinwall_ready") ready = m.gauge.value;
      if (f.name == "twinwall_frame_buffers_free") buffers = m.gauge.value;
      if (f.name == "twinwall_interface_packets_total" && m.label[0].value == "lan" && m.label[1].value == "in" &&
          m.label[2].value == "inet6" && m.label[3].value == "block")
        blocked = m.counter.value;
    }
  }
  EXPECT_EQ(dropped, 3);
  EXPECT_EQ(role, 2);
  EXPECT_EQ(ready, 1);
  EXPECT_EQ(buffers, 1000);
  EXPECT_EQ(blocked, 7);
}

TEST_F(NodePair, TheMetricsSayThatTheLastReloadWasRefused) {
  pair();
  const auto last = [this] {
    for (const auto& f : collect_metrics(*one->node, now))
      if (f.name == "twinwall_reload_last_successful") return f.metric.at(0).gauge.value;
    return -1.0;
  };
  EXPECT_EQ(last(), 1);
  const std::string good = one->text;
  one->text = "nonsense\n";
  EXPECT_FALSE(one->node->reload(now).ok);
  EXPECT_EQ(last(), 0);
  one->text = good;
  EXPECT_TRUE(one->node->reload(now).ok);
  EXPECT_EQ(last(), 1);
}

}  // namespace
}  // namespace twinwall
