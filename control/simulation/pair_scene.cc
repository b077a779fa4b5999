#include "control/simulation/pair_scene.h"

#include <map>

#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"

namespace twinwall::simulation {

namespace {

// What a packet brings about has come to rest after so long and a few ways over the slowest link.
constexpr Duration kRest = 10ms;
constexpr int kWays = 6;

}  // namespace

void PairScene::fail(int line, const std::string& what, const Lines& details) {
  result.report += scenario.file + ":" + std::to_string(line) + ": " + what + "\n";
  for (const std::string& d : details) result.report += "    " + d + "\n";
}

config::LoadResult PairScene::load(const scenario::ConfigSource& source) const {
  return source.path.empty() ? config::load_text(source.text, scenario.file, scenario.directory)
                             : config::load_file(source.path);
}

bool PairScene::build() {
  for (const scenario::NodeSpec& node : scenario.nodes) {
    sources_.push_back(node.config);
    const config::LoadResult loaded = load(node.config);
    if (!loaded.ok()) {
      result.report += config::to_string(loaded.diagnostics);
      return false;
    }
    result.shown += config::to_string(loaded.diagnostics);
    interfaces.push_back(loaded.config.interfaces);
    const MachineId id = sources_.size() - 1;
    MachineOptions o;
    o.name = node.name;
    o.load = [this, id] { return load(sources_[id]); };
    // Clocks of real boxes differ, too.
    o.clock_ahead = std::chrono::seconds(777) * static_cast<int>(id);
    world.add_machine(std::move(o));
    recorders.push_back(std::make_unique<PacketRecorder>(order_));
    subjects.push_back(std::make_unique<MachineSubject>(world.machine(id), world));
    world.machine(id).observe(recorders[id].get());
  }
  return plug();
}

bool PairScene::plug() {
  const std::vector<scenario::LinkSpec> specs = scenario.links.empty() ? links_by_name() : scenario.links;
  for (const scenario::LinkSpec& spec : specs) {
    const LinkId link = world.network().add_link(spec.name, true, spec.seed.value_or(links() + 1));
    world.network().set_direct(link, spec.cable);
    change_quality(link, spec.quality);
    for (const auto& [node, name] : spec.ports) {
      const auto m = machine_named(node);
      const auto i = m ? interface_named(*m, name) : std::nullopt;
      if (!i || world.plug_of(*m, *i) != nullptr) {
        fail(spec.line, i ? node + "." + name + " is on two links"
                          : "there is no interface '" + name + "' of a node '" + node + "'");
        return false;
      }
      world.plug(*m, *i, link);
    }
  }
  return true;
}

std::vector<scenario::LinkSpec> PairScene::links_by_name() const {
  std::vector<scenario::LinkSpec> out;
  for (size_t m = 0; m < interfaces.size(); ++m)
    for (const auto& i : interfaces[m]) {
      auto it = std::find_if(out.begin(), out.end(), [&](const auto& l) { return l.name == i.name; });
      if (it == out.end()) {
        it = out.insert(out.end(), scenario::LinkSpec{});
        it->name = i.name;
      }
      it->ports.emplace_back(scenario.nodes[m].name, i.name);
    }
  return out;
}

bool PairScene::start() {
  for (MachineId m = 0; m < world.machines(); ++m)
    if (!power_on(m, scenario.nodes[m].line)) return false;
  world.run_until(world.now() + 100ms);
  return true;
}

bool PairScene::power_on(MachineId m, int line) {
  std::string error;
  if (world.machine(m).power() != Power::off) return true;
  if (world.power_on(m, error)) return true;
  fail(line, "node " + scenario.nodes[m].name + " does not start: " + error);
  return false;
}

void PairScene::reload(MachineId m, const scenario::ConfigSource& source, int line) {
  const scenario::ConfigSource before = std::exchange(sources_[m], source);
  const ReloadResult r = world.machine(m).reload(world.now());
  if (r.ok) return;
  sources_[m] = before;
  fail(line, "the new configuration cannot be used", {config::to_string(r.diagnostics)});
}

void PairScene::change_quality(LinkId link, const scenario::LinkQuality& change) {
  Quality q = world.network().quality(link);
  q.drop = change.drop.value_or(q.drop);
  q.duplicate = change.duplicate.value_or(q.duplicate);
  q.reorder = change.reorder.value_or(q.reorder);
  q.delay = change.delay.value_or(q.delay);
  q.jitter = change.jitter.value_or(q.jitter);
  world.network().set_quality(link, q);
}

std::optional<MachineId> PairScene::machine_named(const std::string& name) const {
  for (MachineId m = 0; m < scenario.nodes.size(); ++m)
    if (scenario.nodes[m].name == name) return m;
  return std::nullopt;
}

std::optional<InterfaceId> PairScene::interface_named(MachineId m, const std::string& name) const {
  for (const auto& i : interfaces[m])
    if (i.name == name) return i.id;
  return std::nullopt;
}

std::string PairScene::port_name(MachineId m, InterfaceId i) const {
  return scenario.nodes[m].name + "." + interfaces[m][i - 1u].name;
}

Mac PairScene::target_mac(MachineId m, InterfaceId interface, const IpAddress& to) const {
  for (const auto& g : world.machine(m).config().carp.groups)
    for (const auto& a : g.addresses)
      if (g.interface == interface && a.address() == to) return virtual_mac(g.vhid);
  return world.machine(m).mac(interface);
}

Mac PairScene::target_on_link(LinkId link, const IpAddress& to) const {
  std::optional<Mac> router;
  Mac first;
  for (MachineId m = 0; m < world.machines(); ++m) {
    const config::Config& c = world.machine(m).config();
    for (const auto& i : c.interfaces) {
      const Attachment* at = world.plug_of(m, i.id);
      if (at == nullptr || at->link != link) continue;
      first = world.machine(m).mac(i.id);
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

Duration PairScene::rest() const {
  Duration longest{};
  for (LinkId l = 0; l < links(); ++l) longest = std::max(longest, world.network().quality(l).longest());
  return kRest + kWays * longest;
}

void PairScene::begin_packets() {
  for (MachineId m = 0; m < recorders.size(); ++m) {
    recorders[m]->clear();
    if (on(m)) recorders[m]->drops = drops_of(m);
  }
}

std::array<uint64_t, kDropReasons> PairScene::drops_of(MachineId m) {
  std::array<uint64_t, kDropReasons> out{};
  for (size_t i = 0; i < kDropReasons; ++i) out[i] = subjects[m]->engine().counters().drops[i].get();
  return out;
}

scenario::Outcome PairScene::outcome(MachineId m) {
  scenario::Outcome out;
  for (const auto& o : recorders[m]->outputs) out.outputs.push_back(o.output);
  out.punts = recorders[m]->punts;
  out.logs = recorders[m]->logs;
  const auto now = drops_of(m);
  for (size_t i = 0; i < kDropReasons; ++i)
    for (uint64_t n = recorders[m]->drops[i]; n < now[i]; ++n) out.drops.push_back(static_cast<DropReason>(i));
  return out;
}

std::vector<std::pair<MachineId, const scenario::Outcome::Output*>> PairScene::all_outputs() const {
  std::map<size_t, std::pair<MachineId, const Output*>> sorted;
  for (MachineId m = 0; m < recorders.size(); ++m)
    for (const auto& o : recorders[m]->outputs) sorted[o.order] = {m, &o.output};
  std::vector<std::pair<MachineId, const Output*>> out;
  for (const auto& [order, o] : sorted) out.push_back(o);
  return out;
}

void PairScene::note_rules() {
  for (MachineId m = 0; m < world.machines(); ++m) {
    if (!on(m)) continue;
    const Ruleset& rules = subjects[m]->snapshot().rules;
    const std::string file =
        sources_[m].path.empty() ? scenario.file + ":" + std::to_string(scenario.nodes[m].line) : sources_[m].path;
    const EngineCounters& counters = subjects[m]->engine().counters();
    for (const Rule& rule : rules.rules) {
      const RuleCounters& c = counters.rules[rule.slot];
      if (!rule.repeated() && rule.action != Action::anchor)
        result.rules.push_back({file, rule_place(rules, rule), print_rule(rule), rule.identity,
                                c.packets[0].get() + c.packets[1].get() != 0});
    }
  }
}

}  // namespace twinwall::simulation
