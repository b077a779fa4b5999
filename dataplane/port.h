// A configured interface's port, of whatever kind, as workers, the control core and the sync engine use it.
//
// Senders: each worker has a transmit slot, then the control core, then (on the sync interface) the sync engine.
// Receivers: queue q belongs to worker q modulo the number of workers; on the sync interface of a kernel port one more
// queue takes pfsync alone.
// Dispatch is a branch on the kind, not a virtual call.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "dataplane/dataplane.h"
#include "dataplane/ethdev_port.h"
#include "dataplane/kernel_port.h"
#include "dataplane/packet_socket.h"

struct rte_mbuf;
struct rte_mempool;

namespace twinwall {

class Port {
 public:
  struct Options {
    InterfaceId id = kNoInterface;
    config::PortKind kind = config::PortKind::kernel;
    std::string device;
    config::Bond bond;
    uint16_t mtu = 1500;
    unsigned queues = 0;  // 0: one a worker
    unsigned workers = 1;
    bool sync = false;
    rte_mempool* pool = nullptr;
  };
  [[nodiscard]] static std::unique_ptr<Port> open(const Options& options, std::string& error);

  [[nodiscard]] InterfaceId id() const { return options_.id; }
  [[nodiscard]] uint16_t mtu() const { return options_.mtu; }

  // At most n frames of a worker's queue, each in one segment.
  uint16_t receive(unsigned queue, rte_mbuf** mbufs, uint16_t n) {
    return kernel_ != nullptr ? receive_kernel(queue, mbufs, n) : receive_ethdev(queue, mbufs, n);
  }
  // Takes all mbufs; what is not sent is counted and freed.
  TxResult send(unsigned slot, rte_mbuf** mbufs, uint16_t n) {
    return kernel_ != nullptr ? send_kernel(slot, mbufs, n) : ethdev_->send(slot, mbufs, n);
  }
  // One frame from plain memory, without mbufs on kernel ports.
  bool send_bytes(unsigned slot, Bytes frame);
  [[nodiscard]] unsigned control_slot() const { return options_.workers; }
  [[nodiscard]] unsigned sync_slot() const { return options_.workers + 1; }

  // The workers' receive queues.
  [[nodiscard]] unsigned queues() const;
  // For epoll; -1: the queue must be polled.
  [[nodiscard]] int fd(unsigned queue) const { return kernel_ ? kernel_->fd(queue) : ethdev_->fd(queue); }
  // Something waits that can be told without taking it. Ports without descriptors always say no.
  [[nodiscard]] bool waiting(unsigned queue) const { return kernel_ && kernel_->waiting(queue); }
  // See EthdevPort::serve().
  [[nodiscard]] bool needs_serving() const { return ethdev_ && ethdev_->needs_serving(); }
  void serve(unsigned slot) { ethdev_->serve(slot); }
  void clear_error(unsigned queue) {
    if (kernel_) kernel_->clear_error(queue);
  }

  // The queue that takes only pfsync, where there is one.
  [[nodiscard]] bool has_sync_queue() const { return kernel_ && options_.sync; }
  [[nodiscard]] int sync_fd() const { return kernel_->fd(kernel_->pfsync_queue()); }
  void clear_sync_error() { kernel_->clear_error(kernel_->pfsync_queue()); }
  // Copies the next frame of that queue to `room`; 0: none waits.
  [[nodiscard]] uint32_t receive_sync(MutableBytes room);

  [[nodiscard]] Mac mac() const { return kernel_ ? kernel_->mac() : ethdev_->mac(); }
  [[nodiscard]] bool link_up() const { return kernel_ ? kernel_->link_up() : ethdev_->link_up(); }
  [[nodiscard]] bool add_mac(const Mac& mac) { return kernel_ != nullptr || ethdev_->add_mac(mac); }
  [[nodiscard]] PortStatus status() const;

  // Control core: looks at the device. True when the link changed.
  bool refresh() { return kernel_ ? kernel_->refresh() : ethdev_->refresh(); }
  void forget(int ifindex) {
    if (kernel_) kernel_->forget(ifindex);
  }
  // Frames thrown away because they were longer than the port takes: a hint for the log.
  [[nodiscard]] uint64_t oversize() const { return kernel_ ? kernel_->oversize() : 0; }

 private:
  explicit Port(const Options& options) : options_(options) {}
  uint16_t receive_kernel(unsigned queue, rte_mbuf** mbufs, uint16_t n);
  uint16_t receive_ethdev(unsigned queue, rte_mbuf** mbufs, uint16_t n);
  TxResult send_kernel(unsigned slot, rte_mbuf** mbufs, uint16_t n);

  Options options_;
  std::unique_ptr<KernelPort> kernel_;
  std::unique_ptr<EthdevPort> ethdev_;
  std::atomic<uint64_t> multi_segment_{0};  // received in pieces that did not fit into one buffer
};

}  // namespace twinwall
