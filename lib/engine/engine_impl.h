// The inside of the Engine, split over the files of this folder by topic:
//   engine.cc      bursts in stages, upkeep
//   hook.cc        one hook of the filter: state, else rules
//   make_state.cc  states made, removed, turned into records and back
//   translate.cc   nat-to and rdr-to: choosing addresses and ports
//   forward.cc     routes, local delivery, link layer, answers
//   sync_out.cc    what is told to the peers, and when
//   commands.cc    words of the peers and of the operator
// Private to lib/engine.
#pragma once

#include <array>
#include <vector>

#include "lib/engine/engine.h"
#include "lib/engine/flow.h"
#include "lib/engine/match_sets.h"
#include "lib/engine/parse.h"
#include "lib/engine/reply.h"
#include "lib/engine/rewrite.h"
#include "lib/filter/evaluate.h"
#include "lib/frag/reassembly.h"
#include "lib/pfsync/queue.h"
#include "lib/state/tcp_track.h"
#include "lib/state/timer_wheel.h"

namespace twinwall {

// What a hook made of a packet. `pending`: it passes.
struct HookResult {
  Fate fate = Fate::pending;
  DropReason reason = DropReason::match;
  State* state = nullptr;
  uint8_t handoff_to = 0;

  static HookResult pass(State* s) { return {Fate::pending, DropReason::match, s, 0}; }
  static HookResult drop(DropReason r) { return {Fate::drop, r, nullptr, 0}; }
};

// The endpoints of a packet while rules translate it.
struct Translation5 {
  Address src, dst;
  uint16_t sport = 0, dport = 0, icmp_id = 0;  // network order
};

class Engine::Impl {
 public:
  Impl(const EngineOptions& options, StateTable& table, EngineHost& host);

  // engine.cc
  void process(std::span<Packet* const> burst, const View& view, Time now);
  void tick(const View& view, Time now);
  void set_time(const View& view, Time now);

  // hook.cc
  HookResult filter(Packet& p, Direction dir, InterfaceId interface, StateIndex hint, State* found);
  [[nodiscard]] State* find_state(const FlowKey& key, Side side, InterfaceId interface) const;
  HookResult pass_known(Packet& p, State& s, Direction dir, InterfaceId interface, bool& reuse);
  HookResult pass_error(Packet& p, Quote& quote, State& s, Direction dir);
  HookResult track_tcp(Packet& p, State& s, Direction dir, bool& reuse, bool& urgent);
  HookResult filter_by_rules(Packet& p, Direction dir, InterfaceId interface, const FlowKey& key, bool error);
  void count_matches(const State& s, Direction dir, uint32_t length);
  void start_tracking(State& s, const Packet& p);
  void log_packet(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule, DropReason reason);

  // make_state.cc
  HookResult make_state(Packet& p, Direction dir, InterfaceId interface, const Decision& decision, const FlowKey& key,
                        const Translation5& to);
  void note_matches(State& s, const Decision& decision, Direction dir, uint32_t length);
  void remove_state(State& s, bool announce);
  [[nodiscard]] uint32_t deadline_of(const State& s) const;
  // Null when a reload has taken the state's rule away.
  [[nodiscard]] const Rule* find_rule(const State& s) const;
  [[nodiscard]] const Rule& rule_of(const State& s) const;
  // A state of our own that a peer gave back after a restart is not one of them: it was never added.
  [[nodiscard]] static bool counts_half_open(const State& s) {
    return s.wire.proto == kProtoTcp && !s.imported && tcp_half_open(s);
  }
  void to_record(const State& s, pfsync::StateRecord& record) const;
  State* import_record(const pfsync::StateRecord& record);
  void note_timeout(State& s);
  bool insert(State& s);

  // translate.cc
  bool translate(const Rule& nat, const Rule& rdr, bool do_nat, bool do_rdr, const Packet& p, Direction dir,
                 Translation5& to);

