// A whole Dataplane over veth pairs: frames in and out, and what happens when things around it change or break.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <chrono>
#include <cstring>
#include <set>
#include <thread>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "running_lab.h"

namespace twinwall {
namespace {

using namespace testing;  // NOLINT: the lab's vocabulary
using ::testing::HasSubstr;

class RunningTest : public ::testing::Test {
 protected:
  void SetUp() override { make_links(); }
};

// What is forwarded: new link-layer addresses, a hop less, the rest as it was.
void expect_forwarded(const std::optional<Frame>& got, const UdpSpec& sent, const Mac& from, const Mac& to) {
  ASSERT_TRUE(got) << "nothing came out";
  UdpSpec expected = sent;
  expected.src_mac = from;
  expected.dst_mac = to;
  Frame want = udp_frame(expected);
  const bool v4 = load_be16(&want[12]) == kEtherTypeIpv4;
  want[kEthernetHeader + (v4 ? 8 : 7)] = 63;
  if (v4) {
    store_be16(&want[kEthernetHeader + 10], 0);
    store_raw(&want[kEthernetHeader + 10], checksum(&want[kEthernetHeader], kIpv4Header));
  }
  EXPECT_EQ(*got, want);
}

TEST_F(RunningTest, FramesGoThroughInBothDirectionsAndFamilies) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    const auto macs = lab.dataplane->macs();
    lan.send(udp_frame(lab.from_lan()));
    expect_forwarded(wan.receive(5000), lab.from_lan(), macs[kWan - 1], kWanHostMac);
    UdpSpec back = lab.from_wan();
    std::swap(back.sport, back.dport);
    wan.send(udp_frame(back));
    expect_forwarded(lan.receive(5000), back, macs[kLan - 1], kLanHostMac);
    UdpSpec v6 = lab.from_lan();
    v6.src = "2001:db8:a::5";
    v6.dst = "2001:db8:b::9";
    lan.send(udp_frame(v6));
    expect_forwarded(wan.receive(5000), v6, macs[kWan - 1], kWanHostMac);
    EXPECT_GE(lab.dataplane->states(), 2u);
    EXPECT_GE(lab.dataplane->state_inserts(), 2u);
  });
}

TEST_F(RunningTest, StartsInLessThanASecondWithDefaultMemory) {
  in_child([] {
    const LabOptions options{.state_limit = 100000};
    const config::Config config = load_config(options);
    const auto begin = std::chrono::steady_clock::now();
    const StartResult r = start_dataplane(config, dataplane_options(options));
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_TRUE(r.dataplane) << r.error;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    EXPECT_LT(took, std::chrono::milliseconds(1000));
    EXPECT_LT(usage.ru_maxrss, 512 * 1024) << "KB resident";
    RecordProperty("start_ms", static_cast<int>(took / std::chrono::milliseconds(1)));
  });
}

TEST_F(RunningTest, AnIpv4DatagramInFragmentsGoesThrough) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    UdpSpec whole = lab.from_lan();
    whole.payload.assign(1992, 'w');
    const Frame frame = udp_frame(whole);
    UdpSpec first = lab.from_lan(), second = lab.from_lan();
    first.proto = second.proto = kProtoUdp;
    first.fragment_field = kIpv4MoreFragments;
    second.fragment_field = 1000 / 8;
    const auto put = [&](UdpSpec& spec, size_t from, size_t size) {
      // The datagram's own bytes, its UDP header included, in two pieces.
      spec.payload.assign(frame.begin() + static_cast<long>(34 + from),
                          frame.begin() + static_cast<long>(34 + from + size));
      Frame f = udp_frame(spec);
      if (from == 0) f.erase(f.begin() + 34, f.begin() + 42);
      store_be16(&f[16], static_cast<uint16_t>(f.size() - 14));
      store_be16(&f[24], 0);
      store_raw(&f[24], checksum(&f[14], 20));
      lan.send(f);
    };
    put(first, 0, 1000);
    put(second, 1000, 1000);
    Frame out(2000);
    size_t have = 0;
    while (have < 2000) {
      const auto f = wan.receive(5000);
      ASSERT_TRUE(f) << "of 2000 bytes came " << have;
      const size_t offset = (load_be16(&(*f)[20]) & kIpv4FragmentOffset) * 8u;
      ASSERT_LE(f->size(), 1514u);
      ASSERT_LE(offset + f->size() - 34, 2000u);
      std::copy(f->begin() + 34, f->end(), out.begin() + static_cast<long>(offset));
      have += f->size() - 34;
    }
    EXPECT_TRUE(std::equal(out.begin(), out.end(), frame.begin() + 34));
  });
}

