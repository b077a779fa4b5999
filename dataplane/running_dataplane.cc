#include "dataplane/running_dataplane.h"

#include <fmt/core.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "dataplane/mbuf.h"
#include "dataplane/routes_fib.h"
#include "lib/engine/vlan.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr unsigned kPoolCache = 256;
constexpr auto kLookInterval = 100ms;  // at links that do not report
constexpr auto kHintInterval = 60s;
constexpr size_t kLargestSyncFrame = 16384;
constexpr size_t kLargestFrame = 16384;

// 0: too long. As OpenBSD, CARP goes before everything else of the node's own.
size_t tagged_copy(Bytes frame, uint16_t vlan, MutableBytes out) {
  constexpr uint8_t kCarpPrio = 6;
  if (frame.size() < kEthernetHeader + kIpv4Header || frame.size() + kVlanTag > out.size()) return 0;
  const uint16_t type = load_be16(&frame[kMacs]);
  const bool carp = (type == kEtherTypeIpv4 && frame[kEthernetHeader + 9] == kProtoCarp) ||
                    (type == kEtherTypeIpv6 && frame[kEthernetHeader + 6] == kProtoCarp);
  std::memcpy(out.data(), frame.data(), kMacs);
  store_be16(&out[kMacs], kEtherTypeVlan);
  store_be16(&out[kMacs + 2], tag_control(vlan, carp ? kCarpPrio : kDefaultPrio));
  std::memcpy(&out[kMacs + kVlanTag], &frame[kMacs], frame.size() - kMacs);
  return frame.size() + kVlanTag;
}

uint64_t random64() {
  uint64_t value = 0;
  while (getrandom(&value, sizeof value, 0) != sizeof value) {}
  return value;
}

// State ids grow from here: the worker, then seconds with room for 16 million states in each, so that no id comes again
// after a restart.
uint64_t first_state_id(unsigned worker) {
  return (uint64_t{worker} << 56) | (static_cast<uint64_t>(time(nullptr)) & 0xffffffff) << 24;
}

bool add_to(const FileDescriptor& epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  return epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

FileDescriptor periodic_timer(Duration interval) {
  FileDescriptor timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  itimerspec spec{};
  spec.it_interval.tv_nsec = spec.it_value.tv_nsec = static_cast<long>(interval.count());
  if (timer) (void)timerfd_settime(timer.get(), 0, &spec, nullptr);
  return timer;
}

bool expired(const FileDescriptor& timer) {
  uint64_t expirations = 0;
  return read(timer.get(), &expirations, sizeof expirations) == sizeof expirations;
}

}  // namespace

RunningDataplane::RunningDataplane(const config::Config& config, const DataplaneOptions& options,
                                   const MemoryPlan& plan)
    : config_(config), options_(options), plan_(plan) {}

RunningDataplane::~RunningDataplane() {
  stop();
  rte_mempool* const pool = shared_ ? shared_->pool : nullptr;
  shared_.reset();  // the workers give back what their rings hold
  rte_mempool_free(pool);
}

bool RunningDataplane::start(bool hugepages, std::string& error, config::Position& at) {
  at = config_.system.memory_at;
  state_memory_ = std::make_unique<MappedMemory>(plan_.states);
  if (state_memory_->bytes().empty()) {
    error = fmt::format("no memory for {} states: {}", options_.state_limit, std::strerror(errno));
    return false;
  }
  if (!start_eal(hugepages, error)) return false;
  make_table();
  if (!open_ports(error, at)) return false;
  at = config_.system.memory_at;
  return make_workers(error) && make_descriptors(error) && launch(error);
}

bool RunningDataplane::start_eal(bool hugepages, std::string& error) {
  EalOptions eal;
  eal.cpus.push_back(config_.system.control_core);
  eal.cpus.insert(eal.cpus.end(), config_.system.worker_cores.begin(), config_.system.worker_cores.end());
  eal.memory_bytes = plan_.eal;
  eal.hugepages = hugepages;
  eal.prefix = process_prefix(getpid());
  for (const auto& i : config_.interfaces) {
    if (i.port_kind == config::PortKind::pci) eal.pci.push_back(i.port);
    for (const auto& m : i.bond.members)
      if (m.kind == config::PortKind::pci) eal.pci.push_back(m.port);
  }
  eal_ = EalSession::start(eal, error);
  if (!eal_) return false;

  shared_ = std::make_unique<Shared>(static_cast<unsigned>(config_.system.worker_cores.size()));
  if (!shared_->quiescent.ok()) {
    error = "no memory for reclamation";
    return false;
  }
  shared_->pool =
      rte_pktmbuf_pool_create("tw_frames", plan_.buffers, kPoolCache, kMbufPrivateSize, plan_.data_room, SOCKET_ID_ANY);
  if (shared_->pool == nullptr) error = fmt::format("no memory for {} packet buffers", plan_.buffers);
  return shared_->pool != nullptr;
}

