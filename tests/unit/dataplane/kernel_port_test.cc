// A kernel port against the kernel: what a sender puts on the wire is what the port gives, and nothing is sent late.
#include "dataplane/kernel_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include <array>
#include <cstring>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "net_lab.h"

namespace twinwall {
namespace {

using testing::eventually;
using testing::Frame;
using testing::make_veth;
using testing::shell;
using testing::udp_frame;
using testing::UdpSpec;
using testing::Wire;
using testing::with_tag;

constexpr const char* kNearMac = "02:00:00:00:00:01";

class KernelPortTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::enter_new_namespace();
    make_veth("near", "far");
  }

  std::unique_ptr<KernelPort> open(KernelPort::Options options = {.ifname = "near"}) {
    std::string error;
    auto port = KernelPort::open(options, error);
    EXPECT_NE(port, nullptr) << error;
    EXPECT_TRUE(eventually([&] { return port->refresh() || port->link_up(); }));
    return port;
  }

  static std::optional<Frame> take(KernelPort& port, unsigned queue = 0, int milliseconds = 2000) {
    Frame room(70000);
    uint32_t n = 0;
    if (!eventually([&] { return (n = port.receive(queue, room)) != 0; }, milliseconds)) return std::nullopt;
    room.resize(n);
    return room;
  }

  static TxResult send(KernelPort& port, std::vector<Frame> frames) {
    std::vector<iovec> vectors;
    for (auto& f : frames) vectors.push_back({f.data(), f.size()});
    return port.send(0, vectors);
  }

