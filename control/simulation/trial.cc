#include "control/simulation/trial.h"

#include <fmt/format.h>

#include <vector>

#include "control/simulation/log_scope.h"
#include "control/simulation/trial_pair.h"
#include "lib/scenario/node.h"

namespace twinwall::simulation {

namespace {

constexpr Duration kAuditEvery = 7s;
constexpr Duration kUntilStopped = 5s;
constexpr unsigned kRestless = 20000;  // events at one point in time: somebody's deadline does not pass

class Trial {
 public:
  explicit Trial(const TrialOptions& options)
      : options_(options), random_(options.seed), setup_(draw_setup(random_)), world_(random_.next()) {}

  TrialResult run() {
    std::function<void(std::string)> lines;
    if (options_.story) lines = [this](const std::string& line) { tell(world_.acting() + ": " + line); };
    const LogScope log(std::move(lines));
    result_.setup = to_string(setup_);
    tell("the pair: " + result_.setup);
    build();
    Judge judge(world_, judge_options());
    judge_ = &judge;
    Traffic traffic(world_, traffic_plan(), random_.next(), judge);
    traffic_ = &traffic;
    world_.on_turn = [&judge](MachineId m) { judge.turned(m); };
    world_.on_host_frame = [&traffic](LinkId link, Bytes frame) { traffic.arrived(link, frame); };
    for (MachineId m = 0; m < 2 && result_.error.empty(); ++m) power_on(m);
    if (result_.error.empty()) go_on();
    result_.ran = world_.now() - World::kBeginning;
    result_.violation = judge.violation();
    if (result_.violation) tell(result_.violation->rule + ": " + result_.violation->text);
    result_.judged = judge.counters();
    result_.traffic = traffic.counters();
    world_.on_turn = {};
    world_.on_host_frame = {};
    return std::move(result_);
  }

 private:
  void tell(const std::string& what) {
    if (options_.story) options_.story(world_.now() - World::kBeginning, what);
  }

  void build() {
    for (unsigned m = 0; m < 2; ++m) {
      MachineOptions o;
      o.name = m == 0 ? "a" : "b";
      o.load = [this, m] { return load_setup(setup_, m); };
      o.clock_ahead = std::chrono::milliseconds(random_.below(1'000'000));
      world_.add_machine(std::move(o));
    }
    static constexpr const char* kNames[] = {"wan", "lan", "sync"};
    for (InterfaceId i = kOutsidePort; i <= kSyncPort; ++i) {
      const LinkId link = world_.network().add_link(kNames[i - 1], i != kSyncPort, random_.next());
      for (MachineId m = 0; m < 2; ++m) world_.plug(m, i, link);
      Quality q;
      q.delay = std::chrono::microseconds(20 + random_.below(random_.below(4) == 0 ? 20000 : 500));
      usual_.push_back(q);
      world_.network().set_quality(link, q);
      links_.push_back(link);
    }
    world_.network().set_direct(links_[2], random_.below(2) != 0);
  }

  [[nodiscard]] JudgeOptions judge_options() const {
    return {links_[1], links_[0], links_[2], kInsidePort, kOutsidePort, kSyncPort};
  }

  [[nodiscard]] TrafficPlan traffic_plan() {
    TrafficPlan p;
    p.inside = links_[1];
    p.outside = links_[0];
    p.inside_router = virtual_mac(kInsideVhid);
    p.outside_router = virtual_mac(kOutsideVhid);
    p.gateway = scenario::Node::neighbor_mac({Af::inet, Address::v4(0xc00002fe)});
    p.clients_v6.bytes = {0x20, 0x01, 0x0d, 0xb8, 0, 0x0a};
    p.between = std::chrono::seconds(5 + random_.below(60));
    p.bulk = random_.below(8) == 0 ? 50 : 16;  // within the window of 64 kB
    return p;
  }

  // --- what happens ---

  void go_on() {
    const Time end = World::kBeginning + options_.length;
    traffic_->start(end);
    Time next_event = world_.now() + pause();
    Time next_audit = world_.now() + kAuditEvery;
    while (world_.now() < end && !judge_->violation() && result_.error.empty()) {
      const Time next = std::min({next_event, next_audit, end});
      while (world_.now() < next && !judge_->violation() && result_.error.empty()) step(next);
      if (judge_->violation() || !result_.error.empty()) break;
      if (world_.now() >= next_audit) {
        judge_->audit();
        judge_->note(traffic_->connections());
        next_audit += kAuditEvery;
      }
      if (world_.now() >= next_event) {
        judge_->note(traffic_->connections());
        event();
        next_event = world_.now() + pause();
      }
    }
    judge_->finish();
  }

  void step(Time end) {
    const Time before = world_.now();
    (void)world_.step(end);
    steps_ = world_.now() == before ? steps_ + 1 : 0;
    if (steps_ > kRestless) result_.error = world_.acting() + " does not come to rest";
  }

