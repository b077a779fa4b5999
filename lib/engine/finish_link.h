// The last step of a packet that is sent on: its Ethernet header.
#pragma once

#include <cstring>

#include "lib/engine/packet.h"
#include "lib/engine/snapshot.h"
#include "lib/engine/vlan.h"
#include "lib/net/headers.h"

namespace twinwall {

// Without the next hop's address (`mac` null; `p.next_hop` says whose) the frame is left to the control core, untagged:
// whoever sends it then tags it.
inline void finish_link(Packet& p, const InterfaceInfo& out, const Mac* mac) {
  p.out = out.id;
  p.length = static_cast<uint32_t>(p.l3) + p.l3_length;  // padding of the frame it came in is gone
  std::memcpy(p.frame + 6, out.mac.bytes.data(), 6);
  store_be16(p.frame + 12, p.af == Af::inet ? kEtherTypeIpv4 : kEtherTypeIpv6);
  if (mac == nullptr) {
    std::memset(p.frame, 0, 6);
    p.fate = Fate::punt;
    p.punt = Punt::unresolved;
    return;
  }
  std::memcpy(p.frame, mac->bytes.data(), 6);
  p.fate = Fate::forward;
  if (out.vlan != 0 && !put_tag(p, out.vlan)) [[unlikely]] {
    p.fate = Fate::drop;
    p.reason = DropReason::no_buffer;
  }
}

}  // namespace twinwall