  // A UDP socket of the kernel on the far side, whose datagrams for 10.9.0.2 leave towards the port.
  static FileDescriptor kernel_sender() {
    shell("ip addr add 10.9.0.1/24 dev far && ip neigh add 10.9.0.2 lladdr " + std::string(kNearMac) + " dev far");
    FileDescriptor s(socket(AF_INET, SOCK_DGRAM, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(7777);
    inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
    const void* const p = &to;
    EXPECT_EQ(connect(s.get(), static_cast<const sockaddr*>(p), sizeof to), 0);
    return s;
  }
};

TEST_F(KernelPortTest, AMissingInterfaceIsAnErrorThatNamesIt) {
  std::string error;
  EXPECT_EQ(KernelPort::open({.ifname = "nosuch0"}, error), nullptr);
  EXPECT_EQ(error, "kernel interface 'nosuch0': there is none of that name");
  EXPECT_EQ(KernelPort::open({.ifname = "a-name-longer-than-15"}, error), nullptr);
}

TEST_F(KernelPortTest, FramesArriveAsSentInOrder) {
  auto port = open();
  const Wire wire("far");
  std::vector<Frame> sent;
  for (uint16_t i = 0; i < 300; ++i) {
    UdpSpec spec;
    spec.id = i;
    spec.payload.assign(1 + i * 4u, static_cast<char>('a' + i % 26));
    sent.push_back(udp_frame(spec));
    wire.send(sent.back());
  }
  for (const auto& s : sent) EXPECT_EQ(take(*port), s);
  EXPECT_EQ(port->totals().rx_packets, 300u);
  EXPECT_EQ(port->totals().rx_dropped, 0u);
}

TEST_F(KernelPortTest, FramesToAnyMacArriveAndThePortDoesNotHearItself) {
  auto port = open();
  const Wire wire("far");
  UdpSpec spec;
  spec.dst_mac = virtual_mac(7);
  wire.send(udp_frame(spec));
  EXPECT_EQ(take(*port), udp_frame(spec));
  EXPECT_EQ(send(*port, {udp_frame({})}).sent, 1);
  EXPECT_EQ(wire.receive(2000), udp_frame({}));
  EXPECT_EQ(take(*port, 0, 50), std::nullopt);
}

TEST_F(KernelPortTest, Ipv4FragmentsArriveAsSent) {
  auto port = open();
  const auto sender = kernel_sender();
  const std::string text(4000, 'f');
  ASSERT_EQ(::send(sender.get(), text.data(), text.size(), 0), 4000);
  std::vector<uint16_t> offsets;
  for (int i = 0; i < 3; ++i) {
    const auto f = take(*port);
    ASSERT_TRUE(f);
    EXPECT_LE(f->size(), 1514u);
    EXPECT_EQ(checksum(&(*f)[14], 20), 0);
    offsets.push_back(load_be16(&(*f)[20]));
  }
  EXPECT_EQ(offsets, (std::vector<uint16_t>{kIpv4MoreFragments, kIpv4MoreFragments | 185, 370}));
}

TEST_F(KernelPortTest, AChecksumTheSenderLeftToHardwareIsCompleted) {
  auto port = open();
  const auto sender = kernel_sender();
  for (const size_t size : {1u, 100u, 1473u - 1u}) {
    const std::string text(size, 'c');
    ASSERT_EQ(::send(sender.get(), text.data(), text.size(), 0), static_cast<ssize_t>(size));
    const auto f = take(*port);
    ASSERT_TRUE(f);
    ASSERT_EQ(f->size(), 42 + size);
    EXPECT_NE(load_be16(&(*f)[40]), 0) << "the far end does not use a checksum at all";
    EXPECT_EQ(l4_checksum(Af::inet, &(*f)[26], &(*f)[30], kProtoUdp, &(*f)[34], 8 + size), 0);
  }
}

TEST_F(KernelPortTest, ASegmentationSuperFrameIsDroppedAndCounted) {
  auto port = open();
  const auto sender = kernel_sender();
  const int segment = 1000;
  ASSERT_EQ(setsockopt(sender.get(), SOL_UDP, UDP_SEGMENT, &segment, sizeof segment), 0);
  const std::string text(8000, 'g');
  ASSERT_EQ(::send(sender.get(), text.data(), text.size(), 0), 8000);
  EXPECT_TRUE(eventually([&] {
    Frame room(70000);
    EXPECT_EQ(port->receive(0, room), 0u);
    return port->oversize() == 1;
  }));
  ASSERT_EQ(::send(sender.get(), text.data(), 500, 0), 500);
  EXPECT_TRUE(take(*port)) << "the ring goes on after it";
}

TEST_F(KernelPortTest, TagsKeepTheirTpid) {
  auto port = open();
  const Wire wire("far");
  for (const uint16_t tpid : {kEtherTypeVlan, kEtherTypeQinQ}) {
    const Frame tagged = with_tag(udp_frame({}), tpid, 0x6014);
    wire.send(tagged);
    EXPECT_EQ(take(*port), tagged);
    const Frame twice = with_tag(tagged, kEtherTypeQinQ, 100);
    wire.send(twice);
    EXPECT_EQ(take(*port), twice);
  }
}

TEST_F(KernelPortTest, PfsyncHasItsOwnQueue) {
  auto port = open({.ifname = "near", .rx_queues = 2, .pfsync_queue = true});
  const Wire wire("far");
  UdpSpec sync;
  sync.proto = kProtoPfsync;
  wire.send(udp_frame(sync));
  wire.send(udp_frame({}));
  EXPECT_EQ(take(*port, port->pfsync_queue()), udp_frame(sync));
  EXPECT_EQ(take(*port, port->pfsync_queue(), 20), std::nullopt);
  const bool in_0 = take(*port, 0, 50).has_value(), in_1 = take(*port, 1, 50).has_value();
  EXPECT_NE(in_0, in_1) << "the other frame is in exactly one of the other queues";
  EXPECT_EQ(port->totals().rx_packets, 2u);
}

TEST_F(KernelPortTest, JumboFramesPassWhereTheMtuAllowsThem) {
  shell("ip link set far mtu 9000");
  auto port = open({.ifname = "near", .mtu = 9000});
  const Wire wire("far");
  UdpSpec spec;
  spec.payload.assign(8900, 'j');
  wire.send(udp_frame(spec));
  EXPECT_EQ(take(*port), udp_frame(spec));
  EXPECT_EQ(send(*port, {udp_frame(spec)}).sent, 1);
  EXPECT_EQ(wire.receive(2000), udp_frame(spec));
}

TEST_F(KernelPortTest, AFrameTheKernelRefusesCostsOnlyItself) {
  auto port = open();
  const Wire wire("far");
  UdpSpec big;
  big.payload.assign(3000, 'b');
  const TxResult r = send(*port, {udp_frame({}), udp_frame(big), udp_frame({})});
  EXPECT_EQ(r.sent, 2);
  EXPECT_EQ(r.errors, 1);
  EXPECT_TRUE(wire.receive(1000));
  EXPECT_TRUE(wire.receive(1000));
  EXPECT_EQ(port->totals().tx_errors, 1u);
}

TEST_F(KernelPortTest, ALostLinkIsNoticedAndNothingStaleIsSentWhenItReturns) {
  auto port = open();
  std::string error;
  auto monitor = LinkMonitor::open(error);
  ASSERT_TRUE(monitor) << error;
  shell("ip link set far down");
  std::vector<int> gone;
  EXPECT_TRUE(eventually([&] { return monitor->drain(gone); })) << "netlink says so";
  EXPECT_TRUE(eventually([&] { return port->refresh() || !port->link_up(); }));
  EXPECT_FALSE(port->link_up());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(send(*port, {udp_frame({})}).link_down, 1);

  shell("ip link set far up");
  EXPECT_TRUE(eventually([&] { return port->refresh() || port->link_up(); }));
  const Wire wire("far");
  UdpSpec fresh;
  fresh.payload = "fresh";
  EXPECT_EQ(send(*port, {udp_frame(fresh)}).sent, 1);
  EXPECT_EQ(wire.receive(1000), udp_frame(fresh));
  EXPECT_EQ(wire.receive(100), std::nullopt);
  EXPECT_EQ(port->totals().tx_link_down, 20u);
  EXPECT_TRUE(gone.empty());
}

TEST_F(KernelPortTest, TheKernelItselfKeepsNothingBeforeThePortHasNoticed) {
  auto port = open();
  shell("ip link set far down");
  EXPECT_TRUE(port->link_up()) << "nobody has looked yet";
  const TxResult r = send(*port, {udp_frame({}), udp_frame({})});
  EXPECT_EQ(r.sent, 0);
  EXPECT_EQ(r.dropped + r.link_down + r.errors, 2);
  shell("ip link set far up");
  const Wire wire("far");
  EXPECT_EQ(wire.receive(100), std::nullopt);
}

TEST_F(KernelPortTest, AnInterfaceThatVanishesComesBackByName) {
  auto port = open();
  const Mac mac = port->mac();
  std::string error;
  auto monitor = LinkMonitor::open(error);
  shell("ip link del near");
  std::vector<int> gone;
  EXPECT_TRUE(eventually([&] { return monitor->drain(gone) && !gone.empty(); }));
  for (const int index : gone) port->forget(index);
  EXPECT_TRUE(port->refresh());
  EXPECT_FALSE(port->link_up());
  EXPECT_EQ(send(*port, {udp_frame({})}).link_down, 1);

  make_veth("near", "far");
  EXPECT_TRUE(eventually([&] { return port->refresh() || port->link_up(); }));
  EXPECT_EQ(port->mac(), mac);
  const Wire wire("far");
  UdpSpec spec;
  spec.dst_mac = virtual_mac(3);
  wire.send(udp_frame(spec));
  EXPECT_EQ(take(*port), udp_frame(spec)) << "received again, to any MAC";
  EXPECT_EQ(send(*port, {udp_frame({})}).sent, 1);
  EXPECT_EQ(wire.receive(1000), udp_frame({}));
}

TEST_F(KernelPortTest, TheDescriptorWakesForFramesAndALostLinkDoesNotKeepItAwake) {
  auto port = open();
  const FileDescriptor poll(epoll_create1(0));
  epoll_event event{.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(poll.get(), EPOLL_CTL_ADD, port->fd(0), &event), 0);
  EXPECT_EQ(epoll_wait(poll.get(), &event, 1, 20), 0);
  const Wire wire("far");
  wire.send(udp_frame({}));
  EXPECT_EQ(epoll_wait(poll.get(), &event, 1, 2000), 1);
  EXPECT_TRUE(take(*port));
  EXPECT_EQ(epoll_wait(poll.get(), &event, 1, 20), 0);
  shell("ip link set near down");
  ASSERT_EQ(epoll_wait(poll.get(), &event, 1, 2000), 1);
  EXPECT_NE(event.events & EPOLLERR, 0u);
  port->clear_error(0);
  EXPECT_EQ(epoll_wait(poll.get(), &event, 1, 20), 0);
}

}  // namespace
}  // namespace twinwall