TEST_F(RunningTest, ArpGoesUpToTheControlCore) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    Frame arp(60, 0);
    std::memset(&arp[0], 0xff, 6);
    std::memcpy(&arp[6], kLanHostMac.bytes.data(), 6);
    store_be16(&arp[12], kEtherTypeArp);
    Wire("far-lan").send(arp);
    size_t taken = 0;
    EXPECT_TRUE(eventually([&] {
      EXPECT_TRUE(fd_readable(lab.dataplane->control_fd(), 2000));
      (void)lab.link_changes();
      taken += lab.dataplane->take_punts(16, [&](const PuntedFrame& f) {
        EXPECT_EQ(f.kind, Punt::arp);
        EXPECT_EQ(f.in, kLan);
        EXPECT_TRUE(std::equal(arp.begin(), arp.end(), f.frame.begin(), f.frame.end()));
      });
      return taken == 1;
    }));
  });
}

TEST_F(RunningTest, AnUnknownNextHopGoesUpWithTheFrameForIt) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    UdpSpec spec = lab.from_lan();
    spec.dst = "192.0.2.200";
    Wire("far-lan").send(udp_frame(spec));
    size_t taken = 0;
    EXPECT_TRUE(eventually([&] {
      taken += lab.dataplane->take_punts(16, [&](const PuntedFrame& f) {
        EXPECT_EQ(f.kind, Punt::unresolved);
        EXPECT_EQ(f.out, kWan);
        EXPECT_EQ(to_string(f.next_hop), "192.0.2.200");
        EXPECT_TRUE(is_from_to(Frame(f.frame.begin(), f.frame.end()), kLanHost, "192.0.2.200"));
      });
      return taken == 1;
    }));
  });
}

TEST_F(RunningTest, WithoutASnapshotNothingIsForwarded) {
  in_child([] {
    const LabOptions options;
    const config::Config config = load_config(options);
    StartResult r = start_dataplane(config, dataplane_options(options));
    ASSERT_TRUE(r.dataplane) << r.error;
    const Wire lan("far-lan"), wan("far-wan");
    UdpSpec spec;
    spec.dst_mac = r.dataplane->macs()[kLan - 1];
    lan.send(udp_frame(spec));
    EXPECT_TRUE(eventually(
        [&] { return r.dataplane->counters(0).drops[static_cast<size_t>(DropReason::not_local)].get() == 1; }));
    EXPECT_EQ(wan.receive(50), std::nullopt);
  });
}

TEST_F(RunningTest, ALostLinkIsReportedAndNothingStaleIsSentWhenItReturns) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan");
    shell("ip link set far-wan down");
    std::vector<std::pair<InterfaceId, bool>> changes;
    EXPECT_TRUE(eventually([&] {
      EXPECT_TRUE(fd_readable(lab.dataplane->control_fd(), 2000));
      for (const auto& c : lab.link_changes()) changes.push_back(c);
      return !changes.empty();
    }));
    EXPECT_EQ(changes, (std::vector<std::pair<InterfaceId, bool>>{{kWan, false}}));
    EXPECT_FALSE(lab.dataplane->link_up(kWan));
    EXPECT_TRUE(lab.dataplane->link_up(kLan));

    constexpr unsigned kFrames = 50;
    for (unsigned i = 0; i < kFrames; ++i) {
      EXPECT_FALSE(lab.dataplane->send(kWan, udp_frame({})));
      lan.send(udp_frame(lab.from_lan()));
    }
    EXPECT_TRUE(eventually([&] { return lab.drops(DropReason::link_down) == kFrames; }));
    EXPECT_EQ(lab.dataplane->ports()[kWan - 1].counters.tx_link_down, 2 * kFrames);

    shell("ip link set far-wan up");
    EXPECT_TRUE(lab.wait_for_link(kWan, true));
    const Wire wan("far-wan");
    UdpSpec fresh = lab.from_lan();
    fresh.payload = "fresh";
    lan.send(udp_frame(fresh));
    expect_forwarded(wan.receive(5000), fresh, lab.dataplane->macs()[kWan - 1], kWanHostMac);
    EXPECT_EQ(wan.receive(100), std::nullopt) << "a stale frame";
  });
}

