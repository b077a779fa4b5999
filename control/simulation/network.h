// Links between simulated machines: switches that learn, cables that can be cut, and what a bad network does to frames.
//
// A link joins ports of machines and one more port behind which all its hosts are. It forwards as a switch does: a
// frame to an address that was heard at one port goes there alone, everything else to all others. Each receiver's copy
// has a fate of its own: lost, sent twice, held up so that later ones overtake it. Each link draws from a generator of
// its own, so a seed repeats a run.
//
// Nothing here knows what the frames are; times are the world's. Frames wait in a queue that the world empties.
#pragma once

#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/random.h"
#include "lib/base/time.h"
#include "lib/net/address.h"

namespace twinwall::simulation {

// Chances in millionths.
struct Quality {
  uint32_t drop = 0, duplicate = 0, reorder = 0;
  Duration delay = 50us;     // at least
  Duration jitter{};         // and up to so much more, each frame for itself
  Duration overtaken = 3ms;  // how long a frame that is to be reordered is held up
  [[nodiscard]] bool clean() const { return drop == 0 && duplicate == 0 && reorder == 0 && jitter == Duration{}; }
  [[nodiscard]] Duration longest() const {
    return delay + jitter + (reorder != 0 || duplicate != 0 ? overtaken : Duration{});
  }
};

inline constexpr uint32_t kCertain = 1'000'000;

using LinkId = uint16_t;
using PortId = uint16_t;  // on a link
inline constexpr PortId kHosts = 0;

// Where a port of a machine is plugged in.
struct Attachment {
  LinkId link = 0;
  PortId port = 0;
};

class Network {
 public:
  struct Delivery {
    Time when{};
    uint64_t order = 0;
    LinkId link = 0;
    PortId port = 0;
    uint32_t frame = 0;  // index of its bytes
  };
  struct Counters {
    uint64_t sent = 0, delivered = 0, lost = 0, duplicated = 0, reordered = 0;
  };

  // `hosts`: whether frames are to be delivered to the port of the hosts at all.
  LinkId add_link(std::string name, bool hosts, uint64_t seed);
  // A port for interface `interface` of a machine.
  Attachment attach(LinkId link, size_t machine, uint16_t interface);

  void transmit(Time now, Attachment from, Bytes frame);
  // The next frame to arrive; Time::max() when none is on its way.
  [[nodiscard]] Time next() const { return queue_.empty() ? Time::max() : queue_.top().when; }
  // Takes it; false when it must not arrive any more (the cable was cut meanwhile). The bytes stay until the next call.
  bool take(Delivery& out, Bytes& frame);

  void set_quality(LinkId link, const Quality& quality) { links_[link].quality = quality; }
  [[nodiscard]] const Quality& quality(LinkId link) const { return links_[link].quality; }
  void set_cable(Attachment at, bool whole);
  void set_link(LinkId link, bool up);
  // A port whose machine has no power shows no carrier to itself, and where the link is one cable to nobody.
  void set_power(Attachment at, bool on);
  void set_direct(LinkId link, bool direct) { links_[link].direct = direct; }
  [[nodiscard]] bool carrier(Attachment at) const;
  // Frames cross from one to the other, as far as nothing is lost by chance.
  [[nodiscard]] bool connected(Attachment a, Attachment b) const;

  [[nodiscard]] size_t links() const { return links_.size(); }
  [[nodiscard]] const std::string& name(LinkId link) const { return links_[link].name; }
  [[nodiscard]] std::optional<LinkId> find(const std::string& name) const;
  struct Port {
    size_t machine = 0;
    uint16_t interface = 0;
    bool cable = true;
    bool power = true;
  };
  [[nodiscard]] const std::vector<Port>& ports(LinkId link) const { return links_[link].ports; }
  [[nodiscard]] const Counters& counters(LinkId link) const { return links_[link].counters; }
  // When last a frame that no failure explains was lost or late between machines there.
  [[nodiscard]] Time last_trouble(LinkId link) const { return links_[link].last_trouble; }
  // The port that frames to this address go to; none: to all.
  [[nodiscard]] std::optional<PortId> learnt(LinkId link, const Mac& mac) const;
  // How often an address was learnt at another port than before.
  [[nodiscard]] uint64_t moves() const { return moves_; }
  [[nodiscard]] Time last_move() const { return last_move_; }

 private:
  struct Later {
    bool operator()(const Delivery& a, const Delivery& b) const {
      return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
  };
  struct Link {
    std::string name;
    bool hosts = true, up = true, direct = false;
    Quality quality;
    std::vector<Port> ports;  // [0] the hosts
    std::vector<std::pair<Mac, PortId>> learnt;
    Counters counters;
    Time last_trouble{};
    Random random{0};
  };

  void deliver(Time now, Link& link, PortId to, Bytes frame);
  void enqueue(Time when, const Link& link, PortId to, Bytes frame);
  void forget(Link& link, PortId port);
  [[nodiscard]] static bool usable(const Link& link, PortId port);

  std::vector<Link> links_;
  std::priority_queue<Delivery, std::vector<Delivery>, Later> queue_;
  std::vector<std::vector<uint8_t>> frames_;
  std::vector<uint32_t> spare_;
  uint32_t taken_ = UINT32_MAX;  // of the last take()
  uint64_t order_ = 0;
  uint64_t moves_ = 0;
  Time last_move_{};
};

}  // namespace twinwall::simulation
