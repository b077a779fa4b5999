#include "control/simulation/pair_runner.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "control/simulation/log_scope.h"
#include "control/simulation/machine_subject.h"
#include "control/simulation/world.h"
#include "lib/config/load.h"
#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"
#include "lib/net/headers.h"
#include "lib/scenario/checks.h"
#include "lib/scenario/send_frame.h"
#include "lib/scenario/show.h"

namespace twinwall::simulation {

namespace {

using scenario::Expectation;
using scenario::Happening;
using scenario::Outcome;
using scenario::Step;
using Lines = std::vector<std::string>;

// What a packet brings about has come to rest after so long and a few ways over the slowest link.
constexpr Duration kRest = 10ms;
constexpr int kWays = 6;
// Expectations with `within` are looked at this often, and whenever something happened at all.
constexpr Duration kLookEvery = 1ms;
// Between two random happenings at most.
constexpr uint32_t kRandomPause = 5000;  // ms
// A planned end takes no longer.
constexpr Duration kPlannedEnd = 3s;

// What came of the last packet on one machine.
class Recorder final : public PlaneObserver {
 public:
  struct Output {
    size_t order = 0;  // among all machines'
    Outcome::Output output;
  };
  explicit Recorder(size_t& order) : order_(order) {}

  void disposed(const Packet& p) override {
    if (p.fate == Fate::forward) outputs.push_back({order_++, {p.out, {p.frame, p.frame + p.length}}});
    if (p.fate == Fate::punt && p.punt == Punt::unresolved)
      unresolved.push_back({p.frame + kEthernetHeader, p.frame + p.length});
    if (p.fate == Fate::punt && injecting && p.punt != Punt::unresolved) punts.push_back(p.punt);
  }
  void logged(const LogRecord& record) override { logs.push_back(record); }
  // What waited for its next hop is forwarded then.
  void sent(InterfaceId interface, Bytes frame) override {
    const Bytes packet = frame.subspan(kEthernetHeader);
    const auto waited = std::find_if(unresolved.begin(), unresolved.end(), [&](const auto& u) {
      return std::equal(u.begin(), u.end(), packet.begin(), packet.end());
    });
    if (waited == unresolved.end()) return;
    unresolved.erase(waited);
    outputs.push_back({order_++, {interface, {frame.begin(), frame.end()}}});
  }

  void clear() {
    outputs.clear();
    unresolved.clear();
    punts.clear();
    logs.clear();
  }

  std::vector<Output> outputs;
  std::vector<std::vector<uint8_t>> unresolved;  // without their link-layer headers
  std::vector<Punt> punts;
  std::vector<LogRecord> logs;
  std::array<uint64_t, kDropReasons> drops{};  // before the packet
  bool injecting = false;

 private:
  size_t& order_;
};

class PairRunner {
 public:
  explicit PairRunner(const scenario::Scenario& s) : scenario_(s), world_(1) {}

  scenario::RunResult run() {
    result_.name = scenario_.name;
    if (build() && start()) {
      for (const Step& step : scenario_.steps) run_step(step);
      note_rules();
    }
    result_.passed = result_.report.empty();
    return std::move(result_);
  }

 private:
  void fail(int line, const std::string& what, const Lines& details = {}) {
    result_.report += scenario_.file + ":" + std::to_string(line) + ": " + what + "\n";
    for (const std::string& d : details) result_.report += "    " + d + "\n";
  }

  // --- the pair ---

  config::LoadResult load(const scenario::ConfigSource& source) const {
    return source.path.empty() ? config::load_text(source.text, scenario_.file, scenario_.directory)
                               : config::load_file(source.path);
  }

  bool build() {
    for (const scenario::NodeSpec& node : scenario_.nodes) {
      sources_.push_back(node.config);
      const config::LoadResult loaded = load(node.config);
      if (!loaded.ok()) {
        result_.report += config::to_string(loaded.diagnostics);
        return false;
      }
      result_.shown += config::to_string(loaded.diagnostics);
      interfaces_.push_back(loaded.config.interfaces);
      const MachineId id = sources_.size() - 1;
      MachineOptions o;
      o.name = node.name;
      o.load = [this, id] { return load(sources_[id]); };
      // Clocks of real boxes differ, too.
      o.clock_ahead = std::chrono::seconds(777) * static_cast<int>(id);
      world_.add_machine(std::move(o));
      recorders_.push_back(std::make_unique<Recorder>(order_));
      subjects_.push_back(std::make_unique<MachineSubject>(world_.machine(id), world_));
      world_.machine(id).observe(recorders_[id].get());
    }
    return plug();
  }

