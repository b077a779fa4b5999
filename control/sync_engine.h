// The sync engine: tells the peers what changes in the state table, and the state table what the peers tell.
//
// Deltas of the workers are packed into pfsync packets to the MTU and leave at the end of each turn; the workers have
// already coalesced them and decided when they are due. Received items become commands to the workers: those that carry
// the state's keys go to the worker that owns such states (others get what concerns a state they may hold all the
// same), those that carry only an id go to all. An update of a state nobody knows is answered with a request for the
// whole of it. At the start the peer's table is asked for, and while it is coming the host keeps this node's CARP
// demotion up; the transfer counts as complete only when the workers have taken every state in.
//
// Only frames of the configured peers are looked at (all on the link, when the peer is a group). With a key each frame
// must prove besides that its sender has the key and made it for this node, now (lib/pfsync/auth.h); peers that have
// not met yet say hello to each other until they have, and only then anything else is said.
//
// A peer that is twinwall too is recognised by what it puts behind its frames (lib/pfsync/twin.h), which a BSD does not
// look at. Between two of them frames are counted and acknowledged: a transfer goes as fast as the peer takes it in and
// resumes after an interruption, what a lost frame was about is told anew, and digests over slices of the table are
// compared all the time (sync_twin.cc, sync_repair.cc). A transfer counts as complete only when they agree.
//
// Nothing is unbounded: commands that a worker cannot take yet wait in a bounded queue, and while it is long no frames
// are taken from the port. A packet that the port does not take is kept and tried again for a second.
//
// Threads: all functions for the thread that polls it, but for status(), last_delta() and drained(). Runs as a task of
// the control loop or of a loop of its own; it touches nothing but the sync_* side of the Dataplane. SyncHost is called
// from the same thread.
//
// What is sent is in the dialect of one system; what comes is read in whichever dialect it is (lib/pfsync/dialect.h).
// What is newer, what is asked for and how long is waited is OpenBSD 7.4's way in every dialect: a peer sees no
// difference.
//
// Source: pfsync(4).
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "control/event_loop.h"
#include "control/log_gate.h"
#include "dataplane/dataplane.h"
#include "lib/pfsync/auth.h"
#include "lib/pfsync/builder.h"
#include "lib/pfsync/bulk.h"
#include "lib/pfsync/names.h"
#include "lib/pfsync/packet.h"
#include "lib/pfsync/slices.h"
#include "lib/pfsync/twin.h"
#include "lib/pfsync/twin_ledger.h"
#include "lib/pfsync/twin_messages.h"

