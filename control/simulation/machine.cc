#include "control/simulation/machine.h"

#include "lib/config/load.h"

namespace twinwall::simulation {

namespace {

constexpr size_t kPortRing = 512;     // frames that wait for a frozen node; what comes then is lost
constexpr unsigned kMaxTurns = 1000;  // at one point in time: more means that somebody does not come to rest

}  // namespace

Machine::Machine(MachineOptions options, Transmit transmit)
    : options_(std::move(options)), transmit_(std::move(transmit)), random_(options_.seed) {}

Machine::~Machine() { power_off(); }

Mac Machine::mac(InterfaceId interface) const {
  return Mac{{0x02, 0, 0, 0, static_cast<uint8_t>(options_.number), static_cast<uint8_t>(interface)}};
}

// The simulation has one thread for everything.
config::LoadResult Machine::load() const {
  config::LoadResult r = options_.load();
  r.config.system.sync_core = r.config.system.control_core;
  r.config.system.worker_cores.resize(1);
  return r;
}

bool Machine::power_on(Time now, const std::function<bool(InterfaceId)>& link_up, std::string& error) {
  now_ = local(now);
  config::LoadResult loaded = load();
  if (!loaded.ok()) {
    error = config::to_string(loaded.diagnostics);
    return false;
  }
  config_ = loaded.config;
  const config::Config& c = config_;
  ++lives_;
  PlaneOptions p;
  p.dataplane.hostid = c.options.hostid.value_or(0);
  while (p.dataplane.hostid == 0) p.dataplane.hostid = random_.next32();
  p.dataplane.sync = c.pfsync.has_value();
  p.dataplane.sync_inspection = c.pfsync && !c.pfsync->key.empty() && !c.pfsync->multicast();
  if (c.pfsync) {
    p.dataplane.max_updates = c.pfsync->max_updates;
    p.dataplane.defer = c.pfsync->defer;
    p.dataplane.sync_interface = c.pfsync->interface;
  }
  p.dataplane.state_limit = c.options.limit_states;
  p.dataplane.source_node_limit = c.options.limit_source_nodes;
  p.dataplane.fragment_limit = c.options.limit_fragments;
  for (const auto& i : c.interfaces) {
    p.macs.push_back(mac(i.id));
    p.mtus.push_back(i.mtu);
  }
  p.seed = random_.next();
  p.id_base = uint64_t{to_seconds(now)} << 24;  // no id comes again after a restart
  NodeOptions o;
  o.config_path = options_.name;
  o.load = [this](const std::string&, const config::LoadOptions&) { return load(); };
  o.random = [this] { return random_.next(); };
  o.hostid = p.dataplane.hostid;
  o.clock = [this] { return now_; };
  plane_ = std::make_unique<Plane>(std::move(p), static_cast<Wire&>(*this));
  plane_->observe(observer_);
  loop_ = std::make_unique<VirtualLoop>();
  for (const auto& i : c.interfaces) plane_->set_link(i.id, link_up(i.id));
  plane_->take_link_changes([](InterfaceId, bool) {});  // it finds its links as they are
  node_ = std::make_unique<Node>(*loop_, *plane_, std::move(loaded.config), std::move(o));
  power_ = Power::running;
  done_ = false;
  if (!node_->start(error)) {
    power_off();
    return false;
  }
  stirred_ = true;
  return true;
}

void Machine::power_off() {
  power_ = Power::off;
  waiting_.clear();
  node_.reset();
  loop_.reset();
  plane_.reset();
}

void Machine::freeze() {
  if (power_ == Power::running) power_ = Power::frozen;
}

void Machine::hear_waiting(Time now) {
  for (const Waiting& w : std::exchange(waiting_, {})) plane_->receive(local(now), w.interface, w.frame);
}

void Machine::thaw(Time now, bool late) {
  if (power_ != Power::frozen) return;
  power_ = Power::running;
  now_ = local(now);
  if (!late) hear_waiting(now);
  turn(now);
  if (late && power_ == Power::running) {
    hear_waiting(now);
    turn(now);
  }
}

void Machine::shut_down(Time now) {
  now_ = local(now);
  node_->shut_down(now_, [this] { done_ = true; });
  stirred_ = true;
}

ReloadResult Machine::reload(Time now) {
  now_ = local(now);
  ReloadResult r = node_->reload(now_);
  if (r.ok) config_ = node_->config();
  stirred_ = true;
  return r;
}

void Machine::observe(PlaneObserver* observer) {
  observer_ = observer;
  if (plane_ != nullptr) plane_->observe(observer);
}

void Machine::receive(Time now, InterfaceId interface, Bytes frame) {
  if (power_ == Power::frozen && waiting_.size() < kPortRing)
    waiting_.push_back({interface, {frame.begin(), frame.end()}});
  if (power_ != Power::running) return;
  plane_->receive(local(now), interface, frame);
  stirred_ = true;
}

void Machine::set_link(InterfaceId interface, bool up) {
  if (power_ == Power::off) return;
  plane_->set_link(interface, up);
  stirred_ = true;
}

void Machine::turn(Time now) {
  stirred_ = false;
  if (power_ != Power::running) return;
  now_ = local(now);
  for (unsigned i = 0; i < kMaxTurns; ++i) {
    plane_->work(now_);
    if (!plane_->waiting() && !loop_->waiting() && loop_->next_deadline() > now_) break;
    loop_->turn(now_);
    if (done_) return power_off();
  }
}

Time Machine::next_deadline(Time now) const {
  if (power_ != Power::running) return Time::max();
  if (stirred_) return now;
  const Time due = std::min(loop_->next_deadline(), plane_->next_deadline(local(now)));
  return due == Time::max() ? due : due - options_.clock_ahead;
}

}  // namespace twinwall::simulation
