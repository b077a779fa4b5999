// The inside of the Engine, split over the files of this folder by topic:
//   engine.cc      what a frame is, datagrams put together, the public side
//   burst.cc       bursts in stages
//   burst_parts.h  what is kept of a burst while it goes through them
//   short_ways.h   what the short ways of packets count, and how they leave
//   hook.cc        one hook of the filter: state, else rules
//   fast_path.cc   the way of an established connection's packets, in one piece
//   first_path.cc  the way of a connection's first packets, where rules are simple
//   twins.cc       the two states of a connection as one
//   courses.h      the ways that such connections' packets take
//   twin_path.h    the way of the packets of such
//   make_state.cc  states made, removed, turned into records and back
//   count_entries.cc  what is counted by entry of a table
//   translate.cc   nat-to and rdr-to: choosing addresses and ports
//   modulate.cc    sequence numbers nobody can guess
//   synproxy.cc    handshakes on behalf of the server
//   syncookie.cc   handshakes without states
//   af_to.cc       between IPv4 and IPv6
//   route.cc       route-to, reply-to, dup-to
//   log.cc         what rules with `log` say
//   inspect.cc     what packets carry
//   inspect_sync.cc  where that stands, for the peers
//   limits.cc      what a rule and a source may have, overload
//   upkeep.cc      what is done as time passes: expiry, purges, flushes
//   forward.cc     routes, local delivery, link layer, answers
//   sync_out.cc    what is told to the peers, and when
//   digest.cc      sums over the states that peers know
//   defer.cc       first packets that wait for the peer
//   commands.cc    words of the peers and of the operator
// Private to lib/engine.
#pragma once

#include <array>
#include <vector>

#include "lib/engine/actions.h"
#include "lib/engine/burst_parts.h"
#include "lib/engine/courses.h"
#include "lib/engine/engine.h"
#include "lib/engine/flow.h"
#include "lib/engine/match_sets.h"
#include "lib/engine/parse.h"
#include "lib/engine/parse_ordinary.h"
#include "lib/engine/reply.h"
#include "lib/engine/rewrite.h"
#include "lib/filter/evaluate.h"
#include "lib/frag/reassembly.h"
#include "lib/inspect/inspector.h"
#include "lib/net/headers.h"
#include "lib/pfsync/queue.h"
#include "lib/state/source_table.h"
#include "lib/state/syncookies.h"
#include "lib/state/tcp_track.h"
#include "lib/state/timer_wheel.h"

namespace twinwall {

// What a hook made of a packet. `pending`: it passes. Small enough to be returned in registers.
struct HookResult {
  State* state = nullptr;
  Fate fate = Fate::pending;
  DropReason reason = DropReason::match;
  uint8_t handoff_to = 0;

  static HookResult pass(State* s) { return {s, Fate::pending, DropReason::match, 0}; }
  static HookResult drop(DropReason r) { return {nullptr, Fate::drop, r, 0}; }
};
static_assert(sizeof(HookResult) == 16);

// The endpoints of a packet while rules translate it.
struct Translation5 {
  Address src, dst;
  uint16_t sport = 0, dport = 0, icmp_id = 0;  // network order
};

// What the tracker wants to know of a whole TCP packet.
[[nodiscard]] TcpSegment segment_of(const Packet& p);
[[nodiscard]] TcpSegment segment_of(const uint8_t* header, uint8_t flags, uint32_t payload);

class Engine::Impl {
  using Lane = burst::Lane;
  using Plain = burst::Plain;
  using Run = burst::Run;
  using Short = burst::Short;
  using Tally = burst::Tally;
  using TouchedLead = burst::TouchedLead;
  using Twins = burst::Twins;
  using WayIn = burst::WayIn;
  using WayOut = burst::WayOut;

 public:
  Impl(const EngineOptions& options, StateTable& table, EngineHost& host);

  // engine.cc
  void process(std::span<Packet* const> burst, const View& view, Time now);
  void tick(const View& view, Time now);
  bool catch_up(const View& view, Time now);
  void set_time(const View& view, Time now);