void RunningDataplane::make_table() {
  StateTableOptions o;
  o.capacity = options_.state_limit;
  o.workers = static_cast<uint8_t>(config_.system.worker_cores.size());
  o.secret[0] = random64();
  o.secret[1] = random64();
  o.memory = state_memory_->bytes();
  o.grace_start = [](void* q) { return static_cast<QuiescentState*>(q)->start(); };
  o.grace_over = [](void* q, uint64_t token) { return static_cast<QuiescentState*>(q)->passed(token); };
  o.grace_context = &shared_->quiescent;
  table_ = std::make_unique<StateTable>(o);
  sources_ = std::make_unique<SourceTable>(options_.source_node_limit, random64());
}

bool RunningDataplane::open_ports(std::string& error, config::Position& at) {
  const QuietErrors quiet;  // a failure is told with its reason; drivers complain of much that does no harm
  port_of_.assign(config_.interfaces.size(), nullptr);
  for (const auto& i : config_.interfaces) {
    if (i.port_kind == config::PortKind::vlan) continue;
    Port::Options o;
    o.id = i.id;
    o.kind = i.port_kind;
    o.device = i.port;
    o.bond = i.bond;
    o.mtu = i.mtu;
    o.queues = i.queues;
    o.workers = static_cast<unsigned>(config_.system.worker_cores.size());
    o.sync = i.id == options_.sync_interface && options_.sync;
    o.pool = shared_->pool;
    auto opened = Port::open(o, error);
    if (!opened) {
      at = i.port_at;
      return false;
    }
    port_of_[i.id - 1u] = opened.get();
    ports_.push_back(std::move(opened));
  }
  for (const auto& i : config_.interfaces) {
    if (i.port_kind == config::PortKind::vlan) port_of_[i.id - 1u] = port(i.parent);
    shared_->ports[i.id] = port(i.id);
    macs_.push_back(port(i.id)->mac());
  }
  oversize_told_.assign(config_.interfaces.size(), 0);
  return true;
}

bool RunningDataplane::make_workers(std::string& error) {
  const auto count = static_cast<unsigned>(config_.system.worker_cores.size());
  for (unsigned w = 0; w < count; ++w) {
    Worker::Options o;
    o.index = w;
    o.cpu = config_.system.worker_cores[w];
    o.adaptive = config_.system.idle == config::Idle::adaptive;
    o.sync = options_.sync;
    for (const auto& p : ports_)
      for (unsigned q = w; q < p->queues(); q += count) o.sources.push_back({p.get(), q});
    o.engine.worker = static_cast<uint8_t>(w);
    o.engine.workers = static_cast<uint8_t>(count);
    o.engine.hostid = options_.hostid;
    o.engine.seed = random64();
    o.engine.id_base = first_state_id(w);
    o.engine.fragment_limit = std::max(1u, options_.fragment_limit / count);
    o.engine.inspection = options_.inspection;
    o.engine.inspection.connections = std::max(1u, options_.inspection.connections / count);
    o.engine.inspection.buffer_bytes = options_.inspection.buffer_bytes / count;
    o.engine.max_updates = options_.max_updates;
    o.engine.defer = options_.defer;
    o.engine.sync = options_.sync;
    o.engine.sync_inspection = options_.sync_inspection;
    o.engine.sources = sources_.get();
    shared_->workers.push_back(std::make_unique<Worker>(std::move(o), *shared_, *table_));
    if (!shared_->workers.back()->ok()) {
      error = "no memory for the workers' rings";
      return false;
    }
  }
  return true;
}

bool RunningDataplane::make_descriptors(std::string& error) {
  monitor_ = LinkMonitor::open(error);
  if (!monitor_) return false;
  timer_ = periodic_timer(kLookInterval);
  control_epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  sync_epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  bool ok = timer_ && control_epoll_ && sync_epoll_;
  for (const int fd : {monitor_->fd(), timer_.get(), shared_->punts.fd(), shared_->replies.fd()})
    ok = ok && add_to(control_epoll_, fd);
  for (const int fd : {shared_->deltas.fd(), shared_->sync_replies.fd(), shared_->sync_frames.fd()})
    ok = ok && add_to(sync_epoll_, fd);
  if (const Port* const sync = port(options_.sync_interface); ok && sync != nullptr && sync->has_sync_queue())
    ok = add_to(sync_epoll_, sync->sync_fd());
  if (!ok) error = fmt::format("descriptors: {}", std::strerror(errno));
  // A link that changed while the ports were being opened was seen by nobody.
  for (const auto& p : ports_) (void)p->refresh();
  return ok;
}

