// Sums over the states that peers know, kept up where a state is told, taken or removed.
#include "lib/engine/engine_impl.h"
#include "lib/engine/state_record.h"

namespace twinwall {

void Engine::Impl::note_told(State& s, uint8_t src_level, uint8_t dst_level) {
  if (!options.sync || (s.flags & kStateNoSync) != 0) return;
  const uint8_t levels = told_levels(src_level, dst_level);
  if (s.told == levels) return;
  const size_t slice = pfsync::slice_of(s.id, s.creator);
  const uint64_t identity = digest_identity(s);
  if (s.told == kNotTold)
    counters.slice_states[slice].add();
  else
    counters.slice_sums[slice].sub(pfsync::slice_mix(identity, s.told));
  counters.slice_sums[slice].add(pfsync::slice_mix(identity, levels));
  s.told = levels;
}

void Engine::Impl::forget_told(State& s) {
  if (s.told == kNotTold) return;
  const size_t slice = pfsync::slice_of(s.id, s.creator);
  counters.slice_states[slice].sub();
  counters.slice_sums[slice].sub(pfsync::slice_mix(digest_identity(s), s.told));
  s.told = kNotTold;
}

}  // namespace twinwall