  // hook.cc
  // `hint`: where the state may be, believed when it fits. `seen`: what is known of the packet from its burst; null:
  // nothing.
  HookResult filter(Packet& p, Direction dir, InterfaceId interface, StateIndex hint, const Lane* seen = nullptr);
  [[nodiscard]] uint8_t owner_ahead(const Packet& p, const Quote* quote) const;
  [[nodiscard]] State* find_state(const FlowKey& key, Side side, InterfaceId interface) const;
  HookResult pass_known(Packet& p, State& s, Direction dir, InterfaceId interface, bool& reuse);
  HookResult pass_error(Packet& p, Quote& quote, State& s, Direction dir, InterfaceId interface);
  HookResult track_tcp(Packet& p, State& s, Direction dir, bool& reuse, bool& urgent);
  HookResult follow(Packet& p, State& s, bool forward, bool modulated, const TcpResult& t, bool& reuse, bool& urgent);
  HookResult filter_by_rules(Packet& p, Direction dir, InterfaceId interface, const FlowKey& key, bool error);
  HookResult decide(Packet& p, Direction dir, InterfaceId interface, const FlowKey& key, bool error);
  void count_matches(const State& s, Direction dir, uint32_t length);
  void count_stateless(const Rule& rule, const Packet& p, Direction dir);
  [[nodiscard]] bool over_rate(const State& s) const;
  void apply_state_actions(Packet& p, const State& s, Direction dir);
  void start_tracking(State& s, const Packet& p);
  HookResult drop_options(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule);
  void log_known(const Packet& p, const State& s, Direction dir, InterfaceId interface);

  // count_entries.cc
  void count_entries(const Rule& rule, Af af, const Address& src, const Address& dst, Direction dir, uint32_t length);
  // By the rules of the state, the `match` rules among them.
  void count_entries(const State& s, Direction dir, uint32_t length);
  [[nodiscard]] bool counts_entries(const State& s) const;

  // log.cc
  [[nodiscard]] LogRecord log_record(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule,
                                     DropReason reason) const;
  void send_log(const LogRecord& record);
  // `to`: what the packet's endpoints become.
  void log_packet(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule, const Translation5& to);
  // Of a packet that is dropped for what it is, whether a rule asks for a log or not.
  void log_forced(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule, DropReason reason);

  // fast_path.cc
  // True: the packet has gone its whole way. False: it takes the long one, and nothing has changed.
  [[nodiscard]] bool fast_path(Packet& p, const Ordinary& seen, State& in_state);
  [[nodiscard]] bool unseen(const State& s, const Ordinary& seen, bool forward) const;
  // The same for what is filtered on neither side.
  [[nodiscard]] bool plain_path(Packet& p, const Ordinary& seen, const FlowKey& key, NextHopIndex hop);
  [[nodiscard, gnu::always_inline]] bool plain_step(Packet& p, const Ordinary& seen, const FlowKey& key,
                                                    NextHopIndex hop);
  // What the in hook's state lets in goes to `hop` from here on.
  void note_way(const Packet& p, State& in_state, NextHopIndex hop) const;
  void new_ways();
  void forget_ways();
  Tally rule_tally[2], hook_tally[2];             // [0] in, [1] out
  uint64_t fast_tally = 0, unresolved_tally = 0;  // of the first those that were not sent on, for want of a MAC address
  void settle_tallies();
  void settle_rule_tally(unsigned direction);
  void settle_hook_tally(unsigned direction);
  [[gnu::always_inline]] void tally(RuleSlot rule, Direction dir, InterfaceId interface, Af af, uint32_t length);
  // What counts for a state at one hook.
  [[gnu::always_inline]] void account(State& s, Direction dir, InterfaceId interface, Af af, uint32_t length);
  [[gnu::always_inline]] const WayOut& way_out(uint32_t hop) {
    const WayOut& way = ways[hop % ways.size()];
    if ((ways_known >> (hop % ways.size()) & 1) != 0 && way.hop == hop) [[likely]]
      return way;
    return find_way(hop);
  }
  const WayOut& find_way(uint32_t hop);

