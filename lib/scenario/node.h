// One twinwall node without a network: the real configuration, rules, state table and engine, packets in plain memory,
// a clock that moves when told. Single-threaded.
//
// Neighbours answer at once, each with a MAC derived from its address, unless the configuration says `neighbors: none`.
// The node is MASTER of all its vhids unless told otherwise.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/time.h"
#include "lib/config/schema.h"
#include "lib/engine/engine.h"
#include "lib/scenario/scenario.h"
#include "lib/scenario/subject.h"

namespace twinwall::scenario {

// What one frame brought about.
struct Outcome {
  struct Output {
    InterfaceId interface = kNoInterface;
    std::vector<uint8_t> frame;
  };
  std::vector<Output> outputs;    // in order of sending
  std::vector<DropReason> drops;  // counted meanwhile, one entry a count
  std::vector<Punt> punts;        // taken by the node's own protocols
  std::vector<LogRecord> logs;
  std::vector<Delta> deltas;  // told to the peers while time went by
};

class Node final : public EngineHost, public Subject {
 public:
  // `fast_path`, `classifier`: see EngineOptions.
  explicit Node(config::Config config, bool fast_path = true, bool classifier = true);
  ~Node() override;

  // New rules and options; states stay.
  void reload(config::Config config);
  // False: there is no such vhid.
  bool set_role(uint8_t vhid, bool master);

  [[nodiscard]] Outcome inject(InterfaceId interface, const std::vector<uint8_t>& frame);
  // What the node sends of its own accord meanwhile is in the outcome.
  Outcome advance(Duration by);
  // What is wrong with it, empty when it is done.
  std::string change_table(const TableStep::Change& change);
  // Removes the states that fit; how many there were.
  uint64_t kill(const StateFilter& filter);

  [[nodiscard]] const config::Config& config() const { return config_; }
  [[nodiscard]] const Snapshot& snapshot() const override { return *snapshot_; }
  [[nodiscard]] Engine& engine() override { return *engine_; }
  [[nodiscard]] StateTable& table() override {
    engine_->settle();
    return *table_;
  }
  [[nodiscard]] View view() const override { return {snapshot_.get(), nullptr, &roles_}; }
  [[nodiscard]] Time now() const override { return now_; }
  [[nodiscard]] std::string label_of(RuleSlot slot) const override;
  // Of the rules with this label, those of earlier configurations included.
  [[nodiscard]] std::vector<RuleSlot> slots_labelled(const std::string& label) const;

  [[nodiscard]] Mac interface_mac(InterfaceId id) const;
  [[nodiscard]] static Mac neighbor_mac(const IpAddress& address);
  // Where a frame for `destination` arriving on `interface` is sent to: the virtual MAC for a virtual address.
  [[nodiscard]] Mac target_mac(InterfaceId interface, const IpAddress& destination) const;

 private:
  struct Buffer {
    Packet packet;
    std::vector<uint8_t> memory;
  };

  Packet* allocate(uint32_t capacity) override;
  void submit(Packet* packet) override;
  void log(const LogRecord& record) override;

  Buffer* make_buffer(size_t capacity);
  void finish(Packet& p);
  void compile();

  config::Config config_;
  std::shared_ptr<Snapshot> snapshot_;
  std::unique_ptr<StateTable> table_;
  std::unique_ptr<Engine> engine_;
  CarpRoles roles_;
  std::map<RuleSlot, std::string> labels_;
  std::map<uint64_t, RuleSlot> slots_;  // rule identity → slot, as the daemon's registry keeps them
  Time now_ = Time(std::chrono::seconds(1000));
  std::deque<Buffer> buffers_;
  Outcome* outcome_ = nullptr;
};

// "all tcp 198.51.100.7:80 <- 10.0.0.5:40000       ESTABLISHED:ESTABLISHED", as pfctl -ss prints a state.
[[nodiscard]] std::string print_state(const State& s, std::span<const InterfaceInfo> interfaces);
// "ESTABLISHED:SYN_SENT": the near end first, as pfctl does.
[[nodiscard]] std::string print_levels(const State& s);

}  // namespace twinwall::scenario