bool RunningDataplane::launch(std::string& error) {
  for (unsigned w = 0; w < shared_->workers.size(); ++w) {
    const int r = rte_eal_remote_launch(
        [](void* worker) {
          static_cast<Worker*>(worker)->run();
          return 0;
        },
        shared_->workers[w].get(), w + 1);
    if (r != 0) {
      error = fmt::format("worker {} does not start: {}", w, std::strerror(-r));
      return false;
    }
    ++launched_;
  }
  return true;
}

void RunningDataplane::stop() {
  if (stopped_) return;
  stopped_ = true;
  if (!shared_) return;
  shared_->stop.store(true, std::memory_order_relaxed);
  for (unsigned w = 0; w < launched_; ++w) {
    shared_->workers[w]->wake();
    (void)rte_eal_wait_lcore(w + 1);
  }
  shared_->snapshot.clear();
  shared_->neighbors.clear();
  shared_->roles.clear();
  shared_->captures.clear();
  retired_.clear();
  const std::lock_guard lock(ports_mutex_);
  shared_->ports.fill(nullptr);
  port_of_.clear();
  ports_.clear();
}

Port* RunningDataplane::port(InterfaceId interface) const {
  return interface == kNoInterface || interface > port_of_.size() ? nullptr : port_of_[interface - 1u];
}

std::vector<PortStatus> RunningDataplane::ports() const {
  const std::lock_guard lock(ports_mutex_);
  std::vector<PortStatus> all;
  for (const auto& i : config_.interfaces) {
    const Port* const p = port(i.id);
    if (p == nullptr) continue;
    PortStatus s = p->status();
    if (i.port_kind == config::PortKind::vlan) {
      s.interface = i.id;
      s.driver = "vlan";
      s.mtu = i.mtu;
      s.rx_queues = s.tx_queues = 0;
      s.counters = {};  // all frames of a port are counted there
    }
    all.push_back(std::move(s));
  }
  return all;
}

bool RunningDataplane::link_up(InterfaceId interface) const {
  const std::lock_guard lock(ports_mutex_);
  const Port* const p = port(interface);
  return p != nullptr && p->link_up();
}

std::vector<WorkerStatus> RunningDataplane::workers() const {
  std::vector<WorkerStatus> all;
  for (const auto& w : shared_->workers) all.push_back(w->status());
  return all;
}

BufferStatus RunningDataplane::buffers() const { return {plan_.buffers, rte_mempool_avail_count(shared_->pool)}; }

const EngineCounters& RunningDataplane::counters(unsigned worker) const { return shared_->workers[worker]->counters(); }

uint64_t RunningDataplane::sum(Counter StateTableCounters::*counter) const {
  uint64_t total = 0;
  for (uint8_t w = 0; w < table_->workers(); ++w) total += (table_->counters(w).*counter).get();
  return total;
}

void RunningDataplane::publish(std::shared_ptr<const Snapshot> snapshot) {
  shared_->snapshot.publish(std::move(snapshot), shared_->quiescent);
}

void RunningDataplane::publish(std::shared_ptr<const NeighborTable> neighbors) {
  shared_->neighbors.publish(std::move(neighbors), shared_->quiescent);
}

void RunningDataplane::publish(std::shared_ptr<const CarpRoles> roles) {
  shared_->roles.publish(std::move(roles), shared_->quiescent);
}

void RunningDataplane::retire(std::shared_ptr<const void> object) {
  retired_.add(std::move(object), shared_->quiescent);
}

void RunningDataplane::collect() {
  retired_.collect(shared_->quiescent);
  shared_->snapshot.collect(shared_->quiescent);
  shared_->neighbors.collect(shared_->quiescent);
  shared_->roles.collect(shared_->quiescent);
  end_closed_captures();
  shared_->captures.collect(shared_->quiescent);
}

void RunningDataplane::add_mac(InterfaceId interface, const Mac& mac) {
  Port* const p = port(interface);
  if (p != nullptr && !p->add_mac(mac))
    spdlog::error("{}: the port takes neither a second MAC address nor promiscuous mode; {} will not be reachable",
                  config_.interface(interface).name, to_string(mac));
}

