// The narrow door between the control core and the packet path: start and stop, publication of snapshots, punted
// frames, commands, deltas and counters. Nothing of DPDK shows here, so that control/ compiles and tests without it.
//
// Threads: every function is for the control core's thread, except that the sync_* ones are for the sync engine's
// thread (the same thread unless a core of its own is configured) and the read-only ones (counters, status) for
// anybody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/duration_histogram.h"
#include "lib/base/time.h"
#include "lib/capture/capture.h"
#include "lib/config/schema.h"
#include "lib/engine/commands.h"
#include "lib/engine/counters.h"
#include "lib/engine/log_record.h"
#include "lib/engine/packet.h"
#include "lib/engine/snapshot.h"
#include "lib/state/source_table.h"

namespace twinwall {

struct PortCounters {
  uint64_t rx_packets = 0, rx_bytes = 0, rx_dropped = 0, rx_errors = 0;
  uint64_t tx_packets = 0, tx_bytes = 0, tx_dropped = 0, tx_errors = 0;
  uint64_t tx_link_down = 0;  // not sent because the link was down
};

struct BondMemberStatus {
  std::string port;  // as in the file
  bool link_up = false;
  bool active = false;  // it carries traffic
  std::string state;    // what LACP says of it: "distributing", "collecting", "no partner" …; else empty
};

struct PortStatus {
  InterfaceId interface = kNoInterface;
  std::string driver;  // "kernel", "net_tap", "mlx5_pci" …
  Mac mac;
  bool link_up = false;
  uint16_t mtu = 0;
  unsigned rx_queues = 0, tx_queues = 0;
  PortCounters counters;  // of a bond: of all members together
  std::string bond_mode;  // empty: no bond
  std::vector<BondMemberStatus> members;
};

// A frame that a worker passed up.
struct PuntedFrame {
  Punt kind = Punt::arp;
  InterfaceId in = kNoInterface;
  InterfaceId out = kNoInterface;  // unresolved: where it wants to go
  IpAddress next_hop;              // unresolved
  uint16_t l3 = 0;                 // offset of the IP header
  Bytes frame;                     // valid during the call
};

// How much memory and which limits; from the configuration.
struct DataplaneOptions {
  uint32_t hostid = 0;
  bool sync = false;
  uint8_t max_updates = 128;
  bool sync_inspection = false;  // where the looking into connections stands is told
  bool defer = false;            // first packets wait for the peer
  InterfaceId sync_interface = kNoInterface;
  uint32_t state_limit = 100000;
  uint32_t fragment_limit = 65536;
  uint32_t source_node_limit = 10000;
  inspect::Reserve inspection;  // of all workers together
};

struct WorkerStatus {
  unsigned cpu = 0;
  uint64_t loops = 0, busy_loops = 0, naps = 0;
  uint64_t rx_packets = 0;
  uint64_t handed_off = 0, taken_over = 0;  // packets given to, got from other workers
  // From one look at its queues to the next, sleep apart: the worker's own doing, and what the system took from it.
  DurationHistogram::View away_own, away_taken;
};

// Buffers that frames lie in, of all ports and workers together.
struct BufferStatus {
  uint32_t all = 0, free = 0;
};

// Captures of interfaces: those that run, and what all together, also those that ended, have seen and lost.
struct CaptureStatus {
  unsigned running = 0;
  uint64_t packets = 0, dropped = 0;
};

class Dataplane {
 public:
  virtual ~Dataplane() = default;

  // MAC of each interface ([id - 1]), known once the ports are open.
  [[nodiscard]] virtual std::vector<Mac> macs() const = 0;
  [[nodiscard]] virtual std::vector<PortStatus> ports() const = 0;
  [[nodiscard]] virtual bool link_up(InterfaceId interface) const = 0;
  [[nodiscard]] virtual std::vector<WorkerStatus> workers() const = 0;
  [[nodiscard]] virtual BufferStatus buffers() const { return {}; }  // all 0: there are none
  [[nodiscard]] virtual const EngineCounters& counters(unsigned worker) const = 0;
  [[nodiscard]] virtual uint64_t states() const = 0;  // current, all workers
  [[nodiscard]] virtual uint64_t state_searches() const = 0;
  [[nodiscard]] virtual uint64_t state_inserts() const = 0;
  [[nodiscard]] virtual uint64_t state_removals() const = 0;

  // What is counted by source, of all workers together; null where nothing is. Views of it are for any thread.
  [[nodiscard]] virtual SourceTable* sources() const { return nullptr; }