  // first_path.cc
  [[nodiscard]] bool open_in(Lane& lane);
  [[nodiscard]] bool open_out(Lane& lane);
  [[nodiscard]] const Rule* simple_rule(const RuleInput& input);
  void fill_input(const Lane& lane, RuleInput& input) const;
  [[nodiscard]] State* open_state(const Lane& lane, Direction dir, InterfaceId interface, const Rule& rule,
                                  const FlowKey& key, uint64_t hash);
  uint64_t first_tally = 0;
  std::array<RuleInput, kBurst> inputs;  // of the burst's packets that open_in() has let in

  // twins.cc
  // From here on one of them stands for both, if they are alike. `leader` and `follower` are linked.
  void join(State& leader, State& follower);
  // Both states of a connection are themselves again.
  void part(State& s) {
    if ((s.log & (kTwinLeader | kTwinFollower)) != 0) [[unlikely]]
      part_twins(s);
  }
  void part_follower(State& s) {
    if ((s.log & kTwinFollower) != 0) [[unlikely]]
      part_twins(s);
  }
  void part_twins(State& s);
  [[nodiscard]] static Course course_of(const State& in_state, const State& out_state);
  // What the line has counted is with the states, and it begins anew.
  void settle_counts(TwinLine& lead);
  // Of a leader: the time of the last packet, which has been noted in its line alone.
  void update_time(State& s) {
    if ((s.log & kTwinLeader) != 0) s.last_update = table.line(s).last_update;
  }
  // The TTL, and all of the way out but where to.
  [[gnu::always_inline]] static void put_on_way(Packet& p, const Ordinary& seen, const WayOut& way);
  [[gnu::always_inline]] static void put_on_way_v4(Packet& p, uint32_t l3_length, const WayOut& way);
  [[gnu::always_inline]] static void leave(Packet& p, uint32_t l3_length, const WayOut& way);
  // The changes of addresses and TTL, and the way out.
  [[gnu::always_inline]] void send_ordinary(Packet& p, const Ordinary& seen, const WayOut& way, const Mac* mac);
  [[gnu::always_inline]] void send_translated(Packet& p, const Ordinary& seen, const State& in_state,
                                              const State* out_state, const WayOut& way, const Mac* mac) {
    if (in_state.translated || (out_state != nullptr && out_state->translated))
      rewrite_ordinary(p, seen, in_state, out_state);
    send_ordinary(p, seen, way, mac);
  }
  void leave_unresolved(Packet& p, const Ordinary& seen, const WayOut& way);
  static void rewrite_ordinary(Packet& p, const Ordinary& seen, const State& in_state, const State* out_state);
  static void rewrite_v6(Packet& p, const Ordinary& seen, const State& in_state, const State* out_state);
  [[nodiscard]] const Mac* next_mac(const WayOut& way, Af af, const Address& destination) const;
  void touch_twins(TwinLine& lead, bool tcp);
  void touch_leader(State& lead, bool tcp);
  [[gnu::always_inline]] void touch_later(TwinLine& lead, bool tcp);
  std::array<TouchedLead, kBurst> touched_leads;
  size_t touched_count = 0;

  // twin_path.h
  static constexpr unsigned kRunBits = 3;
  std::array<Run, 1u << kRunBits> runs;  // by course; without packets between bursts
  [[gnu::always_inline]] Run& run_of(uint32_t course, InterfaceId in);
  Run& begin_run(Run& run, uint32_t key);
  void settle_run(Run& run);
  void settle_runs();
  // fast_path(), of a state that has a twin: `line` with `marks` is that of the state which lets it in, `lead` has
  // both's numbers.
  template <Twins kTwins>
  [[nodiscard, gnu::always_inline]] bool twin_step(Packet& p, const Ordinary& seen, uint32_t marks,
                                                   const TwinLine& line, TwinLine& lead);
  // twin_step() or fast_path() of a packet that needs more than one line.
  [[nodiscard]] bool linked_path(Packet& p, const Ordinary& seen, State& in_state);
  // TwinLine::marks of a leader of this worker's, but for the course.
  const uint32_t leads, leads_translated;
  [[nodiscard]] bool is_own_twin(uint32_t marks) const {
    return static_cast<uint8_t>(marks) == options.worker && (marks >> 8 & (kTwinLeads | kTwinFollows)) != 0;
  }
  void leave_twin(Packet& p, const Ordinary& seen, Run& run, const Address& destination);

