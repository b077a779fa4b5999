#include "dataplane/packet_socket.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "dataplane/checksum_complete.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

// struct virtio_net_hdr (virtio 1.1, section 5.1.6); the kernel's header of that name does not compile as C++.
struct OffloadHeader {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
static_assert(sizeof(OffloadHeader) == 10);
constexpr uint8_t kNeedsChecksum = 1;

constexpr uint32_t kBlock = 1u << 18;
constexpr unsigned kSkipLimit = 64;  // unusable frames looked at in one call
constexpr int kSendBuffer = 4 << 20;

// Room in a slot for the kernel's own header, the address it adds and alignment.
constexpr uint32_t kSlotOverhead =
    TPACKET_ALIGN(TPACKET2_HDRLEN) + TPACKET_ALIGNMENT + 16 + sizeof(OffloadHeader) + TPACKET_ALIGNMENT;

template <class T>
bool set_option(int fd, int level, int name, const T& value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

bool bind_to(int fd, int ifindex, uint16_t protocol) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(protocol);
  address.sll_ifindex = ifindex;
  sockaddr generic{};
  static_assert(sizeof address >= sizeof generic);
  void* const p = &address;
  return bind(fd, static_cast<const sockaddr*>(p), sizeof address) == 0;
}

void take_socket_error(int fd) {
  int pending = 0;
  socklen_t size = sizeof pending;
  (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &size);
}

}  // namespace

void FileDescriptor::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

uint32_t RxRing::slot_size(uint32_t max_frame) { return std::max(2048u, std::bit_ceil(max_frame + kSlotOverhead)); }

std::unique_ptr<RxRing> RxRing::open(const Options& options, std::string& error) {
  auto ring = std::unique_ptr<RxRing>(new RxRing());
  if (!ring->set_up(options, error)) return nullptr;
  return ring;
}

bool RxRing::set_up(const Options& options, std::string& error) {
  const auto refused = [&error](const char* what) {
    error = fmt::format("{}: {}", what, std::strerror(errno));
    return false;
  };
  max_frame_ = options.max_frame;
  frame_size_ = slot_size(options.max_frame);
  frames_ = options.frames;

  socket_ = FileDescriptor(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));  // protocol 0: nothing comes before bind
  if (!socket_) return refused("packet socket");
  const int fd = socket_.get();
  if (!set_option(fd, SOL_PACKET, PACKET_VERSION, static_cast<int>(TPACKET_V2))) return refused("PACKET_VERSION");
  if (!set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1)) return refused("PACKET_VNET_HDR");
  if (!set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)) return refused("PACKET_IGNORE_OUTGOING");

  FilterProgram filter = options.filter;
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (!filter.empty() && !set_option(fd, SOL_SOCKET, SO_ATTACH_FILTER, program)) return refused("SO_ATTACH_FILTER");

  tpacket_req request{};
  request.tp_frame_size = frame_size_;
  request.tp_block_size = std::max(kBlock, frame_size_);
  request.tp_block_nr = std::max(1u, frames_ / (request.tp_block_size / frame_size_));
  request.tp_frame_nr = request.tp_block_nr * (request.tp_block_size / frame_size_);
  frames_ = request.tp_frame_nr;
  if (!set_option(fd, SOL_PACKET, PACKET_RX_RING, request)) return refused("PACKET_RX_RING");
  map_size_ = size_t{request.tp_block_size} * request.tp_block_nr;
  void* const map = mmap(nullptr, map_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) return refused("mapping the receive ring");
  map_ = static_cast<uint8_t*>(map);
  return true;
}

RxRing::~RxRing() {
  if (map_ != nullptr) munmap(map_, map_size_);
}

