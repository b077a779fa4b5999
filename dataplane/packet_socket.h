// AF_PACKET sockets of a kernel port: a receive ring shared with the kernel, and a transmit socket.
//
// Own code in place of DPDK's af_packet driver, which always joins a fanout group that reassembles IPv4 fragments,
// keeps frames for a link that is down and sends them stale when it returns, and loses the TPID of 802.1ad tags.
//
// Threads: receive() and send() of one object belong to one thread; attach() may be called by another at any time (the
// kernel locks). Errors come back as values. Source: packet(7), Linux' networking/packet_mmap.rst.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "dataplane/packet_filter.h"
#include "lib/base/bytes.h"
#include "lib/base/counter.h"

struct iovec;
struct tpacket2_hdr;

namespace twinwall {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = other.release();
    }
    return *this;
  }
  ~FileDescriptor() { reset(); }
  void reset();
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

struct RxCounters {
  Counter packets, bytes;
  Counter oversize;   // longer than the port takes: segmentation offload at the sender, or a larger MTU
  Counter malformed;  // the kernel's description of the frame does not fit the frame
};

class RxRing {
 public:
  struct Options {
    uint32_t max_frame = 1518;  // longest frame taken, link-layer header and tags included
    uint32_t frames = 4096;     // power of two
    FilterProgram filter;
  };
  // Of one frame in the ring.
  [[nodiscard]] static uint32_t slot_size(uint32_t max_frame);
  // Null and `error` set when the kernel refuses. Receives nothing before attach().
  [[nodiscard]] static std::unique_ptr<RxRing> open(const Options& options, std::string& error);
  ~RxRing();
  RxRing(const RxRing&) = delete;
  RxRing& operator=(const RxRing&) = delete;

  [[nodiscard]] bool attach(int ifindex, bool promiscuous);

  // Copies the next frame to `room`: tags back in place, checksum complete. 0: nothing waits.
  [[nodiscard]] uint32_t receive(MutableBytes room);
  [[nodiscard]] bool waiting() const;
  // For epoll; readable when a frame waits. Call clear_error() on EPOLLERR, which stays otherwise.
  [[nodiscard]] int fd() const { return socket_.get(); }
  void clear_error() const;

  [[nodiscard]] const RxCounters& counters() const { return counters_; }
  // Frames the kernel had no slot for, since open(). Any thread.
  [[nodiscard]] uint64_t dropped();

 private:
  RxRing() = default;
  [[nodiscard]] bool set_up(const Options& options, std::string& error);
  [[nodiscard]] tpacket2_hdr* slot(uint32_t index) const;
  [[nodiscard]] uint32_t copy(const tpacket2_hdr& header, uint32_t status, MutableBytes room);

  FileDescriptor socket_;
  uint8_t* map_ = nullptr;
  size_t map_size_ = 0;
  uint32_t frame_size_ = 0;
  uint32_t frames_ = 0;
  uint32_t max_frame_ = 0;
  uint32_t next_ = 0;
  RxCounters counters_;
  std::atomic<uint64_t> dropped_{0};
};

struct TxCounters {
  Counter packets, bytes;
  Counter dropped;    // no room, or the link went down meanwhile
  Counter errors;     // refused by the kernel, e.g. longer than its MTU
  Counter link_down;  // not sent because the link is down
};

struct TxResult {
  uint16_t sent = 0, dropped = 0, errors = 0, link_down = 0;
};

class TxSocket {
 public:
  [[nodiscard]] static std::unique_ptr<TxSocket> open(std::string& error);
  [[nodiscard]] bool attach(int ifindex);
  // Sends what can be sent now; nothing is kept for later. At most kMaxBurst frames.
  [[nodiscard]] TxResult send(std::span<iovec> frames);
  static constexpr size_t kMaxBurst = 64;

 private:
  TxSocket() = default;
  FileDescriptor socket_;
};

}  // namespace twinwall
