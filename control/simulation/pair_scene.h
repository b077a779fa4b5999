// The pair of a two-node scenario: its machines and links as the file says, and what came of the last packets on each.
//
// Whatever cannot be as it was asked for stands in `result.report` afterwards. Single-threaded.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/simulation/machine_subject.h"
#include "control/simulation/world.h"
#include "lib/config/load.h"
#include "lib/net/headers.h"
#include "lib/scenario/checks.h"
#include "lib/scenario/scenario.h"

namespace twinwall::simulation {

// What came of the last packet on one machine.
class PacketRecorder final : public PlaneObserver {
 public:
  struct Output {
    size_t order = 0;  // among all machines'
    scenario::Outcome::Output output;
  };
  explicit PacketRecorder(size_t& order) : order_(order) {}

  void disposed(const Packet& p) override {
    if (p.fate == Fate::forward) outputs.push_back({order_++, {p.out, {p.frame, p.frame + p.length}}});
    if (p.fate == Fate::punt && p.punt == Punt::unresolved)
      unresolved.push_back({p.frame + kEthernetHeader, p.frame + p.length});
    if (p.fate == Fate::punt && injecting && p.punt != Punt::unresolved) punts.push_back(p.punt);
  }
  void logged(const LogRecord& record) override { logs.push_back(record); }
  // What waited for its next hop is forwarded then.
  void sent(InterfaceId interface, Bytes frame) override {
    const Bytes packet = frame.subspan(kEthernetHeader);
    const auto waited = std::find_if(unresolved.begin(), unresolved.end(), [&](const auto& u) {
      return std::equal(u.begin(), u.end(), packet.begin(), packet.end());
    });
    if (waited == unresolved.end()) return;
    unresolved.erase(waited);
    outputs.push_back({order_++, {interface, {frame.begin(), frame.end()}}});
  }

  void clear() {
    outputs.clear();
    unresolved.clear();
    punts.clear();
    logs.clear();
  }

  std::vector<Output> outputs;
  std::vector<std::vector<uint8_t>> unresolved;  // without their link-layer headers
  std::vector<Punt> punts;
  std::vector<LogRecord> logs;
  std::array<uint64_t, kDropReasons> drops{};  // before the packet
  bool injecting = false;

 private:
  size_t& order_;
};

class PairScene {
 public:
  using Lines = std::vector<std::string>;
  using Output = scenario::Outcome::Output;

  explicit PairScene(const scenario::Scenario& s) : scenario(s), world(1) {}

  // Machines, links and power; false with a report.
  bool build();
  bool start();
  bool power_on(MachineId m, int line);
  void change_quality(LinkId link, const scenario::LinkQuality& change);
  // With another configuration from now on, if it can be used.
  void reload(MachineId m, const scenario::ConfigSource& source, int line);
  void fail(int line, const std::string& what, const Lines& details = {});
  // The rules of every node's configuration as it is in force in the end.
  void note_rules();

  [[nodiscard]] bool on(MachineId m) const { return world.machine(m).power() != Power::off; }
  [[nodiscard]] size_t links() const { return world.network().links(); }
  [[nodiscard]] std::optional<MachineId> machine_named(const std::string& name) const;
  [[nodiscard]] std::optional<InterfaceId> interface_named(MachineId m, const std::string& name) const;
  [[nodiscard]] std::string port_name(MachineId m, InterfaceId i) const;
  // Where a frame is sent to that arrives at a port: the virtual MAC for a virtual address, else the port's.
  [[nodiscard]] Mac target_mac(MachineId m, InterfaceId interface, const IpAddress& to) const;
  // A host of the link sends to a node's address there, and everything else to the router: the first virtual MAC.
  [[nodiscard]] Mac target_on_link(LinkId link, const IpAddress& to) const;
  // What a packet brings about has come to rest after this.
  [[nodiscard]] Duration rest() const;

  // From here on it is about the next packets.
  void begin_packets();
  [[nodiscard]] scenario::Outcome outcome(MachineId m);
  // Of all machines, in their order.
  [[nodiscard]] std::vector<std::pair<MachineId, const Output*>> all_outputs() const;

  const scenario::Scenario& scenario;
  World world;
  std::vector<std::vector<config::Interface>> interfaces;  // [machine]
  std::vector<std::unique_ptr<PacketRecorder>> recorders;  // [machine]
  std::vector<std::unique_ptr<MachineSubject>> subjects;   // [machine]
  scenario::RunResult result;

 private:
  [[nodiscard]] config::LoadResult load(const scenario::ConfigSource& source) const;
  bool plug();
  [[nodiscard]] std::vector<scenario::LinkSpec> links_by_name() const;
  [[nodiscard]] std::array<uint64_t, kDropReasons> drops_of(MachineId m);

  std::vector<scenario::ConfigSource> sources_;  // in force or wanted, [machine]
  size_t order_ = 0;
};

}  // namespace twinwall::simulation