bool RxRing::attach(int ifindex, bool promiscuous) {
  if (!bind_to(fd(), ifindex, ETH_P_ALL)) return false;
  clear_error();
  if (!promiscuous) return true;
  packet_mreq membership{};
  membership.mr_ifindex = ifindex;
  membership.mr_type = PACKET_MR_PROMISC;
  return set_option(fd(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership);
}

tpacket2_hdr* RxRing::slot(uint32_t index) const {
  void* const p = map_ + size_t{index} * frame_size_;
  return static_cast<tpacket2_hdr*>(p);
}

bool RxRing::waiting() const {
  return (__atomic_load_n(&slot(next_)->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) != 0;
}

uint32_t RxRing::receive(MutableBytes room) {
  for (unsigned i = 0; i < kSkipLimit; ++i) {
    tpacket2_hdr* const header = slot(next_);
    const uint32_t status = __atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE);
    if ((status & TP_STATUS_USER) == 0) return 0;
    const uint32_t length = copy(*header, status, room);
    __atomic_store_n(&header->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    next_ = next_ + 1 == frames_ ? 0 : next_ + 1;
    if (length != 0) return length;
  }
  return 0;
}

uint32_t RxRing::copy(const tpacket2_hdr& header, uint32_t status, MutableBytes room) {
  const bool tagged = (status & TP_STATUS_VLAN_VALID) != 0;
  const uint32_t tag = tagged ? kVlanTag : 0;
  const uint32_t length = header.tp_snaplen;
  if (header.tp_snaplen < header.tp_len || length + tag > max_frame_ || length + tag > room.size()) {
    counters_.oversize.add();
    return 0;
  }
  if (length < kEthernetHeader || header.tp_mac < sizeof(OffloadHeader) || header.tp_mac + length > frame_size_) {
    counters_.malformed.add();
    return 0;
  }
  const void* const base = &header;
  const uint8_t* const data = static_cast<const uint8_t*>(base) + header.tp_mac;
  uint8_t* to = room.data();
  if (tagged) {
    constexpr size_t kAddresses = 12;
    std::memcpy(to, data, kAddresses);
    store_be16(to + kAddresses, (status & TP_STATUS_VLAN_TPID_VALID) != 0 ? header.tp_vlan_tpid : kEtherTypeVlan);
    store_be16(to + kAddresses + 2, header.tp_vlan_tci);
    std::memcpy(to + kAddresses + kVlanTag, data + kAddresses, length - kAddresses);
  } else {
    std::memcpy(to, data, length);
  }
  const auto offload = load_raw<OffloadHeader>(data - sizeof(OffloadHeader));
  if ((offload.flags & kNeedsChecksum) != 0 &&
      !complete_checksum(room.first(length + tag), offload.csum_start + tag, offload.csum_offset)) {
    counters_.malformed.add();
    return 0;
  }
  counters_.packets.add();
  counters_.bytes.add(length + tag);
  return length + tag;
}

void RxRing::clear_error() const { take_socket_error(fd()); }

uint64_t RxRing::dropped() {
  tpacket_stats stats{};
  socklen_t size = sizeof stats;
  // Reading resets the kernel's count, so it is added up here; two readers at once each get a part.
  if (getsockopt(fd(), SOL_PACKET, PACKET_STATISTICS, &stats, &size) == 0)
    dropped_.fetch_add(stats.tp_drops, std::memory_order_relaxed);
  return dropped_.load(std::memory_order_relaxed);
}

std::unique_ptr<TxSocket> TxSocket::open(std::string& error) {
  auto tx = std::unique_ptr<TxSocket>(new TxSocket());
  tx->socket_ = FileDescriptor(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!tx->socket_) {
    error = fmt::format("packet socket: {}", std::strerror(errno));
    return nullptr;
  }
  // Past the queueing discipline, which could keep frames while the link is down.
  if (!set_option(tx->socket_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, 1)) {
    error = fmt::format("PACKET_QDISC_BYPASS: {}", std::strerror(errno));
    return nullptr;
  }
  (void)set_option(tx->socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, kSendBuffer);
  return tx;
}

bool TxSocket::attach(int ifindex) {
  if (!bind_to(socket_.get(), ifindex, 0)) return false;
  take_socket_error(socket_.get());
  return true;
}

TxResult TxSocket::send(std::span<iovec> frames) {
  std::array<mmsghdr, kMaxBurst> messages{};
  const size_t n = std::min(frames.size(), kMaxBurst);
  for (size_t i = 0; i < n; ++i) {
    messages[i].msg_hdr.msg_iov = &frames[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  TxResult result;
  result.dropped = static_cast<uint16_t>(frames.size() - n);
  bool retried = false;
  for (size_t at = 0; at < n;) {
    const int sent = sendmmsg(socket_.get(), &messages[at], static_cast<unsigned>(n - at), MSG_DONTWAIT);
    if (sent > 0) {
      result.sent = static_cast<uint16_t>(result.sent + sent);
      at += static_cast<size_t>(sent);
      continue;
    }
    switch (errno) {
      case EINTR: break;
      case ENETDOWN:
      case ENXIO:
      case ENODEV:
        // A socket reports an earlier loss of the link once more on the first call after it came back.
        if (!retried) {
          retried = true;
          break;
        }
        result.link_down = static_cast<uint16_t>(result.link_down + (n - at));
        return result;
      case ENOBUFS:
      case EAGAIN:
      case ENOMEM:
        ++result.dropped;
        ++at;
        break;
      default: ++result.errors; ++at;
    }
  }
  return result;
}

}  // namespace twinwall
