#include "control/simulation/trial_pair.h"

#include <fmt/format.h>

#include <map>
#include <mutex>

#include "lib/config/load.h"

namespace twinwall::simulation {

namespace {

std::string text_of(const PairSetup& s, unsigned node) {
  const unsigned me = node + 2, other = 3 - node;
  std::string out = fmt::format(
      "system: {{hostname: {}}}\n"
      "interfaces:\n"
      "  wan: {{port: \"kernel:wan\", addresses: [192.0.2.{}/24, \"2001:db8:b::{}/64\"]}}\n"
      "  lan: {{port: \"kernel:lan\", addresses: [10.0.0.{}/24, \"2001:db8:a::{}/64\"]}}\n"
      "  sync: {{port: \"kernel:sync\", addresses: [10.255.0.{}/29]}}\n"
      "routes:\n"
      "  - {{to: 0.0.0.0/0, via: 192.0.2.254}}\n"
      "  - {{to: \"::/0\", via: \"2001:db8:b::fe\"}}\n",
      node == 0 ? "a" : "b", me, me, me, me, me);
  out += fmt::format("carp:\n  preempt: {}\n", s.preempt);
  if (s.bfd)
    out +=
        fmt::format("  bfd: {{peers: [10.255.0.{0}, 10.0.0.{0}, 192.0.2.{0}], interval: 1s, multiplier: 3}}\n", other);
  out +=
      "  groups:\n"
      "    - {vhid: 1, interface: wan, addresses: [192.0.2.1/24, \"2001:db8:b::1/64\"], key: secret}\n"
      "    - {vhid: 2, interface: lan, addresses: [10.0.0.1/24, \"2001:db8:a::1/64\"], key: secret}\n";
  out += fmt::format("pfsync: {{interface: sync, peer: {}{}{}}}\n",
                     s.multicast ? "multicast" : fmt::format("10.255.0.{}", other),
                     s.key ? ", key: a key of the pair's own" : "", s.defer ? ", defer: true" : "");
  out += "options: {skip: [sync], limits: {states: 1000}}\nrules:\n  - {action: pass}\n";
  if (s.nat) out += "  - {action: pass, direction: out, interface: wan, af: inet, nat-to: 192.0.2.1}\n";
  return out;
}

}  // namespace

PairSetup draw_setup(Random& random) {
  PairSetup s;
  s.preempt = random.below(4) != 0;
  s.bfd = random.below(5) == 0;
  s.multicast = random.below(4) == 0;
  s.key = !s.multicast && random.below(4) == 0;
  s.nat = random.below(2) != 0;
  s.defer = random.below(4) == 0;
  s.advbase = static_cast<uint8_t>(1 + (random.below(3) == 0 ? random.below(5) : 0));
  s.advskew[0] = static_cast<uint8_t>(random.below(4) == 0 ? random.below(100) : 0);
  s.advskew[1] = static_cast<uint8_t>(s.advskew[0] + 20 + random.below(100));
  s.demotion_interface_down = static_cast<uint8_t>(random.below(4) == 0 ? 1 : 240);
  return s;
}

std::string to_string(const PairSetup& s) {
  return fmt::format("advbase {}, advskew {} and {}{}{}{}{}{}{}, {} for a lost interface", s.advbase, s.advskew[0],
                     s.advskew[1], s.preempt ? ", preempt" : "", s.bfd ? ", BFD" : "",
                     s.multicast ? ", pfsync to the group" : "", s.key ? ", pfsync with a key" : "",
                     s.nat ? ", nat-to" : "", s.defer ? ", defer" : "", s.demotion_interface_down);
}

config::LoadResult load_setup(const PairSetup& setup, unsigned node) {
  static std::map<std::string, config::LoadResult> known;
  static std::mutex mutex;
  const std::string text = text_of(setup, node);
  config::LoadResult r;
  {
    const std::lock_guard lock(mutex);
    auto it = known.find(text);
    if (it == known.end()) it = known.emplace(text, config::load_text(text, "trial.yaml", "")).first;
    r = it->second;
  }
  r.config.carp.demotion_interface_down = setup.demotion_interface_down;
  for (auto& g : r.config.carp.groups) {
    g.advbase = setup.advbase;
    g.advskew = setup.advskew[node];
  }
  return r;
}

}  // namespace twinwall::simulation
