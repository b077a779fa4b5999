// One worker: polls its receive queues, takes every burst through its engine, sends what comes out.
//
// Run to completion: between receiving and sending a burst there is no lock, no allocation from the heap and, on a DPDK
// port, no system call. Everything a worker changes is its own. What others want of it comes through rings that it
// empties between bursts; what it has for others goes into rings, and where one is full the thing is dropped and
// counted.
//
// With `idle: adaptive` a worker that has found nothing for a while sleeps in epoll until a frame, a ring or a timer
// needs it. While it sleeps it is offline for reclamation, so that nobody waits for it.
//
// Threads: run() is the worker's thread. The members under "for others" name theirs.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/away.h"
#include "dataplane/dataplane.h"
#include "dataplane/mbuf.h"
#include "dataplane/port.h"
#include "dataplane/publisher.h"
#include "dataplane/ring.h"
#include "dataplane/waker.h"
#include "lib/engine/engine.h"

namespace twinwall {

inline constexpr unsigned kPuntRing = 1024;
inline constexpr unsigned kHandoffRing = 512;
inline constexpr unsigned kCommandRing = 1024;
inline constexpr unsigned kReplyRing = 1024;
inline constexpr unsigned kDeltaRing = 4096;
inline constexpr unsigned kLogRing = 1024;
inline constexpr unsigned kInspectionRing = 128;
inline constexpr unsigned kTxBuffer = kBurst;

// The tag that tells the sync engine's commands from the control core's, in their cookie.
inline constexpr uint64_t kSyncCookie = uint64_t{1} << 63;

class Worker;

using Captures = std::vector<std::shared_ptr<capture::Capture>>;

// What all workers and the cores beside them share.
struct Shared {
  explicit Shared(unsigned worker_count);
  ~Shared();

  QuiescentState quiescent;
  Published<Snapshot> snapshot;
  Published<NeighborTable> neighbors;
  Published<CarpRoles> roles;
  Published<Captures> captures;                   // null where none runs
  std::array<Port*, kMaxInterfaces + 1> ports{};  // by interface id
  rte_mempool* pool = nullptr;
  std::atomic<bool> stop{false};
  // Each wakes its reader: the control core or the sync engine.
  Waker punts, replies, logs, deltas, sync_replies, sync_frames;
  std::vector<std::unique_ptr<Worker>> workers;
};

class Worker final : public EngineHost {
 public:
  struct Source {
    Port* port;
    unsigned queue;
  };
  struct Options {
    unsigned index = 0;
    unsigned cpu = 0;
    bool adaptive = true;
    bool sync = false;
    std::vector<Source> sources;
    EngineOptions engine;
  };
  Worker(Options options, Shared& shared, StateTable& table);
  ~Worker() override;

  // False when memory for the rings did not suffice.
  [[nodiscard]] bool ok() const;
  // EAL memory that one of `workers` workers takes for its rings.
  [[nodiscard]] static uint64_t memory(unsigned workers);

  void run();

  // For others.
  void wake() { waker_.wake(); }
  [[nodiscard]] WorkerStatus status() const;
  [[nodiscard]] const EngineCounters& counters() const { return engine_.counters(); }
  void request_flush() {
    flush_requested_.store(true, std::memory_order_release);
    wake();
  }
  // Control core.
  MbufRing punts{kPuntRing};
  SpscRing<Command> commands{kCommandRing};
  SpscRing<Reply> replies{kReplyRing};
  SpscRing<LogRecord> logs{kLogRing};
  [[nodiscard]] uint64_t logs_lost() const { return logs_lost_.get(); }
  // Sync engine.
  MbufRing sync_punts{kPuntRing};
  SpscRing<Command> sync_commands{kCommandRing};
  SpscRing<Reply> sync_replies{kReplyRing};
  SpscRing<Delta> deltas{kDeltaRing};
  SpscRing<InspectionWord> inspections{kInspectionRing};       // of this worker
  SpscRing<InspectionWord> sync_inspections{kInspectionRing};  // of a peer
  // From each other worker.
  std::vector<std::unique_ptr<MbufRing>> inbox;

  // EngineHost
  Packet* allocate(uint32_t capacity) override;
  void submit(Packet* packet) override;
  void log(const LogRecord& record) override;

 private:
  struct TxBuffer {
    uint16_t count = 0;
    std::array<rte_mbuf*, kTxBuffer> mbufs{};
  };
  // A ring of commands, and how many of its walks over all states are under way.
  struct CommandSource {
    SpscRing<Command>* ring = nullptr;
    bool waiting = false;  // `command` is popped, but has to wait for a walk to end
    unsigned walks = 0;
    Command command;
  };

  [[nodiscard]] bool turn(Time now);
  void serve_ports(Time now);
  [[nodiscard]] bool receive(Time now);
  [[nodiscard]] bool take_handoffs(Time now);
  [[nodiscard]] bool take_commands(Time now);
  [[nodiscard]] bool take_command(CommandSource& source, Time now);
  [[nodiscard]] bool take_inspections(Time now);
  [[nodiscard]] bool upkeep(Time now);
  void process(std::span<Packet*> packets, Time now);
  void dispose(Packet& packet);
  void transmit(Packet& packet);
  void punt(Packet& packet);
  void hand_off(Packet& packet);
  void drop(Packet& packet, DropReason reason);
  void show_captures(InterfaceId port, Direction direction, std::span<rte_mbuf* const> mbufs);
  void flush(InterfaceId interface);
  void flush_all();
  void wake_others();
  [[nodiscard]] bool reply(const Reply& reply);
  [[nodiscard]] bool nap(Time now);  // true: it has slept
  [[nodiscard]] bool work_waiting() const;
  [[nodiscard]] Duration nap_limit(Time now) const;

  Options options_;
  Shared& shared_;
  Engine engine_;
  View view_;
  const Captures* captures_ = nullptr;  // of this turn
  Waker waker_;
  FileDescriptor epoll_;
  bool must_poll_ = false;     // a source without a descriptor
  std::vector<Port*> served_;  // the ports whose serve() is this worker's task; none of them has descriptors
  Time last_served_{};
  bool reply_full_ = false;
  unsigned idle_turns_ = 0;
  unsigned since_tick_ = 0;
  unsigned lazy_turn_ = 0;
  bool received_ = false;  // packets, in this turn
  Time last_tick_{};
  Duration poll_nap_{};
  CommandSource control_commands_, sync_command_source_;
  std::vector<TxBuffer> tx_;        // by interface id
  std::vector<InterfaceId> dirty_;  // with something in tx_
  std::vector<bool> woken_;         // workers to wake at the end of the turn
  bool wake_workers_ = false, wake_punts_ = false, wake_sync_frames_ = false, wake_deltas_ = false;
  bool wake_replies_ = false, wake_sync_replies_ = false, wake_logs_ = false;
  std::atomic<bool> flush_requested_{false};
  AwayMeter away_;
  Counter loops_, busy_loops_, naps_, rx_packets_, handed_off_, taken_over_, logs_lost_;
};

[[nodiscard]] Time monotonic_now();

}  // namespace twinwall