  bool plug() {
    std::vector<scenario::LinkSpec> links = scenario_.links;
    if (links.empty()) links = links_by_name();
    for (const scenario::LinkSpec& spec : links) {
      const LinkId link = world_.network().add_link(spec.name, true, spec.seed.value_or(link_count() + 1));
      world_.network().set_direct(link, spec.cable);
      change_quality(link, spec.quality);
      for (const auto& [node, name] : spec.ports) {
        const auto m = machine_named(node);
        const auto i = m ? interface_named(*m, name) : std::nullopt;
        if (!i || world_.plug_of(*m, *i) != nullptr) {
          fail(spec.line, i ? node + "." + name + " is on two links"
                            : "there is no interface '" + name + "' of a node '" + node + "'");
          return false;
        }
        world_.plug(*m, *i, link);
      }
    }
    return true;
  }

  [[nodiscard]] size_t link_count() { return world_.network().links(); }

  std::vector<scenario::LinkSpec> links_by_name() const {
    std::vector<scenario::LinkSpec> out;
    for (size_t m = 0; m < interfaces_.size(); ++m)
      for (const auto& i : interfaces_[m]) {
        auto it = std::find_if(out.begin(), out.end(), [&](const auto& l) { return l.name == i.name; });
        if (it == out.end()) {
          it = out.insert(out.end(), scenario::LinkSpec{});
          it->name = i.name;
        }
        it->ports.emplace_back(scenario_.nodes[m].name, i.name);
      }
    return out;
  }

  bool start() {
    for (MachineId m = 0; m < world_.machines(); ++m)
      if (!power_on(m, scenario_.nodes[m].line)) return false;
    world_.run_until(world_.now() + 100ms);
    return true;
  }

  bool power_on(MachineId m, int line) {
    std::string error;
    if (world_.machine(m).power() != Power::off) return true;
    if (world_.power_on(m, error)) return true;
    fail(line, "node " + scenario_.nodes[m].name + " does not start: " + error);
    return false;
  }

  [[nodiscard]] std::optional<MachineId> machine_named(const std::string& name) const {
    for (MachineId m = 0; m < scenario_.nodes.size(); ++m)
      if (scenario_.nodes[m].name == name) return m;
    return std::nullopt;
  }

  [[nodiscard]] std::optional<InterfaceId> interface_named(MachineId m, const std::string& name) const {
    for (const auto& i : interfaces_[m])
      if (i.name == name) return i.id;
    return std::nullopt;
  }

  // The rules of every node's configuration as it is in force in the end.
  void note_rules() {
    for (MachineId m = 0; m < world_.machines(); ++m) {
      if (world_.machine(m).power() == Power::off) continue;
      const Ruleset& rules = subjects_[m]->snapshot().rules;
      const std::string file =
          sources_[m].path.empty() ? scenario_.file + ":" + std::to_string(scenario_.nodes[m].line) : sources_[m].path;
      const EngineCounters& counters = subjects_[m]->engine().counters();
      for (const Rule& rule : rules.rules) {
        const RuleCounters& c = counters.rules[rule.slot];
        if (!rule.repeated() && rule.action != Action::anchor)
          result_.rules.push_back({file, rule_place(rules, rule), print_rule(rule), rule.identity,
                                   c.packets[0].get() + c.packets[1].get() != 0});
      }
    }
  }

  // --- what happens ---

