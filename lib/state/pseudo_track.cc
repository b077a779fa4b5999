#include "lib/state/pseudo_track.h"

#include "lib/net/headers.h"

namespace twinwall {

namespace {

bool is_icmp(const State& s) { return s.wire.proto == kProtoIcmp || s.wire.proto == kProtoIcmp6; }

}  // namespace

void pseudo_start(State& s, uint32_t now_s) {
  s.src = Peer{};
  s.dst = Peer{};
  s.creation = s.last_update = now_s;
  if (is_icmp(s)) {
    s.timeout = TimeoutClass::icmp_first;
    return;
  }
  s.src.level = kSingle;
  s.timeout = s.wire.proto == kProtoUdp ? TimeoutClass::udp_first : TimeoutClass::other_first;
}

bool pseudo_track(State& s, bool forward, uint32_t now_s) {
  s.last_update = now_s;
  if (is_icmp(s)) {
    s.timeout = TimeoutClass::icmp_error;
    return false;
  }
  Peer& sender = forward ? s.src : s.dst;
  Peer& other = forward ? s.dst : s.src;
  bool changed = false;
  if (sender.level < kSingle) {
    sender.level = kSingle;
    changed = true;
  }
  if (other.level == kSingle) {
    other.level = kMultiple;
    changed = true;
  }
  const bool udp = s.wire.proto == kProtoUdp;
  if (sender.level == kMultiple && other.level == kMultiple) {
    s.timeout = udp ? TimeoutClass::udp_multiple : TimeoutClass::other_multiple;
  } else {
    s.timeout = udp ? TimeoutClass::udp_single : TimeoutClass::other_single;
  }
  return changed;
}

}  // namespace twinwall