RouteTableFactory RunningDataplane::route_factory() const { return make_fib_routes; }

bool RunningDataplane::send(InterfaceId interface, Bytes frame) {
  Port* const p = port(interface);
  if (p == nullptr) return false;
  const uint16_t vlan = config_.interface(interface).vlan;
  std::array<uint8_t, kLargestFrame> tagged;
  if (vlan != 0) frame = Bytes(tagged).first(tagged_copy(frame, vlan, tagged));
  if (frame.empty()) return false;
  show_captures(p->id(), Direction::out, frame);
  return p->send_bytes(p->control_slot(), frame);
}

// Clears the signal first and looks at the rings then, so that what comes in between signals again.
template <class T, class F>
size_t RunningDataplane::take(Waker& waker, SpscRing<T> Worker::*ring, size_t limit, F&& f) {
  waker.acknowledge();
  waker.prepare();
  const auto count = static_cast<unsigned>(shared_->workers.size());
  const unsigned first = next_worker_.fetch_add(1, std::memory_order_relaxed) % count;
  size_t taken = 0;
  bool left = false;
  for (unsigned i = 0; i < count; ++i) {
    SpscRing<T>& r = (*shared_->workers[(first + i) % count]).*ring;
    T value;
    while (taken < limit && r.pop(value)) {
      ++taken;
      f(value);
    }
    left = left || !r.empty();
  }
  if (left) waker.signal();
  return taken;
}

size_t RunningDataplane::take_frames(Waker& waker, MbufRing Worker::*ring, size_t limit,
                                     const std::function<void(const PuntedFrame&)>& f) {
  return take(waker, ring, limit, [&f](rte_mbuf* m) {
    const Packet& p = mbuf_private(m).packet;
    PuntedFrame frame;
    frame.kind = p.punt;
    frame.in = p.in;
    frame.out = p.out;
    frame.next_hop = p.next_hop;
    frame.l3 = p.l3;
    frame.frame = {rte_pktmbuf_mtod(m, const uint8_t*), rte_pktmbuf_data_len(m)};
    f(frame);
    rte_pktmbuf_free(m);
  });
}

size_t RunningDataplane::take_punts(size_t limit, const std::function<void(const PuntedFrame&)>& f) {
  return take_frames(shared_->punts, &Worker::punts, limit, f);
}

size_t RunningDataplane::take_replies(size_t limit, const std::function<void(const Reply&)>& f) {
  return take(shared_->replies, &Worker::replies, limit, f);
}

size_t RunningDataplane::take_logs(size_t limit, const std::function<void(const LogRecord&)>& f) {
  // Watched from the first call on: whoever does not take them is not woken for them either.
  if (!logs_watched_) logs_watched_ = add_to(control_epoll_, shared_->logs.fd());
  return take(shared_->logs, &Worker::logs, limit, f);
}

uint64_t RunningDataplane::logs_lost() const {
  uint64_t lost = 0;
  for (const auto& w : shared_->workers) lost += w->logs_lost();
  return lost;
}

bool RunningDataplane::start_capture(std::shared_ptr<capture::Capture> capture) {
  end_closed_captures();
  const std::lock_guard lock(captures_mutex_);
  if (stopped_ || captures_.size() >= kCaptures) return false;
  captures_.push_back(std::move(capture));
  capturing_.store(true, std::memory_order_relaxed);
  shared_->captures.publish(std::make_shared<const Captures>(captures_), shared_->quiescent);
  return true;
}