  void act(std::monostate, const Step&) {}
  void act(const Duration& by, const Step&) { world_.run_until(world_.now() + by); }
  void act(const scenario::Show& what, const Step&) {
    for (MachineId m = 0; m < world_.machines(); ++m) {
      result_.shown += scenario_.nodes[m].name + ":\n";
      if (world_.machine(m).power() != Power::off) result_.shown += scenario::shown(what, *subjects_[m]);
    }
  }
  // Of one node: refused when it was read.
  void act(const scenario::ConfigSource&, const Step&) {}
  void act(const scenario::Kill&, const Step&) {}
  void act(const scenario::TableStep&, const Step&) {}
  void act(const scenario::Roles&, const Step&) {}

  void act(const std::vector<Happening>& happenings, const Step& step) {
    for (const Happening& h : happenings) happen(h, step.line);
  }

  void happen(const Happening& h, int line) {
    using What = Happening::What;
    if (h.what == What::fail_link || h.what == What::heal_link) {
      const auto link = world_.network().find(h.name);
      if (!link) return fail(line, "there is no link '" + h.name + "'");
      return world_.set_link(*link, h.what == What::heal_link);
    }
    const MachineId m = *machine_named(h.name);
    Machine& machine = world_.machine(m);
    if (h.what == What::heal_node) return (void)power_on(m, line);
    if (h.what == What::fail_port || h.what == What::heal_port) {
      const auto i = interface_named(m, h.interface);
      if (!i) return fail(line, "node " + h.name + " has no interface '" + h.interface + "'");
      return world_.set_cable(m, *i, h.what == What::heal_port);
    }
    if (h.what == What::fail_node) return world_.crash(m);
    if (h.what == What::thaw) return world_.thaw(m, false);
    if (!machine.running()) return fail(line, "node " + h.name + " does not run");
    switch (h.what) {
      case What::stop: return world_.shut_down(m);
      case What::freeze: return world_.freeze(m);
      case What::demote:
        machine.node().set_demotion(machine.local(world_.now()), static_cast<int>(h.value));
        return machine.stir();
      case What::reload: return reload(m, h.config, line);
      default: return;
    }
  }

  void reload(MachineId m, const scenario::ConfigSource& source, int line) {
    const scenario::ConfigSource before = std::exchange(sources_[m], source);
    const ReloadResult r = world_.machine(m).reload(world_.now());
    if (r.ok) return;
    sources_[m] = before;
    fail(line, "the new configuration cannot be used", {config::to_string(r.diagnostics)});
  }

  void act(const std::vector<scenario::LinkChange>& changes, const Step& step) {
    for (const scenario::LinkChange& change : changes)
      if (const auto link = world_.network().find(change.link))
        change_quality(*link, change.quality);
      else
        fail(step.line, "there is no link '" + change.link + "'");
  }

  void change_quality(LinkId link, const scenario::LinkQuality& change) {
    Quality q = world_.network().quality(link);
    q.drop = change.drop.value_or(q.drop);
    q.duplicate = change.duplicate.value_or(q.duplicate);
    q.reorder = change.reorder.value_or(q.reorder);
    q.delay = change.delay.value_or(q.delay);
    q.jitter = change.jitter.value_or(q.jitter);
    world_.network().set_quality(link, q);
  }

  void act(const scenario::RandomSteps& random, const Step& step) {
    Random draw(random.seed);
    for (unsigned i = 0; i < random.steps; ++i) {
      happen_at_random(draw, step.line);
      world_.run_until(world_.now() + std::chrono::milliseconds(draw.below(kRandomPause)));
    }
    for (LinkId l = 0; l < link_count(); ++l) world_.set_link(l, true);
    for (MachineId m = 0; m < world_.machines(); ++m) {
      for (const auto& i : interfaces_[m]) world_.set_cable(m, i.id, true);
      world_.thaw(m, false);
    }
    world_.run_until(world_.now() + kPlannedEnd);  // of one that is leaving
    for (MachineId m = 0; m < world_.machines(); ++m) (void)power_on(m, step.line);
  }

  void happen_at_random(Random& draw, int line) {
    const MachineId m = draw.below(static_cast<uint32_t>(world_.machines()));
    const auto interface = static_cast<InterfaceId>(1 + draw.below(static_cast<uint32_t>(interfaces_[m].size())));
    const auto link = static_cast<LinkId>(draw.below(static_cast<uint32_t>(link_count())));
    switch (draw.below(8)) {
      case 0: return world_.crash(m);
      case 1:
      case 2: world_.thaw(m, draw.below(2) != 0); return (void)power_on(m, line);
      case 3: return world_.freeze(m);
      case 4: return world_.set_cable(m, interface, false);
      case 5: return world_.set_cable(m, interface, true);
      case 6: return world_.set_link(link, draw.below(3) != 0);
      default: return world_.shut_down(m);
    }
  }

