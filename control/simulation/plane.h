// A dataplane in memory: the real engine and state table of one worker behind the control core's door, without threads,
// rings and ports.
//
// What the daemon's workers and ports do between two turns of the control core happens here when work() is called, with
// the time that is handed in. Frames leave through Wire at once. Rings are queues that are as long as the daemon's;
// what does not fit is dropped and counted as there.
//
// Single-threaded. The observer, where there is one, sees what the peers' words do to the state table.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "dataplane/dataplane.h"
#include "lib/engine/engine.h"

namespace twinwall::simulation {

struct PlaneOptions {
  DataplaneOptions dataplane;
  std::vector<Mac> macs;  // [interface - 1]
  std::vector<uint16_t> mtus;
  uint64_t seed = 0;     // of the engine's secrets
  uint64_t id_base = 0;  // of its states
};

// Where frames go that a node sends.
class Wire {
 public:
  virtual ~Wire() = default;
  virtual void transmit(InterfaceId interface, Bytes frame) = 0;
};

// What the engine does, for those who judge it.
class PlaneObserver {
 public:
  virtual ~PlaneObserver() = default;
  // Around each command that the sync engine gives.
  virtual void before_sync(const Command&) {}
  virtual void after_sync(const Command&) {}
  // A packet's end: forwarded (then `packet` is the frame as it leaves), punted or dropped.
  virtual void disposed(const Packet&) {}
  virtual void logged(const LogRecord&) {}
  // A frame that the control core sends: its own, or one that waited for its next hop's address.
  virtual void sent(InterfaceId, Bytes) {}
};

class Plane final : public Dataplane, public EngineHost {
 public:
  Plane(PlaneOptions options, Wire& wire);
  ~Plane() override;

  void observe(PlaneObserver* observer) { observer_ = observer; }
  // A frame comes in on a port.
  void receive(Time now, InterfaceId interface, Bytes frame);
  void set_link(InterfaceId interface, bool up);
  // A turn of the worker.
  void work(Time now);
  // When work() has something to do.
  [[nodiscard]] Time next_deadline(Time now) const;
  // Something waits for the control core or the sync engine.
  [[nodiscard]] bool waiting() const;

  [[nodiscard]] Engine& engine() { return *engine_; }
  // With every state's own numbers right (see "twins" in lib/state/state.h).
  [[nodiscard]] StateTable& table() {
    engine_->settle();
    return *table_;
  }
  [[nodiscard]] View view() const { return {snapshot_.get(), neighbors_.get(), roles_.get()}; }
  [[nodiscard]] const CarpRoles* carp_roles() const { return roles_.get(); }

  std::vector<Mac> macs() const override { return options_.macs; }
  std::vector<PortStatus> ports() const override;
  bool link_up(InterfaceId interface) const override { return links_[interface - 1u]; }
  std::vector<WorkerStatus> workers() const override { return std::vector<WorkerStatus>(1); }
  const EngineCounters& counters(unsigned) const override { return engine_->counters(); }
  uint64_t states() const override { return table_->states(); }
  uint64_t state_searches() const override { return table_->counters(0).searches.get(); }
  uint64_t state_inserts() const override { return table_->counters(0).inserts.get(); }
  uint64_t state_removals() const override { return table_->counters(0).removals.get(); }
  SourceTable* sources() const override { return &engine_->sources(); }
  void publish(std::shared_ptr<const Snapshot> snapshot) override;
  void publish(std::shared_ptr<const NeighborTable> neighbors) override { neighbors_ = std::move(neighbors); }
  void publish(std::shared_ptr<const CarpRoles> roles) override { roles_ = std::move(roles); }
  void retire(std::shared_ptr<const void>) override {}  // nobody reads while somebody publishes
  void add_mac(InterfaceId, const Mac&) override {}     // a port takes every frame; the engine looks whom it is for
  RouteTableFactory route_factory() const override { return make_plain_routes; }
  bool send(InterfaceId interface, Bytes frame) override;
  int control_fd() const override { return -1; }
  size_t take_punts(size_t limit, const std::function<void(const PuntedFrame&)>& f) override;
  void take_link_changes(const std::function<void(InterfaceId, bool)>& f) override;
  bool command(unsigned worker, const Command& command) override;
  size_t take_replies(size_t limit, const std::function<void(const Reply&)>& f) override;
  int sync_fd() const override { return -1; }
  size_t sync_take_deltas(size_t limit, const std::function<void(const Delta&)>& f) override;
  size_t sync_take_frames(size_t limit, const std::function<void(const PuntedFrame&)>& f) override;
  bool sync_send(Bytes frame) override { return send(options_.dataplane.sync_interface, frame); }
  bool sync_command(unsigned worker, const Command& command) override;
  size_t sync_take_replies(size_t limit, const std::function<void(const Reply&)>& f) override;
  size_t sync_take_inspections(size_t limit, const std::function<void(const InspectionWord&)>& f) override;
  bool sync_inspection(unsigned worker, const InspectionWord& word) override;
  void sync_flush() override { flush_ = true; }
  void stop() override {}

 private:
  struct Buffer {
    Packet packet;
    std::vector<uint8_t> memory;
  };
  struct Held {
    PuntedFrame punt;
    std::vector<uint8_t> bytes;
  };

  Packet* allocate(uint32_t capacity) override;
  void submit(Packet* packet) override;
  void log(const LogRecord& record) override;

  void dispose(Packet& packet);
  void drop(Packet& packet, DropReason reason);
  void punt(Packet& packet);
  void give_back(Packet& packet);
  static bool reply(void* self, const Reply& reply);
  static size_t take(std::deque<Held>& queue, size_t limit, const std::function<void(const PuntedFrame&)>& f);
  template <class T>
  static size_t take(std::deque<T>& queue, size_t limit, const std::function<void(const T&)>& f);

  PlaneOptions options_;
  Wire& wire_;
  PlaneObserver* observer_ = nullptr;
  Time now_{};
  Time ticked_{};
  std::vector<bool> links_;
  std::vector<std::pair<InterfaceId, bool>> link_changes_;
  std::vector<std::unique_ptr<Buffer>> buffers_;  // all
  std::vector<Buffer*> spare_;
  std::unique_ptr<StateTable> table_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const Snapshot> snapshot_;
  std::shared_ptr<const NeighborTable> neighbors_;
  std::shared_ptr<const CarpRoles> roles_;
  std::deque<Held> punts_, sync_frames_;
  std::deque<Delta> deltas_;
  std::deque<InspectionWord> inspections_;
  std::deque<Reply> replies_, sync_replies_;
  bool flush_ = false;
};

}  // namespace twinwall::simulation
