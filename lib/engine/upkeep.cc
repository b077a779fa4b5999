// What is done as time passes, a bounded piece a call: expiry, source nodes that are over, flushes after an overload.
#include <algorithm>

#include "lib/engine/engine_impl.h"

namespace twinwall {

namespace {

constexpr size_t kExpireLimit = 128;     // states looked at at once, so that a mass expiry never stalls a burst
constexpr StateIndex kWalkLimit = 1024;  // indices passed in one tick by each of the walks
constexpr size_t kEndLimit = 128;        // states that each of the walks ends in one tick
constexpr StateIndex kWalkAhead = 8;     // fetched before a walk comes to them
constexpr uint32_t kPurgeBuckets = 128;

}  // namespace

void Engine::Impl::expire(State& s) {
  part(s);
  // A copy of a peer's state that never saw traffic here may be out of date: its end is nobody else's business.
  const bool bystander = s.imported && s.packets(0) + s.packets(1) == 0;
  remove_state(s, !bystander);
  counters.expired.add();
}

// As PF does: every `interval` seconds all nodes that are over go. One worker does it for all.
void Engine::Impl::purge_sources() {
  if (options.worker != 0) return;
  sources.set_limit(snapshot->source_node_limit);
  const uint32_t interval = snapshot->timeouts[static_cast<size_t>(TimeoutClass::interval)];
  if (!purging_sources) {
    if (now_s - sources_purged < interval) return;
    purging_sources = true;
    sources_purged = now_s;
  }
  if (sources.purge(now_s, kPurgeBuckets)) purging_sources = false;
}

// States of the sources that an overload flushes, on this worker.
void Engine::Impl::flush_some() {
  if (flushing.empty()) {
    if (sources.flushes() == flushes_seen) return;
    uint64_t lost = 0;
    sources.recent_flushes(flushes_seen, flushing, lost);
    flushes_seen += flushing.size() + lost;
    counters.flush_lost.add(lost);
    flush_next = 0;
  }
  const auto wanted = [](const State& s, const FlushRequest& r) {
    return s.wire.af == r.af && s.wire.addr[r.slot] == r.source && (r.any_rule || s.rule == r.rule);
  };
  const StateIndex end = std::min<StateIndex>(flush_next + kWalkLimit, table.capacity());
  for (size_t ended = 0; flush_next < end && ended < kEndLimit; ++flush_next) {
    table.prefetch_owned(flush_next + kWalkAhead, options.worker);
    State* const s = table.owned(flush_next, options.worker);
    if (s == nullptr || s->timeout == TimeoutClass::purge) continue;
    for (const FlushRequest& r : flushing)
      if (wanted(*s, r)) {
        kill(*s);
        counters.killed.add();
        ++ended;
        break;
      }
  }
  if (flush_next >= table.capacity()) flushing.clear();
}

// The wheel knows a state's end as it was when the state was put there. While there are so many states that timeouts
// shrink, this walk meets every state once per `interval`, as PF's purge does.
void Engine::Impl::sweep() {
  if (sweep_second != now_s) {
    sweep_second = now_s;
    const auto shrinks = [](uint64_t n, uint64_t start, uint64_t end) { return end != 0 && start < end && n > start; };
    constexpr auto kStart = static_cast<size_t>(TimeoutClass::adaptive_start);
    constexpr auto kEnd = static_cast<size_t>(TimeoutClass::adaptive_end);
    bool active = shrinks(table.states(), snapshot->timeouts[kStart], snapshot->timeouts[kEnd]);
    for (const uint32_t position : snapshot->adaptive_rules) {
      const Rule& r = snapshot->rules.rules[position];
      active = active || shrinks(sources.states_of(r.slot), r.timeouts[kStart], r.timeouts[kEnd]);
    }
    const uint32_t interval = std::max(snapshot->timeouts[static_cast<size_t>(TimeoutClass::interval)], 1u);
    sweep_left = active ? table.capacity() / interval + 1 : 0;
  }
  size_t ended = 0;
  for (StateIndex n = std::min<StateIndex>(sweep_left, kWalkLimit); n > 0 && ended < kEndLimit; --n, --sweep_left) {
    if (sweep_next >= table.capacity()) sweep_next = 0;
    table.prefetch_owned(sweep_next + kWalkAhead, options.worker);
    const StateIndex index = sweep_next++;
    State* const s = table.owned(index, options.worker);
    if (s == nullptr || !wheel.contains(index)) continue;
    part_follower(*s);
    update_time(*s);
    const uint32_t deadline = deadline_of(*s);
    if (static_cast<int32_t>(deadline - now_s) <= 0) {
      expire(*s);
      ++ended;
    } else if (deadline < s->wheel_slot) {
      wheel.insert(index, deadline);
    }
  }
}

size_t Engine::Impl::expire_due() {
  return wheel.advance(
      now_s, kExpireLimit,
      [this](StateIndex index) -> uint32_t {
        State& s = table.state(index);
        part_follower(s);
        update_time(s);
        const uint32_t deadline = s.timeout == TimeoutClass::purge ? now_s : deadline_of(s);
        if (static_cast<int32_t>(deadline - now_s) > 0) return deadline;
        expire(s);
        return 0;
      },
      [this](StateIndex index) { table.prefetch_remove(table.state(index)); });
}

// Between two ticks: under load more states may end than a tick may look at.
bool Engine::Impl::catch_up(const View& v, Time t) {
  set_time(v, t);
  const bool any = snapshot != nullptr && wheel.behind(now_s) && expire_due() != 0;
  table.reclaim(options.worker);
  return any;
}

void Engine::Impl::tick(const View& v, Time t) {
  set_time(v, t);
  if (snapshot == nullptr) return;
  fragments.set_timeout(std::chrono::seconds(snapshot->timeouts[static_cast<size_t>(TimeoutClass::frag)]));
  fragments.expire(now);
  if (held_count != 0) release_overdue(now);
  (void)expire_due();
  sweep();
  flush_some();
  purge_sources();
  rotate_cookies();
  table.reclaim(options.worker);
}

}  // namespace twinwall
