// The first packet of a connection waits until the peer has the connection's states (pfsync.defer), so that an answer
// which comes back through the peer meets them there.
//
// The packet is finished when it is put aside: what comes out later is not filtered again. Held packets are few and
// wait 20 ms at most, so they lie in a fixed ring in the order of their coming; one that was acknowledged leaves a gap.
// Source: pfsync(4) "defer".
#include <algorithm>
#include <utility>

#include "lib/engine/engine_impl.h"

namespace twinwall {

namespace {

constexpr Duration kLongest = 20ms;

}  // namespace

// The packet made this state, its last on the way; if it is forwarded, it will wait. Its state on the way in goes in
// the same flush before it, so one acknowledgement speaks for both, as on OpenBSD.
void Engine::Impl::want_acknowledgement(Packet& p, State& s) {
  if (!options.sync || !options.defer || (s.flags & kStateNoSync) != 0) return;
  s.flags |= kStateAckWanted;
  p.awaited = s.id;
}

void Engine::Impl::defer(Packet& p) {
  if (p.awaited == 0 || &p == &datagram_packet) return;
  if (held_count == held.size()) {
    counters.defer_overflow.add();
    release(held[held_head % held.size()]);
    drop_gaps();
  }
  held[(held_head + held_count++) % held.size()] = {&p, now + kLongest, p.awaited};
  p.fate = Fate::deferred;
  counters.deferred.add();
  urgent_list.due = std::min(urgent_list.due, now);
}

void Engine::Impl::release(Held& h) {
  Packet* const p = std::exchange(h.packet, nullptr);
  if (p == nullptr) return;
  p->awaited = 0;
  p->fate = Fate::forward;
  host.submit(p);
}

void Engine::Impl::drop_gaps() {
  while (held_count != 0 && held[held_head % held.size()].packet == nullptr) {
    ++held_head;
    --held_count;
  }
}

void Engine::Impl::acknowledged(const pfsync::StateId& id) {
  if (id.creator != options.hostid) return;
  for (size_t i = 0; i < held_count; ++i) {
    Held& h = held[(held_head + i) % held.size()];
    if (h.packet == nullptr || h.state != id.id) continue;
    counters.defer_acknowledged.add();
    release(h);
    break;
  }
  drop_gaps();
}

void Engine::Impl::release_overdue(Time limit) {
  for (size_t i = 0; i < held_count; ++i) {
    Held& h = held[(held_head + i) % held.size()];
    if (h.packet == nullptr) continue;
    if (h.until > limit) break;
    counters.defer_timeout.add();
    release(h);
  }
  drop_gaps();
}

}  // namespace twinwall
