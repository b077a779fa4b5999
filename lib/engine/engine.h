// The packet path of one worker: parse, reassemble, state, rules, translate, route, emit; and the upkeep of its states.
//
// Pure: bytes and time come in, fates and bytes go out. One thread owns an Engine; the StateTable is shared with the
// engines of other workers. process() allocates nothing and calls the Host only for what is rare.
//
// A burst goes through in stages: parse and hash all with prefetch, look up all in-hook states, filter, route all with
// one table call, out hook, emit.
#pragma once

#include <memory>
#include <span>

#include "lib/base/random.h"
#include "lib/base/siphash.h"
#include "lib/base/time.h"
#include "lib/engine/commands.h"
#include "lib/engine/counters.h"
#include "lib/engine/log_record.h"
#include "lib/engine/packet.h"
#include "lib/engine/snapshot.h"
#include "lib/state/source_table.h"
#include "lib/state/state_table.h"
#include "lib/state/syncookies.h"

namespace twinwall {

struct FragmentCounters;
namespace inspect {
class Inspector;
}

inline constexpr size_t kBurst = 32;

// What the engine asks of whoever runs it. Only for packets that the engine itself makes: resets, ICMP errors, pieces
// of a datagram.
class EngineHost {
 public:
  virtual ~EngineHost() = default;
  // An empty packet with at least 128 bytes of headroom and `capacity` bytes for the frame; null when there is none.
  virtual Packet* allocate(uint32_t capacity) = 0;
  // Takes the packet back with its fate set: forward, punt or drop.
  virtual void submit(Packet* packet) = 0;
  // A rule with `log` matched. Must not block; what does not fit is counted by the host.
  virtual void log(const LogRecord& record) = 0;
};

struct EngineOptions {
  uint8_t worker = 0;
  uint8_t workers = 1;
  uint32_t hostid = 0;   // never 0
  uint64_t seed = 0;     // of the choices that need spread
  uint64_t id_base = 0;  // first state id
  uint32_t fragment_limit = 65536;
  uint8_t max_updates = 128;
  bool sync = false;             // states are told to peers
  bool defer = false;            // … and a connection's first packet waits until they know it
  bool sync_inspection = false;  // … and where the looking into connections stands
  bool fast_path = true;         // without it every packet takes the long way: to compare the two
  bool classifier = true;        // without it the rules are tried one by one: to compare the two
  // Shared by all workers, outliving the engine. Null (one worker only): the engine makes its own of `source_nodes`.
  SourceTable* sources = nullptr;
  Syncookies* cookies = nullptr;
  SipKey secret;  // of sequence numbers and cookies: from the kernel's generator, the same for all workers
  uint32_t source_nodes = 10000;
  // Room for inspected connections, of this engine alone.
  inspect::Reserve inspection{.connections = 64, .stream_bytes = 4096, .buffer_bytes = 1u << 20};
};

class Engine {
 public:
  Engine(const EngineOptions& options, StateTable& table, EngineHost& host);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Decides the fate of at most kBurst packets. Drops are counted here.
  void process(std::span<Packet* const> burst, const View& view, Time now);

  // Upkeep: expiry, fragments, reclamation; a bounded piece of work a call. Call between bursts and at least every 100
  // ms.
  void tick(const View& view, Time now);
  // As many deltas as a worker takes behind a burst: filling in a record costs some tens of nanoseconds and perhaps two
  // waits for memory.
  static constexpr size_t kDeltasAtOnce = 128;
  // Of them those that only move windows, while packets arrive, behind every so-manieth burst: each is one or two
  // states and as much work as a few packets. Where more connections are busy than can be told in a second, each is
  // told less often, and packets go first.
  static constexpr size_t kLazyAtOnce = 1;
  static constexpr unsigned kLazyTurns = 8;

  // Between two ticks, after any burst: expiry alone, as much as in a tick, where that has left something over. Costs
  // nothing otherwise. True: states have been looked at.
  bool catch_up(const View& view, Time now);

  // Hands due deltas to `push` until it returns false (ring full; the rest waits), at most `limit`, of which `lazy` may
  // be such as only move windows. Returns how many were taken. Call after each burst; cheap when nothing is due. Takes
  // the view of the hour: that of an earlier call may be gone.
  template <class Push>
  size_t drain_deltas(const View& view, Time now, Push&& push, size_t limit = SIZE_MAX, size_t lazy = SIZE_MAX) {
    if (!begin_drain(view, now, lazy)) return 0;
    size_t n = 0;
    for (const Delta* delta; n < limit && (delta = next_delta()) != nullptr; ++n) {
      if (push(*delta)) continue;
      return_delta(*delta);
      break;
    }
    return n;
  }
  // The same for where the looking into connections stands; at most kInspectionsAtOnce, as each costs about as much as
  // a packet.
  static constexpr unsigned kInspectionsAtOnce = 8;
  template <class Push>
  size_t drain_inspections(const View& view, Time now, Push&& push) {
    if (!inspections_due(now)) return 0;
    size_t n = 0;
    InspectionWord word;
    while (n < kInspectionsAtOnce && inspections_due(now) && next_inspection(view, now, word)) {
      if (!push(word)) {
        return_inspection(word);
        break;
      }
      ++n;
    }
    return n;
  }
  // A peer's word.
  void take_inspection(const InspectionWord& word, const View& view, Time now);
  // Packets that wait for the peer go now; the engine keeps no buffer then. Before the host goes.
  void release_deferred();
  // Everything waiting is due now (planned hand-over).
  void flush_deltas();
  [[nodiscard]] bool deltas_waiting() const;
  // When tick() or drain_deltas() next has something to do, for a worker that wants to sleep.
  [[nodiscard]] Time next_deadline(Time now) const;

  // Carries out one command; replies go through `reply` (returns false when full: the command goes on at the next
  // continue_commands()).
  using ReplyFn = bool (*)(void* context, const Reply&);
  void execute(const Command& command, const View& view, Time now, ReplyFn reply, void* context);
  // Goes on with an export or kill walk: a bounded number of states a call. False when none is under way.
  bool continue_commands(const View& view, Time now, ReplyFn reply, void* context);
  [[nodiscard]] bool command_running() const;

  // Makes every state's own numbers right (see "twins" in lib/state/state.h): before a look into the table.
  void settle();
  // States that stand for two just now; walks the table.
  [[nodiscard]] size_t twins();

  [[nodiscard]] const inspect::Inspector& inspector() const;
  [[nodiscard]] SourceTable& sources();
  // Of the datagrams that are being put together.
  [[nodiscard]] const FragmentCounters& fragments() const;
  [[nodiscard]] const EngineCounters& counters() const;
  [[nodiscard]] EngineCounters& counters();

 private:
  // False: nothing is due.
  bool begin_drain(const View& view, Time now, size_t lazy);
  // Until the next call. Null: that was all.
  const Delta* next_delta();
  void return_delta(const Delta& delta);
  [[nodiscard]] bool inspections_due(Time now) const;
  bool next_inspection(const View& view, Time now, InspectionWord& word);
  void return_inspection(const InspectionWord& word);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinwall
