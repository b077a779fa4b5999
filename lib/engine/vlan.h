// IEEE 802.1Q tags: taken off as a frame comes in, after which it is the VLAN's own interface's, and put on as it
// leaves.
//
// Everything between knows untagged frames only. Priorities are PF's, of which 802.1Q orders the lowest two the other
// way round (pf.conf(5), "set prio"; IEEE 802.1Q, table I-1).
#pragma once

#include <cstring>

#include "lib/engine/packet.h"
#include "lib/engine/snapshot.h"
#include "lib/net/headers.h"

namespace twinwall {

inline constexpr size_t kMacs = 12;  // destination and source

[[nodiscard]] constexpr uint8_t swap_lowest(uint8_t prio) { return prio <= 1 ? static_cast<uint8_t>(prio ^ 1) : prio; }
[[nodiscard]] constexpr uint16_t tag_control(uint16_t vlan, uint8_t prio) {
  return static_cast<uint16_t>(swap_lowest(prio & 7) << 13 | (vlan & 0x0fff));
}

// False: there is no tag, or nobody takes it; nothing has changed. Tag 0 says a priority and no VLAN.
[[nodiscard]] inline bool take_tag(Packet& p, const Snapshot& snapshot) {
  if (p.length < kEthernetHeader + kVlanTag || load_be16(p.frame + kMacs) != kEtherTypeVlan) return false;
  const uint16_t control = load_be16(p.frame + kMacs + 2);
  const uint16_t vlan = control & 0x0fff;
  const InterfaceId in = vlan == 0 ? p.in : snapshot.vlan_port(p.in, vlan);
  if (in == kNoInterface) return false;
  std::memmove(p.frame + kVlanTag, p.frame, kMacs);
  p.frame += kVlanTag;
  p.length -= kVlanTag;
  p.headroom += kVlanTag;
  p.in = in;
  p.prio = swap_lowest(static_cast<uint8_t>(control >> 13));
  return true;
}

// Of a frame that is finished otherwise. False: there is no room before it.
[[nodiscard]] inline bool put_tag(Packet& p, uint16_t vlan) {
  if (p.headroom < kVlanTag) return false;
  p.frame -= kVlanTag;
  p.length += kVlanTag;
  p.headroom -= kVlanTag;
  p.l3 = static_cast<uint16_t>(p.l3 + kVlanTag);
  p.l4 = static_cast<uint16_t>(p.l4 + kVlanTag);
  std::memmove(p.frame, p.frame + kVlanTag, kMacs);
  store_be16(p.frame + kMacs, kEtherTypeVlan);
  store_be16(p.frame + kMacs + 2, tag_control(vlan, p.prio));
  return true;
}

}  // namespace twinwall
