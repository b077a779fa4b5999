#include "dataplane/kernel_port.h"

#include <fmt/core.h>
#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr uint32_t kRingFrames = 4096;
constexpr uint32_t kJumboRingFrames = 1024;
constexpr uint32_t kPfsyncRingFrames = 2048;
constexpr uint16_t kJumbo = 1900;  // from this MTU on a slot takes more than 2 KB
constexpr uint32_t kLinkLayer = kEthernetHeader + 2 * kVlanTag;

uint32_t ring_frames(uint16_t mtu) { return mtu >= kJumbo ? kJumboRingFrames : kRingFrames; }

}  // namespace

uint64_t KernelPort::ring_memory(const Options& options) {
  const uint64_t slot = RxRing::slot_size(options.mtu + kLinkLayer);
  const uint64_t frames = uint64_t{options.rx_queues} * ring_frames(options.mtu);
  return slot * (frames + (options.pfsync_queue ? kPfsyncRingFrames : 0));
}

std::unique_ptr<KernelPort> KernelPort::open(const Options& options, std::string& error) {
  auto port = std::unique_ptr<KernelPort>(new KernelPort(options));
  if (!port->set_up(error)) {
    error = fmt::format("kernel interface '{}': {}", options.ifname, error);
    return nullptr;
  }
  return port;
}

bool KernelPort::set_up(std::string& error) {
  if (options_.ifname.size() >= IFNAMSIZ) {
    error = "an interface name has at most 15 characters";
    return false;
  }
  control_ = FileDescriptor(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control_ || !prepare_interface(error)) return false;

  for (unsigned q = 0; q < options_.rx_queues; ++q) {
    auto ring = RxRing::open({options_.mtu + kLinkLayer, ring_frames(options_.mtu),
                              share_filter({q, options_.rx_queues, options_.pfsync_queue})},
                             error);
    if (!ring) return false;
    rx_.push_back(std::move(ring));
  }
  if (options_.pfsync_queue) {
    auto ring = RxRing::open({options_.mtu + kLinkLayer, kPfsyncRingFrames, pfsync_filter()}, error);
    if (!ring) return false;
    rx_.push_back(std::move(ring));
  }
  for (unsigned q = 0; q < options_.tx_queues; ++q) {
    auto tx = std::make_unique<Tx>();
    tx->socket = TxSocket::open(error);
    if (!tx->socket) return false;
    tx_.push_back(std::move(tx));
  }
  (void)refresh();
  if (ifindex_ == 0) {
    error = fmt::format("cannot be attached to: {}", std::strerror(errno));
    return false;
  }
  return true;
}

bool KernelPort::query(ifreq& request, unsigned long what) const {
  options_.ifname.copy(request.ifr_name, IFNAMSIZ - 1);
  return ioctl(control_.get(), what, &request) == 0;
}

bool KernelPort::prepare_interface(std::string& error) {
  ifreq request{};
  if (!query(request, SIOCGIFHWADDR)) {
    error = errno == ENODEV ? "there is none of that name" : std::strerror(errno);
    return false;
  }
  mac_ = Mac::from_wire(request.ifr_hwaddr.sa_data);
  request = {};
  if (query(request, SIOCGIFMTU) && request.ifr_mtu < options_.mtu) {
    const int had = request.ifr_mtu;
    request.ifr_mtu = options_.mtu;
    if (!query(request, SIOCSIFMTU)) {
      error = fmt::format("its MTU is {} and cannot be raised to {}: {}", had, options_.mtu, std::strerror(errno));
      return false;
    }
  }
  request = {};
  if (query(request, SIOCGIFFLAGS) && (request.ifr_flags & IFF_UP) == 0) {
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (!query(request, SIOCSIFFLAGS)) {
      error = fmt::format("cannot be set up: {}", std::strerror(errno));
      return false;
    }
  }
  return true;
}

bool KernelPort::attach(int ifindex) {
  for (size_t q = 0; q < rx_.size(); ++q)
    if (!rx_[q]->attach(ifindex, q == 0)) return false;
  for (const auto& tx : tx_)
    if (!tx->socket->attach(ifindex)) return false;
  ifindex_ = ifindex;
  ifreq request{};
  if (query(request, SIOCGIFHWADDR) && Mac::from_wire(request.ifr_hwaddr.sa_data) != mac_) {
    // The node goes on with the address it has announced; the port takes frames to any.
    std::memcpy(request.ifr_hwaddr.sa_data, mac_.bytes.data(), mac_.bytes.size());
    (void)query(request, SIOCSIFHWADDR);
  }
  return true;
}