  // forward.cc
  void forward(Packet& p, NextHopIndex hop, State* in_state);
  void deliver_local(Packet& p, const NextHop& hop);
  void emit(Packet& p, const NextHop& hop);
  template <class Splitter>
  void emit_pieces(Packet& p, Splitter& splitter, const InterfaceInfo& out, const IpAddress& next);
  void send_generated(Packet& p, bool filtered);
  void send_icmp_error(const Packet& about, uint8_t type4, uint8_t code4, uint8_t type6, uint8_t code6,
                       uint32_t parameter, bool filtered);
  void answer_block(const Packet& p, const Rule& rule);
  void send_tcp(Af af, const TcpReply& reply);
  [[nodiscard]] NextHopIndex lookup(Af af, const Address& address) const;
  [[nodiscard]] NextHop way_back(Af af, const Address& to, InterfaceId in) const;
  void drop(Packet& p, DropReason reason);
  [[nodiscard]] bool error_allowed(Af af);

  // sync_out.cc
  void touched(State& s, pfsync::SyncEvent event, bool urgent);
  bool next_delta(Delta& delta);
  void return_delta(const Delta& delta);
  void flush_deltas();
  [[nodiscard]] Time next_sync_deadline() const;
  void unqueue(State& s);

  // commands.cc
  void execute(const Command& command, ReplyFn reply, void* context);
  bool continue_commands(ReplyFn reply, void* context);
  void merge(State& s, const pfsync::PeerRecord& src, const pfsync::PeerRecord& dst, uint8_t timeout);

  EngineOptions options;
  StateTable& table;
  EngineHost& host;
  EngineCounters counters;
  Random random;
  FragmentCache fragments;
  TimerWheel wheel;
  MatchSets match_sets;

  View view;
  const Snapshot* snapshot = nullptr;
  Time now{};
  uint32_t now_s = 0;
  uint64_t next_id = 0;
  uint16_t next_ip_id = 0;

  // ICMP errors: 100 a second and family, as the BSDs limit them.
  struct Bucket {
    uint32_t second = 0;
    uint32_t sent = 0;
  };
  Bucket error_bucket[2];

  // States waiting to be told: urgent within milliseconds (made, removed, changed level, asked for), lazy within a
  // second. Intrusive lists over State::sync_next.
  struct SyncList {
    StateIndex head = kNoState, tail = kNoState;
    uint32_t size = 0;
    Time due = Time::max();
    bool draining = false;
    uint32_t to_drain = 0;
  };
  SyncList urgent_list, lazy_list;
  void append(SyncList& list, State& s, bool is_urgent);
  void unlink(SyncList& list, State& s);
  bool pop(SyncList& list, Delta& delta);

  // Removals by identity: the state itself is gone before they go out. A ring, bounded.
  std::vector<pfsync::StateId> removals;
  size_t removal_head = 0, removal_count = 0;
  Time removals_due = Time::max();
  void queue_removal(const State& s);

  // An export or kill walk under way.
  struct Walk {
    bool active = false;
    Command command;
    StateIndex next = 0;
    uint64_t count = 0;
    bool send_done = false;
    bool pending_reply = false;
    Reply reply;
  };
  std::array<Walk, 4> walks;
  [[nodiscard]] bool walk_step(Walk& walk, ReplyFn reply, void* context);
  [[nodiscard]] bool matches(const State& s, const StateFilter& f) const;

  // Where a datagram is put together; one at a time, taken through the whole path before the next.
  std::vector<uint8_t> datagram;
  Packet datagram_packet;
  void take_fragment(Packet& p);
  void run_to_completion(Packet& p);

  struct Lane {
    Packet* packet = nullptr;
    State* state = nullptr;
    FlowKey key;
    uint64_t hash = 0;
    bool active = false;  // still on its way
    bool looked_up = false;
    State* in_state = nullptr;
    NextHopIndex hop = kNoNextHop;
  };
  std::array<Lane, kBurst> lanes;
  void stage_parse(std::span<Packet* const> burst);
  void stage_lookup(size_t n);
  void stage_in_hook(size_t n);
  void stage_route(size_t n);
  void stage_out(size_t n);
  bool receive_link(Packet& p);
  bool receive_ip(Packet& p);
  DropReason normalise_v4_flags(Packet& p);
  void count_hook(const Packet& p, Direction dir, InterfaceId interface, bool passed);
};

}  // namespace twinwall