namespace twinwall {

enum class BulkState : uint8_t { none, requested, receiving, complete, failed };
[[nodiscard]] std::string_view to_string(BulkState s);

// Where to, and the address of ours to send from. Of one family all.
struct SyncPeer {
  IpAddress address;  // of a peer, or a multicast group
  IpAddress source;
};

struct SyncOptions {
  uint32_t hostid = 0;
  InterfaceId interface = kNoInterface;
  pfsync::System system = pfsync::System::openbsd74;  // whose dialect is sent
  Mac mac;                                            // of the interface
  std::vector<SyncPeer> peers;                        // one at least
  pfsync::InterfaceNames names;
  std::vector<uint8_t> key;          // empty: none. With one, every peer has an address of its own
  std::function<uint64_t()> random;  // that nobody can guess; needed with a key
  size_t mtu = 1500;
  uint64_t state_limit = 100000;
  unsigned workers = 1;
  uint16_t ip_id = 0;  // of the first packet
  // Looks for twinwall in the peers. Each must have an address of its own.
  bool twin = false;
  // So long the key before the last is good, unless every peer shows the new one sooner.
  Duration old_key_for = 600s;
};

// Whether a peer is known to be twinwall.
enum class TwinState : uint8_t { unknown, alive, silent };
[[nodiscard]] std::string_view to_string(TwinState s);

class SyncHost {
 public:
  virtual ~SyncHost() = default;
  // A transfer of the peer's table to us began or ended. `first`: the one after the start.
  virtual void bulk_changed(bool running, bool first) = 0;
  // A twinwall peer with the key hears this node: for the first time in its run or ours, or again after a silence.
  virtual void peer_met(size_t /*peer*/) {}
  // Whole, and authenticated.
  virtual void peer_message(size_t /*peer*/, std::vector<uint8_t> /*message*/) {}
};

struct SyncStatus {
  BulkState bulk = BulkState::none;
  uint64_t bulk_states_received = 0;  // in the last transfer
  bool bulk_answering = false;
  uint64_t bulk_states_sent = 0;  // in the last transfer to a peer
  uint64_t bulk_requests_sent = 0, bulk_requests_received = 0, bulk_transfers_answered = 0;
  bool link_up = false;
  struct Peer {
    bool known = false;       // the way to it
    bool in_session = false;  // with a key: it has proved that it is alive
    TwinState twin = TwinState::unknown;
    bool ready = false;           // twin: says that it could be master
    uint8_t version = 0;          // twin: of what it speaks beside pfsync
    size_t differing_slices = 0;  // twin: whose digests differ for sure
    bool proven = false;          // twin: every slice was equal since the last transfer, and none differs
    uint64_t confirmed = 0;       // twin: states in slices that were equal
    Duration oldest{};            // twin: age of the oldest change that it has not confirmed
    size_t in_flight = 0;         // twin: frames that it has not confirmed
    uint64_t frames_lost = 0;     // twin: frames to it that were lost
    uint64_t frames_missed = 0;   // twin: frames of it that were lost
  };
  std::vector<Peer> peers;  // as in the options
  uint64_t packets_sent = 0, send_errors = 0, packets_lost = 0;
  uint64_t deltas_lost = 0;  // there was no way to the peer
  std::array<uint64_t, pfsync::kItemKinds> items_sent{};
  pfsync::RxCounters received;
  std::optional<pfsync::Dialect> peer_dialect;         // of the last good packet
  uint64_t not_pfsync = 0;                             // frames that are no whole IP packet of the protocol
  uint64_t strangers = 0;                              // from an address that is no peer's
  uint64_t misaddressed = 0;                           // to an address that is neither ours nor the group
  std::array<uint64_t, pfsync::kAuthVerdicts> auth{};  // with a key, by AuthVerdict
  uint64_t unexpected_auth = 0;                        // with a trailer, and there is no key here
  uint64_t old_key = 0;                                // frames with the key before the last, taken
  uint64_t sessions = 0;                               // of peers, taken
  uint64_t commands_lost = 0;
  uint64_t commands_waiting = 0;
  uint64_t unknown_states = 0;  // updates of states that are not here
  uint64_t states_told = 0;     // that peers should know
  uint64_t digest = 0;          // of all of them
  uint64_t told_again = 0;      // states, because a frame was lost
  uint64_t slices_repaired = 0, repair_states_sent = 0, repair_states_removed = 0, repair_states_asked = 0;
  uint64_t repairs_lost = 0;  // inventories that did not arrive whole
  // Where the looking into connections stands, in words.
  uint64_t inspections_sent = 0, inspections_received = 0;
  uint64_t inspections_unheard = 0;    // no peer takes them now
  uint64_t inspections_too_large = 0;  // for a frame
  uint64_t messages_sent = 0, messages_received = 0;
  uint64_t messages_refused = 0;     // to be sent, and the peer could not be
  uint64_t pieces_again = 0;         // of messages, sent once more
  uint64_t inspections_refused = 0;  // of the peer: malformed, without a key, or more than the workers take
  bool proving = false;              // the transfer is over, the digests are being compared
};

// Calls f(reason, count) for what was refused before its items were looked at.
template <class F>
void each_sync_refusal(const SyncStatus& s, F f) {
  f("stranger", s.strangers);
  f("misaddressed", s.misaddressed);
  f("unexpected_auth", s.unexpected_auth);
  for (size_t v = 1; v < s.auth.size(); ++v) f(pfsync::verdict_name(static_cast<pfsync::AuthVerdict>(v)), s.auth[v]);
}

class SyncEngine final : public LoopTask {
 public:
  SyncEngine(const SyncOptions& options, Dataplane& dataplane, SyncHost& host);

