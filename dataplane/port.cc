#include "dataplane/port.h"

#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace twinwall {

std::unique_ptr<Port> Port::open(const Options& options, std::string& error) {
  auto port = std::unique_ptr<Port>(new Port(options));
  const unsigned rx = options.queues == 0 ? options.workers : std::min(options.queues, options.workers);
  const unsigned tx = options.workers + (options.sync ? 2 : 1);
  if (options.kind == config::PortKind::kernel) {
    port->kernel_ = KernelPort::open({options.device, options.mtu, rx, tx, options.sync}, error);
    return port->kernel_ ? std::move(port) : nullptr;
  }
  port->ethdev_ = EthdevPort::open(
      {options.kind, options.device, options.bond, options.id, options.mtu, rx, tx, options.pool}, error);
  return port->ethdev_ ? std::move(port) : nullptr;
}

unsigned Port::queues() const {
  if (ethdev_) return ethdev_->rx_queues();
  return kernel_->rx_queues() - (options_.sync ? 1 : 0);
}

uint16_t Port::receive_kernel(unsigned queue, rte_mbuf** mbufs, uint16_t n) {
  uint16_t got = 0;
  while (got < n && kernel_->waiting(queue)) {
    // Without a buffer the frame stays in the ring; when that runs over, the kernel counts.
    rte_mbuf* const m = rte_pktmbuf_alloc(options_.pool);
    if (m == nullptr) break;
    const uint32_t length = kernel_->receive(queue, {rte_pktmbuf_mtod(m, uint8_t*), rte_pktmbuf_tailroom(m)});
    if (length == 0) {
      rte_pktmbuf_free(m);
      break;
    }
    m->data_len = static_cast<uint16_t>(length);
    m->pkt_len = length;
    mbufs[got++] = m;
  }
  return got;
}

uint16_t Port::receive_ethdev(unsigned queue, rte_mbuf** mbufs, uint16_t n) {
  const uint16_t got = ethdev_->receive(queue, mbufs, n);
  uint16_t kept = 0;
  for (uint16_t i = 0; i < got; ++i) {
    rte_mbuf* const m = mbufs[i];
    if (m->nb_segs > 1 && rte_pktmbuf_linearize(m) != 0) {
      multi_segment_.fetch_add(1, std::memory_order_relaxed);
      rte_pktmbuf_free(m);
      continue;
    }
    mbufs[kept++] = m;
  }
  return kept;
}

TxResult Port::send_kernel(unsigned slot, rte_mbuf** mbufs, uint16_t n) {
  TxResult result;
  for (uint16_t at = 0; at < n;) {
    std::array<iovec, TxSocket::kMaxBurst> frames;
    const auto count = static_cast<uint16_t>(std::min<size_t>(n - at, frames.size()));
    for (uint16_t i = 0; i < count; ++i)
      frames[i] = {rte_pktmbuf_mtod(mbufs[at + i], void*), rte_pktmbuf_data_len(mbufs[at + i])};
    const TxResult part = kernel_->send(slot, {frames.data(), count});
    result.sent = static_cast<uint16_t>(result.sent + part.sent);
    result.dropped = static_cast<uint16_t>(result.dropped + part.dropped);
    result.errors = static_cast<uint16_t>(result.errors + part.errors);
    result.link_down = static_cast<uint16_t>(result.link_down + part.link_down);
    at = static_cast<uint16_t>(at + count);
  }
  rte_pktmbuf_free_bulk(mbufs, n);
  return result;
}

bool Port::send_bytes(unsigned slot, Bytes frame) {
  if (kernel_) {
    // The kernel only reads it.
    std::array<iovec, 1> one{iovec{const_cast<uint8_t*>(frame.data()), frame.size()}};
    return kernel_->send(slot, one).sent == 1;
  }
  rte_mbuf* m = rte_pktmbuf_alloc(options_.pool);
  if (m == nullptr) return false;
  char* const to = frame.size() <= UINT16_MAX ? rte_pktmbuf_append(m, static_cast<uint16_t>(frame.size())) : nullptr;
  if (to == nullptr) {
    rte_pktmbuf_free(m);
    return false;
  }
  std::memcpy(to, frame.data(), frame.size());
  return ethdev_->send(slot, &m, 1).sent == 1;
}

uint32_t Port::receive_sync(MutableBytes room) { return kernel_->receive(kernel_->pfsync_queue(), room); }

PortStatus Port::status() const {
  PortStatus s;
  s.interface = options_.id;
  s.mac = mac();
  s.link_up = link_up();
  s.mtu = options_.mtu;
  PortCounters& c = s.counters;
  if (kernel_) {
    const KernelPort::Totals t = kernel_->totals();
    s.driver = "kernel";
    s.rx_queues = kernel_->rx_queues();
    s.tx_queues = kernel_->tx_queues();
    c.rx_packets = t.rx_packets;
    c.rx_bytes = t.rx_bytes;
    c.rx_dropped = t.rx_dropped;
    c.rx_errors = t.rx_oversize + t.rx_malformed;
    c.tx_packets = t.tx_packets;
    c.tx_bytes = t.tx_bytes;
    c.tx_dropped = t.tx_dropped;
    c.tx_errors = t.tx_errors;
    c.tx_link_down = t.tx_link_down;
  } else {
    const EthdevPort::Totals t = ethdev_->totals();
    s.driver = ethdev_->driver();
    if (const Bond* const bond = ethdev_->bond()) {
      s.bond_mode = bond->mode();
      s.members = bond->members();
    }
    s.rx_queues = ethdev_->rx_queues();
    s.tx_queues = ethdev_->tx_queues();
    c.rx_packets = t.device.ipackets;
    c.rx_bytes = t.device.ibytes;
    c.rx_dropped = t.device.imissed + t.device.rx_nombuf;
    c.rx_errors = t.device.ierrors + multi_segment_.load(std::memory_order_relaxed);
    c.tx_packets = t.device.opackets;
    c.tx_bytes = t.device.obytes;
    c.tx_dropped = t.tx_dropped;
    c.tx_errors = t.device.oerrors;
    c.tx_link_down = t.tx_link_down;
  }
  return s;
}

}  // namespace twinwall
