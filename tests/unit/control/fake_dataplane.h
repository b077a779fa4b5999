// A Dataplane without ports or workers, for tests of the control core: it keeps what is sent and published, hands out
// what a test puts in, and holds states in a plain map that obeys commands as a worker does.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "dataplane/dataplane.h"
#include "lib/engine/state_record.h"

namespace twinwall::test {

using Frame = std::vector<uint8_t>;

struct SentFrame {
  InterfaceId interface = kNoInterface;
  Frame frame;
};

struct HeldPunt {
  PuntedFrame punt;
  Frame bytes;
};

inline Mac test_mac(uint8_t node, InterfaceId id) { return Mac{{0x02, 0, 0, 0, node, static_cast<uint8_t>(id)}}; }

class FakeDataplane final : public Dataplane {
 public:
  FakeDataplane(uint8_t node, size_t interfaces, unsigned workers = 1) : counters_(workers), links_(interfaces, true) {
    for (size_t i = 1; i <= interfaces; ++i) macs_.push_back(test_mac(node, static_cast<InterfaceId>(i)));
    control_fd_ = eventfd(0, EFD_NONBLOCK);
    sync_fd_ = eventfd(0, EFD_NONBLOCK);
    tables_.resize(workers);
  }
  ~FakeDataplane() override {
    close(control_fd_);
    close(sync_fd_);
  }

  std::vector<Mac> macs() const override { return macs_; }
  std::vector<PortStatus> ports() const override {
    std::vector<PortStatus> out;
    for (size_t i = 0; i < macs_.size(); ++i) {
      PortStatus p;
      p.interface = static_cast<InterfaceId>(i + 1);
      p.driver = "fake";
      p.mac = macs_[i];
      p.link_up = links_[i];
      p.mtu = 1500;
      out.push_back(p);
    }
    return out;
  }
  bool link_up(InterfaceId id) const override { return links_[id - 1u]; }
  std::vector<WorkerStatus> workers() const override { return std::vector<WorkerStatus>(counters_.size()); }
  BufferStatus buffers() const override { return {1024, 1000}; }
  const EngineCounters& counters(unsigned worker) const override { return counters_[worker]; }
  EngineCounters& counters(unsigned worker) { return counters_[worker]; }
  uint64_t states() const override {
    uint64_t n = 0;
    for (const auto& t : tables_) n += t.size();
    return n;
  }
  SourceTable* sources() const override { return &sources_; }
  uint64_t state_searches() const override { return 0; }
  uint64_t state_inserts() const override { return 0; }
  uint64_t state_removals() const override { return 0; }

  void publish(std::shared_ptr<const Snapshot> s) override { snapshot = std::move(s); }
  void publish(std::shared_ptr<const NeighborTable> n) override { neighbors = std::move(n); }
  void retire(std::shared_ptr<const void> /*object*/) override {}
  void publish(std::shared_ptr<const CarpRoles> r) override {
    roles = std::move(r);
    log.push_back("roles");
  }
  void add_mac(InterfaceId id, const Mac& mac) override { extra_macs.insert({id, mac}); }
  RouteTableFactory route_factory() const override { return make_plain_routes; }

  bool send(InterfaceId id, Bytes frame) override {
    if (!links_[id - 1u]) return false;
    sent.push_back({id, Frame(frame.begin(), frame.end())});
    log.push_back("send");
    return true;
  }
  int control_fd() const override { return control_fd_; }
  size_t take_punts(size_t limit, const std::function<void(const PuntedFrame&)>& f) override {
    return take(punts, limit, f);
  }
  void take_link_changes(const std::function<void(InterfaceId, bool)>& f) override {
    for (const auto& [id, up] : std::exchange(link_changes_, {})) f(id, up);
  }
  bool command(unsigned worker, const Command& c) override { return execute(worker, c, replies); }
  size_t take_replies(size_t limit, const std::function<void(const Reply&)>& f) override {
    return drain(replies, limit, f);
  }

  bool start_capture(std::shared_ptr<capture::Capture> c) override {
    std::erase_if(running_captures, [](const auto& old) { return old->closed(); });
    if (running_captures.size() == kCaptures) return false;
    running_captures.push_back(std::move(c));
    return true;
  }