TEST_F(RunningTest, AVanishedInterfaceIsALostLinkAndServesAgainWhenItReturns) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    shell("ip link del near-wan");
    EXPECT_TRUE(lab.wait_for_link(kWan, false));
    make_veth("near-wan", "far-wan");
    EXPECT_TRUE(lab.wait_for_link(kWan, true));
    const Wire lan("far-lan"), wan("far-wan");
    lan.send(udp_frame(lab.from_lan()));
    expect_forwarded(wan.receive(5000), lab.from_lan(), lab.dataplane->macs()[kWan - 1], kWanHostMac);
    UdpSpec back = lab.from_wan();
    wan.send(udp_frame(back));
    expect_forwarded(lan.receive(5000), back, lab.dataplane->macs()[kLan - 1], kLanHostMac);
  });
}

TEST_F(RunningTest, ASleepingWorkerCostsNothingAndWakesAtOnce) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const auto cpu_seconds = [] {
      rusage u{};
      getrusage(RUSAGE_SELF, &u);
      return static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
             static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    };
    const double before = cpu_seconds();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    EXPECT_LT(cpu_seconds() - before, 0.2) << "of a core";
    EXPECT_GT(lab.dataplane->workers()[0].naps, 5u);

    const Wire lan("far-lan"), wan("far-wan");
    for (int i = 0; i < 20; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // asleep again
      lan.send(udp_frame(lab.from_lan()));
      // Its own time-out is 100 ms away: in less than that it can only have been woken.
      ASSERT_TRUE(wan.receive(2000));
    }
    const auto begin = std::chrono::steady_clock::now();
    lan.send(udp_frame(lab.from_lan()));
    ASSERT_TRUE(wan.receive(2000));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(90));
  });
}

TEST_F(RunningTest, ALinkThatGoesDownDoesNotKeepTheWorkerAwake) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    shell("ip link set near-lan down && ip link set near-sync down");
    EXPECT_TRUE(lab.wait_for_link(kLan, false));
    EXPECT_TRUE(eventually([&] {
      (void)lab.dataplane->sync_take_frames(16, [](const PuntedFrame&) {});
      return !fd_readable(lab.dataplane->sync_fd(), 0);
    }));
    const uint64_t before = lab.dataplane->workers()[0].loops;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    EXPECT_LT(lab.dataplane->workers()[0].loops - before, 5000u);
  });
}

TEST_F(RunningTest, PfsyncHasItsOwnQueuesWhichTheWorkersDoNotSee) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire peer("far-sync");
    UdpSpec sync;
    sync.proto = kProtoPfsync;
    sync.dst = "224.0.0.240";
    sync.dst_mac = multicast_mac(Af::inet, parse_ip("224.0.0.240")->addr);
    constexpr unsigned kFrames = 100;
    for (unsigned i = 0; i < kFrames; ++i) {
      sync.payload.assign(40 + i, 's');
      peer.send(udp_frame(sync));
    }
    unsigned taken = 0;
    EXPECT_TRUE(eventually([&] {
      EXPECT_TRUE(fd_readable(lab.dataplane->sync_fd(), 2000));
      lab.dataplane->sync_take_frames(8, [&](const PuntedFrame& f) {
        EXPECT_EQ(f.kind, Punt::pfsync);
        EXPECT_EQ(f.in, kSync);
        EXPECT_EQ(f.l3, 14);
        EXPECT_EQ(f.frame.size(), 14u + 20 + 40 + taken);
        ++taken;
      });
      return taken == kFrames;
    }));
    EXPECT_EQ(lab.rx_packets(), 0u);
    EXPECT_TRUE(lab.dataplane->sync_send(udp_frame(sync)));
    EXPECT_EQ(peer.receive(2000), udp_frame(sync));
    shell("ip link set far-sync down");
    EXPECT_TRUE(lab.wait_for_link(kSync, false));
    EXPECT_FALSE(lab.dataplane->sync_send(udp_frame(sync)));
  });
}