  // make_state.cc
  HookResult make_state(Packet& p, Direction dir, InterfaceId interface, const Decision& decision, const FlowKey& key,
                        const Translation5& to);
  bool choose_route(const Rule& rule, const Packet& p, IpAddress& route);
  void note_matches(State& s, const Decision& decision);
  void remove_state(State& s, bool announce);
  [[nodiscard]] uint32_t deadline_of(const State& s) const { return deadline_of(s, find_rule(s)); }
  [[nodiscard]] uint32_t deadline_of(const State& s, const Rule* rule) const;
  [[nodiscard]] uint32_t whole_timeout(TimeoutClass timeout, const Rule* rule) const;  // without adaptive timeouts
  [[nodiscard]] StateRest& rest_of(State& s);
  void keep_actions(State& s, const PacketActions& actions, TagId tag);
  void note_actions(State& s) const;
  // Null when a reload has taken the state's rule away.
  [[nodiscard]] const Rule* find_rule(const State& s) const { return find_rule(s.rule, s.rule_number); }
  [[nodiscard]] const Rule* find_rule(RuleSlot slot, uint32_t number) const;
  [[nodiscard]] const Rule& rule_of(const State& s) const;
  // A state of our own that a peer gave back after a restart is not one of them: it was never added.
  // A TCP state whose both ends are done gives way to a new connection with its key.
  [[nodiscard]] static bool finished_tcp(const State& s) {
    return s.wire.proto == kProtoTcp && s.src.level >= kTcpFinWait2 && s.dst.level >= kTcpFinWait2;
  }
  [[nodiscard]] static bool counts_half_open(const State& s) {
    return s.wire.proto == kProtoTcp && !s.imported && tcp_half_open(s);
  }
  // For a peer what is left of the state's time is told without the shortening of adaptive timeouts: it shortens
  // itself.
  void to_record(const State& s, pfsync::StateRecord& record, bool for_peer) const;
  // The same of what an UPD_C says, for a peer.
  void to_update(const State& s, pfsync::StateRecord& record) const;
  static void keep_alive(const State& s, pfsync::StateRecord& record);
  // The line that is kept up for it, where it has a twin.
  [[nodiscard]] const TwinLine* lead_of(const State& s) const {
    if ((s.log & (kTwinLeader | kTwinFollower)) == 0) return nullptr;
    return &table.line((s.log & kTwinLeader) != 0 ? table.index_of(s) : s.link);
  }
  State* import_record(const pfsync::StateRecord& record);

  // import_room.cc
  // Whether what the peer tells may be taken; where the table is all but full, room is made for what is in use.
  bool has_room_for(TimeoutClass coming);
  StateIndex room_cursor = 0;

  void note_timeout(State& s);
  // `displaces` says of a state in the way whether it goes; without one only what is finished does.
  bool insert(State& s, bool (*displaces)(const State& coming, const State& held) = nullptr);

  // translate.cc
  bool translate(const Rule& nat, const Rule& rdr, bool do_nat, bool do_rdr, const Packet& p, Direction dir,
                 Translation5& to);
  bool translate_source(const Rule& rule, const Packet& p, Direction dir, Translation5& to);
  bool choose_port(const Rule& rule, const Packet& p, FlowKey& key, unsigned slot, Translation5& to);
  // An address for `source` from the rule's pool; the next one when `search` has begun. With sticky-address the one
  // that the source has already. False: there is none.
  bool map_address(const Rule& rule, const Pool& pool, SourcePurpose purpose, Af af, const Address& source,
                   const Address& original, PoolSearch& search, Address& out);

