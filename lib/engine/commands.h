// What crosses between a worker and the cores beside it: changes of states on their way to the peers, words of the
// peers and of the operator on their way to the worker that owns the states.
//
// Plain values, copied through single-producer single-consumer rings.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lib/filter/rule.h"
#include "lib/net/address.h"
#include "lib/pfsync/record.h"
#include "lib/pfsync/twin.h"
#include "lib/state/state.h"

namespace twinwall {

// Which states an operator means; unset fields match everything.
struct StateFilter {
  Af af = Af::none;
  uint8_t proto = 0;
  bool has_src = false, has_dst = false, has_id = false, has_rule = false;
  Prefix src, dst;    // the initiator's and the responder's address, as on either side of a translation
  uint16_t port = 0;  // host order; of either end; 0: any
  InterfaceId interface = kNoInterface;  // created on
  RuleSlot rule = kDefaultRuleSlot;
  uint64_t id = 0;
  uint32_t creator = 0;
  uint8_t slice_count = 0;                         // 0: any
  uint16_t slices[pfsync::kInventorySlices] = {};  // of the digest (lib/pfsync/slices.h)
};

// Worker → sync engine: a state was made, changed or removed here. Only INS and UPD mean all of the record; the others
// what it has in common with an UpdateRecord, or the identity alone, and the rest may hold anything.
struct Delta {
  Delta() = default;
  Delta(SyncQueue a, const pfsync::StateRecord& r) : action(a), record(r) {}

  SyncQueue action = SyncQueue::none;
  // UPD_C: the same is to be told of the connection's other state, but for these.
  bool of_two = false;
  struct Other {
    uint16_t state_flags = 0;
    uint32_t expire = 0;
    pfsync::StateId id;
  } other;
  pfsync::StateRecord record;

  // What of it means anything, which is all that needs copying.
  [[nodiscard]] size_t bytes() const {
    const bool whole = action == SyncQueue::ins || action == SyncQueue::upd;
    return whole ? sizeof(Delta) : offsetof(Delta, record) + offsetof(pfsync::StateRecord, ifname);
  }
};

// Calls fn(const Delta&) for each of the states that it is of.
template <class Fn>
void each_state(const Delta& d, Fn&& fn) {
  if (!d.of_two) return fn(d);
  Delta one;
  std::memcpy(static_cast<void*>(&one), &d, d.bytes());
  one.of_two = false;
  fn(one);
  one.record.id = d.other.id.id;
  one.record.creator = d.other.id.creator;
  one.record.expire = d.other.expire;
  one.record.state_flags = d.other.state_flags;
  fn(one);
}

// Where the looking into a connection stands (lib/engine/inspect_sync.cc): worker → sync engine, and a peer's to a
// worker. Only what was authenticated may become one: see lib/inspect/saved.h.
struct InspectionWord {
  static constexpr size_t kHead = 4;
  static constexpr size_t kMost = 1280;  // goes into a frame of 1500 bytes with all that stands around it
  enum What : uint8_t {
    unknown,    // nothing can be said: it is not told
    free,       // no more is looked at
    looked_at,  // two directions follow (lib/inspect/saved.h)
    blocked,    // something was found: nothing of it passes
  };
  pfsync::StateId id;
  uint32_t length = 0;
  std::array<uint8_t, kMost> bytes{};  // What, three zeros, the directions
};

struct Command {
  enum class Kind : uint8_t {
    import_state,       // INS
    update_state,       // UPD: import when unknown
    update_compressed,  // UPD_C: answered with unknown_state when unknown
    delete_state,       // DEL, DEL_C
    clear,              // CLR: every state of a creator
    acknowledge,        // INS_ACK: what waits for it goes
    send_state,         // UPD_REQ: queue a full UPD
    tell_again,         // what was said of it was lost: queue a full UPD; answered with gone_state when there is none
    export_states,      // walk all states, answer with one `state` reply each, then `done`
    kill_states,        // remove those that match `filter`, tell the peers; answer with `done`
    tell_inspections,   // walk all states, tell where those stand that are looked into; answer with `done`
    kill_state,         // remove one by its id, tell the peers; no answer
  };
  Kind kind = Kind::export_states;
  bool report_unknown = true;  // of several workers only one answers for an unknown or gone state
  uint64_t cookie = 0;         // comes back in the replies
  pfsync::StateRecord record;  // import_state, update_state
  pfsync::UpdateRecord update;
  pfsync::StateId id;  // delete_state, acknowledge, send_state, tell_again, kill_state
  pfsync::ClearRecord clear;
  StateFilter filter;     // export_states, kill_states
  bool for_peer = false;  // export_states: as they are told to a peer
};

struct Reply {
  enum class Kind : uint8_t { state, done, unknown_state, gone_state };
  Kind kind = Kind::done;
  uint8_t worker = 0;
  uint64_t cookie = 0;
  uint64_t count = 0;          // done: states exported or killed
  bool refused = false;        // done: nothing was done, every walk is taken
  pfsync::StateRecord record;  // state; unknown_state, gone_state: id and creator
  uint32_t rule_number = kNoRuleNumber;
  RuleSlot rule = kDefaultRuleSlot;
  // Of `state`, what the record does not carry. kNoInterface: not known, as of a state that came from a peer.
  InterfaceId created_on = kNoInterface;
  InterfaceId received_on = kNoInterface;  // where the packet came in that made it
  TagId tag = 0;
  bool imported = false;
  uint8_t told = kNotTold;  // State::told
  bool of_peer = false;     // the peer has had the last word on it, and not just now
  uint32_t peer_word = 0;   // when the peer last spoke of it, in seconds; 0: never
  SyncQueue sync_queue = SyncQueue::none;
};

}  // namespace twinwall