TEST_F(RunningTest, PfsyncThatCameAnotherWayReachesTheSyncEngineToo) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    UdpSpec sync = lab.from_lan();
    sync.proto = kProtoPfsync;
    sync.dst = "224.0.0.240";
    sync.dst_mac = multicast_mac(Af::inet, parse_ip("224.0.0.240")->addr);
    Wire("far-lan").send(udp_frame(sync));
    size_t taken = 0;
    EXPECT_TRUE(eventually([&] {
      taken += lab.dataplane->sync_take_frames(8, [](const PuntedFrame& f) { EXPECT_EQ(f.in, kLan); });
      return taken == 1;
    }));
  });
}

TEST_F(RunningTest, ANewStateIsToldToTheSyncEngineAndFlushingHastensIt) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    lan.send(udp_frame(lab.from_lan()));
    ASSERT_TRUE(wan.receive(5000));
    lab.dataplane->sync_flush();
    size_t inserts = 0;
    EXPECT_TRUE(eventually([&] {
      EXPECT_TRUE(fd_readable(lab.dataplane->sync_fd(), 2000));
      lab.dataplane->sync_take_deltas(1, [&](const Delta& d) {
        if (d.action == SyncQueue::ins) ++inserts;
        EXPECT_EQ(d.record.creator, 0x11223344u);
      });
      return inserts == lab.dataplane->states();
    }));
    EXPECT_GE(inserts, 1u);
  });
}

TEST_F(RunningTest, EachSideGetsTheRepliesToItsOwnCommands) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    lan.send(udp_frame(lab.from_lan()));
    ASSERT_TRUE(wan.receive(5000));
    const uint64_t states = lab.dataplane->states();
    Command command;
    command.kind = Command::Kind::export_states;
    command.cookie = 5;
    EXPECT_TRUE(lab.dataplane->command(0, command));
    command.cookie = 6;
    EXPECT_TRUE(lab.dataplane->sync_command(0, command));
    Command unknown;
    unknown.kind = Command::Kind::update_compressed;
    unknown.update.id = 99;
    unknown.update.creator = 7;
    EXPECT_TRUE(lab.dataplane->sync_command(0, unknown));

    std::vector<Reply> control, sync;
    const auto done = [](const std::vector<Reply>& all) {
      return std::any_of(all.begin(), all.end(), [](const Reply& r) { return r.kind == Reply::Kind::done; });
    };
    EXPECT_TRUE(eventually([&] {
      lab.dataplane->take_replies(100, [&](const Reply& r) { control.push_back(r); });
      lab.dataplane->sync_take_replies(100, [&](const Reply& r) { sync.push_back(r); });
      return done(control) && done(sync) && sync.size() == states + 2;
    }));
    ASSERT_EQ(control.size(), states + 1);
    for (const auto& r : control) EXPECT_EQ(r.cookie, 5u);
    EXPECT_EQ(control.back().count, states);
    size_t unknowns = 0;
    for (const auto& r : sync) {
      if (r.kind == Reply::Kind::unknown_state) {
        ++unknowns;
        EXPECT_EQ(r.record.id, 99u);
      } else {
        EXPECT_EQ(r.cookie, 6u);
      }
    }
    EXPECT_EQ(unknowns, 1u);
  });
}

TEST_F(RunningTest, ManyWalksAtOnceAllEnd) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    lan.send(udp_frame(lab.from_lan()));
    ASSERT_TRUE(wan.receive(5000));
    Command command;
    command.kind = Command::Kind::export_states;
    constexpr uint64_t kWalks = 20;
    for (uint64_t i = 1; i <= kWalks; ++i) {
      command.cookie = i;
      EXPECT_TRUE(lab.dataplane->command(0, command));
    }
    std::map<uint64_t, uint64_t> counts;
    EXPECT_TRUE(eventually([&] {
      lab.dataplane->take_replies(100, [&](const Reply& r) {
        if (r.kind == Reply::Kind::done) counts[r.cookie] = r.count;
      });
      return counts.size() == kWalks;
    }));
    for (const auto& [cookie, count] : counts) EXPECT_EQ(count, lab.dataplane->states()) << cookie;
  });
}