  // limits.cc
  // May the rule and the packet's source have one more state? Takes the places; release_pending() gives them back.
  bool take_places(const Packet& p, const Rule& rule, DropReason& reason);
  void release_pending();
  // The new state holds what was taken for it.
  void attach_pending(State& s);
  // A state is removed: its places are free.
  void release_places(State& s);
  // A TCP connection has completed its handshake, whoever saw that: true when a limit on connections wants this packet
  // dropped (src-limit); the state and what `flush` asks for is on its way out then.
  bool connection_established(State& s);
  // No packet finds it any more; it goes with the next purge. Takes the other hook's state of the connection along.
  void kill(State& s);
  void kill_one(State& s);
  [[nodiscard]] uint32_t source_expiry(const State& s) const;

  // inspect.cc
  struct Finding {
    Impl* engine;
    const Packet* packet;
    const State* state;
    Direction dir;
    InterfaceId interface;
    inspect::OnMatch on_match;
  };
  [[nodiscard]] const inspect::Policy* policy_of(const State& s) const;
  // False: there is no place for it.
  bool open_inspection(State& s, const inspect::Policy& policy);
  void begin_inspection(State& s, const Rule& rule);
  void end_inspection(State& s);
  void block_connection(State& s, InspectCounter why);
  // Of a state with kInspected. False: the packet goes no further (`inspect`).
  bool inspect_packet(Packet& p, State& s, Direction dir, InterfaceId interface);
  bool settle_inspection(Packet& p, State& s, Direction dir, inspect::OnMatch action, unsigned direction,
                         const inspect::Outcome& out);
  bool reset_connection(Packet& p, State& s, Direction dir);
  void note_hit(const Finding& f, const inspect::Hit& hit);
  // inspect_sync.cc
  void note_inspection(State& s);  // it is to be told
  void put_inspection(const State& s, InspectionWord& out);
  bool next_inspection(InspectionWord& out);
  void return_inspection(const InspectionWord& word);
  void take_inspection(const InspectionWord& word);
  void inspect_count(InspectCounter c) { counters.inspection[static_cast<size_t>(c)].add(); }

  // upkeep.cc
  void expire(State& s);
  size_t expire_due();
  void purge_sources();
  void flush_some();
  void sweep();

  // af_to.cc
  [[nodiscard]] static Endpoints crossed_endpoints(const Packet& p, const State& s);
  [[nodiscard]] DropReason may_cross(const Packet& p, const Endpoints& e);
  // Turns a packet of an af-to state into one of the other family. kParsed, or why it cannot be.
  [[nodiscard]] DropReason cross(Packet& p, const State& s);
  [[nodiscard]] DropReason cross_error(Packet& p, Quote& q, const State& s);
  bool af_to_key(const Rule& rule, const Packet& p, FlowKey& stack);
  static bool af_to_destination(const Rule& rule, const Packet& p, Address& dst);

  // modulate.cc
  // A first sequence number that nobody can guess.
  [[nodiscard]] uint32_t draw_iss(const FlowKey& key);
  [[nodiscard]] uint32_t random_secret();
  void begin_modulation(State& s, Packet& p);
  // The other end's first segment gets its own difference. True when a refused segment is answered in the numbers that
  // it would have gone on with; as in PF it is not where an end's first segment comes again after one was refused.
  bool answer_modulation(State& s, const Packet& p, bool forward);
  static void modulate(Packet& p, const State& s, bool forward);

  // synproxy.cc
  HookResult begin_proxy(State& s, const Packet& p, uint16_t offered_mss);
  HookResult proxy(Packet& p, State& s, Direction dir);
  HookResult proxy_client(const Packet& p, State& s);
  HookResult proxy_server(const Packet& p, State& s);
  void greet_client(const State& s, InterfaceId in);
  void greet_server(const State& s, InterfaceId in);
  void abandon_proxy(const State& s);
  [[nodiscard]] uint16_t proxy_mss(const Packet& p, const State& s, uint16_t offered) const;

