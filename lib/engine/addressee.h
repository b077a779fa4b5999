// Whether a frame is for this node, by the MAC address that it was sent to. Private to lib/engine.
#pragma once

#include "lib/engine/packet.h"
#include "lib/engine/snapshot.h"

namespace twinwall {

// Whose a frame is by its MAC address. `shared`: this node's and others', by what is in it.
enum class Addressee : uint8_t { other, here, shared };

[[gnu::always_inline]] inline Addressee addressee(const Packet& p, const InterfaceInfo& i, const CarpRoles* carp,
                                                  const CarpSharing*& sharing) {
  const Mac to = Mac::from_wire(p.frame);
  if (to == i.mac) return Addressee::here;
  if (carp != nullptr && !carp->sharing.empty()) [[unlikely]] {
    sharing = carp->shared(i.id, to);
    if (sharing != nullptr) return Addressee::shared;
  }
  if (to.is_group()) return Addressee::here;
  const bool virtual_here = to == virtual_mac(to.bytes[5]) && carp != nullptr && carp->is_master(i.id, to.bytes[5]);
  return virtual_here ? Addressee::here : Addressee::other;
}

}  // namespace twinwall