TEST_F(RunningTest, LoggedPacketsReachTheControlCore) {
  in_child([] {
    RunningLab lab({.rules = "[{action: pass, log: true}]"});
    ASSERT_TRUE(lab.ok());
    Wire("far-lan").send(udp_frame(lab.from_lan()));
    size_t taken = 0;
    EXPECT_TRUE(eventually([&] {
      taken += lab.dataplane->take_logs(16, [](const LogRecord& r) {
        EXPECT_EQ(r.proto, kProtoUdp);
        EXPECT_EQ(r.dport, 5000);
      });
      return taken >= 1;
    }));
    EXPECT_EQ(lab.dataplane->logs_lost(), 0u);
  });
}

TEST_F(RunningTest, NoFrameIsLostOverManyReloads) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    constexpr int kFrames = 400;
    for (int i = 0; i < kFrames; ++i) {
      UdpSpec spec = lab.from_lan();
      spec.sport = static_cast<uint16_t>(10000 + i);
      lan.send(udp_frame(spec));
      if (i % 10 == 0) lab.publish_snapshot();
      (void)lab.link_changes();  // what nobody sees any more is let go here
    }
    int got = 0;
    while (got < kFrames && wan.receive(2000)) ++got;
    EXPECT_EQ(got, kFrames);
  });
}

TEST_F(RunningTest, RepliesToTranslatedFlowsFindTheirOwnerAmongTwoWorkers) {
  in_child([] {
    LabOptions options;
    options.system = "cores: {control: 0, sync: 0, workers: [0, 1]}, idle: adaptive, hugepages: never";
    options.rules =
        "[{action: match, direction: out, interface: wan, af: inet, nat-to: {address: wan}}, {action: pass}]";
    options.workers = 2;
    RunningLab lab(options);
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    constexpr int kFlows = 60;
    const auto macs = lab.dataplane->macs();
    int answered = 0;
    for (int i = 0; i < kFlows; ++i) {
      UdpSpec there = lab.from_lan();
      there.sport = static_cast<uint16_t>(20000 + i);
      lan.send(udp_frame(there));
      const auto out = wan.receive(5000);
      ASSERT_TRUE(out) << i;
      ASSERT_TRUE(is_from_to(*out, "192.0.2.1", kWanHost));
      UdpSpec back = lab.from_wan();
      back.dst = "192.0.2.1";
      back.sport = there.dport;
      back.dport = load_be16(&(*out)[34]);
      wan.send(udp_frame(back));
      const auto in = lan.receive(5000);
      ASSERT_TRUE(in) << i;
      if (is_from_to(*in, kWanHost, kLanHost) && load_be16(&(*in)[36]) == there.sport) ++answered;
    }
    EXPECT_EQ(answered, kFlows);
    const auto workers = lab.dataplane->workers();
    EXPECT_GT(workers[0].rx_packets, 0u);
    EXPECT_GT(workers[1].rx_packets, 0u);
    EXPECT_GT(workers[0].handed_off + workers[1].handed_off, 0u) << "no flow changed its queue: the test shows nothing";
    EXPECT_EQ(workers[0].handed_off + workers[1].handed_off, workers[0].taken_over + workers[1].taken_over);
  });
}

TEST_F(RunningTest, AFullPuntRingIsCountedAndHurtsNobodyElse) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    Frame arp(60, 0);
    std::memset(&arp[0], 0xff, 6);
    store_be16(&arp[12], kEtherTypeArp);
    constexpr unsigned kFrames = 3000;
    for (unsigned i = 0; i < kFrames; ++i) {
      lan.send(arp);
      if (i % 500 == 499) {
        EXPECT_TRUE(eventually([&] { return lab.rx_packets() > i - 100; }));
      }
    }
    EXPECT_TRUE(eventually([&] { return lab.drops(DropReason::punt_full) == kFrames - 1023; }))
        << lab.drops(DropReason::punt_full);
    lan.send(udp_frame(lab.from_lan()));
    EXPECT_TRUE(wan.receive(5000));
    size_t taken = 0, now = 0;
    while ((now = lab.dataplane->take_punts(100, [](const PuntedFrame&) {})) != 0) taken += now;
    EXPECT_EQ(taken, 1023u);
  });
}

