// A port over an interface of the kernel (kernel:IFNAME): receive rings, transmit sockets, link state.
//
// The interface is found by name in the network namespace of the process. It may vanish and come back under another
// index: the port then has no link until it is found again, and is attached to the new one.
// Needs no EAL. Threads: a queue belongs to one thread; refresh() and forget() to the control core; link_up() and
// counters are for anybody.
#pragma once

#include <net/if.h>

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/packet_socket.h"
#include "lib/net/address.h"

namespace twinwall {

class KernelPort {
 public:
  struct Options {
    std::string ifname;
    uint16_t mtu = 1500;
    unsigned rx_queues = 1;
    unsigned tx_queues = 1;
    bool pfsync_queue = false;  // one more receive queue, the last, takes pfsync and the others do not
  };
  // Null and `error` set when the interface does not exist or the kernel refuses. Sets the interface up and raises its
  // MTU where it is smaller than asked for.
  [[nodiscard]] static std::unique_ptr<KernelPort> open(const Options& options, std::string& error);

  // Memory of the kernel that the port's receive rings take.
  [[nodiscard]] static uint64_t ring_memory(const Options& options);

  [[nodiscard]] uint32_t receive(unsigned queue, MutableBytes room) { return rx_[queue]->receive(room); }
  [[nodiscard]] bool waiting(unsigned queue) const { return rx_[queue]->waiting(); }
  [[nodiscard]] int fd(unsigned queue) const { return rx_[queue]->fd(); }
  void clear_error(unsigned queue) const { rx_[queue]->clear_error(); }
  // What is not sent is counted and forgotten.
  TxResult send(unsigned queue, std::span<iovec> frames);

  [[nodiscard]] const std::string& ifname() const { return options_.ifname; }
  [[nodiscard]] Mac mac() const { return mac_; }
  [[nodiscard]] bool link_up() const { return link_.load(std::memory_order_relaxed); }
  [[nodiscard]] unsigned rx_queues() const { return static_cast<unsigned>(rx_.size()); }
  [[nodiscard]] unsigned tx_queues() const { return static_cast<unsigned>(tx_.size()); }
  [[nodiscard]] unsigned pfsync_queue() const { return rx_queues() - 1; }

  // Looks at the interface as it is now. True when the link changed.
  bool refresh();
  // The interface with this index is gone.
  void forget(int ifindex);

  struct Totals {
    uint64_t rx_packets = 0, rx_bytes = 0, rx_dropped = 0, rx_oversize = 0, rx_malformed = 0;
    uint64_t tx_packets = 0, tx_bytes = 0, tx_dropped = 0, tx_errors = 0, tx_link_down = 0;
  };
  [[nodiscard]] Totals totals();
  [[nodiscard]] uint64_t oversize() const;

 private:
  explicit KernelPort(Options options) : options_(std::move(options)) {}
  [[nodiscard]] bool set_up(std::string& error);
  [[nodiscard]] bool attach(int ifindex);
  [[nodiscard]] bool query(ifreq& request, unsigned long what) const;
  [[nodiscard]] bool carrier() const;
  [[nodiscard]] bool prepare_interface(std::string& error);

  Options options_;
  Mac mac_;
  FileDescriptor control_;  // for ioctls
  int ifindex_ = 0;         // 0: not attached
  std::atomic<bool> link_{false};
  std::vector<std::unique_ptr<RxRing>> rx_;
  struct Tx {
    std::unique_ptr<TxSocket> socket;
    TxCounters counters;
  };
  std::vector<std::unique_ptr<Tx>> tx_;
};

// Tells when interfaces of this network namespace change (rtnetlink, group RTMGRP_LINK). Control core only.
class LinkMonitor {
 public:
  [[nodiscard]] static std::unique_ptr<LinkMonitor> open(std::string& error);
  [[nodiscard]] int fd() const { return socket_.get(); }
  // Reads what waits. True when anything may have changed; `gone` gets the indices of interfaces that vanished.
  bool drain(std::vector<int>& gone);

 private:
  LinkMonitor() = default;
  FileDescriptor socket_;
};

}  // namespace twinwall
