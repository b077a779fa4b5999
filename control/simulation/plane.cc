#include "control/simulation/plane.h"

#include <algorithm>
#include <cstring>

#include "lib/base/random.h"

namespace twinwall::simulation {

namespace {

constexpr uint32_t kHeadroom = 128;
constexpr uint32_t kUsual = 1664;   // a frame of 1500 bytes and what may be put before it
constexpr size_t kPuntRing = 1024;  // as the daemon's (dataplane/worker.h)
constexpr size_t kDeltaRing = 4096;
constexpr size_t kInspectionRing = 128;
constexpr uint64_t kSyncCookie = uint64_t{1} << 63;  // marks what the sync engine asked
constexpr Duration kIdleTick = std::chrono::seconds(5);
// A run makes many nodes, and memory that is reserved costs time.
constexpr uint32_t kMostStates = 10000;
constexpr uint32_t kMostFragments = 256;
constexpr uint32_t kMostSourceNodes = 1024;

}  // namespace

Plane::Plane(PlaneOptions options, Wire& wire)
    : options_(std::move(options)), wire_(wire), links_(options_.macs.size(), true) {
  Random random(options_.seed);
  StateTableOptions table;
  table.capacity = std::min(options_.dataplane.state_limit, kMostStates);
  table.secret[0] = random.next();
  table.secret[1] = random.next();
  table_ = std::make_unique<StateTable>(table);
  EngineOptions engine;
  engine.hostid = options_.dataplane.hostid;
  engine.seed = random.next();
  engine.id_base = options_.id_base;
  engine.fragment_limit = std::min(options_.dataplane.fragment_limit, kMostFragments);
  engine.max_updates = options_.dataplane.max_updates;
  engine.sync = options_.dataplane.sync;
  engine.sync_inspection = options_.dataplane.sync_inspection;
  engine.defer = options_.dataplane.defer;
  engine.secret = {random.next(), random.next()};
  engine.source_nodes = std::min(options_.dataplane.source_node_limit, kMostSourceNodes);
  engine_ = std::make_unique<Engine>(engine, *table_, *this);
}

Plane::~Plane() {
  observer_ = nullptr;
  links_.assign(links_.size(), false);  // whatever the engine lets go of leaves no more
  engine_->release_deferred();
}

void Plane::publish(std::shared_ptr<const Snapshot> snapshot) { snapshot_ = std::move(snapshot); }

std::vector<PortStatus> Plane::ports() const {
  std::vector<PortStatus> out;
  for (size_t i = 0; i < options_.macs.size(); ++i) {
    PortStatus p;
    p.interface = static_cast<InterfaceId>(i + 1);
    p.driver = "simulated";
    p.mac = options_.macs[i];
    p.link_up = links_[i];
    p.mtu = options_.mtus[i];
    out.push_back(std::move(p));
  }
  return out;
}

void Plane::set_link(InterfaceId interface, bool up) {
  if (links_[interface - 1u] == up) return;
  links_[interface - 1u] = up;
  link_changes_.emplace_back(interface, up);
}

void Plane::receive(Time now, InterfaceId interface, Bytes frame) {
  if (snapshot_ == nullptr) return;  // nothing is known yet, so nothing can be forwarded
  now_ = now;
  Packet* p = allocate(std::max(kUsual, static_cast<uint32_t>(frame.size())));
  std::copy(frame.begin(), frame.end(), p->frame);
  p->length = static_cast<uint32_t>(frame.size());
  p->tailroom -= p->length;
  p->in = interface;
  engine_->process({&p, 1}, view(), now);
  dispose(*p);
}

Packet* Plane::allocate(uint32_t capacity) {
  if (spare_.empty()) {
    buffers_.push_back(std::make_unique<Buffer>());
    spare_.push_back(buffers_.back().get());
  }
  Buffer& b = *spare_.back();
  spare_.pop_back();
  if (b.memory.size() < kHeadroom + capacity) b.memory.resize(kHeadroom + std::max(capacity, kUsual));
  b.packet = {};
  b.packet.frame = b.memory.data() + kHeadroom;
  b.packet.headroom = kHeadroom;
  b.packet.tailroom = static_cast<uint32_t>(b.memory.size() - kHeadroom);
  b.packet.owner = &b;
  return &b.packet;
}

void Plane::give_back(Packet& packet) { spare_.push_back(static_cast<Buffer*>(packet.owner)); }

void Plane::submit(Packet* packet) { dispose(*packet); }

void Plane::log(const LogRecord& record) {
  if (observer_ != nullptr) observer_->logged(record);
}

void Plane::dispose(Packet& packet) {
  if (packet.fate == Fate::deferred) return;
  if (packet.fate == Fate::pending || packet.fate == Fate::handoff) return drop(packet, DropReason::not_local);
  if (packet.fate == Fate::forward && !links_[packet.out - 1u]) return drop(packet, DropReason::link_down);
  if (observer_ != nullptr) observer_->disposed(packet);
  if (packet.fate == Fate::punt) return punt(packet);
  if (packet.fate == Fate::forward) wire_.transmit(packet.out, Bytes(packet.frame, packet.length));
  give_back(packet);
}

void Plane::drop(Packet& packet, DropReason reason) {
  engine_->counters().drops[static_cast<size_t>(reason)].add();
  packet.fate = Fate::drop;
  packet.reason = reason;
  if (observer_ != nullptr) observer_->disposed(packet);
  give_back(packet);
}

void Plane::punt(Packet& packet) {
  const bool to_sync = packet.punt == Punt::pfsync;
  auto& queue = to_sync ? sync_frames_ : punts_;
  if (to_sync && !options_.dataplane.sync) return drop(packet, DropReason::not_local);
  if (queue.size() >= kPuntRing) return drop(packet, DropReason::punt_full);
  Held& h = queue.emplace_back();
  h.punt.kind = packet.punt;
  h.punt.in = packet.in;
  h.punt.out = packet.out;
  h.punt.next_hop = packet.next_hop;
  h.punt.l3 = packet.l3;
  h.bytes.assign(packet.frame, packet.frame + packet.length);
  give_back(packet);
}

bool Plane::reply(void* self, const Reply& r) {
  auto& plane = *static_cast<Plane*>(self);
  const bool to_sync = r.kind == Reply::Kind::unknown_state || (r.cookie & kSyncCookie) != 0;
  Reply& kept = (to_sync ? plane.sync_replies_ : plane.replies_).emplace_back(r);
  kept.cookie &= ~kSyncCookie;
  return true;
}

void Plane::work(Time now) {
  now_ = now;
  if (std::exchange(flush_, false)) engine_->flush_deltas();
  if (snapshot_ == nullptr) return;
  while (engine_->command_running() && engine_->continue_commands(view(), now, reply, this)) {}
  ticked_ = now;
  engine_->tick(view(), now);
  (void)engine_->drain_deltas(view(), now, [this](const Delta& d) {
    if (deltas_.size() >= kDeltaRing) return false;
    each_state(d, [this](const Delta& one) { deltas_.push_back(one); });
    return true;
  });
  (void)engine_->drain_inspections(view(), now, [this](const InspectionWord& w) {
    if (inspections_.size() >= kInspectionRing) return false;
    inspections_.push_back(w);
    return true;
  });
}

Time Plane::next_deadline(Time now) const {
  if (flush_ || engine_->command_running()) return now;
  if (snapshot_ == nullptr) return Time::max();
  const bool idle = table_->states() == 0 && table_->waiting(0) == 0 && !engine_->deltas_waiting();
  return idle ? ticked_ + kIdleTick : engine_->next_deadline(now);
}

bool Plane::waiting() const {
  return !punts_.empty() || !sync_frames_.empty() || !deltas_.empty() || !inspections_.empty() || !replies_.empty() ||
         !sync_replies_.empty() || !link_changes_.empty();
}

bool Plane::send(InterfaceId interface, Bytes frame) {
  if (interface == kNoInterface || interface > links_.size() || !links_[interface - 1u]) return false;
  if (observer_ != nullptr) observer_->sent(interface, frame);
  wire_.transmit(interface, frame);
  return true;
}

size_t Plane::take(std::deque<Held>& queue, size_t limit, const std::function<void(const PuntedFrame&)>& f) {
  size_t n = 0;
  for (; n < limit && !queue.empty(); ++n) {
    Held h = std::move(queue.front());
    queue.pop_front();
    h.punt.frame = h.bytes;
    f(h.punt);
  }
  return n;
}

template <class T>
size_t Plane::take(std::deque<T>& queue, size_t limit, const std::function<void(const T&)>& f) {
  size_t n = 0;
  for (; n < limit && !queue.empty(); ++n) {
    const T item = std::move(queue.front());
    queue.pop_front();
    f(item);
  }
  return n;
}

size_t Plane::take_punts(size_t limit, const std::function<void(const PuntedFrame&)>& f) {
  return take(punts_, limit, f);
}

void Plane::take_link_changes(const std::function<void(InterfaceId, bool)>& f) {
  for (const auto& [id, up] : std::exchange(link_changes_, {})) f(id, up);
}

bool Plane::command(unsigned, const Command& c) {
  if (snapshot_ == nullptr) return false;
  engine_->execute(c, view(), now_, reply, this);
  return true;
}

size_t Plane::take_replies(size_t limit, const std::function<void(const Reply&)>& f) {
  return take(replies_, limit, f);
}

size_t Plane::sync_take_deltas(size_t limit, const std::function<void(const Delta&)>& f) {
  return take(deltas_, limit, f);
}

size_t Plane::sync_take_frames(size_t limit, const std::function<void(const PuntedFrame&)>& f) {
  return take(sync_frames_, limit, f);
}

bool Plane::sync_command(unsigned, const Command& c) {
  if (snapshot_ == nullptr) return false;
  Command tagged = c;
  tagged.cookie |= kSyncCookie;
  if (observer_ != nullptr) observer_->before_sync(c);
  engine_->execute(tagged, view(), now_, reply, this);
  if (observer_ != nullptr) observer_->after_sync(c);
  return true;
}

size_t Plane::sync_take_inspections(size_t limit, const std::function<void(const InspectionWord&)>& f) {
  return take(inspections_, limit, f);
}

bool Plane::sync_inspection(unsigned, const InspectionWord& word) {
  engine_->take_inspection(word, view(), now_);
  return true;
}

size_t Plane::sync_take_replies(size_t limit, const std::function<void(const Reply&)>& f) {
  return take(sync_replies_, limit, f);
}

}  // namespace twinwall::simulation