// The kernel reports a change of the carrier late when it had another to report within the last second, so the driver
// is asked as well.
bool KernelPort::carrier() const {
  ifreq request{};
  if (!query(request, SIOCGIFFLAGS) || (request.ifr_flags & IFF_UP) == 0) return false;
  const bool running = (request.ifr_flags & IFF_RUNNING) != 0;
  ethtool_value link{};
  link.cmd = ETHTOOL_GLINK;
  request = {};
  void* const data = &link;
  request.ifr_data = static_cast<char*>(data);
  return query(request, SIOCETHTOOL) ? link.data != 0 : running;
}

bool KernelPort::refresh() {
  ifreq request{};
  const int now = query(request, SIOCGIFINDEX) ? request.ifr_ifindex : 0;
  if (now == 0) {
    ifindex_ = 0;
  } else if (now != ifindex_) {
    ifindex_ = 0;
    (void)attach(now);
  }
  const bool up = ifindex_ != 0 && carrier();
  return link_.exchange(up, std::memory_order_relaxed) != up;
}

void KernelPort::forget(int ifindex) {
  if (ifindex == ifindex_) ifindex_ = 0;
}

TxResult KernelPort::send(unsigned queue, std::span<iovec> frames) {
  Tx& tx = *tx_[queue];
  TxResult result;
  uint64_t bytes = 0;
  if (link_up()) {
    result = tx.socket->send(frames);
    for (const auto& f : frames) bytes += f.iov_len;
  } else {
    result.link_down = static_cast<uint16_t>(frames.size());
  }
  if (result.sent != 0) {
    tx.counters.packets.add(result.sent);
    tx.counters.bytes.add(bytes * result.sent / frames.size());  // exact unless some of the burst were refused
  }
  if (result.dropped != 0) tx.counters.dropped.add(result.dropped);
  if (result.errors != 0) tx.counters.errors.add(result.errors);
  if (result.link_down != 0) tx.counters.link_down.add(result.link_down);
  return result;
}

uint64_t KernelPort::oversize() const {
  uint64_t n = 0;
  for (const auto& rx : rx_) n += rx->counters().oversize.get();
  return n;
}

KernelPort::Totals KernelPort::totals() {
  Totals t;
  for (const auto& rx : rx_) {
    t.rx_packets += rx->counters().packets.get();
    t.rx_bytes += rx->counters().bytes.get();
    t.rx_dropped += rx->dropped();
    t.rx_oversize += rx->counters().oversize.get();
    t.rx_malformed += rx->counters().malformed.get();
  }
  for (const auto& tx : tx_) {
    t.tx_packets += tx->counters.packets.get();
    t.tx_bytes += tx->counters.bytes.get();
    t.tx_dropped += tx->counters.dropped.get();
    t.tx_errors += tx->counters.errors.get();
    t.tx_link_down += tx->counters.link_down.get();
  }
  return t;
}

std::unique_ptr<LinkMonitor> LinkMonitor::open(std::string& error) {
  auto monitor = std::unique_ptr<LinkMonitor>(new LinkMonitor());
  monitor->socket_ = FileDescriptor(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  const void* const p = &address;
  if (!monitor->socket_ || bind(monitor->fd(), static_cast<const sockaddr*>(p), sizeof address) != 0) {
    error = fmt::format("netlink: {}", std::strerror(errno));
    return nullptr;
  }
  return monitor;
}

bool LinkMonitor::drain(std::vector<int>& gone) {
  alignas(nlmsghdr) std::array<uint8_t, 16384> buffer;
  bool changed = false;
  for (unsigned i = 0; i < 64; ++i) {
    const ssize_t n = recv(fd(), buffer.data(), buffer.size(), 0);
    if (n <= 0) {
      if (n < 0 && errno == ENOBUFS) {  // messages were lost: look at everything
        changed = true;
        continue;
      }
      break;
    }
    changed = true;
    size_t at = 0;
    while (at + sizeof(nlmsghdr) + sizeof(ifinfomsg) <= static_cast<size_t>(n)) {
      const auto header = load_raw<nlmsghdr>(&buffer[at]);
      if (header.nlmsg_len < sizeof header + sizeof(ifinfomsg) || header.nlmsg_len > static_cast<size_t>(n) - at) break;
      if (header.nlmsg_type == RTM_DELLINK) gone.push_back(load_raw<ifinfomsg>(&buffer[at + NLMSG_HDRLEN]).ifi_index);
      at += NLMSG_ALIGN(header.nlmsg_len);
    }
  }
  return changed;
}

}  // namespace twinwall
