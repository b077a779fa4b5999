// Our part of an mbuf: the Packet lies in its private area, so a frame and what is known of it travel together.
#pragma once

#include <rte_mbuf.h>

#include <new>

#include "lib/engine/packet.h"

namespace twinwall {

struct MbufPrivate {
  Packet packet;
  uint8_t handoffs = 0;  // times this frame was handed to another worker
};
inline constexpr uint16_t kMbufPrivateSize =
    (sizeof(MbufPrivate) + RTE_MBUF_PRIV_ALIGN - 1) & ~(RTE_MBUF_PRIV_ALIGN - 1);

inline MbufPrivate& mbuf_private(rte_mbuf* m) { return *static_cast<MbufPrivate*>(rte_mbuf_to_priv(m)); }
inline rte_mbuf* mbuf_of(const Packet& packet) { return static_cast<rte_mbuf*>(packet.owner); }

// A fresh Packet over the mbuf's bytes.
inline Packet& packet_of(rte_mbuf* m, InterfaceId in, uint8_t handoffs = 0) {
  auto& p = *new (rte_mbuf_to_priv(m)) MbufPrivate();
  p.handoffs = handoffs;
  p.packet.frame = rte_pktmbuf_mtod(m, uint8_t*);
  p.packet.length = m->data_len;
  p.packet.headroom = rte_pktmbuf_headroom(m);
  p.packet.tailroom = rte_pktmbuf_tailroom(m);
  p.packet.owner = m;
  p.packet.in = in;
  return p.packet;
}

// The engine may have moved the frame's start and end inside the buffer.
inline void set_mbuf_bounds(rte_mbuf* m, const Packet& packet) {
  m->data_off = static_cast<uint16_t>(packet.frame - static_cast<uint8_t*>(m->buf_addr));
  m->data_len = static_cast<uint16_t>(packet.length);
  m->pkt_len = packet.length;
}

}  // namespace twinwall
