// The Dataplane while it runs: ports, workers, and the control core's and the sync engine's ends of their rings.
//
// Threads: as dataplane/dataplane.h says. Ownership: everything; destroyed in the reverse order of the members, so that
// the workers are gone before the memory they use, and EAL is last.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/eal.h"
#include "dataplane/kernel_port.h"
#include "dataplane/mapped_memory.h"
#include "dataplane/memory.h"
#include "dataplane/port.h"
#include "dataplane/worker.h"
#include "lib/state/state_table.h"

namespace twinwall {

class RunningDataplane final : public Dataplane {
 public:
  RunningDataplane(const config::Config& config, const DataplaneOptions& options, const MemoryPlan& plan);
  ~RunningDataplane() override;

  // Starts everything; false and `error` (with the key at fault in `at`) leaves nothing running once this is destroyed.
  [[nodiscard]] bool start(bool hugepages, std::string& error, config::Position& at);

  [[nodiscard]] std::vector<Mac> macs() const override { return macs_; }
  [[nodiscard]] std::vector<PortStatus> ports() const override;
  [[nodiscard]] bool link_up(InterfaceId interface) const override;
  [[nodiscard]] std::vector<WorkerStatus> workers() const override;
  [[nodiscard]] BufferStatus buffers() const override;
  [[nodiscard]] const EngineCounters& counters(unsigned worker) const override;
  [[nodiscard]] uint64_t states() const override { return table_->states(); }
  [[nodiscard]] SourceTable* sources() const override { return sources_.get(); }
  [[nodiscard]] uint64_t state_searches() const override { return sum(&StateTableCounters::searches); }
  [[nodiscard]] uint64_t state_inserts() const override { return sum(&StateTableCounters::inserts); }
  [[nodiscard]] uint64_t state_removals() const override { return sum(&StateTableCounters::removals); }

  void publish(std::shared_ptr<const Snapshot> snapshot) override;
  void publish(std::shared_ptr<const NeighborTable> neighbors) override;
  void publish(std::shared_ptr<const CarpRoles> roles) override;
  void retire(std::shared_ptr<const void> object) override;
  void add_mac(InterfaceId interface, const Mac& mac) override;
  [[nodiscard]] RouteTableFactory route_factory() const override;

  bool send(InterfaceId interface, Bytes frame) override;
  [[nodiscard]] int control_fd() const override { return control_epoll_.get(); }
  size_t take_punts(size_t limit, const std::function<void(const PuntedFrame&)>& f) override;
  void take_link_changes(const std::function<void(InterfaceId, bool)>& f) override;
  bool command(unsigned worker, const Command& command) override;
  size_t take_replies(size_t limit, const std::function<void(const Reply&)>& f) override;
  size_t take_logs(size_t limit, const std::function<void(const LogRecord&)>& f) override;
  [[nodiscard]] uint64_t logs_lost() const override;
  bool start_capture(std::shared_ptr<capture::Capture> capture) override;
  [[nodiscard]] CaptureStatus captures() const override;

  [[nodiscard]] int sync_fd() const override { return sync_epoll_.get(); }
  size_t sync_take_deltas(size_t limit, const std::function<void(const Delta&)>& f) override;
  size_t sync_take_frames(size_t limit, const std::function<void(const PuntedFrame&)>& f) override;
  bool sync_send(Bytes frame) override;
  bool sync_command(unsigned worker, const Command& command) override;
  size_t sync_take_replies(size_t limit, const std::function<void(const Reply&)>& f) override;
  size_t sync_take_inspections(size_t limit, const std::function<void(const InspectionWord&)>& f) override;
  bool sync_inspection(unsigned worker, const InspectionWord& word) override;
  void sync_flush() override;

  void stop() override;

 private:
  [[nodiscard]] bool start_eal(bool hugepages, std::string& error);
  void make_table();
  [[nodiscard]] bool open_ports(std::string& error, config::Position& at);
  [[nodiscard]] bool make_workers(std::string& error);
  [[nodiscard]] bool make_descriptors(std::string& error);
  [[nodiscard]] bool launch(std::string& error);
  [[nodiscard]] Port* port(InterfaceId interface) const;
  [[nodiscard]] uint64_t sum(Counter StateTableCounters::*counter) const;
  void hint_at_oversize();
  void collect();
  void show_captures(InterfaceId port, Direction direction, Bytes frame);
  void end_closed_captures();
  template <class T, class F>
  size_t take(Waker& waker, SpscRing<T> Worker::*ring, size_t limit, F&& f);
  size_t take_frames(Waker& waker, MbufRing Worker::*ring, size_t limit,
                     const std::function<void(const PuntedFrame&)>& f);

  const config::Config config_;
  const DataplaneOptions options_;
  const MemoryPlan plan_;
  std::unique_ptr<EalSession> eal_;
  std::unique_ptr<MappedMemory> state_memory_;
  std::unique_ptr<StateTable> table_;
  std::unique_ptr<SourceTable> sources_;
  mutable std::mutex ports_mutex_;  // the set of ports, against readers of counters while they are closed
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<Port*> port_of_;  // [interface id - 1]; a VLAN's is its parent's
  std::vector<Mac> macs_;
  std::unique_ptr<Shared> shared_;
  std::unique_ptr<LinkMonitor> monitor_;
  FileDescriptor timer_;
  FileDescriptor control_epoll_, sync_epoll_;
  bool logs_watched_ = false;
  RetireList retired_;
  // What the control core and the sync engine send and receive themselves is shown here; they take turns by the lock.
  mutable std::mutex captures_mutex_;
  Captures captures_;                   // under captures_mutex_
  CaptureStatus ended_captures_;        // likewise
  std::atomic<bool> capturing_{false};  // captures_ has any
  std::vector<uint64_t> oversize_told_;
  Time next_hint_{};
  std::atomic<unsigned> next_worker_{0};  // where taking from the rings starts, so that no worker is always first
  unsigned launched_ = 0;
  bool stopped_ = false;
};

}  // namespace twinwall