  // syncookie.cc
  // Are SYNs answered with cookies now?
  [[nodiscard]] bool cookies_wanted();
  void send_cookie(const Packet& p);
  // An ACK without a connection: true when its cookie is good and the connection was made; `result` is the ACK's fate.
  bool accept_cookie(Packet& p, InterfaceId interface, HookResult& result);
  [[nodiscard]] uint64_t half_open_total() const;
  void note_half_open(bool more);
  void rotate_cookies();

  // scrub_tcp.cc
  // Tracking with reassemble tcp: false when the timestamp cannot be right; the state is as it was then.
  bool track_scrubbed(Packet& p, State& s, bool forward, TcpResult& result);
  // This end's first segment.
  void begin_scrub(State& s, const Packet& p, bool forward);
  // Changes the packet's TTL and timestamps. False: its timestamp cannot be right (bad-timestamp).
  bool scrub_tcp(State& s, Packet& p, bool forward, bool established);

  // route.cc
  // Where the packet's route leads; false when there is no way to it.
  [[nodiscard]] bool resolve_route(const Packet& p, NextHop& hop) const;
  // Sends a copy along the packet's route, unfiltered and unanswered.
  void duplicate(const Packet& p, bool forwarded);
  // After the out hook: true when a routing option has taken the packet.
  bool leave_by_route(Packet& p);

  // forward.cc
  void forward(Packet& p, NextHopIndex hop, State* in_state);
  // The states of one connection's two hooks, both of this worker, point at each other until one of them goes or is
  // paired anew: whoever has a link has one that holds.
  void pair(State& a, State& b);
  void unpair(State& s);
  void deliver_local(Packet& p, const NextHop& hop);
  void emit(Packet& p, const NextHop& hop);
  void emit_known(Packet& p, const WayOut& way_to);
  template <class Splitter>
  void emit_pieces(Packet& p, Splitter& splitter, const InterfaceInfo& out, const IpAddress& next);
  void send_generated(Packet& p, bool filtered);
  void send_icmp_error(const Packet& about, uint8_t type4, uint8_t code4, uint8_t type6, uint8_t code6,
                       uint32_t parameter, bool filtered);
  void answer_block(const Packet& p, const Rule& rule);
  void send_tcp(Af af, const TcpReply& reply, InterfaceId in, bool filtered);
  [[nodiscard]] NextHopIndex lookup(Af af, const Address& address) const;
  [[nodiscard]] bool has_route(Af af, const Address& address) const;
  [[nodiscard]] bool urpf_failed(Af af, const Address& source, InterfaceId in) const;
  [[nodiscard]] NextHop way_back(Af af, const Address& to, InterfaceId in) const;
  void drop(Packet& p, DropReason reason);
  [[nodiscard]] bool error_allowed(Af af);

  // sync_out.cc
  void touched(State& s, pfsync::SyncEvent event, bool urgent);
  [[nodiscard]] bool deltas_due(Time t) const;
  [[nodiscard]] bool hasty_waits(Time t) const;
  [[nodiscard]] bool urgent_due(Time t) const;  // such as do more than move windows, or all of them
  bool next_delta();                            // into `delta`
  void return_delta(const Delta& delta);
  void flush_deltas();
  [[nodiscard]] Time next_sync_deadline() const;
  void unqueue(State& s);

  // digest.cc
  // What peers know of the state is what it is now.
  void note_told(State& s) { note_told(s, s.src.level, s.dst.level); }
  void note_told(State& s, uint8_t src_level, uint8_t dst_level);
  void forget_told(State& s);

  // defer.cc
  void want_acknowledgement(Packet& p, State& s);
  void defer(Packet& p);  // a packet that is to be forwarded
  void acknowledged(const pfsync::StateId& id);
  // What should have gone by then; all of it with Time::max().
  void release_overdue(Time limit);

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
  Courses courses;
  inspect::Inspector inspector;
  std::unique_ptr<SourceTable> own_sources;
  SourceTable& sources;

