// One row of the bench: an engine as the daemon runs it, with the connections of the row opened by real packets, and
// what a packet of them costs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/bench/traffic.h"
#include "lib/base/random.h"
#include "lib/engine/engine.h"
#include "lib/engine/snapshot.h"

namespace twinwall {
class MappedMemory;
}

namespace twinwall::bench {

// What the packets go through.
enum class Path : uint8_t {
  plain,        // interfaces that are not filtered: routing and headers alone
  stateless,    // rules that keep no state, evaluated at both hooks
  established,  // connections with a state at each hook
  nat,          // the same, behind a translated source
  sync,         // the same as `established`, their states told to a peer that is not there
  opening,      // every packet is the first of a connection
};

struct Row {
  std::string name;
  Path path = Path::established;
  Proto proto = Proto::udp;
  uint32_t connections = 1;
  size_t rules = 2;  // of `opening`: at both hooks the last one holds
};

// What one repeat has measured. Ticks of the time stamp counter.
struct Sample {
  double packet = 0;       // the path, a packet
  double generator = 0;    // making a packet
  uint64_t longest = 0;    // the longest burst during which the system took the processor from nobody
  uint32_t disturbed = 0;  // bursts during which it did: left out of everything above
};

class Rig final : public EngineHost {
 public:
  // Throws std::runtime_error when the connections cannot be opened. `tsc_hz`: ticks a second.
  Rig(const Row& row, double tsc_hz, size_t most_bursts);
  ~Rig() override;
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  [[nodiscard]] Sample run(size_t bursts);
  // Packets that were not sent on, which no row may have.
  [[nodiscard]] uint64_t lost() const { return lost_; }
  [[nodiscard]] uint64_t states() const;

 private:
  Packet* allocate(uint32_t) override { return nullptr; }
  void submit(Packet*) override {}
  void log(const LogRecord&) override {}

  void open();
  void make(size_t count, Step step);
  void process(size_t count);
  [[nodiscard]] Time now() const;

  Row row_;
  double tsc_hz_;
  uint64_t started_;
  Traffic traffic_;
  std::shared_ptr<Snapshot> snapshot_;
  std::unique_ptr<NeighborTable> neighbors_;
  std::unique_ptr<MappedMemory> state_memory_;
  std::unique_ptr<StateTable> table_;
  std::unique_ptr<Engine> engine_;
  View view_;
  std::array<Packet*, kBurst> burst_{};
  std::vector<uint16_t> outer_ports_;  // by connection: what source NAT made of its port
  Random random_{7};
  uint32_t next_flow_ = 0;  // of `opening`
  uint64_t lost_ = 0;
};

}  // namespace twinwall::bench
