#include "control/totals.h"

namespace twinwall {

namespace {

template <class F>
void each_pair(Totals::Hooks& h, F&& f) {
  for (int d = 0; d < 2; ++d)
    for (int family = 0; family < 2; ++family)
      for (int fate = 0; fate < 2; ++fate) f(h.hook[d][family][fate], d, family, fate);
}

}  // namespace

Totals add_up(const Dataplane& dataplane, unsigned workers, size_t interfaces) {
  Totals t;
  t.interfaces.resize(interfaces + 1);
  for (unsigned w = 0; w < workers; ++w) {
    const EngineCounters& c = dataplane.counters(w);
    for (size_t i = 0; i < kDropReasons; ++i) t.drops[i] += c.drops[i].get();
    for (size_t i = 0; i < kLimitCounters; ++i) t.limits[i] += c.limits[i].get();
    for (size_t id = 1; id <= interfaces; ++id)
      each_pair(t.interfaces[id], [&](Totals::Pair& pair, int d, int family, int fate) {
        pair.packets += c.interfaces[id].hook[d][family][fate].packets.get();
        pair.bytes += c.interfaces[id].hook[d][family][fate].bytes.get();
      });
  }
  return t;
}

Totals since(const Totals& now, const Totals& base) {
  Totals t = now;
  for (size_t i = 0; i < kDropReasons; ++i) t.drops[i] -= base.drops[i];
  for (size_t i = 0; i < kLimitCounters; ++i) t.limits[i] -= base.limits[i];
  for (size_t id = 1; id < t.interfaces.size() && id < base.interfaces.size(); ++id)
    each_pair(t.interfaces[id], [&](Totals::Pair& pair, int d, int family, int fate) {
      pair.packets -= base.interfaces[id].hook[d][family][fate].packets;
      pair.bytes -= base.interfaces[id].hook[d][family][fate].bytes;
    });
  return t;
}

}  // namespace twinwall
