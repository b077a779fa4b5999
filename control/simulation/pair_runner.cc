#include "control/simulation/pair_runner.h"

#include <algorithm>

#include "control/simulation/log_scope.h"
#include "control/simulation/pair_scene.h"
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

// Expectations with `within` are looked at this often, and whenever something happened at all.
constexpr Duration kLookEvery = 1ms;
// Between two random happenings at most.
constexpr uint32_t kRandomPause = 5000;  // ms
// A planned end takes no longer.
constexpr Duration kPlannedEnd = 3s;

class PairRunner {
 public:
  explicit PairRunner(const scenario::Scenario& s) : scene_(s), world_(scene_.world) {}

  scenario::RunResult run() {
    scene_.result.name = scene_.scenario.name;
    if (scene_.build() && scene_.start()) {
      for (const Step& step : scene_.scenario.steps) run_step(step);
      scene_.note_rules();
    }
    scene_.result.passed = scene_.result.report.empty();
    return std::move(scene_.result);
  }

 private:
  // --- what happens ---

  void act(std::monostate, const Step&) {}
  void act(const Duration& by, const Step&) { world_.run_until(world_.now() + by); }
  void act(const scenario::Show& what, const Step&) {
    for (MachineId m = 0; m < world_.machines(); ++m) {
      scene_.result.shown += scene_.scenario.nodes[m].name + ":\n";
      if (scene_.on(m)) scene_.result.shown += scenario::shown(what, *scene_.subjects[m]);
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
      if (!link) return scene_.fail(line, "there is no link '" + h.name + "'");
      return world_.set_link(*link, h.what == What::heal_link);
    }
    const MachineId m = *scene_.machine_named(h.name);
    Machine& machine = world_.machine(m);
    if (h.what == What::heal_node) return (void)scene_.power_on(m, line);
    if (h.what == What::fail_port || h.what == What::heal_port) {
      const auto i = scene_.interface_named(m, h.interface);
      if (!i) return scene_.fail(line, "node " + h.name + " has no interface '" + h.interface + "'");
      return world_.set_cable(m, *i, h.what == What::heal_port);
    }
    if (h.what == What::fail_node) return world_.crash(m);
    if (h.what == What::thaw) return world_.thaw(m, false);
    if (!machine.running()) return scene_.fail(line, "node " + h.name + " does not run");
    switch (h.what) {
      case What::stop: return world_.shut_down(m);
      case What::freeze: return world_.freeze(m);
      case What::demote:
        machine.node().set_demotion(machine.local(world_.now()), static_cast<int>(h.value));
        return machine.stir();
      case What::reload: return scene_.reload(m, h.config, line);
      default: return;
    }
  }

  void act(const std::vector<scenario::LinkChange>& changes, const Step& step) {
    for (const scenario::LinkChange& change : changes)
      if (const auto link = world_.network().find(change.link))
        scene_.change_quality(*link, change.quality);
      else
        scene_.fail(step.line, "there is no link '" + change.link + "'");
  }

  void act(const scenario::RandomSteps& random, const Step& step) {
    Random draw(random.seed);
    for (unsigned i = 0; i < random.steps; ++i) {
      happen_at_random(draw, step.line);
      world_.run_until(world_.now() + std::chrono::milliseconds(draw.below(kRandomPause)));
    }
    for (LinkId l = 0; l < scene_.links(); ++l) world_.set_link(l, true);
    for (MachineId m = 0; m < world_.machines(); ++m) {
      for (const auto& i : scene_.interfaces[m]) world_.set_cable(m, i.id, true);
      world_.thaw(m, false);
    }
    world_.run_until(world_.now() + kPlannedEnd);  // of one that is leaving
    for (MachineId m = 0; m < world_.machines(); ++m) (void)scene_.power_on(m, step.line);
  }

