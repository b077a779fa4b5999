// Sequence numbers and timestamps that a filter draws: modulated ones, those of its own handshakes, cookies.
//
// A recording has the numbers that the kernel drew. For each pair of ends the distance between ours and the recorded
// ones is bound when a packet first shows it, and put into every later packet of the recording that answers, as a host
// would have done. A number that is not consistent with its binding then differs from the recording.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "lib/net/address.h"
#include "lib/state/state.h"

namespace twinwall::conformance::pf {

// In place of a number that was drawn and never sent.
inline constexpr uint32_t kUnseen = 0xffffffff;

struct TcpEnd {
  IpAddress address;
  uint16_t port = 0;  // host order
  friend auto operator<=>(const TcpEnd& a, const TcpEnd& b) {
    return std::tie(a.address.af, a.address.addr, a.port) <=> std::tie(b.address.af, b.address.addr, b.port);
  }
  friend bool operator==(const TcpEnd&, const TcpEnd&) = default;
};

class Sequences {
 public:
  // Off, every number must be the recorded one.
  void enable() { enabled_ = true; }
  // What a host got, recorded and from us.
  void learn(const std::vector<uint8_t>& recorded, const std::vector<uint8_t>& own);
  // A packet that a host sent, as it would have sent it here.
  [[nodiscard]] std::vector<uint8_t> to_own(const std::vector<uint8_t>& sent) const;
  // A packet that a host got here, with the recorded numbers.
  [[nodiscard]] std::vector<uint8_t> to_recorded(const std::vector<uint8_t>& got,
                                                 const std::vector<uint8_t>& recorded) const;
  // A state with the recorded numbers.
  [[nodiscard]] State to_recorded(const State& s) const;

 private:
  // A connection's numbers from its first one on.
  struct Numbering {
    uint32_t recorded = 0, own = 0;
    uint32_t timestamp = 0;  // ours less the recorded
  };
  using Key = std::pair<TcpEnd, TcpEnd>;  // who sees, whose numbers
  // Of several connections between the same ends, the one whose numbers the value is nearest to.
  [[nodiscard]] Numbering nearest(const TcpEnd& viewer, const TcpEnd& sender, uint32_t value, bool own) const;
  [[nodiscard]] uint32_t distance(const TcpEnd& viewer, const TcpEnd& sender, uint32_t own_value) const {
    const Numbering n = nearest(viewer, sender, own_value, true);
    return n.own - n.recorded;
  }

  bool enabled_ = false;
  std::map<Key, std::vector<Numbering>> numberings_;
};

}  // namespace twinwall::conformance::pf