  // Mostly long enough to settle, sometimes in the middle of it.
  Duration pause() {
    if (random_.below(4) == 0) return std::chrono::milliseconds(random_.below(6000));
    return std::chrono::milliseconds(5000 + random_.below(115'000));
  }
  Duration outage() {
    if (random_.below(3) == 0) return std::chrono::milliseconds(1 + random_.below(3000));
    return std::chrono::milliseconds(1 + random_.below(60'000));
  }

  // Something is done to the pair: told before, because some of it has its effects at once.
  template <class F>
  void happen(const std::string& what, F f) {
    ++result_.events;
    tell("-- " + what);
    judge_->disturbed();
    f();
    judge_->disturbed();
  }

  void later(Duration after, std::function<void()> f) {
    world_.at(world_.now() + after, [this, f = std::move(f)] {
      judge_->note(traffic_->connections());
      f();
    });
  }

  [[nodiscard]] const std::string& name(MachineId m) const { return world_.machine(m).name(); }

  void power_on(MachineId m) {
    if (world_.machine(m).power() != Power::off) return;
    happen(name(m) + " starts", [&] {
      std::string error;
      if (!world_.power_on(m, error)) result_.error = name(m) + " does not start: " + error;
    });
  }

  void event() {
    const MachineId m = random_.below(2);
    switch (random_.below(12)) {
      case 0:
      case 1: return crash(m);
      case 2: return freeze(m);
      case 3:
      case 4: return cut_cable(m);
      case 5: return cut_link();
      case 6: return deafen(1u << random_.below(3));
      case 7: return deafen(7);
      case 8: return spoil();
      case 9: return stop(m);
      case 10: return demote(m);
      default: return reload(m);
    }
  }

  void crash(MachineId m) {
    if (world_.machine(m).power() == Power::off) return;
    happen(name(m) + " loses power", [&] { world_.crash(m); });
    later(outage(), [this, m] { power_on(m); });
  }

  void freeze(MachineId m) {
    if (!world_.machine(m).running()) return;
    happen(name(m) + " stands still", [&] { world_.freeze(m); });
    const unsigned life = world_.machine(m).lives();
    later(outage(), [this, m, life] {
      if (world_.machine(m).power() != Power::frozen || world_.machine(m).lives() != life) return;
      const bool late = random_.below(2) != 0;
      happen(name(m) + (late ? " goes on, its timers first" : " goes on"), [&] { world_.thaw(m, late); });
    });
  }

  void stop(MachineId m) {
    if (!world_.machine(m).running() || world_.machine(m).node().leaving()) return;
    happen(name(m) + " is stopped", [&] { world_.shut_down(m); });
    later(kUntilStopped + outage(), [this, m] { power_on(m); });
  }

  void cut_cable(MachineId m) {
    const auto port = static_cast<InterfaceId>(1 + random_.below(kSyncPort));
    const std::string what = fmt::format("{}'s cable to {}", name(m), world_.network().name(links_[port - 1u]));
    happen(what + " is cut", [&] { world_.set_cable(m, port, false); });
    later(outage(), [this, m, port, what] { happen(what + " is whole", [&] { world_.set_cable(m, port, true); }); });
  }

  void cut_link() {
    const LinkId link = links_[random_.below(3)];
    const std::string& what = world_.network().name(link);
    happen(what + " is down", [&] { world_.set_link(link, false); });
    later(outage(),
          [this, link] { happen(world_.network().name(link) + " is up", [&] { world_.set_link(link, true); }); });
  }

  // Frames vanish and every port shows a carrier.
  void deafen(unsigned which) {
    std::string names;
    for (unsigned i = 0; i < 3; ++i)
      if ((which >> i & 1) != 0) names += " " + world_.network().name(links_[i]);
    happen("every frame is lost on" + names, [&] {
      for (unsigned i = 0; i < 3; ++i) {
        Quality q = usual_[i];
        q.drop = kCertain;
        if ((which >> i & 1) != 0) world_.network().set_quality(links_[i], q);
      }
    });
    restore_later(which, outage());
  }

  void spoil() {
    const unsigned i = random_.below(3);
    Quality q = usual_[i];
    q.drop = random_.below(300'000);
    q.duplicate = random_.below(100'000);
    q.reorder = random_.below(100'000);
    q.jitter = std::chrono::microseconds(random_.below(2000));
    happen(fmt::format("{} loses {:.1f}%, doubles {:.1f}%, reorders {:.1f}%", world_.network().name(links_[i]),
                       q.drop / 1e4, q.duplicate / 1e4, q.reorder / 1e4),
           [&] { world_.network().set_quality(links_[i], q); });
    restore_later(1u << i, outage());
  }

  void restore_later(unsigned which, Duration after) {
    later(after, [this, which] {
      happen("frames pass again", [&] {
        for (unsigned i = 0; i < 3; ++i)
          if ((which >> i & 1) != 0) world_.network().set_quality(links_[i], usual_[i]);
      });
    });
  }

  void demote(MachineId m) {
    if (!world_.machine(m).running()) return;
    set_demotion(m, static_cast<int>(1 + random_.below(200)));
    const unsigned life = world_.machine(m).lives();
    later(outage(), [this, m, life] {
      if (world_.machine(m).running() && world_.machine(m).lives() == life) set_demotion(m, 0);
    });
  }

  void set_demotion(MachineId m, int value) {
    happen(fmt::format("{} is demoted by {}", name(m), value), [&] {
      Machine& machine = world_.machine(m);
      machine.node().set_demotion(machine.local(world_.now()), value);
      machine.stir();
    });
  }

  // The same again, or other skews: both nodes learn of them one after the other.
  void reload(MachineId m) {
    if (!world_.machine(m).running() || world_.machine(m).node().leaving()) return;
    happen(name(m) + " is reloaded", [&] {
      if (!world_.machine(m).reload(world_.now()).ok) result_.error = name(m) + " refuses its own configuration";
    });
  }

  const TrialOptions& options_;
  Random random_;
  PairSetup setup_;
  World world_;
  std::vector<LinkId> links_;  // outside, inside, sync
  std::vector<Quality> usual_;
  Judge* judge_ = nullptr;
  Traffic* traffic_ = nullptr;
  TrialResult result_;
  unsigned steps_ = 0;
};

}  // namespace

TrialResult run_trial(const TrialOptions& options) { return Trial(options).run(); }

}  // namespace twinwall::simulation