  void happen_at_random(Random& draw, int line) {
    const MachineId m = draw.below(static_cast<uint32_t>(world_.machines()));
    const auto interface = static_cast<InterfaceId>(1 + draw.below(static_cast<uint32_t>(scene_.interfaces[m].size())));
    const auto link = static_cast<LinkId>(draw.below(static_cast<uint32_t>(scene_.links())));
    switch (draw.below(8)) {
      case 0: return world_.crash(m);
      case 1:
      case 2: world_.thaw(m, draw.below(2) != 0); return (void)scene_.power_on(m, line);
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
    scene_.begin_packets();
    for (const scenario::Send& send : sends)
      if (!this->send(send, step)) return;
    if (!step.expect || !step.expect->within) world_.run_until(world_.now() + scene_.rest());
  }

  bool send(const scenario::Send& send, const Step& step) {
    const size_t dot = send.interface.find('.');
    std::optional<LinkId> link;
    MachineId m = 0;
    std::optional<InterfaceId> interface;
    if (dot == std::string::npos) {
      link = world_.network().find(send.interface);
    } else {
      m = *scene_.machine_named(send.interface.substr(0, dot));
      interface = scene_.interface_named(m, send.interface.substr(dot + 1));
    }
    if (!link && !interface) {
      scene_.fail(step.line, "there is no port or link '" + send.interface + "'");
      return false;
    }
    const auto frame = scenario::frame_of(send, bindings_, [&](const IpAddress& to) {
      return link ? scene_.target_on_link(*link, to) : scene_.target_mac(m, *interface, to);
    });
    if (const auto* problem = std::get_if<std::string>(&frame)) {
      scene_.fail(step.line, *problem, {describe(send)});
      return false;
    }
    sent_ += (sent_.empty() ? "" : "; ") + describe(send);
    const auto pieces = scenario::pieces_of(send, std::get<std::vector<uint8_t>>(frame));
    for (unsigned i = 0; i < send.times; ++i)
      for (const auto& piece : pieces) {
        if (link) {
          world_.send_from_host(*link, piece);
        } else {
          scene_.recorders[m]->injecting = true;
          world_.inject(m, *interface, piece);
          scene_.recorders[m]->injecting = false;
        }
      }
    return true;
  }

  // --- what was expected ---

  void run_step(const Step& step) {
    const size_t before = scene_.result.report.size();
    std::visit([&](const auto& action) { act(action, step); }, step.action);
    if (scene_.result.report.size() != before) return;
    const bool sent = std::holds_alternative<std::vector<scenario::Send>>(step.action);
    Lines wrong;
    if (step.expect) wrong = check_within(*step.expect);
    if (sent)
      for (MachineId m = 0; m < scene_.recorders.size(); ++m)
        if (scene_.on(m))
          for (std::string& line : scenario::check_frames(scene_.outcome(m), nullptr)) wrong.push_back(std::move(line));
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
      if (!scene_.on(m)) continue;
      any = m;
      const Outcome one = scene_.outcome(m);
      if (!came_out) sum.outputs.insert(sum.outputs.end(), one.outputs.begin(), one.outputs.end());
      sum.drops.insert(sum.drops.end(), one.drops.begin(), one.drops.end());
      sum.logs.insert(sum.logs.end(), one.logs.begin(), one.logs.end());
      sum.punts.insert(sum.punts.end(), one.punts.begin(), one.punts.end());
    }
    if (e.state_count || !e.states.empty() || !e.counters.empty() || !e.tables.empty()) {
      out.emplace_back("states, counters and tables are of one node: write NODE.states and so on");
    } else if (any != world_.machines()) {
      for (std::string& line : check_expectation(e, sum, *scene_.subjects[any], bindings_))
        out.push_back(std::move(line));
    }
  }

  void check_node(const scenario::NodeExpectation& n, Lines& out) {
    const MachineId m = *scene_.machine_named(n.node);
    Machine& machine = world_.machine(m);
    const auto add = [&](const std::string& line) { out.push_back(n.node + ": " + line); };
    if (machine.power() == Power::off) return add("does not run");
    for (const auto& [vhid, role] : n.expected.roles) check_role(machine, vhid, role, add);
    Expectation rest = n.expected;
    rest.roles.clear();
    for (const std::string& line : check_expectation(rest, scene_.outcome(m), *scene_.subjects[m], bindings_))
      add(line);
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
    const auto got = scene_.all_outputs();
    if (want.size() != got.size()) {
      out.push_back(std::to_string(want.size()) + " packets expected, " + std::to_string(got.size()) + " came out");
      return;
    }
    for (size_t i = 0; i < want.size(); ++i) {
      const auto& [m, output] = got[i];
      const std::string which = want.size() == 1 ? "the packet" : "packet " + std::to_string(i + 1);
      const std::string port = scene_.port_name(m, output->interface);
      const Attachment* at = world_.plug_of(m, output->interface);
      if (port != want[i].interface && (at == nullptr || world_.network().name(at->link) != want[i].interface))
        out.push_back(which + " left on " + port + ", expected " + want[i].interface);
      for (const std::string& d :
           scenario::compare_packet(want[i].packet, scenario::read_frame(output->frame), bindings_))
        out.push_back(which + ": " + d);
    }
  }

  void report(const Step& step, const Lines& wrong) {
    Lines details;
    const auto add = [&](const char* title, const Lines& lines) {
      for (size_t i = 0; i < lines.size(); ++i) details.push_back((i == 0 ? title : "              ") + lines[i]);
    };
    if (!sent_.empty()) add("sent:         ", {sent_});
    if (step.expect) add("expected:     ", scenario::describe(*step.expect));
    Lines came;
    for (const auto& [m, o] : scene_.all_outputs())
      came.push_back(scene_.port_name(m, o->interface) + ": " + scenario::print_packet(scenario::read_frame(o->frame)));
    for (MachineId m = 0; m < world_.machines(); ++m) {
      if (!scene_.on(m)) {
        came.push_back(scene_.scenario.nodes[m].name + " does not run");
        continue;
      }
      const Outcome o = scene_.outcome(m);
      for (const DropReason r : o.drops)
        came.push_back(scene_.scenario.nodes[m].name + " dropped: " + std::string(reason_name(r)));
    }
    add("came out:     ", came);
    add("difference:   ", wrong);
    scene_.fail(step.expect ? step.expect->line : step.line, "not as expected", details);
  }

  PairScene scene_;
  World& world_;
  scenario::Bindings bindings_;
  std::string sent_;
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