  // Publication. The old object is freed when every worker has passed a quiescent point. Workers forward nothing before
  // the first snapshot.
  virtual void publish(std::shared_ptr<const Snapshot> snapshot) = 0;
  virtual void publish(std::shared_ptr<const NeighborTable> neighbors) = 0;
  virtual void publish(std::shared_ptr<const CarpRoles> roles) = 0;
  // Keeps what was replaced inside a published object (a table's content) until every worker has passed a quiescent
  // point.
  virtual void retire(std::shared_ptr<const void> object) = 0;
  // Makes the port take frames to this virtual MAC (a MAC filter where the port has them, else promiscuous mode).
  virtual void add_mac(InterfaceId interface, const Mac& mac) = 0;
  // The table that the daemon's snapshots route with (rte_fib). Snapshots made with it must be gone before the
  // Dataplane is.
  [[nodiscard]] virtual RouteTableFactory route_factory() const = 0;

  // Sends a complete frame on the control core's own transmit queue. False when the link is down or the queue is full:
  // nothing is kept to be sent later.
  virtual bool send(InterfaceId interface, Bytes frame) = 0;

  // Readable when punted frames, link changes or replies wait (and log records, once somebody takes them), and ten
  // times a second; for the control core's epoll. Each take_* takes its own kind, and what is left keeps it readable.
  [[nodiscard]] virtual int control_fd() const = 0;
  // Calls f for waiting frames, at most `limit`; returns how many.
  virtual size_t take_punts(size_t limit, const std::function<void(const PuntedFrame&)>& f) = 0;
  // Calls f(interface, up) for each link change since the last call.
  virtual void take_link_changes(const std::function<void(InterfaceId, bool)>& f) = 0;

  // Commands for one worker (false: its ring is full), their replies, in order per worker.
  virtual bool command(unsigned worker, const Command& command) = 0;
  virtual size_t take_replies(size_t limit, const std::function<void(const Reply&)>& f) = 0;

  // What rules with `log` said, oldest first per worker. What the rings had no room for is only counted.
  virtual size_t take_logs(size_t /*limit*/, const std::function<void(const LogRecord&)>& /*f*/) { return 0; }
  [[nodiscard]] virtual uint64_t logs_lost() const { return 0; }

  // Shows it the frames that it wants, from now on until it is closed. It must have been made for workers + 1
  // producers. False: kCaptures run already.
  static constexpr unsigned kCaptures = 2;
  virtual bool start_capture(std::shared_ptr<capture::Capture> /*capture*/) { return false; }
  [[nodiscard]] virtual CaptureStatus captures() const { return {}; }

  // The sync engine's own side: its receive and transmit queue on the sync interface, deltas of all workers, and
  // command rings of its own (cookies and replies separate from the control core's).
  [[nodiscard]] virtual int sync_fd() const = 0;
  virtual size_t sync_take_deltas(size_t limit, const std::function<void(const Delta&)>& f) = 0;
  virtual size_t sync_take_frames(size_t limit, const std::function<void(const PuntedFrame&)>& f) = 0;
  virtual bool sync_send(Bytes frame) = 0;
  virtual bool sync_command(unsigned worker, const Command& command) = 0;
  virtual size_t sync_take_replies(size_t limit, const std::function<void(const Reply&)>& f) = 0;
  // Where the looking into connections stands: words of the workers, and a peer's for one worker, which takes them
  // after every command that it was given before (false: its ring is full).
  virtual size_t sync_take_inspections(size_t /*limit*/, const std::function<void(const InspectionWord&)>& /*f*/) {
    return 0;
  }
  virtual bool sync_inspection(unsigned /*worker*/, const InspectionWord& /*word*/) { return true; }
  // Every waiting delta becomes due (planned hand-over).
  virtual void sync_flush() = 0;

  // Stops the workers and closes the ports. Idempotent.
  virtual void stop() = 0;
};

struct StartResult {
  std::unique_ptr<Dataplane> dataplane;  // null: `error` says why, in one line, and nothing is left half-started
  std::string error;
  config::Position at;  // of the configuration key at fault, where there is one
};

// Sets up EAL (from the configuration alone; with or without hugepages), opens the ports, starts the workers. Call once
// a process, from the thread that will be the control core.
[[nodiscard]] StartResult start_dataplane(const config::Config& config, const DataplaneOptions& options);

}  // namespace twinwall