  int sync_fd() const override { return sync_fd_; }
  size_t sync_take_deltas(size_t limit, const std::function<void(const Delta&)>& f) override {
    return drain(deltas, limit, f);
  }
  size_t sync_take_frames(size_t limit, const std::function<void(const PuntedFrame&)>& f) override {
    return take(sync_frames, limit, f);
  }
  bool sync_send(Bytes frame) override {
    if (sync_blocked) return false;
    sync_sent.emplace_back(frame.begin(), frame.end());
    return true;
  }
  bool sync_command(unsigned worker, const Command& c) override {
    if (sync_commands_blocked) return false;
    sync_commands.push_back({worker, c});
    return execute(worker, c, sync_replies);
  }
  size_t sync_take_replies(size_t limit, const std::function<void(const Reply&)>& f) override {
    return drain(sync_replies, limit, f);
  }
  size_t sync_take_inspections(size_t limit, const std::function<void(const InspectionWord&)>& f) override {
    return drain(inspections, limit, f);
  }
  bool sync_inspection(unsigned worker, const InspectionWord& said) override {
    told_inspections.emplace_back(worker, said);
    return true;
  }
  void sync_flush() override { ++flushes; }
  void stop() override {}

  // --- what tests do ---

  void set_link(InterfaceId id, bool up) {
    links_[id - 1u] = up;
    link_changes_.emplace_back(id, up);
  }
  void punt(Punt kind, InterfaceId in, const Frame& bytes) {
    HeldPunt p;
    p.punt.kind = kind;
    p.punt.in = in;
    p.punt.l3 = 14;
    p.bytes = bytes;
    punts.push_back(std::move(p));
  }
  void receive_sync(InterfaceId in, const Frame& bytes) {
    HeldPunt p;
    p.punt.kind = Punt::pfsync;
    p.punt.in = in;
    p.punt.l3 = 14;
    p.bytes = bytes;
    sync_frames.push_back(std::move(p));
  }
  // A state made here, in the table and on its way to the peers.
  void create(const pfsync::StateRecord& r, unsigned worker = 0) {
    put(worker, r);
    deltas.push_back({SyncQueue::ins, r});
  }
  void remove(uint64_t id, uint32_t creator, unsigned worker = 0) {
    erase(worker, id, creator);
    pfsync::StateRecord r;
    r.id = id;
    r.creator = creator;
    deltas.push_back({SyncQueue::del_c, r});
  }
  // In the table, and no peer hears of it.
  void put(unsigned worker, const pfsync::StateRecord& r) {
    erase(worker, r.id, r.creator);
    tables_[worker][{r.id, r.creator}] = r;
    counters_[worker].slice_sums[pfsync::slice_of(r.id, r.creator)].add(part(r));
    counters_[worker].slice_states[pfsync::slice_of(r.id, r.creator)].add();
  }
  void erase(unsigned worker, uint64_t id, uint32_t creator) {
    const auto it = tables_[worker].find({id, creator});
    if (it == tables_[worker].end()) return;
    counters_[worker].slice_sums[pfsync::slice_of(id, creator)].sub(part(it->second));
    counters_[worker].slice_states[pfsync::slice_of(id, creator)].sub();
    tables_[worker].erase(it);
  }
  // States whose last word was the peer's.
  std::set<std::pair<uint64_t, uint32_t>> of_peer;
  uint32_t word = UINT32_MAX;  // when the peer spoke of those
  const pfsync::StateRecord* find(uint64_t id, uint32_t creator) const {
    for (const auto& t : tables_)
      if (const auto it = t.find({id, creator}); it != t.end()) return &it->second;
    return nullptr;
  }
  size_t table_size(unsigned worker) const { return tables_[worker].size(); }
  std::vector<SentFrame> take_sent() { return std::exchange(sent, {}); }
  std::vector<Frame> take_sync_sent() { return std::exchange(sync_sent, {}); }

  std::shared_ptr<const Snapshot> snapshot;
  std::shared_ptr<const NeighborTable> neighbors;
  std::shared_ptr<const CarpRoles> roles;
  std::set<std::pair<InterfaceId, Mac>> extra_macs;
  std::vector<SentFrame> sent;
  std::vector<std::shared_ptr<capture::Capture>> running_captures;
  std::vector<pfsync::StateId> acknowledged;
  std::vector<std::string> log;  // "roles" and "send" in the order they came
  std::deque<HeldPunt> punts, sync_frames;
  std::deque<Delta> deltas;
  std::deque<InspectionWord> inspections;
  std::vector<std::pair<unsigned, InspectionWord>> told_inspections;
  std::deque<Reply> replies, sync_replies;
  std::vector<Frame> sync_sent;
  std::vector<std::pair<unsigned, Command>> sync_commands;
  bool sync_blocked = false;
  bool sync_commands_blocked = false;
  unsigned flushes = 0;
  unsigned asked_for_inspections = 0;

 private:
  static uint64_t part(const pfsync::StateRecord& r) {
    return pfsync::slice_mix(r.id ^ uint64_t{r.wire.port[0]} << 32, told_levels(r.src.level, r.dst.level));
  }
  using Table = std::map<std::pair<uint64_t, uint32_t>, pfsync::StateRecord>;

