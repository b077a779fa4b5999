#include "dataplane/worker.h"

#include <rte_mempool.h>
#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <cstring>

namespace twinwall {
namespace {

constexpr unsigned kSpins = 256;     // turns without work before a nap
constexpr unsigned kTickTurns = 16;  // turns between two ticks of a busy engine
constexpr Duration kTickInterval = 1ms;
constexpr Duration kLongestNap = 100ms;
constexpr Duration kShortestNap = 50us;
constexpr Duration kFirstPollNap = 50us;   // where a port has to be polled naps grow from this …
constexpr Duration kLastPollNap = 500us;   // … to this
constexpr Duration kServeInterval = 10ms;  // 100 ms are allowed
constexpr unsigned kCommandsPerTurn = 32;
constexpr unsigned kMaxWalks = 2;  // of each side; the engine has room for both sides'
constexpr unsigned kInspectionsPerTurn = 8;
constexpr uint8_t kMaxHandoffs = 2;

bool is_walk(const Command& c) {
  return c.kind == Command::Kind::export_states || c.kind == Command::Kind::kill_states ||
         c.kind == Command::Kind::tell_inspections || c.kind == Command::Kind::clear;
}

bool watch(int epoll, int fd, uint64_t data) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = data;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

constexpr uint64_t kWakerEvent = UINT64_MAX;

}  // namespace

Time monotonic_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Time(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

Shared::Shared(unsigned worker_count) : quiescent(worker_count) {
  for (Waker* const w : {&punts, &replies, &logs, &deltas, &sync_replies, &sync_frames}) w->prepare();
}
Shared::~Shared() = default;

Worker::Worker(Options options, Shared& shared, StateTable& table)
    : options_(std::move(options)),
      shared_(shared),
      engine_(options_.engine, table, *this),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      poll_nap_(kFirstPollNap),
      tx_(kMaxInterfaces + 1),
      woken_(options_.engine.workers, false) {
  dirty_.reserve(kMaxInterfaces + 1);
  control_commands_.ring = &commands;
  sync_command_source_.ring = &sync_commands;
  for (unsigned w = 0; w < options_.engine.workers; ++w)
    inbox.push_back(w == options_.index ? nullptr : std::make_unique<MbufRing>(kHandoffRing));
  (void)watch(epoll_.get(), waker_.fd(), kWakerEvent);
  for (size_t i = 0; i < options_.sources.size(); ++i) {
    const Source& s = options_.sources[i];
    const int fd = s.port->fd(s.queue);
    if (fd < 0 || !watch(epoll_.get(), fd, i)) must_poll_ = true;
    if (s.queue == 0 && s.port->needs_serving()) served_.push_back(s.port);
  }
}

Worker::~Worker() {
  rte_mbuf* m = nullptr;
  const auto empty = [&m](MbufRing& ring) {
    while (ring.ok() && ring.pop(m)) rte_pktmbuf_free(m);
  };
  empty(punts);
  empty(sync_punts);
  for (const auto& ring : inbox)
    if (ring) empty(*ring);
  for (auto& buffer : tx_) rte_pktmbuf_free_bulk(buffer.mbufs.data(), buffer.count);
}

bool Worker::ok() const {
  const bool rings = punts.ok() && commands.ok() && replies.ok() && logs.ok() && sync_punts.ok() &&
                     sync_commands.ok() && sync_replies.ok() && deltas.ok() && inspections.ok() &&
                     sync_inspections.ok();
  return rings && waker_.ok() && epoll_ &&
         std::all_of(inbox.begin(), inbox.end(), [](const auto& ring) { return ring == nullptr || ring->ok(); });
}

uint64_t Worker::memory(unsigned workers) {
  return 2 * MbufRing::memory(kPuntRing) + 2 * SpscRing<Command>::memory(kCommandRing) +
         2 * SpscRing<Reply>::memory(kReplyRing) + SpscRing<LogRecord>::memory(kLogRing) +
         SpscRing<Delta>::memory(kDeltaRing) + 2 * SpscRing<InspectionWord>::memory(kInspectionRing) +
         workers * MbufRing::memory(kHandoffRing);
}

WorkerStatus Worker::status() const {
  WorkerStatus s;
  s.cpu = options_.cpu;
  s.loops = loops_.get();
  s.busy_loops = busy_loops_.get();
  s.naps = naps_.get();
  s.rx_packets = rx_packets_.get();
  s.handed_off = handed_off_.get();
  s.taken_over = taken_over_.get();
  s.away_own = away_.own().view();
  s.away_taken = away_.taken().view();
  return s;
}

void Worker::run() {
  shared_.quiescent.online(options_.index);
  away_.begin();
  Time before = monotonic_now();
  while (!shared_.stop.load(std::memory_order_relaxed)) {
    const Time now = monotonic_now();
    (void)away_.note(now - before, now);
    before = now;
    const bool busy = turn(now);
    loops_.add();
    if (busy) {
      busy_loops_.add();
      idle_turns_ = 0;
      poll_nap_ = kFirstPollNap;
    } else if (options_.adaptive && ++idle_turns_ > kSpins && nap(now)) {
      away_.begin();
      before = monotonic_now();
    }
  }
  captures_ = nullptr;  // the last turn's may be gone
  engine_.release_deferred();
  flush_all();
  shared_.quiescent.offline(options_.index);
}

bool Worker::turn(Time now) {
  view_ = {shared_.snapshot.get(), shared_.neighbors.get(), shared_.roles.get()};
  captures_ = shared_.captures.get();
  if (!served_.empty()) serve_ports(now);
  bool busy = take_handoffs(now);
  received_ = receive(now);
  busy |= received_;
  busy |= take_commands(now);
  busy |= take_inspections(now);
  busy |= upkeep(now);
  flush_all();
  wake_others();
  shared_.quiescent.quiescent(options_.index);
  return busy;
}

void Worker::serve_ports(Time now) {
  if (now - last_served_ < kServeInterval) return;
  last_served_ = now;
  for (Port* const p : served_) p->serve(options_.index);
}

bool Worker::receive(Time now) {
  bool any = false;
  for (const Source& s : options_.sources) {
    std::array<rte_mbuf*, kBurst> mbufs;
    const uint16_t n = s.port->receive(s.queue, mbufs.data(), kBurst);
    if (n == 0) continue;
    any = true;
    rx_packets_.add(n);
    if (captures_ != nullptr) [[unlikely]]
      show_captures(s.port->id(), Direction::in, {mbufs.data(), n});
    std::array<Packet*, kBurst> packets;
    for (uint16_t i = 0; i < n; ++i) packets[i] = &packet_of(mbufs[i], s.port->id());
    process({packets.data(), n}, now);
  }
  return any;
}

bool Worker::take_handoffs(Time now) {
  bool any = false;
  for (const auto& ring : inbox) {
    if (!ring) continue;
    std::array<rte_mbuf*, kBurst> mbufs;
    const unsigned n = ring->pop_burst(mbufs);
    if (n == 0) continue;
    any = true;
    taken_over_.add(n);
    std::array<Packet*, kBurst> packets;
    for (unsigned i = 0; i < n; ++i) {
      const MbufPrivate& before = mbuf_private(mbufs[i]);
      packets[i] = &packet_of(mbufs[i], before.packet.in, before.handoffs);
    }
    process({packets.data(), n}, now);
  }
  return any;
}

void Worker::process(std::span<Packet*> packets, Time now) {
  if (view_.snapshot == nullptr) {  // nothing is known yet, so nothing can be forwarded
    for (Packet* const p : packets) drop(*p, DropReason::not_local);
    return;
  }
  engine_.process(packets, view_, now);
  for (Packet* const p : packets) dispose(*p);
}

void Worker::dispose(Packet& packet) {
  switch (packet.fate) {
    case Fate::forward: return transmit(packet);
    case Fate::punt: return punt(packet);
    case Fate::handoff: return hand_off(packet);
    case Fate::deferred: return;  // the engine has it
    case Fate::drop:
    case Fate::held: return rte_pktmbuf_free(mbuf_of(packet));
    case Fate::pending: break;
  }
  drop(packet, DropReason::not_local);
}

void Worker::drop(Packet& packet, DropReason reason) {
  engine_.counters().drops[static_cast<size_t>(reason)].add();
  rte_pktmbuf_free(mbuf_of(packet));
}

void Worker::transmit(Packet& packet) {
  if (packet.out == kNoInterface || packet.out > kMaxInterfaces || shared_.ports[packet.out] == nullptr)
    return drop(packet, DropReason::no_route);
  rte_mbuf* const m = mbuf_of(packet);
  set_mbuf_bounds(m, packet);
  TxBuffer& buffer = tx_[packet.out];
  if (buffer.count == 0) dirty_.push_back(packet.out);
  buffer.mbufs[buffer.count++] = m;
  if (buffer.count == kTxBuffer) flush(packet.out);
}

void Worker::flush(InterfaceId interface) {
  TxBuffer& buffer = tx_[interface];
  if (buffer.count == 0) return;
  if (captures_ != nullptr) [[unlikely]]
    show_captures(shared_.ports[interface]->id(), Direction::out, {buffer.mbufs.data(), buffer.count});
  const TxResult r = shared_.ports[interface]->send(options_.index, buffer.mbufs.data(), buffer.count);
  buffer.count = 0;
  auto& drops = engine_.counters().drops;
  if (r.link_down != 0) drops[static_cast<size_t>(DropReason::link_down)].add(r.link_down);
  if (r.dropped + r.errors != 0)
    drops[static_cast<size_t>(DropReason::tx_full)].add(static_cast<uint64_t>(r.dropped) + r.errors);
}

void Worker::flush_all() {
  for (const InterfaceId interface : dirty_) flush(interface);
  dirty_.clear();
}

[[gnu::noinline]] void Worker::show_captures(InterfaceId port, Direction direction, std::span<rte_mbuf* const> mbufs) {
  const Time now = monotonic_now();  // more exact than the turn's, which a sent frame shares with the one received
  for (const auto& c : *captures_) {
    if (!c->wants(port, direction)) continue;
    for (rte_mbuf* const m : mbufs)
      c->see(options_.index, direction, {rte_pktmbuf_mtod(m, const uint8_t*), rte_pktmbuf_data_len(m)}, now);
  }
}

void Worker::punt(Packet& packet) {
  const bool to_sync = packet.punt == Punt::pfsync;
  if (to_sync && !options_.sync) return drop(packet, DropReason::not_local);
  rte_mbuf* const m = mbuf_of(packet);
  set_mbuf_bounds(m, packet);
  if (!(to_sync ? sync_punts : punts).push(m)) return drop(packet, DropReason::punt_full);
  (to_sync ? wake_sync_frames_ : wake_punts_) = true;
}

void Worker::hand_off(Packet& packet) {
  rte_mbuf* const m = mbuf_of(packet);
  const unsigned to = packet.handoff_to;
  // Owners that send a frame round and round cannot agree on it; a third one would not either.
  uint8_t& handoffs = mbuf_private(m).handoffs;
  if (to >= shared_.workers.size() || to == options_.index || ++handoffs > kMaxHandoffs)
    return drop(packet, DropReason::owner);
  set_mbuf_bounds(m, packet);
  if (!shared_.workers[to]->inbox[options_.index]->push(m)) return drop(packet, DropReason::congestion);
  handed_off_.add();
  woken_[to] = true;
  wake_workers_ = true;
}

Packet* Worker::allocate(uint32_t capacity) {
  rte_mbuf* const m = rte_pktmbuf_alloc(shared_.pool);
  if (m == nullptr) return nullptr;
  if (capacity > rte_pktmbuf_tailroom(m)) {
    rte_pktmbuf_free(m);
    return nullptr;
  }
  return &packet_of(m, kNoInterface);
}

void Worker::submit(Packet* packet) { dispose(*packet); }

void Worker::log(const LogRecord& record) {
  if (logs.push(record))
    wake_logs_ = true;
  else
    logs_lost_.add();
}

// What the engine answers goes back to the side that asked; only the sync engine asks about single states.
bool Worker::reply(const Reply& r) {
  const bool single = r.kind == Reply::Kind::unknown_state || r.kind == Reply::Kind::gone_state;
  const bool to_sync = single || (r.cookie & kSyncCookie) != 0;
  Reply out = r;
  out.cookie &= ~kSyncCookie;
  if (!(to_sync ? sync_replies : replies).push(out)) {
    reply_full_ = true;
    return false;
  }
  (to_sync ? wake_sync_replies_ : wake_replies_) = true;
  if (r.kind == Reply::Kind::done) {
    unsigned& walks = (to_sync ? sync_command_source_ : control_commands_).walks;
    if (walks != 0) --walks;
  }
  return true;
}

bool Worker::take_commands(Time now) {
  if (view_.snapshot == nullptr) return false;  // they wait in their rings
  constexpr Engine::ReplyFn kReply = [](void* self, const Reply& r) { return static_cast<Worker*>(self)->reply(r); };
  reply_full_ = false;
  bool busy = false;
  // A walk that waits for room in a ring of replies does not keep the worker awake.
  if (engine_.command_running()) busy = engine_.continue_commands(view_, now, kReply, this) && !reply_full_;
  for (CommandSource* const source : {&sync_command_source_, &control_commands_})
    for (unsigned i = 0; i < kCommandsPerTurn && take_command(*source, now); ++i) busy = true;
  return busy;
}

bool Worker::take_command(CommandSource& source, Time now) {
  constexpr Engine::ReplyFn kReply = [](void* self, const Reply& r) { return static_cast<Worker*>(self)->reply(r); };
  if (!source.waiting && !source.ring->pop(source.command)) return false;
  source.waiting = is_walk(source.command) && source.walks >= kMaxWalks;
  if (source.waiting) return false;
  if (is_walk(source.command)) ++source.walks;
  engine_.execute(source.command, view_, now, kReply, this);
  return true;
}

// Behind the commands: the state that a word is about may be among them.
bool Worker::take_inspections(Time now) {
  if (sync_inspections.empty() || view_.snapshot == nullptr) return false;
  if (sync_command_source_.waiting || !sync_commands.empty()) return true;
  InspectionWord word;
  for (unsigned i = 0; i < kInspectionsPerTurn && sync_inspections.pop(word); ++i)
    engine_.take_inspection(word, view_, now);
  return true;
}

bool Worker::upkeep(Time now) {
  if (flush_requested_.load(std::memory_order_relaxed) && flush_requested_.exchange(false, std::memory_order_acquire))
    engine_.flush_deltas();
  if (view_.snapshot == nullptr) return false;
  bool busy = false;
  if (++since_tick_ >= kTickTurns || now - last_tick_ >= kTickInterval) {
    since_tick_ = 0;
    last_tick_ = now;
    const uint64_t expired = engine_.counters().expired.get();
    engine_.tick(view_, now);
    busy = engine_.counters().expired.get() != expired;  // there may be more to expire
  } else {
    busy = engine_.catch_up(view_, now);
  }
  const auto push = [this](const Delta& d) { return deltas.push(d, d.bytes()); };
  const size_t while_busy = ++lazy_turn_ % Engine::kLazyTurns == 0 ? Engine::kLazyAtOnce : 0;
  const size_t lazy = received_ ? while_busy : Engine::kDeltasAtOnce;
  if (engine_.drain_deltas(view_, now, push, Engine::kDeltasAtOnce, lazy) != 0) {
    wake_deltas_ = true;
    busy = true;
  }
  if (engine_.drain_inspections(view_, now, [this](const InspectionWord& w) { return inspections.push(w); }) != 0) {
    wake_deltas_ = true;
    busy = true;
  }
  return busy;
}

void Worker::wake_others() {
  const auto wake_if = [](bool& wanted, Waker& waker) {
    if (!wanted) return;
    wanted = false;
    waker.wake();
  };
  wake_if(wake_punts_, shared_.punts);
  wake_if(wake_replies_, shared_.replies);
  wake_if(wake_logs_, shared_.logs);
  wake_if(wake_deltas_, shared_.deltas);
  wake_if(wake_sync_replies_, shared_.sync_replies);
  wake_if(wake_sync_frames_, shared_.sync_frames);
  if (!wake_workers_) return;
  wake_workers_ = false;
  for (size_t w = 0; w < woken_.size(); ++w) {
    if (!woken_[w]) continue;
    woken_[w] = false;
    shared_.workers[w]->wake();
  }
}

bool Worker::work_waiting() const {
  if (shared_.stop.load(std::memory_order_relaxed) || flush_requested_.load(std::memory_order_relaxed)) return true;
  if (view_.snapshot != nullptr) {
    if (!control_commands_.waiting && !commands.empty()) return true;
    if (!sync_command_source_.waiting && (!sync_commands.empty() || !sync_inspections.empty())) return true;
  }
  for (const auto& ring : inbox)
    if (ring && !ring->empty()) return true;
  return std::any_of(options_.sources.begin(), options_.sources.end(),
                     [](const Source& s) { return s.port->waiting(s.queue); });
}

Duration Worker::nap_limit(Time now) const {
  Duration limit = kLongestNap;
  if (view_.snapshot != nullptr) limit = std::clamp<Duration>(engine_.next_deadline(now) - now, kShortestNap, limit);
  // A full ring has no way to say that it has room again.
  if (reply_full_ || (engine_.deltas_waiting() && limit == kShortestNap)) limit = kTickInterval;
  return must_poll_ ? std::min(limit, poll_nap_) : limit;
}

bool Worker::nap(Time now) {
  waker_.prepare();
  if (work_waiting()) {
    waker_.cancel();
    return false;
  }
  const Duration limit = nap_limit(now);
  if (must_poll_) poll_nap_ = std::min(2 * poll_nap_, kLastPollNap);
  naps_.add();
  shared_.quiescent.offline(options_.index);
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(limit / 1s);
  timeout.tv_nsec = static_cast<long>((limit % 1s).count());
  std::array<epoll_event, 16> events;
  const int n = epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()), &timeout, nullptr);
  shared_.quiescent.online(options_.index);
  waker_.cancel();
  for (int i = 0; i < n; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    if (event.data.u64 == kWakerEvent) {
      waker_.acknowledge();
    } else if ((event.events & EPOLLERR) != 0) {
      const Source& s = options_.sources[event.data.u64];
      s.port->clear_error(s.queue);
    }
  }
  // After a mere time-out the next turn does what is due, and the one after sleeps again.
  idle_turns_ = n > 0 ? 0 : kSpins - 1;
  return true;
}

}  // namespace twinwall