  void start(Time now, bool link_up);
  void link_change(Time now, bool up);
  void set_peer_mac(Time now, size_t peer, const Mac& mac);
  // The operator flushed every state this node made.
  void send_clear(Time now);
  // To one peer; false: it is no twinwall that takes any, is not heard, or has not taken what it was sent before.
  bool send_message(Time now, size_t peer, Bytes message);
  // The key is another one from now on. The old one is good until every peer has shown the new one, at most
  // SyncOptions::old_key_for. There was one before.
  void change_key(Time now, Bytes secret);
  // Makes the workers hand over everything that waits.
  void flush() { dataplane_.sync_flush(); }
  // When the last delta came (for anybody).
  [[nodiscard]] Time last_delta() const { return Time(Duration(last_delta_.load(std::memory_order_relaxed))); }
  // Every packet made has left (for anybody).
  [[nodiscard]] bool drained() const { return drained_.load(std::memory_order_relaxed); }
  // Of one twinwall peer: how many frames have left for it, and up to which it has everything (for anybody). Both 0:
  // there is none.
  struct Confirmed {
    uint64_t sent = 0, taken = 0;
  };
  [[nodiscard]] Confirmed confirmed() const {
    return {sent_.load(std::memory_order_relaxed), taken_.load(std::memory_order_relaxed)};
  }
  // This node could be master but for the states; peers are told (for anybody).
  void set_fit(bool fit) { fit_.store(fit, std::memory_order_relaxed); }

  [[nodiscard]] Time next_deadline() const override;
  void poll(Time now) override;

  [[nodiscard]] SyncStatus status() const;

 private:
  // A packet being filled, behind its Ethernet header.
  struct Packet {
    std::vector<uint8_t> buffer;
    std::optional<pfsync::PacketBuilder> builder;
    pfsync::FrameContent content;
  };
  struct Pending {
    std::vector<uint8_t> frame;
    Time since{};
  };
  struct Rx;
  friend struct Rx;
  class Source final : public pfsync::BulkSource {
   public:
    Source(std::deque<pfsync::StateRecord>& queue, const SyncOptions& options, pfsync::FrameContent& content,
           bool names_rules)
        : queue_(queue), options_(options), content_(content), names_rules_(names_rules) {}
    bool current(pfsync::StateRecord& out) override;
    void advance() override;

   private:
    std::deque<pfsync::StateRecord>& queue_;
    const SyncOptions& options_;
    pfsync::FrameContent& content_;
    bool names_rules_;
  };
  struct IdHash {
    size_t operator()(const pfsync::StateId& i) const {
      return static_cast<size_t>(i.id * 0x9e3779b97f4a7c15ull + i.creator);
    }
  };

  // What is known of a peer that is twinwall.
  struct Twin {
    uint32_t session = 0;  // its; 0: none was heard
    Time since{};          // when that was heard first
    bool live = false;     // it hears us, and we it
    Time heard{};
    Time hello_at{};
    unsigned hellos = 0;
    uint8_t flags = 0, version = 0;
    pfsync::FrameOutbox out;
    pfsync::FrameInbox in;
    unsigned to_acknowledge = 0;  // frames
    Time acknowledge_at = Time::max();
    bool window_shut = false;  // it was told so
    Time answered{};
    pfsync::SliceComparison slices;
    bool difference_told = false;  // one that lasts
    Time digest_at{};
    uint16_t next_slice = 0;  // to be told
    pfsync::MessageOutbox messages;
    pfsync::MessageInbox message;
    bool wanted_due = false;  // it is to be told which piece is wanted
    uint64_t frames_lost = 0;
  };
  struct Peer {
    SyncPeer at;
    std::optional<Mac> mac;
    std::unique_ptr<pfsync::AuthSession> session;  // only with a key
    Time next_hello{};
    Time answers_since{};
    unsigned answers = 0;
    Twin twin;
    // What is sent to it counts.
    [[nodiscard]] bool usable() const { return mac && (session == nullptr || session->established()); }
  };

  [[nodiscard]] bool ready() const;
  void became_ready(Time now);
  void request_anew(Time now);
  void check_stall(Time now);

