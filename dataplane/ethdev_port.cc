#include "dataplane/ethdev_port.h"

#include <fmt/core.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr uint16_t kRxDescriptors = 1024;
constexpr uint16_t kTxDescriptors = 1024;
constexpr unsigned kTapQueues = 4;  // net_tap breaks with more
constexpr uint32_t kLinkLayer = kEthernetHeader + 2 * kVlanTag;

// Two bytes repeated make the Toeplitz hash the same for both directions of a flow.
constexpr size_t kRssKey = 52;  // the longest that drivers ask for
constexpr std::array<uint8_t, kRssKey> make_symmetric_key() {
  std::array<uint8_t, kRssKey> key{};
  for (size_t i = 0; i < key.size(); ++i) key[i] = i % 2 == 0 ? 0x6d : 0x5a;
  return key;
}
std::array<uint8_t, kRssKey> symmetric_key = make_symmetric_key();  // DPDK takes a pointer to non-const

constexpr uint64_t kRssFields = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |
                                RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 |
                                RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;

rte_ether_addr ether_address(const Mac& mac) {
  rte_ether_addr a;
  std::memcpy(a.addr_bytes, mac.bytes.data(), mac.bytes.size());
  return a;
}

}  // namespace

std::unique_ptr<EthdevPort> EthdevPort::open(const Options& options, std::string& error) {
  auto port = std::unique_ptr<EthdevPort>(new EthdevPort());
  if (port->open_device(options, error) && port->configure(options, error)) return port;
  error = options.kind == config::PortKind::bond ? fmt::format("bond: {}", error)
                                                 : fmt::format("port '{}': {}", options.device, error);
  return nullptr;
}

bool EthdevPort::open_device(const Options& options, std::string& error) {
  if (options.kind == config::PortKind::bond) {
    bond_ = Bond::open(options.bond, options.number, error);
    if (bond_) id_ = bond_->id();
    return bond_ != nullptr;
  }
  device_ = EthdevDevice::open(options.kind, options.device, options.number, error);
  if (device_) id_ = device_->id();
  return device_ != nullptr;
}

rte_eth_conf EthdevPort::device_conf(const Options& options, const rte_eth_dev_info& info) const {
  rte_eth_conf conf{};
  conf.rxmode.mtu = options.mtu;
  if (rx_queues_ > 1 && (info.flow_type_rss_offloads & kRssFields) != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & kRssFields;
    if (info.hash_key_size != 0 && info.hash_key_size <= kRssKey) {
      conf.rx_adv_conf.rss_conf.rss_key = symmetric_key.data();
      conf.rx_adv_conf.rss_conf.rss_key_len = info.hash_key_size;
    }
  }
  if (options.kind == config::PortKind::tap) conf.intr_conf.rxq = 1;  // its descriptors can be waited for
  return conf;
}

