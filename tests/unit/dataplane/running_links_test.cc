// A whole Dataplane over links that go and come, that are idle, and that are not of the kernel.
#include <sys/resource.h>

#include <chrono>
#include <thread>

#include "running_lab.h"

namespace twinwall {
namespace {

using namespace testing;  // NOLINT: the lab's vocabulary

class LinksTest : public RunningLabTest {};

TEST_F(LinksTest, ALostLinkIsReportedAndNothingStaleIsSentWhenItReturns) {
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

TEST_F(LinksTest, AVanishedInterfaceIsALostLinkAndServesAgainWhenItReturns) {
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

TEST_F(LinksTest, ASleepingWorkerCostsNothingAndWakesAtOnce) {
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

TEST_F(LinksTest, ALinkThatGoesDownDoesNotKeepTheWorkerAwake) {
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

TEST_F(LinksTest, ATapPortIsAPortLikeOthers) {
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

TEST_F(LinksTest, AVirtualDeviceIsAPortLikeOthers) {
  in_child([] {
    RunningLab lab({.wan_port = "vdev:net_null0,no-rx=1"});
    ASSERT_TRUE(lab.ok());
    const Wire lan("far-lan");
    for (int i = 0; i < 10; ++i) lan.send(udp_frame(lab.from_lan()));
    EXPECT_TRUE(eventually([&] { return lab.dataplane->ports()[kWan - 1].counters.tx_packets == 10; }));
    EXPECT_EQ(lab.dataplane->ports()[kWan - 1].driver, "net_null");
  });
}

}  // namespace
}  // namespace twinwall