  uint32_t iss_counter = 0;
  uint64_t secret_counter = 0;
  std::unique_ptr<Syncookies> own_cookies;  // without others to share them with
  Syncookies& cookies;
  RuleEnvironment environment;
  View view;
  const Snapshot* snapshot = nullptr;
  Time now{};
  uint32_t now_s = 0;
  uint64_t ways_of = 0;       // the snapshot's number
  uint16_t way_epoch = 1;     // of State::way: 0 is none
  uint64_t neighbors_of = 0;  // the neighbours' number, 0: none
  // The ways that bursts have taken since either has changed, by next hop; bit n of `ways_known`: entry n is one.
  std::array<WayOut, 64> ways;
  uint64_t ways_known = 0;
  uint64_t next_id = 0;
  uint16_t next_ip_id = 0;

  // What the rules have taken for the connection that is being decided on, until it has a state.
  struct Pending {
    SourceNodeIndex nodes[kSourcePurposes] = {kNoSourceNode, kNoSourceNode, kNoSourceNode, kNoSourceNode};
    const Rule* rules[kSourcePurposes] = {nullptr, nullptr, nullptr, nullptr};  // of the nodes
    const Rule* counted = nullptr;                                              // in its total
    const Rule* pools[3] = {nullptr, nullptr, nullptr};  // least-states: nat-to, rdr-to, route-to
    bool any = false;
    bool at_once = false;  // no state could be made: unused nodes go now
  };
  Pending pending;

  // The search for a free port may look at every port once, but all searches of a second together only at so many.
  // Ranges that were full a moment ago are known.
  struct PortSearch {
    uint32_t second = 0;
    uint32_t looked_at = 0;
    struct Full {
      uint64_t key = 0;
      uint32_t second = 0;
      uint64_t removals = 0;  // states removed until then: one more and it may not be full
    };
    std::array<Full, 64> full{};
  };
  PortSearch port_search;

  // Flushes under way: the walk over this worker's states.
  uint64_t flushes_seen = 0;
  std::vector<FlushRequest> flushing;
  StateIndex flush_next = 0;
  // Expiry when timeouts shrink: the walk that meets every state once per `interval`.
  uint32_t sweep_second = 0, sweep_left = 0;
  StateIndex sweep_next = 0;
  uint32_t sources_purged = 0;  // the second in which the pass began
  bool purging_sources = false;

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
  size_t lazy_left = 0;     // of the lazy list, in the call under way
  bool lazy_flush = false;  // all of it is wanted, however long it takes
  void append(SyncList& list, State& s, bool is_urgent);
  void unlink(SyncList& list, State& s);
  bool pop(SyncList& list);
  void prefetch_told(const State& next) const;
  void tell(State& s, SyncQueue action);
  // UPD_C of a leader, and of its follower if that is to be told along with it.
  void tell_twins(State& lead, bool both);
  Delta delta;  // that is being handed over
  // Leaders that have had so many packets that they are told at once: a ring. They stay in the lazy list, whose other
  // states they would have to be taken from between, and are told again with that.
  std::array<StateIndex, 64> hasty;
  size_t hasty_head = 0, hasty_count = 0;
  size_t hasty_left = 0;  // of the call under way
  Time hasty_due{};       // of the first of them
  bool make_hasty(State& lead);
  bool pop_hasty();
  void take_hasty_back(State& lead);
  // Until a word on it is due again so many packets of the leader only count.
  void allow(State& lead, bool tcp);
  // The leader does not wait for both any more.
  void queue_follower(State& leader, State& follower);

  // Removals by identity: the state itself is gone before they go out. A ring, bounded.
  std::vector<pfsync::StateId> removals;
  size_t removal_head = 0, removal_count = 0;
  Time removals_due = Time::max();
  void queue_removal(const State& s);

  // Connections whose inspection is to be told: a ring, each in it once. Empty: nothing is told.
  std::vector<StateIndex> inspect_untold;
  size_t untold_head = 0, untold_count = 0;
  Time untold_due = Time::max(), untold_due_at_least{};
  Time tell_slice{};
  uint32_t told_in_slice = 0;  // bytes

