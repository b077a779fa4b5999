// The kernel itself judges the programs: they are attached to a socket pair and decide what comes through.
#include "dataplane/packet_filter.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>

#include "dataplane/packet_socket.h"
#include "lib/base/random.h"
#include "lib/net/headers.h"
#include "net_lab.h"

namespace twinwall {
namespace {

using testing::Frame;
using testing::udp_frame;
using testing::UdpSpec;

class Judge {
 public:
  explicit Judge(FilterProgram program) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
    in_ = FileDescriptor(ends[0]);
    out_ = FileDescriptor(ends[1]);
    const sock_fprog attach{static_cast<unsigned short>(program.size()), program.data()};
    EXPECT_EQ(setsockopt(ends[1], SOL_SOCKET, SO_ATTACH_FILTER, &attach, sizeof attach), 0)
        << "the kernel refuses the program";
  }
  [[nodiscard]] bool takes(const Frame& frame) const {
    (void)send(in_.get(), frame.data(), frame.size(), 0);
    uint8_t room[4096];
    const ssize_t n = recv(out_.get(), room, sizeof room, 0);
    return n == static_cast<ssize_t>(frame.size());
  }

 private:
  FileDescriptor in_, out_;
};

Frame pfsync_frame(bool v6) {
  UdpSpec spec;
  spec.proto = kProtoPfsync;
  if (v6) {
    spec.src = "fe80::1";
    spec.dst = "ff02::f0";
  }
  return udp_frame(spec);
}

Frame arp_frame() {
  Frame f(60, 0);
  store_be16(&f[12], kEtherTypeArp);
  return f;
}

// The queue that takes the frame; fails unless exactly one does.
size_t queue_of(const std::vector<Judge>& queues, const Frame& frame) {
  size_t taken = 0, queue = 0;
  for (size_t q = 0; q < queues.size(); ++q)
    if (queues[q].takes(frame)) {
      ++taken;
      queue = q;
    }
  EXPECT_EQ(taken, 1u);
  return queue;
}

std::vector<Judge> judges(unsigned queues) {
  std::vector<Judge> all;
  for (unsigned q = 0; q < queues; ++q) all.emplace_back(share_filter({q, queues, false}));
  return all;
}

TEST(PacketFilter, TheSyncQueueTakesPfsyncOfBothFamiliesAndNothingElse) {
  const Judge judge(pfsync_filter());
  EXPECT_TRUE(judge.takes(pfsync_frame(false)));
  EXPECT_TRUE(judge.takes(pfsync_frame(true)));
  UdpSpec v6;
  v6.src = "2001:db8::1";
  v6.dst = "2001:db8::2";
  EXPECT_FALSE(judge.takes(udp_frame({})));
  EXPECT_FALSE(judge.takes(udp_frame(v6)));
  EXPECT_FALSE(judge.takes(arp_frame()));
  EXPECT_FALSE(judge.takes(Frame(14, 0)));
}

TEST(PacketFilter, BesideASyncQueueTheOthersLeavePfsyncAlone) {
  const Judge judge(share_filter({0, 1, true}));
  EXPECT_FALSE(judge.takes(pfsync_frame(false)));
  EXPECT_FALSE(judge.takes(pfsync_frame(true)));
  EXPECT_TRUE(judge.takes(udp_frame({})));
  EXPECT_TRUE(judge.takes(arp_frame()));
}

TEST(PacketFilter, WithoutASyncQueuePfsyncIsAFrameLikeOthers) {
  const Judge judge(share_filter({0, 1, false}));
  EXPECT_TRUE(judge.takes(pfsync_frame(false)));
}

TEST(PacketFilter, ASyncQueueBesideSeveralLeavesEveryFrameToExactlyOne) {
  std::vector<Judge> queues;
  for (unsigned q = 0; q < 3; ++q) queues.emplace_back(share_filter({q, 3, true}));
  queues.emplace_back(pfsync_filter());
  EXPECT_EQ(queue_of(queues, pfsync_frame(false)), 3u);
  EXPECT_EQ(queue_of(queues, pfsync_frame(true)), 3u);
  EXPECT_LT(queue_of(queues, udp_frame({})), 3u);
  EXPECT_EQ(queue_of(queues, arp_frame()), 0u);
}

TEST(PacketFilter, BothDirectionsOfAFlowFallToOneQueueAndFlowsSpread) {
  const auto queues = judges(4);
  Random random(7);
  std::map<size_t, int> spread;
  constexpr int kFlows = 400;
  for (int i = 0; i < kFlows; ++i) {
    UdpSpec there;
    if (i % 2 == 0) {
      there.src = "10.0.0." + std::to_string(1 + random.below(200));
      there.dst = "192.0.2." + std::to_string(1 + random.below(200));
    } else {
      there.src = "2001:db8::" + std::to_string(1 + random.below(999));
      there.dst = "2001:db8:1::" + std::to_string(1 + random.below(999));
    }
    there.sport = static_cast<uint16_t>(1024 + random.below(60000));
    there.dport = static_cast<uint16_t>(1 + random.below(1000));
    UdpSpec back = there;
    std::swap(back.src, back.dst);
    std::swap(back.sport, back.dport);
    const size_t q = queue_of(queues, udp_frame(there));
    EXPECT_EQ(q, queue_of(queues, udp_frame(back)));
    ++spread[q];
  }
  for (size_t q = 0; q < 4; ++q) EXPECT_GT(spread[q], kFlows / 4 / 2) << "queue " << q << " gets too little";
}

TEST(PacketFilter, AllFragmentsOfADatagramFallToOneQueueWhateverThePorts) {
  const auto queues = judges(4);
  for (uint16_t port = 1; port < 60; ++port) {
    UdpSpec first;
    first.fragment_field = kIpv4MoreFragments;
    first.sport = port;
    UdpSpec last;
    last.fragment_field = 185;
    last.payload.assign(100, static_cast<char>(port));
    EXPECT_EQ(queue_of(queues, udp_frame(first)), queue_of(queues, udp_frame(last)));
  }
}

}  // namespace
}  // namespace twinwall
