// Machines, the network between them, the hosts at their links, and the one clock of all.
//
// Time goes from event to event: a frame that arrives, a deadline of a machine, a call that somebody asked for. Events
// of the same time happen in the order in which they were made, so a run depends on its seed and on nothing else.
//
// Behind every link stand fictitious hosts: each address that no machine has answers questions for its link-layer
// address (02:04 and the IPv4 address, 02:06 and the last four bytes of the IPv6 address, as in one-node scenarios).
// Whatever else is sent to hosts goes to `on_host_frame`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/simulation/machine.h"
#include "control/simulation/network.h"

namespace twinwall::simulation {

using MachineId = size_t;

class World {
 public:
  static constexpr Time kBeginning = Time(std::chrono::seconds(1000));

  explicit World(uint64_t seed);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Plugged in with plug() before it is powered on. Its name is told in `options`; number and seed are set here.
  MachineId add_machine(MachineOptions options);
  void plug(MachineId machine, InterfaceId interface, LinkId link);

  [[nodiscard]] Time now() const { return now_; }
  // What happens up to and at that time, and then it is that time.
  void run_until(Time end);
  // The next event not after `end`; false when there is none, and then it is `end`.
  bool step(Time end);
  void at(Time when, std::function<void()> f);

  // What can happen to a machine. power_on() is false, with the reason in `error`, when its configuration is wrong.
  bool power_on(MachineId machine, std::string& error);
  void crash(MachineId machine);
  void shut_down(MachineId machine);
  void freeze(MachineId machine);
  void thaw(MachineId machine, bool late);
  // What can happen to the network.
  void set_cable(MachineId machine, InterfaceId interface, bool whole);
  void set_link(LinkId link, bool up);

  // A frame from a host; from a machine's neighbour on one of its ports.
  void send_from_host(LinkId link, Bytes frame) { network_.transmit(now_, {link, kHosts}, frame); }
  void inject(MachineId machine, InterfaceId interface, Bytes frame);

  [[nodiscard]] Network& network() { return network_; }
  [[nodiscard]] const Network& network() const { return network_; }
  [[nodiscard]] Machine& machine(MachineId id) { return *machines_[id]; }
  [[nodiscard]] const Machine& machine(MachineId id) const { return *machines_[id]; }
  [[nodiscard]] size_t machines() const { return machines_.size(); }
  // The name of the one that does something just now, for displays.
  [[nodiscard]] const std::string& acting() const { return machines_[acting_]->name(); }
  // Where it is plugged in; none when it is not.
  [[nodiscard]] const Attachment* plug_of(MachineId machine, InterfaceId interface) const;

  std::function<void(LinkId, Bytes)> on_host_frame;
  // After each turn of a machine.
  std::function<void(MachineId)> on_turn;

 private:
  struct Call {
    Time when{};
    uint64_t order = 0;
    std::function<void()> f;
  };
  void refresh_carriers();
  void turn(MachineId machine);
  void deliver();
  void to_hosts(LinkId link, Bytes frame);
  [[nodiscard]] bool owned(const IpAddress& address) const;

  Random random_;
  Network network_;
  Time now_ = kBeginning;
  std::vector<std::unique_ptr<Machine>> machines_;
  std::vector<std::vector<Attachment>> plugs_;  // [machine][interface - 1]
  std::vector<Time> due_;                       // [machine]: when it has something to do
  std::vector<Call> calls_;                     // a heap, earliest first
  uint64_t order_ = 0;
  MachineId acting_ = 0;
  std::vector<IpAddress> owned_;
};

}  // namespace twinwall::simulation