  // --- packets ---

  void act(const std::vector<scenario::Send>& sends, const Step& step) {
    sent_.clear();
    for (MachineId m = 0; m < recorders_.size(); ++m) {
      recorders_[m]->clear();
      if (world_.machine(m).power() != Power::off) recorders_[m]->drops = drops_of(m);
    }
    for (const scenario::Send& send : sends)
      if (!this->send(send, step)) return;
    if (!step.expect || !step.expect->within) world_.run_until(world_.now() + rest());
  }

  [[nodiscard]] Duration rest() {
    Duration longest{};
    for (LinkId l = 0; l < link_count(); ++l) longest = std::max(longest, world_.network().quality(l).longest());
    return kRest + kWays * longest;
  }

  bool send(const scenario::Send& send, const Step& step) {
    const size_t dot = send.interface.find('.');
    std::optional<LinkId> link;
    MachineId m = 0;
    std::optional<InterfaceId> interface;
    if (dot == std::string::npos) {
      link = world_.network().find(send.interface);
    } else {
      m = *machine_named(send.interface.substr(0, dot));
      interface = interface_named(m, send.interface.substr(dot + 1));
    }
    if (!link && !interface) {
      fail(step.line, "there is no port or link '" + send.interface + "'");
      return false;
    }
    const auto frame = scenario::frame_of(send, bindings_, [&](const IpAddress& to) {
      return link ? target_on_link(*link, to) : target_mac(m, *interface, to);
    });
    if (const auto* problem = std::get_if<std::string>(&frame)) {
      fail(step.line, *problem, {describe(send)});
      return false;
    }
    sent_ += (sent_.empty() ? "" : "; ") + describe(send);
    const auto pieces = scenario::pieces_of(send, std::get<std::vector<uint8_t>>(frame));
    for (unsigned i = 0; i < send.times; ++i)
      for (const auto& piece : pieces) {
        if (link) {
          world_.send_from_host(*link, piece);
        } else {
          recorders_[m]->injecting = true;
          world_.inject(m, *interface, piece);
          recorders_[m]->injecting = false;
        }
      }
    return true;
  }

  // Where a frame is sent to that arrives at a port: the virtual MAC for a virtual address, else the port's.
  [[nodiscard]] Mac target_mac(MachineId m, InterfaceId interface, const IpAddress& to) const {
    for (const auto& g : world_.machine(m).config().carp.groups)
      for (const auto& a : g.addresses)
        if (g.interface == interface && a.address() == to) return virtual_mac(g.vhid);
    return world_.machine(m).mac(interface);
  }

  // A host of the link sends to a node's address there, and everything else to the router: the first virtual MAC.
  [[nodiscard]] Mac target_on_link(LinkId link, const IpAddress& to) const {
    std::optional<Mac> router;
    Mac first;
    for (MachineId m = 0; m < world_.machines(); ++m) {
      const config::Config& c = world_.machine(m).config();
      for (const auto& i : c.interfaces) {
        const Attachment* at = world_.plug_of(m, i.id);
        if (at == nullptr || at->link != link) continue;
        first = world_.machine(m).mac(i.id);
        for (const auto& a : i.addresses)
          if (a.address() == to) return first;
        for (const auto& g : c.carp.groups) {
          if (g.interface != i.id) continue;
          if (!router) router = virtual_mac(g.vhid);
          for (const auto& a : g.addresses)
            if (a.address() == to) return virtual_mac(g.vhid);
        }
      }
    }
    return router.value_or(first);
  }

  // --- what was expected ---

