// One row of the bench: an engine as the daemon runs it, with the connections of the row opened by real packets, and
// what a packet of them costs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/bench/instructions.h"
#include "app/bench/traffic.h"
#include "dataplane/away.h"
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
  uninspected,  // the same as `established`, while connections to another port are looked into
  opening,      // every packet is the first of a connection
  churn,        // the same, and as many run out meanwhile
  expiring,     // established connections, while `dying` others run out
  flood,        // a full table: of eight packets seven want a new connection, one is of an established one
};

struct Row {
  std::string name;
  Path path = Path::established;
  Proto proto = Proto::udp;
  uint32_t connections = 1;
  size_t rules = 2;    // of `opening`: at both hooks the last one holds
  uint32_t dying = 0;  // of `expiring`
  uint8_t workers = 1;
  bool told = false;  // the states to a peer that is not there
};

// The row that `row` is to be held against: the same without what its name says of it. None for most.
[[nodiscard]] std::optional<Row> plain_of(const Row& row);

// What one repeat has measured. Ticks of the time stamp counter.
struct Sample {
  double packet = 0;       // the path, a packet
  double generator = 0;    // making a packet
  uint32_t disturbed = 0;  // bursts during which the system took the processor away: left out of everything above
  std::optional<double> instructions;  // the path, a packet; none where the machine does not count them
};

class Rig final : public EngineHost {
 public:
  // Throws std::runtime_error when the connections cannot be opened. `tsc_hz`: ticks a second. `first`: the rig of
  // another worker, with whose table this one works; it must live as long.
  Rig(const Row& row, double tsc_hz, size_t most_bursts, Rig* first = nullptr);
  ~Rig() override;
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  [[nodiscard]] Sample run(size_t bursts) { return run(bursts, away_); }
  // The same, of which nothing is to be known but that it was.
  void warm_up(size_t bursts) { (void)run(bursts, warming_); }
  // Packets that were not sent on, which no row may have.
  [[nodiscard]] uint64_t lost() const { return lost_; }
  [[nodiscard]] uint64_t states() const;
  // What happens now and then has come to happen as often as it will: connections run out, the peer is told again.
  [[nodiscard]] bool is_steady() const;
  // What a state takes, its part of the index included.
  [[nodiscard]] double bytes_per_state() const;
  // From one burst to the next, as a worker's time away: its own, and what the system took.
  [[nodiscard]] const AwayMeter& away() const { return away_; }

 private:
  Packet* allocate(uint32_t) override { return nullptr; }
  void submit(Packet*) override {}
  void log(const LogRecord&) override {}

  [[nodiscard]] Sample run(size_t bursts, AwayMeter& away);
  void prepare(size_t most_bursts);
  void open(Proto proto, uint32_t first, uint32_t count);
  void make(size_t count);
  [[nodiscard]] bool opens(size_t i) const;
  [[nodiscard]] bool is_lost(size_t i) const;
  void turn();
  void process(size_t count, Time t);
  size_t tell(Time t);
  [[nodiscard]] Time now() const;

  Row row_;
  double tsc_hz_;
  uint64_t started_;       // of its clock
  uint64_t left_at_;       // its last run was over then: its clock stands until the next
  double clock_rate_ = 1;  // seconds of the engine's clock a second
  Duration clock_ahead_{};
  Time steady_at_{};
  uint64_t steady_after_ = 0, ran_ = 0;  // bursts
  unsigned since_tick_ = 0;
  Time last_tick_{};
  AwayMeter away_, warming_;
  InstructionCounter instructions_;
  Traffic traffic_;
  std::shared_ptr<Snapshot> snapshot_;
  std::shared_ptr<NeighborTable> neighbors_;
  std::unique_ptr<MappedMemory> state_memory_;
  std::shared_ptr<StateTable> table_;
  uint32_t first_flow_ = 0;
  std::vector<Delta> deltas_;  // of a row that is told: what was
  size_t next_delta_ = 0;
  unsigned lazy_turn_ = 0;
  std::unique_ptr<Engine> engine_;
  View view_;
  std::array<Packet*, kBurst> burst_{};
  std::vector<uint16_t> outer_ports_;  // by connection: what source NAT made of its port
  Random random_{7};
  uint32_t next_flow_ = 0;  // of `opening`
  uint64_t lost_ = 0;
};

}  // namespace twinwall::bench
