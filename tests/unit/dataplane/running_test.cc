// A whole Dataplane over veth pairs: frames in and out.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "running_lab.h"

namespace twinwall {
namespace {

using namespace testing;  // NOLINT: the lab's vocabulary

class RunningTest : public RunningLabTest {};

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

TEST_F(RunningTest, StartsSoonAndWithinTheDefaultMemory) {
  in_child([] {
    const LabOptions options{.state_limit = 100000};
    const config::Config config = load_config(options);
    const auto begin = std::chrono::steady_clock::now();
    const StartResult r = start_dataplane(config, dataplane_options(options));
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_TRUE(r.dataplane) << r.error;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    EXPECT_LT(took, std::chrono::seconds(20));  // a fraction of a second, where nothing else runs
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

}  // namespace
}  // namespace twinwall