  void run_step(const Step& step) {
    const size_t before = result_.report.size();
    std::visit([&](const auto& action) { act(action, step); }, step.action);
    if (result_.report.size() != before) return;
    const bool sent = std::holds_alternative<std::vector<scenario::Send>>(step.action);
    Lines wrong;
    if (step.expect) wrong = check_within(*step.expect);
    if (sent)
      for (MachineId m = 0; m < recorders_.size(); ++m)
        if (world_.machine(m).power() != Power::off)
          for (std::string& line : scenario::check_frames(outcome(m), nullptr)) wrong.push_back(std::move(line));
    if (!wrong.empty()) report(step, wrong);
  }

  Lines check_within(const Expectation& e) {
    const Time end = world_.now() + e.within.value_or(Duration{});
    for (Time look = world_.now();;) {
      const scenario::Bindings before = bindings_;
      Lines wrong = check(e);
      if (wrong.empty() || world_.now() >= end) return wrong;
      bindings_ = before;
      look = std::min(end, world_.now() + kLookEvery);
      world_.run_until(look);
    }
  }

  Lines check(const Expectation& e) {
    Lines out;
    if (e.packets) check_packets(*e.packets, out);
    Expectation here = e;
    here.packets.reset();
    here.nodes.clear();
    if (!here.empty()) check_all(here, e.packets.has_value(), out);
    for (const scenario::NodeExpectation& n : e.nodes) check_node(n, out);
    return out;
  }

  // Of either node, whichever it was.
  void check_all(const Expectation& e, bool came_out, Lines& out) {
    Outcome sum;
    MachineId any = world_.machines();
    for (MachineId m = 0; m < world_.machines(); ++m) {
      if (world_.machine(m).power() == Power::off) continue;
      any = m;
      const Outcome one = outcome(m);
      if (!came_out) sum.outputs.insert(sum.outputs.end(), one.outputs.begin(), one.outputs.end());
      sum.drops.insert(sum.drops.end(), one.drops.begin(), one.drops.end());
      sum.logs.insert(sum.logs.end(), one.logs.begin(), one.logs.end());
      sum.punts.insert(sum.punts.end(), one.punts.begin(), one.punts.end());
    }
    if (e.state_count || !e.states.empty() || !e.counters.empty() || !e.tables.empty()) {
      out.emplace_back("states, counters and tables are of one node: write NODE.states and so on");
    } else if (any != world_.machines()) {
      for (std::string& line : check_expectation(e, sum, *subjects_[any], bindings_)) out.push_back(std::move(line));
    }
  }

  void check_node(const scenario::NodeExpectation& n, Lines& out) {
    const MachineId m = *machine_named(n.node);
    Machine& machine = world_.machine(m);
    const auto add = [&](const std::string& line) { out.push_back(n.node + ": " + line); };
    if (machine.power() == Power::off) return add("does not run");
    for (const auto& [vhid, role] : n.expected.roles) check_role(machine, vhid, role, add);
    Expectation rest = n.expected;
    rest.roles.clear();
    for (const std::string& line : check_expectation(rest, outcome(m), *subjects_[m], bindings_)) add(line);
  }

  template <class Add>
  void check_role(Machine& machine, uint8_t vhid, scenario::ExpectedRole role, Add add) {
    static constexpr carp::Role kRoles[] = {carp::Role::init, carp::Role::backup, carp::Role::master};
    const carp::Role want = kRoles[static_cast<size_t>(role)];
    bool known = false;
    for (const CarpStatus& s : machine.node().carp().status(machine.local(world_.now()))) {
      if (s.vhid != vhid) continue;
      known = true;
      if (s.role != want)
        add("vhid " + std::to_string(vhid) + " is " + std::string(role_name(s.role)) + ", expected " +
            std::string(role_name(want)));
    }
    if (!known) add("there is no vhid " + std::to_string(vhid));
  }

  void check_packets(const std::vector<scenario::ExpectedPacket>& want, Lines& out) {
    const auto got = all_outputs();
    if (want.size() != got.size()) {
      out.push_back(std::to_string(want.size()) + " packets expected, " + std::to_string(got.size()) + " came out");
      return;
    }
    for (size_t i = 0; i < want.size(); ++i) {
      const auto& [m, output] = got[i];
      const std::string which = want.size() == 1 ? "the packet" : "packet " + std::to_string(i + 1);
      const std::string port = port_name(m, output->interface);
      const Attachment* at = world_.plug_of(m, output->interface);
      if (port != want[i].interface && (at == nullptr || world_.network().name(at->link) != want[i].interface))
        out.push_back(which + " left on " + port + ", expected " + want[i].interface);
      for (const std::string& d :
           scenario::compare_packet(want[i].packet, scenario::read_frame(output->frame), bindings_))
        out.push_back(which + ": " + d);
    }
  }