  // Out.
  void take_deltas(Time now);
  void add_delta(Time now, const Delta& delta);
  void add_request(Time now, const pfsync::StateId& id);
  template <class Add>
  void add_item(Time now, pfsync::ItemKind kind, Add add);
  void begin_packet();
  void finish_packet(Time now);
  void send_alone(Time now, pfsync::ItemKind kind, const std::function<bool(pfsync::PacketBuilder&)>& add);
  // The packet, made without items or finished, in a frame to this peer. `hello`: see AuthSession::seal().
  void send_to(Time now, Peer& peer, size_t length, const pfsync::Hello* hello = nullptr,
               const pfsync::TwinTrailer* twin = nullptr, Bytes items = {});
  void transmit(Time now, std::vector<uint8_t>&& frame);
  void retry_pending(Time now);

  // In.
  void take_frames(Time now);
  void take_frame(Time now, const PuntedFrame& frame);
  // Whom it comes from; null when it is not to be looked at, which is counted then.
  Peer* sender(Time now, const pfsync::Datagram& datagram);
  // The payload without the trailer; nothing when the proof is lacking.
  std::optional<Bytes> authenticate(Time now, Peer& peer, const pfsync::Datagram& datagram);
  void refuse(Time now, LogGate& gate, const IpAddress& source, std::string_view why);

  // Sessions (with a key).
  void say_hello(Time now, Peer& peer, const pfsync::Hello& hello);
  void say_hellos(Time now);
  void tend_keys(Time now);
  void take_replies(Time now);
  void to_worker(unsigned worker, const Command& command);
  void to_all(Command command);
  void import(Command::Kind kind, const pfsync::StateRecord& record);
  void push_backlog();
  [[nodiscard]] size_t backlog_size() const;
  void unknown_state(Time now, const pfsync::StateId& id);
  void send_requests(Time now);

  // Bulk.
  void step(Time now, const pfsync::BulkStep& step);
  void bulk_status(Time now, const pfsync::BulkRecord& record);
  void peer_requests_all(Time now);
  void exported(const Reply& reply);
  void answer_bulk(Time now);
  [[nodiscard]] bool may_answer(Time now);
  void end_answer();
  void walk_done(Time now, const Reply& reply);
  static Command walk(uint64_t cookie, const StateFilter& filter);
  void start_walk(uint64_t cookie, const StateFilter& filter);

  // Peers that are twinwall (sync_twin.cc).
  [[nodiscard]] bool all_live() const;  // every peer that counts
  [[nodiscard]] bool room_for_deltas() const;
  [[nodiscard]] pfsync::TwinTrailer twin_trailer(Peer& peer);
  // With `content` the frame counts, and is about that.
  void say_twin(Time now, Peer& peer, Bytes items = {}, uint8_t flags = 0,
                const std::shared_ptr<const pfsync::FrameContent>& content = nullptr);
  [[nodiscard]] std::optional<pfsync::TwinFrame> take_twin(Time now, Peer& peer, Bytes payload);
  void twin_items(Time now, Peer& peer, const pfsync::TwinFrame& frame);
  void new_session(Time now, Peer& peer, const pfsync::TwinTrailer& trailer);
  void tend_twins(Time now);
  void acknowledge(Time now, Peer& peer);
  void repair_lost(Time now, Peer& peer);
  [[nodiscard]] Time twin_deadline() const;
  void settle_resumption(Time now);
  void publish_twins();

  // Where the looking into connections stands (sync_inspection.cc).
  [[nodiscard]] bool takes_inspections(const Peer& peer) const;
  void tell_inspections(Time now);
  void take_inspection(Bytes data);
  void push_inspections();
  void look_for_other_patterns(Time now);
  void tell_all_inspections();

  // Messages (sync_messages.cc).
  [[nodiscard]] bool takes_messages(const Peer& peer) const;
  void take_piece(Peer& peer, Bytes data);
  void send_pieces(Time now);
  [[nodiscard]] Time messages_deadline() const;