void RunningDataplane::end_closed_captures() {
  if (!capturing_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(captures_mutex_);
  const size_t before = captures_.size();
  std::erase_if(captures_, [this](const auto& c) {
    if (!c->closed()) return false;
    ended_captures_.packets += c->seen();
    ended_captures_.dropped += c->dropped();
    return true;
  });
  if (captures_.size() == before) return;
  capturing_.store(!captures_.empty(), std::memory_order_relaxed);
  auto left = captures_.empty() ? nullptr : std::make_shared<const Captures>(captures_);
  shared_->captures.publish(std::move(left), shared_->quiescent);
}

CaptureStatus RunningDataplane::captures() const {
  const std::lock_guard lock(captures_mutex_);
  CaptureStatus status = ended_captures_;
  status.running = static_cast<unsigned>(captures_.size());
  for (const auto& c : captures_) {
    status.packets += c->seen();
    status.dropped += c->dropped();
  }
  return status;
}

void RunningDataplane::show_captures(InterfaceId port, Direction direction, Bytes frame) {
  if (!capturing_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(captures_mutex_);
  for (const auto& c : captures_)
    if (c->wants(port, direction))
      c->see(static_cast<unsigned>(shared_->workers.size()), direction, frame, monotonic_now());
}

void RunningDataplane::take_link_changes(const std::function<void(InterfaceId, bool)>& f) {
  const bool due = expired(timer_);
  std::vector<int> gone;
  if (!monitor_->drain(gone) && !due) return;
  for (const int index : gone)
    for (const auto& p : ports_) p->forget(index);
  for (const auto& p : ports_)
    if (p->refresh()) {
      f(p->id(), p->link_up());
      for (const auto& i : config_.interfaces)
        if (i.parent == p->id()) f(i.id, p->link_up());
    }
  hint_at_oversize();
  collect();
}

void RunningDataplane::hint_at_oversize() {
  const Time now = monotonic_now();
  if (now < next_hint_) return;
  for (const auto& p : ports_) {
    const uint64_t seen = p->oversize();
    uint64_t& told = oversize_told_[p->id() - 1u];
    if (seen == told) continue;
    spdlog::warn(
        "{}: {} frames longer than the MTU were dropped; does the host at the other end have segmentation "
        "offload on? (ethtool -K IF tso off gso off gro off)",
        config_.interface(p->id()).name, seen - told);
    told = seen;
    next_hint_ = now + kHintInterval;
  }
}

bool RunningDataplane::command(unsigned worker, const Command& command) {
  Worker& w = *shared_->workers[worker];
  if (!w.commands.push(command)) return false;
  w.wake();
  return true;
}

size_t RunningDataplane::sync_take_deltas(size_t limit, const std::function<void(const Delta&)>& f) {
  return take(shared_->deltas, &Worker::deltas, limit, [&f](const Delta& d) { each_state(d, f); });
}

size_t RunningDataplane::sync_take_frames(size_t limit, const std::function<void(const PuntedFrame&)>& f) {
  size_t taken = take_frames(shared_->sync_frames, &Worker::sync_punts, limit, f);
  Port* const p = port(options_.sync_interface);
  if (p == nullptr || !p->has_sync_queue()) return taken;
  std::array<uint8_t, kLargestSyncFrame> room;
  PuntedFrame frame;
  frame.kind = Punt::pfsync;
  frame.in = p->id();
  frame.l3 = static_cast<uint16_t>(kEthernetHeader);  // the queue's filter takes only untagged frames
  const size_t before = taken;
  while (taken < limit) {
    const uint32_t length = p->receive_sync(room);
    if (length == 0) break;
    frame.frame = {room.data(), length};
    show_captures(p->id(), Direction::in, frame.frame);
    f(frame);
    ++taken;
  }
  if (taken == before) p->clear_sync_error();  // a lost link keeps the descriptor readable until its error is taken
  return taken;
}

bool RunningDataplane::sync_send(Bytes frame) {
  Port* const p = port(options_.sync_interface);
  if (p == nullptr || !options_.sync) return false;
  show_captures(p->id(), Direction::out, frame);
  return p->send_bytes(p->sync_slot(), frame);
}

bool RunningDataplane::sync_command(unsigned worker, const Command& command) {
  Worker& w = *shared_->workers[worker];
  Command tagged = command;
  tagged.cookie |= kSyncCookie;
  if (!w.sync_commands.push(tagged)) return false;
  w.wake();
  return true;
}

size_t RunningDataplane::sync_take_replies(size_t limit, const std::function<void(const Reply&)>& f) {
  return take(shared_->sync_replies, &Worker::sync_replies, limit, f);
}

// Their waker is that of the deltas, which looks after it: both are taken in one turn.
size_t RunningDataplane::sync_take_inspections(size_t limit, const std::function<void(const InspectionWord&)>& f) {
  size_t taken = 0;
  InspectionWord word;
  for (const auto& w : shared_->workers)
    for (; taken < limit && w->inspections.pop(word); ++taken) f(word);
  return taken;
}

bool RunningDataplane::sync_inspection(unsigned worker, const InspectionWord& word) {
  Worker& w = *shared_->workers[worker];
  if (!w.sync_inspections.push(word)) return false;
  w.wake();
  return true;
}

void RunningDataplane::sync_flush() {
  for (const auto& w : shared_->workers) w->request_flush();
}

}  // namespace twinwall