  [[nodiscard]] std::vector<std::pair<MachineId, const Outcome::Output*>> all_outputs() const {
    std::map<size_t, std::pair<MachineId, const Outcome::Output*>> sorted;
    for (MachineId m = 0; m < recorders_.size(); ++m)
      for (const auto& o : recorders_[m]->outputs) sorted[o.order] = {m, &o.output};
    std::vector<std::pair<MachineId, const Outcome::Output*>> out;
    for (const auto& [order, o] : sorted) out.push_back(o);
    return out;
  }

  [[nodiscard]] std::string port_name(MachineId m, InterfaceId i) const {
    return scenario_.nodes[m].name + "." + interfaces_[m][i - 1u].name;
  }

  [[nodiscard]] std::array<uint64_t, kDropReasons> drops_of(MachineId m) {
    std::array<uint64_t, kDropReasons> out{};
    for (size_t i = 0; i < kDropReasons; ++i) out[i] = subjects_[m]->engine().counters().drops[i].get();
    return out;
  }

  [[nodiscard]] Outcome outcome(MachineId m) {
    Outcome out;
    for (const auto& o : recorders_[m]->outputs) out.outputs.push_back(o.output);
    out.punts = recorders_[m]->punts;
    out.logs = recorders_[m]->logs;
    const auto now = drops_of(m);
    for (size_t i = 0; i < kDropReasons; ++i)
      for (uint64_t n = recorders_[m]->drops[i]; n < now[i]; ++n) out.drops.push_back(static_cast<DropReason>(i));
    return out;
  }

  void report(const Step& step, const Lines& wrong) {
    Lines details;
    const auto add = [&](const char* title, const Lines& lines) {
      for (size_t i = 0; i < lines.size(); ++i) details.push_back((i == 0 ? title : "              ") + lines[i]);
    };
    if (!sent_.empty()) add("sent:         ", {sent_});
    if (step.expect) add("expected:     ", scenario::describe(*step.expect));
    Lines came;
    for (const auto& [m, o] : all_outputs())
      came.push_back(port_name(m, o->interface) + ": " + scenario::print_packet(scenario::read_frame(o->frame)));
    for (MachineId m = 0; m < world_.machines(); ++m) {
      if (world_.machine(m).power() == Power::off) {
        came.push_back(scenario_.nodes[m].name + " does not run");
        continue;
      }
      const Outcome o = outcome(m);
      for (const DropReason r : o.drops)
        came.push_back(scenario_.nodes[m].name + " dropped: " + std::string(reason_name(r)));
    }
    add("came out:     ", came);
    add("difference:   ", wrong);
    fail(step.expect ? step.expect->line : step.line, "not as expected", details);
  }

  const scenario::Scenario& scenario_;
  World world_;
  std::vector<scenario::ConfigSource> sources_;             // in force or wanted, [machine]
  std::vector<std::vector<config::Interface>> interfaces_;  // [machine]
  size_t order_ = 0;
  std::vector<std::unique_ptr<Recorder>> recorders_;
  std::vector<std::unique_ptr<MachineSubject>> subjects_;
  scenario::Bindings bindings_;
  std::string sent_;
  scenario::RunResult result_;
};

}  // namespace

scenario::RunResult run_pair(const scenario::Scenario& s) {
  const LogScope log({});  // what the nodes have to say is for their operators
  return PairRunner(s).run();
}

scenario::RunResult run_file(const std::string& path) {
  auto loaded = scenario::load_scenario(path);
  if (auto* unread = std::get_if<scenario::RunResult>(&loaded)) return std::move(*unread);
  const auto& s = std::get<scenario::Scenario>(loaded);
  return s.is_pair() ? run_pair(s) : scenario::run_scenario(s);
}

}  // namespace twinwall::simulation