bool EthdevPort::configure(const Options& options, std::string& error) {
  rte_eth_dev_info info{};
  const auto refused = [&error](const char* what, int code) {
    error = fmt::format("{}: {}", what, ethdev_reason(code));
    return false;
  };
  if (const int r = rte_eth_dev_info_get(id_, &info); r != 0) return refused("no device information", r);
  driver_ = info.driver_name != nullptr ? info.driver_name : "";
  rx_queues_ = std::clamp<unsigned>(options.rx_queues, 1, std::max<unsigned>(info.max_rx_queues, 1));
  tx_queues_ = std::clamp<unsigned>(options.tx_slots, 1, std::max<unsigned>(info.max_tx_queues, 1));
  if (options.kind == config::PortKind::tap || (bond_ && bond_->equal_queues()))  // as many of one as of the other
    rx_queues_ = tx_queues_ = std::min(kTapQueues, std::max(rx_queues_, tx_queues_));
  shared_tx_ = tx_queues_ < options.tx_slots;

  const auto nrx = static_cast<uint16_t>(rx_queues_), ntx = static_cast<uint16_t>(tx_queues_);
  rte_eth_conf conf = device_conf(options, info);
  int r = rte_eth_dev_configure(id_, nrx, ntx, &conf);
  if (r != 0 && conf.rxmode.mtu > info.max_mtu) {
    // Some drivers announce a smaller MTU than they move; the frame's size is checked by the mbufs anyway.
    conf.rxmode.mtu = 0;
    r = rte_eth_dev_configure(id_, nrx, ntx, &conf);
  }
  if (r != 0) return refused("cannot be configured", r);

  uint16_t rx_descriptors = kRxDescriptors, tx_descriptors = kTxDescriptors;
  (void)rte_eth_dev_adjust_nb_rx_tx_desc(id_, &rx_descriptors, &tx_descriptors);
  for (uint16_t q = 0; q < nrx; ++q)
    if ((r = rte_eth_rx_queue_setup(id_, q, rx_descriptors, SOCKET_ID_ANY, nullptr, options.pool)) != 0)
      return refused("receive queue", r);
  for (uint16_t q = 0; q < ntx; ++q)
    if ((r = rte_eth_tx_queue_setup(id_, q, tx_descriptors, SOCKET_ID_ANY, nullptr)) != 0)
      return refused("transmit queue", r);
  if (bond_) {
    if (!bond_->start(error)) return false;
  } else if ((r = rte_eth_dev_start(id_)) != 0) {
    return refused("cannot be started", r);
  }

  for (unsigned s = 0; s < options.tx_slots; ++s) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->queue = static_cast<uint16_t>(s % tx_queues_);
  }
  for (unsigned q = 0; q < tx_queues_; ++q) locks_.push_back(std::make_unique<TxQueue>());
  for (uint16_t q = 0; q < nrx; ++q)
    fds_.push_back(options.kind == config::PortKind::tap ? rte_eth_dev_rx_intr_ctl_q_get_fd(id_, q) : -1);

  rte_ether_addr address{};
  if (rte_eth_macaddr_get(id_, &address) == 0) mac_ = Mac::from_wire(address.addr_bytes);
  // CARP, neighbour discovery and pfsync are multicast.
  if (rte_eth_allmulticast_enable(id_) != 0) (void)rte_eth_promiscuous_enable(id_);
  // With LACP members keep MAC addresses of their own, and the driver passes no unicast but that to the bond's.
  if (bond_ && bond_->lacp() && (r = rte_eth_promiscuous_enable(id_)) != 0) return refused("promiscuous mode", r);
  (void)refresh();
  return true;
}

TxResult EthdevPort::send(unsigned slot_number, rte_mbuf** mbufs, uint16_t n) {
  Slot& slot = *slots_[slot_number];
  TxResult result;
  if (!link_up()) {
    slot.link_down.add(n);
    rte_pktmbuf_free_bulk(mbufs, n);
    result.link_down = n;
    return result;
  }
  if (shared_tx_) rte_spinlock_lock(&locks_[slot.queue]->lock);
  result.sent = rte_eth_tx_burst(id_, slot.queue, mbufs, n);
  if (shared_tx_) rte_spinlock_unlock(&locks_[slot.queue]->lock);
  if (result.sent < n) {
    result.dropped = static_cast<uint16_t>(n - result.sent);
    slot.dropped.add(result.dropped);
    rte_pktmbuf_free_bulk(mbufs + result.sent, result.dropped);
  }
  return result;
}

void EthdevPort::serve(unsigned slot_number) {
  const Slot& slot = *slots_[slot_number];
  if (shared_tx_) rte_spinlock_lock(&locks_[slot.queue]->lock);
  (void)rte_eth_tx_burst(id_, slot.queue, nullptr, 0);
  if (shared_tx_) rte_spinlock_unlock(&locks_[slot.queue]->lock);
}

bool EthdevPort::refresh() {
  if (bond_) bond_->look_at_links();
  rte_eth_link link{};
  const bool up =
      bond_ ? bond_->usable() : rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
  return link_.exchange(up, std::memory_order_relaxed) != up;
}

bool EthdevPort::add_mac(const Mac& mac) {
  if (mac.is_group() && rte_eth_allmulticast_get(id_) == 1) return true;
  rte_ether_addr address = ether_address(mac);
  if (rte_eth_dev_mac_addr_add(id_, &address, 0) == 0) return true;
  return rte_eth_promiscuous_enable(id_) == 0 || rte_eth_promiscuous_get(id_) == 1;
}

EthdevPort::Totals EthdevPort::totals() const {
  Totals t;
  (void)rte_eth_stats_get(id_, &t.device);
  for (const auto& s : slots_) {
    t.tx_dropped += s->dropped.get();
    t.tx_link_down += s->link_down.get();
  }
  return t;
}

}  // namespace twinwall
