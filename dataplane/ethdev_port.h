// A port over a DPDK driver: a PCI device, a tap interface, any virtual device, or a bond of such.
//
// The device's abilities decide: receive queues as far as it has them, with a symmetric RSS key so that both directions
// of a connection come to one queue; transmit queues are shared under a lock only where there are too few. No offload
// is asked for, because the engine always leaves right checksums in the frame.
//
// Threads: a receive queue belongs to one thread; a transmit slot to one thread; refresh(), add_mac() to the control
// core; link_up() and counters are for anybody; serve() to the thread of the slot that it names.
#pragma once

#include <rte_ethdev.h>
#include <rte_spinlock.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/bond.h"
#include "dataplane/ethdev_device.h"
#include "dataplane/packet_socket.h"
#include "lib/config/schema.h"
#include "lib/net/address.h"

struct rte_mempool;

namespace twinwall {

class EthdevPort {
 public:
  struct Options {
    config::PortKind kind = config::PortKind::vdev;
    std::string device;   // the PCI address, the tap interface's name, or the arguments of the virtual device
    config::Bond bond;    // of kind bond, in place of the device
    unsigned number = 0;  // unique among the ports
    uint16_t mtu = 1500;
    unsigned rx_queues = 1;  // wanted; there may be fewer, or (tap) more
    unsigned tx_slots = 1;   // independent senders
    rte_mempool* pool = nullptr;
  };
  [[nodiscard]] static std::unique_ptr<EthdevPort> open(const Options& options, std::string& error);
  ~EthdevPort() = default;
  EthdevPort(const EthdevPort&) = delete;
  EthdevPort& operator=(const EthdevPort&) = delete;

  uint16_t receive(unsigned queue, rte_mbuf** mbufs, uint16_t n) {
    return rte_eth_rx_burst(id_, static_cast<uint16_t>(queue), mbufs, n);
  }
  // Takes all mbufs; what is not sent is counted and freed.
  TxResult send(unsigned slot, rte_mbuf** mbufs, uint16_t n);

  // True: serve() has to be called, and every queue received from, at least every 100 ms.
  [[nodiscard]] bool needs_serving() const { return bond_ != nullptr && bond_->lacp(); }
  void serve(unsigned slot);

  // For epoll, level-triggered; -1 where the driver has none.
  [[nodiscard]] int fd(unsigned queue) const { return fds_[queue]; }
  [[nodiscard]] Mac mac() const { return mac_; }
  [[nodiscard]] const std::string& driver() const { return driver_; }
  [[nodiscard]] bool link_up() const { return link_.load(std::memory_order_relaxed); }
  [[nodiscard]] unsigned rx_queues() const { return rx_queues_; }
  [[nodiscard]] unsigned tx_queues() const { return tx_queues_; }
  [[nodiscard]] const Bond* bond() const { return bond_.get(); }
  bool refresh();
  // False when neither a filter nor promiscuous mode can be had.
  bool add_mac(const Mac& mac);

  struct Totals {
    rte_eth_stats device{};
    uint64_t tx_dropped = 0, tx_link_down = 0;
  };
  [[nodiscard]] Totals totals() const;

 private:
  EthdevPort() = default;
  [[nodiscard]] bool open_device(const Options& options, std::string& error);
  [[nodiscard]] bool configure(const Options& options, std::string& error);
  [[nodiscard]] rte_eth_conf device_conf(const Options& options, const rte_eth_dev_info& info) const;

  struct Slot {
    uint16_t queue = 0;
    Counter dropped, link_down;
  };
  struct TxQueue {
    rte_spinlock_t lock = RTE_SPINLOCK_INITIALIZER;
  };

  std::unique_ptr<EthdevDevice> device_;  // or
  std::unique_ptr<Bond> bond_;
  uint16_t id_ = RTE_MAX_ETHPORTS;
  bool shared_tx_ = false;
  unsigned rx_queues_ = 0, tx_queues_ = 0;
  std::string driver_;
  Mac mac_;
  std::atomic<bool> link_{false};
  std::vector<int> fds_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<std::unique_ptr<TxQueue>> locks_;
};

}  // namespace twinwall
