// One box of a simulation: the real control core (control/node.h) over a Plane, on a clock of its own.
//
// It is off, runs, or is frozen (a process under SIGSTOP: what arrives waits in the ports' rings, nothing is done, its
// links stay up). Losing power takes everything at once; the next life begins with an empty table, another host id and
// other secrets, all from the seed. Each machine's clock begins elsewhere, as those of real boxes do, so that nothing
// can rest on two nodes having the same time.
//
// The configuration comes from whoever made the machine: the present one when it starts, and whenever it is reloaded.
// Single-threaded; times are the world's.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/node.h"
#include "control/simulation/plane.h"
#include "control/simulation/virtual_loop.h"
#include "lib/base/random.h"

namespace twinwall::simulation {

enum class Power : uint8_t { off, running, frozen };

struct MachineOptions {
  std::string name;
  unsigned number = 1;  // of its MAC addresses
  uint64_t seed = 0;
  Duration clock_ahead{};  // of the world's
  std::function<config::LoadResult()> load;
};

class Machine final : private Wire {
 public:
  using Transmit = std::function<void(InterfaceId, Bytes)>;
  Machine(MachineOptions options, Transmit transmit);
  ~Machine() override;

  // False, with the reason in `error`, when the configuration cannot be used.
  bool power_on(Time now, const std::function<bool(InterfaceId)>& link_up, std::string& error);
  void power_off();
  void freeze();
  // `late`: the control core looks at its timers before the waiting frames have reached it.
  void thaw(Time now, bool late);
  // The planned end; the machine is off when it is done.
  void shut_down(Time now);
  ReloadResult reload(Time now);

  void receive(Time now, InterfaceId interface, Bytes frame);
  void set_link(InterfaceId interface, bool up);
  // Lets everything that is due happen.
  void turn(Time now);
  [[nodiscard]] Time next_deadline(Time now) const;
  // Something was received or ordered since the last turn.
  [[nodiscard]] bool stirred() const { return stirred_; }
  void stir() { stirred_ = true; }

  // Of every life; null for none.
  void observe(PlaneObserver* observer);

  [[nodiscard]] const std::string& name() const { return options_.name; }
  [[nodiscard]] Power power() const { return power_; }
  [[nodiscard]] bool running() const { return power_ == Power::running; }
  [[nodiscard]] unsigned lives() const { return lives_; }
  [[nodiscard]] Time local(Time now) const { return now + options_.clock_ahead; }
  // Only while it is not off.
  [[nodiscard]] Node& node() { return *node_; }
  [[nodiscard]] const Node& node() const { return *node_; }
  [[nodiscard]] Plane& plane() { return *plane_; }
  // As it was loaded last.
  [[nodiscard]] const config::Config& config() const { return config_; }
  [[nodiscard]] Mac mac(InterfaceId interface) const;

 private:
  struct Waiting {
    InterfaceId interface = kNoInterface;
    std::vector<uint8_t> frame;
  };

  void transmit(InterfaceId interface, Bytes frame) override { transmit_(interface, frame); }
  [[nodiscard]] config::LoadResult load() const;
  void hear_waiting(Time now);

  MachineOptions options_;
  Transmit transmit_;
  Random random_;
  PlaneObserver* observer_ = nullptr;
  Power power_ = Power::off;
  unsigned lives_ = 0;
  bool stirred_ = false;
  bool done_ = false;  // the planned end is over
  Time now_{};         // local, for the node's clock
  config::Config config_;
  std::unique_ptr<Plane> plane_;
  std::unique_ptr<VirtualLoop> loop_;
  std::unique_ptr<Node> node_;
  std::deque<Waiting> waiting_;  // while it is frozen
};

}  // namespace twinwall::simulation
