// A whole Dataplane's doors to the control core and the sync engine.
#include <algorithm>
#include <cstring>
#include <map>

#include "lib/net/headers.h"
#include "running_lab.h"

namespace twinwall {
namespace {

using namespace testing;  // NOLINT: the lab's vocabulary

class CoreTest : public RunningLabTest {};

TEST_F(CoreTest, ArpGoesUpToTheControlCore) {
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

TEST_F(CoreTest, AnUnknownNextHopGoesUpWithTheFrameForIt) {
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

TEST_F(CoreTest, PfsyncHasItsOwnQueuesWhichTheWorkersDoNotSee) {
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

TEST_F(CoreTest, PfsyncThatCameAnotherWayReachesTheSyncEngineToo) {
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

TEST_F(CoreTest, ANewStateIsToldToTheSyncEngineAndFlushingHastensIt) {
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

TEST_F(CoreTest, EachSideGetsTheRepliesToItsOwnCommands) {
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

TEST_F(CoreTest, ManyWalksAtOnceAllEnd) {
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

TEST_F(CoreTest, LoggedPacketsReachTheControlCore) {
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

TEST_F(CoreTest, ACaptureSeesWhatAPortReceivesAndWhatAllItsSendersSend) {
  in_child([] {
    RunningLab lab;
    ASSERT_TRUE(lab.ok());
    const auto capture_of = [&](InterfaceId port) {
      auto c = std::make_shared<capture::Capture>(capture::Wanted{.port = port}, 2);
      EXPECT_TRUE(lab.dataplane->start_capture(c));
      return c;
    };
    const auto on_lan = capture_of(kLan), on_wan = capture_of(kWan);
    EXPECT_FALSE(lab.dataplane->start_capture(std::make_shared<capture::Capture>(capture::Wanted{.port = kLan}, 2)));
    const Wire lan("far-lan"), wan("far-wan");
    const Frame sent = udp_frame(lab.from_lan());
    capture::FrameHeader h;
    std::string received, forwarded, own;
    ASSERT_TRUE(eventually([&] {  // whatever comes before the worker knows of the capture is not in it
      lan.send(sent);
      return on_lan->take(Time::max(), h, received);
    }));
    EXPECT_EQ(h.outgoing, 0);
    EXPECT_EQ(received, std::string(sent.begin(), sent.end()));
    ASSERT_TRUE(eventually([&] { return on_wan->take(Time::max(), h, forwarded); }));
    EXPECT_EQ(h.outgoing, 1);
    const auto on_the_wire = wan.receive(5000);
    ASSERT_TRUE(on_the_wire);
    EXPECT_EQ(forwarded, std::string(on_the_wire->begin(), on_the_wire->end()));

    const Frame made_here = udp_frame({.src = "192.0.2.1"});
    EXPECT_TRUE(lab.dataplane->send(kWan, made_here));
    ASSERT_TRUE(eventually([&] {
      own.clear();
      return on_wan->take(Time::max(), h, own) && own == std::string(made_here.begin(), made_here.end());
    }));
    EXPECT_EQ(h.outgoing, 1);
    EXPECT_EQ(lab.dataplane->captures().running, 2u);

    on_lan->close();
    on_wan->close();
    EXPECT_TRUE(eventually([&] {
      (void)lab.link_changes();  // ten times a second, as the control core does
      return lab.dataplane->captures().running == 0;
    }));
    const CaptureStatus after = lab.dataplane->captures();
    EXPECT_EQ(after.packets, on_lan->seen() + on_wan->seen());
    EXPECT_EQ(after.dropped, 0u);
    EXPECT_TRUE(lab.dataplane->start_capture(std::make_shared<capture::Capture>(capture::Wanted{.port = kLan}, 2)));
  });
}

TEST_F(CoreTest, AFullPuntRingIsCountedAndHurtsNobodyElse) {
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

}  // namespace
}  // namespace twinwall
