// Limits of rules and sources, overload, pools and the search for ports, through a whole node.
#include <gtest/gtest.h>

#include <functional>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/pfconf/pfconf.h"
#include "lib/scenario/node.h"

namespace twinwall {
namespace {

constexpr InterfaceId kInside = 1, kOutside = 2;

config::Interface interface(InterfaceId id, const std::string& name, const char* address) {
  config::Interface i;
  i.id = id;
  i.name = name;
  i.addresses = {*parse_prefix(address)};
  return i;
}

config::Config configuration(const std::string& rules) {
  const std::vector<config::Interface> interfaces = {interface(kInside, "in0", "10.0.0.1/24"),
                                                     interface(kOutside, "out0", "192.0.2.1/24")};
  auto read = pfconf::parse(rules, interfaces, {});
  for (const auto& d : read.diagnostics) ADD_FAILURE() << config::to_string(d);
  EXPECT_TRUE(read.unsupported.empty());
  return std::move(read.config);
}

struct Segment {
  const char* src = "10.0.0.5";
  const char* dst = "192.0.2.9";
  uint16_t sport = 1000, dport = 80;
  uint8_t flags = 0;  // 0: UDP
  uint32_t seq = 0, ack = 0;
};

std::vector<uint8_t> frame_of(const scenario::Node& node, InterfaceId on, const Segment& s) {
  const size_t l4 = s.flags != 0 ? kTcpHeader : 8;
  std::vector<uint8_t> f(kEthernetHeader + kIpv4Header + l4);
  std::copy_n(node.interface_mac(on).bytes.begin(), 6, f.begin());
  f[6] = 2;
  store_be16(&f[12], kEtherTypeIpv4);
  uint8_t* const ip = &f[kEthernetHeader];
  ip[0] = 0x45;
  store_be16(ip + 2, static_cast<uint16_t>(kIpv4Header + l4));
  ip[8] = 64;
  ip[9] = s.flags != 0 ? kProtoTcp : kProtoUdp;
  std::copy_n(parse_ip(s.src)->addr.bytes.begin(), 4, ip + 12);
  std::copy_n(parse_ip(s.dst)->addr.bytes.begin(), 4, ip + 16);
  store_raw<uint16_t>(ip + 10, checksum(ip, kIpv4Header));
  uint8_t* const t = ip + kIpv4Header;
  store_be16(t, s.sport);
  store_be16(t + 2, s.dport);
  if (s.flags == 0) {
    store_be16(t + 4, 8);
    return f;
  }
  store_be32(t + 4, s.seq);
  store_be32(t + 8, s.ack);
  t[12] = 0x50;
  t[13] = s.flags;
  store_be16(t + 14, 8192);
  return f;
}

class Box {
 public:
  explicit Box(const std::string& rules) : node(configuration(rules)) {}

  scenario::Outcome send(InterfaceId on, const Segment& s) { return node.inject(on, frame_of(node, on, s)); }
  bool passes(const Segment& s) { return !send(kInside, s).outputs.empty(); }
  // The three packets that make a connection; whether the last one passed.
  bool connect(const char* source, uint16_t port) {
    Segment s{source, "192.0.2.9", port, 80, kTcpSyn, 1000, 0};
    if (!passes(s)) return false;
    (void)send(kOutside, {s.dst, s.src, s.dport, s.sport, kTcpSyn | kTcpAck, 5000, 1001});
    s.flags = kTcpAck;
    s.seq = 1001;
    s.ack = 5001;
    return passes(s);
  }
  uint64_t limit(LimitCounter c) { return node.engine().counters().limits[static_cast<size_t>(c)].get(); }
  uint64_t drops(DropReason r) { return node.engine().counters().drops[static_cast<size_t>(r)].get(); }
  size_t live() {
    size_t n = 0;
    for (const State* s : node.states()) n += s->timeout != TimeoutClass::purge ? 1 : 0;
    return n;
  }
  // The source address of what came out.
  static std::string source(const scenario::Outcome& o) {
    return o.outputs.empty() ? "none"
                             : to_string(Af::inet, Address::v4_wire(&o.outputs[0].frame[kEthernetHeader + 12]));
  }
  static std::string destination(const scenario::Outcome& o) {
    return o.outputs.empty() ? "none"
                             : to_string(Af::inet, Address::v4_wire(&o.outputs[0].frame[kEthernetHeader + 16]));
  }
  static uint16_t dport(const scenario::Outcome& o) {
    return o.outputs.empty() ? 0 : load_be16(&o.outputs[0].frame[kEthernetHeader + kIpv4Header + 2]);
  }

