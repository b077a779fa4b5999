#include "net_lab.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall::testing {

void enter_new_namespace() {
  ASSERT_EQ(geteuid(), 0u) << "these tests make network namespaces: run them as root";
  ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "no network namespace: " << std::strerror(errno);
  shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 && ip link set lo up");
}

void shell(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

void make_veth(const std::string& near, const std::string& far) {
  shell("ip link add " + near + " type veth peer name " + far);
  shell("ip link set " + near + " up && ip link set " + far + " up");
}

Wire::Wire(const std::string& ifname) : socket_(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)) {
  const int on = 1;
  EXPECT_EQ(setsockopt(socket_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on), 0);
  const int big = 16 << 20;
  EXPECT_EQ(setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big), 0);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(ifname.c_str()));
  const void* const p = &address;
  EXPECT_EQ(bind(socket_.get(), static_cast<const sockaddr*>(p), sizeof address), 0) << ifname;
}

void Wire::send(const Frame& frame) const {
  EXPECT_EQ(::send(socket_.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()))
      << std::strerror(errno);
}

std::optional<Frame> Wire::receive(int milliseconds) const {
  pollfd wait{socket_.get(), POLLIN, 0};
  if (poll(&wait, 1, milliseconds) <= 0) return std::nullopt;
  Frame frame(65536);
  const ssize_t n = recv(socket_.get(), frame.data(), frame.size(), 0);
  if (n < 0) return std::nullopt;
  frame.resize(static_cast<size_t>(n));
  return frame;
}

std::optional<Frame> Wire::receive_if(int milliseconds, const std::function<bool(const Frame&)>& wanted) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() < 0) return std::nullopt;
    auto frame = receive(static_cast<int>(left.count()));
    if (frame && wanted(*frame)) return frame;
  }
}

bool eventually(const std::function<bool()>& condition, int milliseconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

void in_child(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    body();
    std::fflush(nullptr);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "the child was ended by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "the child failed; see above";
}

namespace {

Frame udp_datagram(const UdpSpec& spec, Af af, const Address& src, const Address& dst) {
  Frame l4;
  if (spec.proto == kProtoUdp && (spec.fragment_field & kIpv4FragmentOffset) == 0) {
    l4.resize(kUdpHeader);
    store_be16(&l4[0], spec.sport);
    store_be16(&l4[2], spec.dport);
    store_be16(&l4[4], static_cast<uint16_t>(kUdpHeader + spec.payload.size()));
  }
  l4.insert(l4.end(), spec.payload.begin(), spec.payload.end());
  if (spec.proto == kProtoUdp && spec.fragment_field == 0)
    store_raw(&l4[6], l4_checksum(af, src.bytes.data(), dst.bytes.data(), spec.proto, l4.data(), l4.size()));
  return l4;
}

}  // namespace

Frame udp_frame(const UdpSpec& spec) {
  const IpAddress src = parse_ip(spec.src).value(), dst = parse_ip(spec.dst).value();
  const Frame l4 = udp_datagram(spec, src.af, src.addr, dst.addr);
  const size_t l3 = kEthernetHeader;
  const size_t header = src.af == Af::inet ? kIpv4Header : kIpv6Header;
  Frame frame(l3 + header + l4.size());
  std::memcpy(&frame[0], spec.dst_mac.bytes.data(), 6);
  std::memcpy(&frame[6], spec.src_mac.bytes.data(), 6);
  store_be16(&frame[12], src.af == Af::inet ? kEtherTypeIpv4 : kEtherTypeIpv6);
  if (src.af == Af::inet) {
    frame[l3] = 0x45;
    store_be16(&frame[l3 + 2], static_cast<uint16_t>(header + l4.size()));
    store_be16(&frame[l3 + 4], spec.id);
    store_be16(&frame[l3 + 6], spec.fragment_field);
    frame[l3 + 8] = 64;
    frame[l3 + 9] = spec.proto;
    std::memcpy(&frame[l3 + 12], src.addr.bytes.data(), 4);
    std::memcpy(&frame[l3 + 16], dst.addr.bytes.data(), 4);
    store_raw(&frame[l3 + 10], checksum(&frame[l3], kIpv4Header));
  } else {
    frame[l3] = 0x60;
    store_be16(&frame[l3 + 4], static_cast<uint16_t>(l4.size()));
    frame[l3 + 6] = spec.proto;
    frame[l3 + 7] = 64;
    std::memcpy(&frame[l3 + 8], src.addr.bytes.data(), 16);
    std::memcpy(&frame[l3 + 24], dst.addr.bytes.data(), 16);
  }
  std::memcpy(&frame[l3 + header], l4.data(), l4.size());
  return frame;
}

Frame with_tag(const Frame& frame, uint16_t tpid, uint16_t tci) {
  Frame tagged(frame.begin(), frame.begin() + 12);
  tagged.resize(16);
  store_be16(&tagged[12], tpid);
  store_be16(&tagged[14], tci);
  tagged.insert(tagged.end(), frame.begin() + 12, frame.end());
  return tagged;
}

}  // namespace twinwall::testing