  // Packets that wait for the peer: a ring, a packet of null where one has gone before those in front of it.
  struct Held {
    Packet* packet = nullptr;
    Time until{};
    uint64_t state = 0;  // id
  };
  std::array<Held, 128> held;
  size_t held_head = 0, held_count = 0;
  void release(Held& h);
  void drop_gaps();

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
  std::array<Walk, 8> walks;  // an operator's, and those of the sync engine
  size_t walk_turn = 0;       // the one that is next
  [[nodiscard]] bool walk_step(Walk& walk, ReplyFn reply, void* context);
  void take_new(const pfsync::StateRecord& record);
  void tell_whole(State& s);  // to a peer that lacks it, or something of it
  [[nodiscard]] bool matches(const State& s, const StateFilter& f) const;
  [[nodiscard]] InterfaceId received_on(const State& s) const;

  // Where a datagram is put together; one at a time, taken through the whole path before the next.
  std::vector<uint8_t> datagram;
  Packet datagram_packet;
  void take_fragment(Packet& p);
  void run_to_completion(Packet& p);

  std::array<Lane, kBurst> lanes;
  // What TwinLine::is() asks for, by lane that is looked up; of what is not ordinary IPv4 a `rest` of zero.
  alignas(32) std::array<uint64_t, kBurst> addresses{}, rests{};
  void complete_key(Lane& lane) {
    const auto i = static_cast<size_t>(&lane - lanes.data());
    if (rests[i] != 0) lane.key.set_v4(addresses[i], rests[i]);
  }
  static void fill(Lane& lane);
  bool new_flows = false;  // the burst has packets of which no state is known
  void prefetch_new(size_t n, size_t lane, Direction dir) const;
  alignas(32) std::array<uint32_t, kBurst> plain_destinations;  // in host order
  void add_keys(size_t n);
  [[nodiscard]] bool stage_plain_eights(size_t n);
  [[nodiscard]] Plain stage_parse(std::span<Packet* const> burst);
  void stage_guess(size_t from, size_t n);
  size_t guessed = 0;  // the first lane that stage_guess() has not seen
  State* search(Lane& lane);
  bool translated_lately = false;  // the burst before had packets that needed the last line of their states
  bool whole_lately = false;       // … the first two
  void stage_short(size_t from, size_t to, Short& done);
  bool end_short(size_t n, const Short& done);
  bool translated_step(Lane& lane, uint32_t marks);
  void short_other(Lane& lane, Short& done);
  bool stage_linked(size_t n);
  static constexpr uint64_t bit_of(StateIndex state) { return uint64_t{1} << (state & 63); }
  bool stage_in_hook(size_t n);
  void stage_route(size_t n);
  void stage_look_ahead(size_t n);
  bool stage_plain(size_t n);
  void stage_out(size_t n);
  void hand_off(Packet& p, uint8_t worker);
  static constexpr uint64_t kMacInWord = bswap(uint64_t{0xffffffffffff} << 16);
  [[nodiscard]] WayIn way_in(InterfaceId id) const;
  void receive_ordinary(Lane& lane, const WayIn& way, Ordinary::Head head, uint32_t payload);
  bool receive_other(Lane& lane, WayIn& way);
  bool receive(Lane& lane, WayIn& way);
  Plain receive_eight(Lane* lane, Packet* const* packets, WayIn& way);
  static void reset(Packet& p);
  bool receive_link(Packet& p, const CarpSharing*& sharing);
  bool receive_ip(Packet& p, const CarpSharing* sharing);
  [[nodiscard]] bool is_bfd(const Packet& p) const;
  DropReason normalise_v4_flags(Packet& p);
  void count_hook(const Packet& p, Direction dir, InterfaceId interface, bool passed) {
    auto& pair =
        counters.interfaces[interface].hook[dir == Direction::in ? 0 : 1][p.af == Af::inet ? 0 : 1][passed ? 0 : 1];
    pair.packets.add();
    pair.bytes.add(p.l3_length);
  }
};

}  // namespace twinwall