TEST_F(RunningTest, ATapPortIsAPortLikeOthers) {
  in_child([] {
    RunningLab lab({.wan_port = "tap:twtap0"});
    ASSERT_TRUE(lab.ok());
    shell("ip link set twtap0 up");
    const Wire lan("far-lan"), host("twtap0");
    const auto status = lab.dataplane->ports()[kWan - 1];
    EXPECT_EQ(status.driver, "net_tap");
    lan.send(udp_frame(lab.from_lan()));
    const auto out = host.receive_if(5000, [](const Frame& f) { return is_from_to(f, kLanHost, kWanHost); });
    expect_forwarded(out, lab.from_lan(), lab.dataplane->macs()[kWan - 1], kWanHostMac);
    host.send(udp_frame(lab.from_wan()));
    const auto in = lan.receive_if(5000, [](const Frame& f) { return is_from_to(f, kWanHost, kLanHost); });
    expect_forwarded(in, lab.from_wan(), lab.dataplane->macs()[kLan - 1], kLanHostMac);
    EXPECT_TRUE(lab.dataplane->send(kWan, udp_frame({})));
    EXPECT_EQ(host.receive_if(5000, [](const Frame& f) { return f == udp_frame({}); }), udp_frame({}));
  });
}

TEST_F(RunningTest, AVirtualDeviceIsAPortLikeOthers) {
  in_child([] {
    RunningLab lab({.wan_port = "vdev:net_null0,no-rx=1"});
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan");
    for (int i = 0; i < 10; ++i) lan.send(udp_frame(lab.from_lan()));
    EXPECT_TRUE(eventually([&] { return lab.dataplane->ports()[kWan - 1].counters.tx_packets == 10; }));
    EXPECT_EQ(lab.dataplane->ports()[kWan - 1].driver, "net_null");
  });
}

TEST_F(RunningTest, StopIsFinalAndMayBeSaidTwice) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan"), wan("far-wan");
    lan.send(udp_frame(lab.from_lan()));
    ASSERT_TRUE(wan.receive(5000));
    lab.dataplane->stop();
    lab.dataplane->stop();
    const uint64_t loops = lab.dataplane->workers()[0].loops;
    lan.send(udp_frame(lab.from_lan()));
    EXPECT_EQ(wan.receive(50), std::nullopt);
    EXPECT_EQ(lab.dataplane->workers()[0].loops, loops);
    EXPECT_FALSE(lab.dataplane->send(kLan, udp_frame({})));
    EXPECT_TRUE(lab.dataplane->ports().empty());
    EXPECT_GT(lab.dataplane->counters(0).packets.get(), 0u) << "counters stay readable";
  });
}

// --- what is refused, and where the message points -----------------------------------------------------------------

void expect_refused(const LabOptions& options, const std::string& what, int line, bool before_eal = true) {
  in_child([&] {
    const config::Config config = load_config(options);
    const StartResult r = start_dataplane(config, dataplane_options(options));
    EXPECT_EQ(r.dataplane, nullptr);
    EXPECT_THAT(r.error, HasSubstr(what));
    EXPECT_EQ(r.error.find('\n'), std::string::npos);
    EXPECT_EQ(r.at.file, "lab.yaml");
    EXPECT_EQ(r.at.line, line);
    EXPECT_GT(r.at.column, 0);
    if (before_eal) {
      // Nothing is half-started: once the cause is gone the same process can start.
      const LabOptions good;
      const config::Config second = load_config(good);
      EXPECT_TRUE(start_dataplane(second, dataplane_options(good)).dataplane);
    }
  });
}

TEST_F(RunningTest, AMissingInterfaceIsRefusedWithItsLine) {
  expect_refused({.wan_port = "kernel:nosuch0"}, "kernel interface 'nosuch0': there is none of that name", 4);
}

TEST_F(RunningTest, ACpuThatDoesNotExistIsRefused) {
  expect_refused({.system = "cores: {control: 0, sync: 0, workers: [700]}"}, "CPU 700 does not exist", 1);
}

TEST_F(RunningTest, MemoryThatDoesNotSufficeIsRefusedWithTheSum) {
  expect_refused({.system = "memory: 64M"}, "system.memory is 64 MB, which does not suffice for", 1);
}

TEST_F(RunningTest, HugePagesThatAreRequiredAndMissingAreRefused) {
  expect_refused({.system = "hugepages: required, memory: 900G", .state_limit = 1000}, "huge pages are free", 1);
}

TEST_F(RunningTest, AVirtualDeviceThatDoesNotOpenIsRefusedWithItsLine) {
  expect_refused({.wan_port = "vdev:net_nosuch0"}, "port 'net_nosuch0'", 4, false);
}

}  // namespace
}  // namespace twinwall