  scenario::Node node;
};

TEST(Limits, MaxCountsTheRulesStatesAndFreesPlaces) {
  Box b("pass in on in0 proto udp keep state (max 2, udp.first 5)\npass out on out0\n");
  EXPECT_TRUE(b.passes({.sport = 1}));
  EXPECT_TRUE(b.passes({.sport = 2}));
  EXPECT_FALSE(b.passes({.sport = 3}));
  EXPECT_EQ(b.limit(LimitCounter::states), 1u);
  EXPECT_EQ(b.drops(DropReason::state_limit), 1u);
  b.node.advance(7s);
  EXPECT_TRUE(b.passes({.sport = 3}));
}

// When timeouts shrink, states whose end was far away go by then: the wheel alone would look too late.
TEST(Limits, AdaptiveTimeoutsReachStatesThatWait) {
  Box b(
      "set timeout interval 2\npass in on in0 proto udp keep state (adaptive.start 2, adaptive.end 12, udp.first 100)\n"
      "set skip on out0\n");
  for (uint16_t i = 0; i < 4; ++i) EXPECT_TRUE(b.passes({.sport = static_cast<uint16_t>(10 + i)}));
  b.node.advance(10s);
  for (uint16_t i = 4; i < 11; ++i) EXPECT_TRUE(b.passes({.sport = static_cast<uint16_t>(10 + i)}));
  EXPECT_EQ(b.live(), 11u);
  b.node.advance(4s);
  // With eleven a state lives 100 * (12 - 11) / 10 = 10 s, so one that is older goes; with ten that are left, 20 s.
  EXPECT_EQ(b.live(), 10u);
  b.node.advance(10s);
  EXPECT_EQ(b.live(), 9u);
}

TEST(Limits, GlobalTrackingCountsOverRules) {
  Box b(
      "pass in on in0 proto udp to port 80 keep state (source-track global, max-src-states 2)\n"
      "pass in on in0 proto udp to port 81 keep state (source-track global, max-src-states 3)\nset skip on out0\n");
  EXPECT_TRUE(b.passes({.sport = 1, .dport = 80}));
  EXPECT_TRUE(b.passes({.sport = 2, .dport = 81}));
  EXPECT_FALSE(b.passes({.sport = 3, .dport = 80}));
  EXPECT_TRUE(b.passes({.sport = 3, .dport = 81}));
  EXPECT_FALSE(b.passes({.sport = 4, .dport = 81}));
  EXPECT_EQ(b.node.engine().sources().size(), 1u);
}

TEST(Limits, OverloadFlushesBothHooksStatesOfTheSource) {
  Box b(
      "table <bad> persist\nblock in quick from <bad>\n"
      "pass in on in0 proto tcp keep state (max-src-conn 2, overload <bad> flush)\npass out on out0\n");
  EXPECT_TRUE(b.connect("10.0.0.5", 1));
  EXPECT_TRUE(b.connect("10.0.0.5", 2));
  EXPECT_TRUE(b.connect("10.0.0.6", 1));
  EXPECT_EQ(b.live(), 6u);
  EXPECT_FALSE(b.connect("10.0.0.5", 3));
  EXPECT_EQ(b.limit(LimitCounter::src_conn), 1u);
  EXPECT_EQ(b.limit(LimitCounter::overload_table), 1u);
  EXPECT_EQ(b.limit(LimitCounter::overload_flush), 1u);
  EXPECT_EQ(b.drops(DropReason::src_limit), 1u);
  b.node.advance(10ms);
  EXPECT_EQ(b.live(), 2u);  // the other source's
  EXPECT_FALSE(b.connect("10.0.0.5", 4));
  b.node.advance(2s);
  EXPECT_EQ(b.node.states().size(), 2u);
  b.node.advance(15s);
  EXPECT_EQ(b.node.engine().sources().size(), 1u);
}

// A source may have any number of connections, and they all go at once: not in one piece of work.
TEST(Limits, AFlushIsCutIntoPieces) {
  constexpr uint16_t kConnections = 300;
  constexpr uint64_t kAtOnce = 128;
  Box b(
      "table <bad> persist\nblock in quick from <bad>\nset skip on out0\n"
      "pass in on in0 proto tcp keep state (max-src-conn 300, overload <bad> flush)\n");
  for (uint16_t i = 1; i <= kConnections; ++i) EXPECT_TRUE(b.connect("10.0.0.5", i));
  EXPECT_FALSE(b.connect("10.0.0.5", kConnections + 1));
  const Counter& killed = b.node.engine().counters().killed;
  unsigned ticks = 0;
  for (uint64_t before = killed.get(); ticks < 100 && killed.get() < kConnections; ++ticks, before = killed.get()) {
    b.node.engine().tick(b.node.view(), b.node.now());
    EXPECT_LE(killed.get() - before, kAtOnce);
  }
  EXPECT_GE(ticks, kConnections / kAtOnce);
  EXPECT_EQ(b.live(), 0u);
}

class NoHost final : public EngineHost {
  Packet* allocate(uint32_t) override { return nullptr; }
  void submit(Packet*) override {}
  void log(const LogRecord&) override {}
};

// What one worker counts and flushes holds for the others.
TEST(Limits, HoldOverWorkers) {
  scenario::Node node(
      configuration("table <bad> persist\nblock in quick from <bad>\nset skip on out0\n"
                    "pass in on in0 proto udp keep state (max 2)\n"
                    "pass in on in0 proto tcp flags any keep state (sloppy, max-src-conn 2, overload <bad> flush)\n"));
  StateTableOptions table_options;
  table_options.capacity = 5000;
  table_options.workers = 2;
  StateTable table(table_options);
  SourceTable sources(100, 1);
  NoHost host;
  std::vector<std::unique_ptr<Engine>> engines;
  for (uint8_t w = 0; w < 2; ++w) {
    EngineOptions o;
    o.worker = w;
    o.workers = 2;
    o.hostid = 1;
    o.seed = w;
    o.id_base = uint64_t{w} << 32;
    o.sources = &sources;
    engines.push_back(std::make_unique<Engine>(o, table, host));
  }
  Time now = node.now();
  const auto passes = [&](unsigned worker, const Segment& s) {
    std::vector<uint8_t> memory(256);
    const auto frame = frame_of(node, kInside, s);
    std::copy(frame.begin(), frame.end(), memory.begin() + 128);
    Packet p;
    p.frame = memory.data() + 128;
    p.headroom = 128;
    p.length = static_cast<uint32_t>(frame.size());
    p.in = kInside;
    Packet* one = &p;
    engines[worker]->process({&one, 1}, node.view(), now);
    return p.fate != Fate::drop;
  };
  EXPECT_TRUE(passes(0, {.sport = 1}));
  EXPECT_TRUE(passes(1, {.sport = 2}));
  EXPECT_FALSE(passes(0, {.sport = 3}));
  EXPECT_FALSE(passes(1, {.sport = 3}));

  // A lone ACK completes a sloppy connection of which one half is seen.
  const auto connect = [&](unsigned worker, uint16_t port) {
    Segment s{.sport = port, .flags = kTcpSyn};
    if (!passes(worker, s)) return false;
    s.flags = kTcpAck;
    return passes(worker, s);
  };
  EXPECT_TRUE(connect(0, 10));
  EXPECT_TRUE(connect(1, 11));
  EXPECT_FALSE(connect(0, 12));
  EXPECT_FALSE(passes(1, {.sport = 13, .flags = kTcpSyn}));  // in the table of offenders
  for (int i = 0; i < 8; ++i)
    for (auto& e : engines) e->tick(node.view(), now);
  EXPECT_FALSE(passes(1, {.sport = 11, .flags = kTcpAck}));
  now += 2s;
  for (int i = 0; i < 8; ++i)
    for (auto& e : engines) e->tick(node.view(), now);
  EXPECT_EQ(table.states(), 2u);  // those of UDP
}

TEST(Limits, StatesThatAreKilledFreeTheirPlaces) {
  Box b("pass in on in0 proto udp keep state (max 1, max-src-states 1)\nset skip on out0\n");
  EXPECT_TRUE(b.passes({.sport = 1}));
  EXPECT_FALSE(b.passes({.sport = 2}));
  EXPECT_EQ(b.node.kill({}), 1u);
  EXPECT_TRUE(b.passes({.sport = 2}));
}

TEST(Limits, ADroppedPacketKeepsNoPlace) {
  Box b("pass in on in0 proto udp keep state (source-track, max-src-states 9, max 1)\nset skip on out0\n");
  EXPECT_TRUE(b.passes({.sport = 1}));
  EXPECT_FALSE(b.passes({.src = "10.0.0.6", .sport = 1}));
  std::vector<SourceView> views;
  for (uint32_t i = 0; i < b.node.engine().sources().buckets(); ++i) b.node.engine().sources().view_bucket(i, 0, views);
  uint32_t states = 0;
  for (const SourceView& v : views) states += v.states;
  EXPECT_EQ(states, 1u);
}

TEST(Pools, StickyAddressLivesWithItsStates) {
  Box b(
      "set timeout interval 1\nset timeout udp.first 5\n"
      "pass in on in0 proto udp to 198.51.100.7 rdr-to { 192.0.2.21 192.0.2.22 } round-robin sticky-address\n"
      "set skip on out0\n");
  const auto to = [&](const char* source, uint16_t port) {
    return Box::destination(b.send(kInside, {.src = source, .dst = "198.51.100.7", .sport = port}));
  };
  EXPECT_EQ(to("10.0.0.5", 1), "192.0.2.21");
  EXPECT_EQ(to("10.0.0.5", 2), "192.0.2.21");
  EXPECT_EQ(to("10.0.0.6", 1), "192.0.2.22");
  EXPECT_EQ(to("10.0.0.5", 3), "192.0.2.21");
  b.node.advance(9s);
  EXPECT_EQ(b.node.engine().sources().size(), 0u);
  EXPECT_EQ(to("10.0.0.7", 1), "192.0.2.21");
  EXPECT_EQ(to("10.0.0.5", 1), "192.0.2.22");
}

// A remembered address that a reload has taken out of the pool is forgotten; its states go on.
TEST(Pools, AStickyAddressThatLeftThePoolIsForgotten) {
  const std::string rule = "pass in on in0 proto udp to 198.51.100.7 rdr-to <pool> sticky-address\nset skip on out0\n";
  Box b("table <pool> { 192.0.2.21 }\n" + rule);
  const Segment first{.dst = "198.51.100.7", .sport = 1};
  EXPECT_EQ(Box::destination(b.send(kInside, first)), "192.0.2.21");
  b.node.reload(configuration("table <pool> { 192.0.2.22 }\n" + rule));
  EXPECT_EQ(Box::destination(b.send(kInside, {.dst = "198.51.100.7", .sport = 2})), "192.0.2.22");
  EXPECT_EQ(Box::destination(b.send(kInside, first)), "192.0.2.21");
  EXPECT_EQ(b.node.engine().sources().removals(), 1u);
}

TEST(Pools, LeastStatesCountsDownWithTheStates) {
  Box b(
      "set timeout udp.first 5\npass in on in0 proto udp to 198.51.100.7 rdr-to { 192.0.2.21 192.0.2.22 } "
      "least-states\n"
      "set skip on out0\n");
  const auto to = [&](uint16_t port) {
    return Box::destination(b.send(kInside, {.dst = "198.51.100.7", .sport = port}));
  };
  EXPECT_EQ(to(1), "192.0.2.21");
  b.node.advance(3s);
  EXPECT_EQ(to(2), "192.0.2.22");
  EXPECT_EQ(to(3), "192.0.2.21");
  b.node.advance(3s);  // the first is over
  EXPECT_EQ(to(4), "192.0.2.21");
  EXPECT_EQ(to(5), "192.0.2.22");
}

TEST(Ports, ARangeStartsAgainAndWraps) {
  Box b("pass in on in0 proto udp to port 80:100 rdr-to 192.0.2.20 port 65530:*\nset skip on out0\n");
  const auto port = [&](uint16_t dport) { return Box::dport(b.send(kInside, {.sport = dport, .dport = dport})); };
  EXPECT_EQ(port(80), 65530);
  EXPECT_EQ(port(85), 65535);
  EXPECT_EQ(port(86), 1);
  EXPECT_EQ(port(100), 15);
  // As a kernel prints it.
  Box w("pass in on in0 proto udp to port 80:100 rdr-to 192.0.2.20 port 65530:14\nset skip on out0\n");
  EXPECT_EQ(Box::dport(w.send(kInside, {.sport = 1, .dport = 86})), 1);
  Box r("pass in on in0 proto udp to port 80:100 rdr-to 192.0.2.20 port 1080:1086\nset skip on out0\n");
  EXPECT_EQ(Box::dport(r.send(kInside, {.sport = 1, .dport = 87})), 1080);
}

TEST(Ports, TheNextAddressIsTriedWhenOnesPortsAreTaken) {
  Box b(
      "pass in on in0\npass out on out0 inet proto udp nat-to { 192.0.2.50 192.0.2.51 } port 6000:6001 round-robin\n");
  std::map<std::string, int> used;
  for (int i = 0; i < 2; ++i)
    ++used[Box::source(b.send(kInside, {.src = "10.0.0.5", .sport = static_cast<uint16_t>(1 + i)}))];
  EXPECT_EQ(used.size(), 2u);
}

// PF finds the last free port of a range, so this does; once there is none, more packets cost next to nothing.
TEST(Ports, ExhaustionIsFoundOnceAndRemembered) {
  Box b("pass in on in0\npass out on out0 inet proto udp nat-to 192.0.2.50 port 20000:20999\n");
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(b.passes({.sport = static_cast<uint16_t>(1 + i)})) << i;
  EXPECT_FALSE(b.passes({.sport = 2000}));
  EXPECT_EQ(b.drops(DropReason::translate), 1u);
  for (int i = 0; i < 3000; ++i) EXPECT_FALSE(b.passes({.sport = static_cast<uint16_t>(2001 + i)}));
  EXPECT_EQ(b.node.engine().counters().nat_search_cut.get(), 0u);
  // Another destination has all of them, and a place that becomes free is found at once.
  EXPECT_TRUE(b.passes({.dst = "192.0.2.10", .sport = 6001}));
  StateFilter f;
  f.port = 1;
  EXPECT_GE(b.node.kill(f), 1u);
  EXPECT_TRUE(b.passes({.sport = 6002}));
}

}  // namespace
}  // namespace twinwall