  static size_t take(std::deque<HeldPunt>& queue, size_t limit, const std::function<void(const PuntedFrame&)>& f) {
    size_t n = 0;
    while (n < limit && !queue.empty()) {
      HeldPunt p = std::move(queue.front());
      queue.pop_front();
      p.punt.frame = p.bytes;
      f(p.punt);
      ++n;
    }
    return n;
  }
  template <class T>
  static size_t drain(std::deque<T>& queue, size_t limit, const std::function<void(const T&)>& f) {
    size_t n = 0;
    while (n < limit && !queue.empty()) {
      const T item = queue.front();
      queue.pop_front();
      f(item);
      ++n;
    }
    return n;
  }

  bool execute(unsigned worker, const Command& c, std::deque<Reply>& out) {
    Table& table = tables_[worker];
    switch (c.kind) {
      case Command::Kind::import_state:
      case Command::Kind::update_state:
        if (find(c.record.id, c.record.creator) == nullptr || table.contains({c.record.id, c.record.creator}))
          put(worker, c.record);
        break;
      case Command::Kind::update_compressed: {
        const auto it = table.find({c.update.id, c.update.creator});
        if (it != table.end()) {
          pfsync::StateRecord r = it->second;
          r.src = c.update.src;
          r.dst = c.update.dst;
          r.timeout = c.update.timeout;
          put(worker, r);
        } else if (c.report_unknown && find(c.update.id, c.update.creator) == nullptr) {
          Reply r;
          r.kind = Reply::Kind::unknown_state;
          r.record.id = c.update.id;
          r.record.creator = c.update.creator;
          out.push_back(r);
        }
        break;
      }
      case Command::Kind::delete_state: erase(worker, c.id.id, c.id.creator); break;
      case Command::Kind::acknowledge: acknowledged.push_back(c.id); break;
      case Command::Kind::kill_state:
        if (table.contains({c.id.id, c.id.creator})) remove(c.id.id, c.id.creator, worker);
        break;
      case Command::Kind::send_state:
        if (const auto it = table.find({c.id.id, c.id.creator}); it != table.end())
          deltas.push_back({SyncQueue::upd, it->second});
        break;
      case Command::Kind::tell_again:
        if (const auto it = table.find({c.id.id, c.id.creator}); it != table.end()) {
          deltas.push_back({SyncQueue::upd, it->second});
        } else if (c.report_unknown && find(c.id.id, c.id.creator) == nullptr) {
          Reply r;
          r.kind = Reply::Kind::gone_state;
          r.record.id = c.id.id;
          r.record.creator = c.id.creator;
          out.push_back(r);
        }
        break;
      case Command::Kind::tell_inspections: ++asked_for_inspections; break;
      case Command::Kind::clear:
      case Command::Kind::export_states:
      case Command::Kind::kill_states: walk(worker, c, out); break;
    }
    return true;
  }

  void walk(unsigned worker, const Command& c, std::deque<Reply>& out) {
    Reply done;
    done.kind = Reply::Kind::done;
    done.worker = static_cast<uint8_t>(worker);
    done.cookie = c.cookie;
    for (auto it = tables_[worker].begin(); it != tables_[worker].end();) {
      const pfsync::StateRecord r = it->second;
      const bool hit =
          c.kind == Command::Kind::clear ? r.creator == c.clear.creator : !c.filter.has_id || c.filter.id == r.id;
      ++it;
      const auto* const slices = c.filter.slices;
      if (!hit ||
          (c.filter.slice_count != 0 && std::find(slices, slices + c.filter.slice_count,
                                                  pfsync::slice_of(r.id, r.creator)) == slices + c.filter.slice_count))
        continue;
      ++done.count;
      if (c.kind == Command::Kind::export_states) {
        Reply s;
        s.kind = Reply::Kind::state;
        s.worker = done.worker;
        s.cookie = c.cookie;
        s.record = r;
        s.told = told_levels(r.src.level, r.dst.level);
        s.of_peer = of_peer.contains({r.id, r.creator});
        s.peer_word = word;
        out.push_back(s);
      } else if (c.kind == Command::Kind::kill_states) {
        remove(r.id, r.creator, worker);
      } else {
        erase(worker, r.id, r.creator);
      }
    }
    out.push_back(done);
  }

  std::vector<Mac> macs_;
  std::vector<EngineCounters> counters_;
  std::vector<bool> links_;
  std::vector<std::pair<InterfaceId, bool>> link_changes_;
  std::vector<Table> tables_;
  mutable SourceTable sources_{64, 1};
  int control_fd_ = -1, sync_fd_ = -1;
};

}  // namespace twinwall::test