  // Digests, and slices that differ (sync_repair.cc).
  // The workers' counters of as many slices, added up.
  using SliceCounters = std::array<Counter, pfsync::kSlices> EngineCounters::*;
  void add_slices(SliceCounters which, size_t first, std::span<uint64_t> out) const;
  void tell_digests(Time now, Peer& peer);
  void take_digests(Time now, Peer& peer, Bytes data);
  void check_proof(Time now);
  void tell_unproven() const;
  void tell_lasting_difference(Time now, Peer& p);
  void start_inventory(Time now, size_t peer);
  void take_inventory(Time now, size_t peer, Bytes data);
  void inventory_entry(const Reply& reply);
  void inventory_done(Time now);
  void send_inventory(Time now);
  void walk_slices();
  void reconcile(Time now);
  [[nodiscard]] bool receiving() const { return transfer_running_ && !proving_; }

  void publish_status();

  SyncOptions options_;
  Dataplane& dataplane_;
  SyncHost& host_;
  pfsync::PacketOptions packet_options_;
  bool link_up_ = false;
  std::unique_ptr<pfsync::FrameKey> key_, old_key_;
  Time old_key_until_ = Time::max(), probe_at_ = Time::max();
  bool probing_ = false;  // what is sent is sealed with the new key, whatever the peer has
  std::vector<Peer> peers_;
  bool multicast_ = false;
  bool started_ = false;
  Time hellos_at_ = Time::max();
  LogGate stranger_log_{10s}, auth_log_{10s}, replay_log_{10s};

  Packet packet_;
  std::deque<Pending> pending_;  // the port took no more
  Time retry_at_ = Time::max();
  std::atomic<Duration::rep> last_delta_{0};
  std::atomic<bool> drained_{true};
  uint16_t ip_id_ = 0;

  std::vector<std::deque<Command>> backlog_;       // per worker
  std::vector<std::deque<InspectionWord>> words_;  // the same
  uint64_t inspections_afresh_ = 0;                // so many were logged
  LogGate patterns_log_{60s};
  std::unordered_map<pfsync::StateId, Time, IdHash> asked_;
  std::vector<pfsync::StateId> requests_;

  pfsync::BulkRequester requester_;
  uint32_t bulk_from_ = 0;  // the creator whose transfer is under way
  Time bulk_heard_{};       // the last sign of a transfer that is under way
  bool first_transfer_ = true;
  bool transfer_running_ = false;
  uint64_t next_cookie_ = 1;
  uint64_t barrier_cookie_ = 0;  // 0: none under way
  unsigned barrier_left_ = 0;

  pfsync::BulkAnswerer answerer_;
  std::deque<pfsync::StateRecord> bulk_queue_;
  std::unordered_map<pfsync::StateId, bool, IdHash> deleted_;  // while answering: must not be sent any more
  uint64_t export_cookie_ = 0;
  unsigned export_left_ = 0;
  Time bulk_next_ = Time::max();

  bool request_waiting_ = false;  // for everything; came while an older answer was being ended
  bool deleted_news_ = false;     // deleted_ has grown since the queue was looked through
  Time answer_paused_ = Time::max();

  uint32_t run_ = 0;                 // our session towards twinwall peers
  Time resume_until_ = Time::max();  // the peer may turn out to be the one that it was
  bool proving_ = false;
  Time proving_since_{};
  Time next_proof_ = Time::max();
  // An inventory under way: ours to a peer, or a peer's with ours beside it.
  struct Inventory {
    enum class Stage : uint8_t { none, walking, receiving, comparing };
    Stage stage = Stage::none;
    size_t peer = 0;
    pfsync::InventoryHead head;
    uint64_t cookie = 0;
    unsigned left = 0;
    Time deadline = Time::max();
    std::unordered_map<pfsync::StateId, pfsync::InventoryEntry, IdHash> theirs;
    std::vector<pfsync::InventoryEntry> ours;
    bool too_many = false;
    bool refused = false;  // by a worker, so that states are missing in it
    unsigned frames_taken = 0;
  };
  Inventory inventory_;
  std::atomic<bool> fit_{false};
  std::atomic<uint64_t> sent_{0}, taken_{0};
  Time now_{};  // of the turn
  Time publish_sums_at_{};
  std::vector<uint64_t> confirmed_states_;  // by peer
  Time ask_whole_at_{};

  SyncStatus status_;
  mutable std::mutex mutex_;
  SyncStatus published_;  // under mutex_
};

}  // namespace twinwall
