// Runs the CARP elections of all groups: feeds the pure machines of lib/carp with frames, links and time, and carries
// out what they say.
//
// Order matters in four places. On becoming MASTER the role is published to the workers before the announcement that
// invites traffic. Announcements go before the advertisement they come with, which a better node may answer at once. On
// losing it the workers go on taking frames to the virtual MAC for a moment (kLinger), because what was on its way when
// the switches learnt the peer's port is lost otherwise; both nodes forwarding is harmless. And at a planned end the
// group bows out first and forwards until the peer was heard as master.
//
// What a detector of lost peers says is an opinion: should the old master live, it answers the new one's advertisement
// and the election's rules decide.
//
// Demotion, as PF has it, is one number for all groups: links of CARP interfaces that are down, interfaces that
// advertisements cannot leave by, a bulk transfer under way, and what the operator adds; so a node that lost one side
// gives up all of them (with every group's peers comparing demotion before skew). Where BFD says that there is one
// other node, its demotion heard in one group counts for all of them: the group on the interface whose link it lost
// hears nothing more, and need not wait for its timer.
//
// A group that shares its load is one election a node, over the same addresses. Every machine gets all its packets and
// the workers take those of the vhids that are MASTER here (engine/share.h), so what waits on the wire waits for
// nobody: nothing is announced, and a role that is lost is lost at once.
//
// Owned and called by the control thread; time comes in. Frames are untrusted and verified by lib/carp; every refused
// one is counted by its reason, named as `netstat -s -p carp` does, and now and then one is told with its sender and
// what to do about it. Vhids that are not known here are only counted: others may use CARP on the same wire.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/log_gate.h"
#include "lib/base/bytes.h"
#include "lib/base/time.h"
#include "lib/carp/advert.h"
#include "lib/carp/vhost.h"
#include "lib/config/schema.h"
#include "lib/engine/snapshot.h"

namespace twinwall {

class CarpOutput {
 public:
  virtual ~CarpOutput() = default;
  virtual bool send(InterfaceId interface, Bytes frame) = 0;
  virtual void publish(std::shared_ptr<const CarpRoles> roles) = 0;
  virtual void add_mac(InterfaceId interface, const Mac& mac) = 0;
  // Of a unicast peer; null (and asked for) when not known.
  virtual const Mac* peer_mac(InterfaceId interface, const IpAddress& peer) = 0;
  // After the role was published and before anything is sent.
  virtual void role_changed(InterfaceId interface, uint8_t vhid, carp::Role from, carp::Role to) = 0;
};

struct CarpGroupCounters {
  uint64_t adverts_sent[2] = {0, 0};  // [0] IPv4, [1] IPv6
  uint64_t adverts_received[2] = {0, 0};
  uint64_t send_errors = 0;
  uint64_t announcements = 0;  // frames
};

// Of all groups since the start, as `netstat -s -p carp` has them beside the verdicts. [0] IPv4, [1] IPv6.
struct CarpTotals {
  uint64_t received[2] = {0, 0};  // CARP packets, believed or not
  uint64_t sent[2] = {0, 0};      // advertisements
  uint64_t send_errors = 0;
  uint64_t became_master = 0;
};

// The last advertisement that was not believed, of those that an operator should know of.
struct CarpRefusal {
  carp::Verdict verdict = carp::Verdict::accept;  // accept: there was none
  InterfaceId interface = kNoInterface;
  uint8_t vhid = 0;  // 0: could not be read
  IpAddress source;
  Mac source_mac;
  Time at{};
  std::string advice;  // what it may be and what to do
};

struct CarpStatus {
  uint8_t vhid = 0;
  InterfaceId interface = kNoInterface;
  carp::Role role = carp::Role::init;
  uint8_t advbase = 1, advskew = 0;
  int demotion = 0;
  std::vector<Prefix> addresses;
  Mac mac;  // of the addresses
  config::Balancing balancing = config::Balancing::none;
  uint8_t leader = 0;        // vhid that answers for the addresses; not its own only where nodes share the load
  uint64_t transitions = 0;  // changes of role since the start
  uint64_t transitions_to_master = 0;
  Duration in_role{};
  carp::Cause cause = carp::Cause::none;  // of the last change
  bool peer_known = false;
  carp::Advertised peer;    // its last word
  Duration peer_silence{};  // since then
  CarpGroupCounters counters;
};

// As ifconfig(8) writes them: INIT, BACKUP, MASTER.
[[nodiscard]] std::string_view role_name(carp::Role role);

class CarpRunner {
 public:
  static constexpr Duration kLinger = 100ms;

  // `random` gives 64 bits that nobody can guess.
  CarpRunner(CarpOutput& output, std::function<uint64_t()> random);
  ~CarpRunner();

  // New groups begin in INIT (after start(): join at once), vanished ones bow out, changed ones keep their role where
  // CARP allows. `link_up(id)` tells the present links.
  void configure(Time now, const config::Carp& carp, std::vector<InterfaceInfo> interfaces,
                 const std::function<bool(InterfaceId)>& link_up);
  void start(Time now);
  // Every group says goodbye and is INIT from now on; workers keep the roles until release().
  void bow_out(Time now);
  // Says goodbye again for groups whose peer was not heard as master since.
  void repeat_bow_out(Time now);
  // Every group that was MASTER at bow_out() has heard another master since.
  [[nodiscard]] bool successors_heard() const;
  [[nodiscard]] bool had_masters_at_bow_out() const;
  void release(Time now);

  void link_change(Time now, InterfaceId interface, bool up);
  // A frame punted as CARP; `l3` is the offset of the IP header.
  void receive(Time now, InterfaceId interface, Bytes frame, size_t l3);
  // A faster detector (BFD) says that the other node is gone or going: backups that followed it become MASTER now,
  // unless this node is more demoted than that node was; what is unfit waits for CARP's own timer.
  void peer_gone(Time now);
  void set_bulk_demotion(Time now, bool active);
  void set_operator_demotion(Time now, int demotion);
  // As if every link were lost, but for the operator's peace.
  void set_maintenance_demotion(Time now, bool active);

  void poll(Time now);
  [[nodiscard]] Time next_deadline() const;

  [[nodiscard]] bool any_master() const;
  // Of all groups together, so that one who watches need not look at each.
  [[nodiscard]] uint64_t role_changes() const { return role_changes_; }
  [[nodiscard]] int demotion() const;
  [[nodiscard]] std::vector<CarpStatus> status(Time now) const;
  // As the workers have it; null before the first is published.
  [[nodiscard]] const std::shared_ptr<const CarpRoles>& roles() const { return published_; }
  // By carp::Verdict; `accept` counts what was believed.
  [[nodiscard]] const std::array<uint64_t, carp::kVerdicts>& verdicts() const { return verdicts_; }
  [[nodiscard]] const CarpTotals& totals() const { return totals_; }
  [[nodiscard]] const CarpRefusal& last_refusal() const { return last_refusal_; }

 private:
  struct Group;

  [[nodiscard]] const InterfaceInfo& info(InterfaceId id) const { return interfaces_[id - 1u]; }
  void configure_group(Time now, Group& group, const config::CarpGroup& wanted, bool preempt);
  void carry_out(Time now, Group& group, const carp::Actions& actions);
  void note_role(Time now, Group& group, carp::Cause cause);
  void send_adverts(Group& group, const carp::Advertised& values);
  void send_advert(Group& group, Af af, const carp::Advertised& values);
  void announce(Group& group);
  bool transmit(Group& group, Bytes frame);
  void note_sending(InterfaceId id, bool sent);
  void refused(Time now, InterfaceId id, Bytes frame, const carp::Received& r, const Group* group);
  [[nodiscard]] std::string advice(const carp::Received& r, const Group* group, const Mac& source_mac) const;
  void publish();
  void spread_demotion(Time now);
  void spread_peer_demotion(Time now, const Group& heard, Af af);
  [[nodiscard]] bool interface_used(InterfaceId id) const;

  CarpOutput& output_;
  std::function<uint64_t()> random_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<InterfaceInfo> interfaces_;
  std::vector<bool> link_up_;  // [id - 1]
  // Advertisements of an interface that failed in a row, and that went out in a row since.
  struct Sending {
    unsigned errors = 0, successes = 0;
    bool demoted = false;
  };
  std::vector<Sending> sending_;  // [id - 1]
  bool sending_changed_ = false;  // some `demoted`, which nobody was told of yet
  uint8_t demotion_send_errors_ = 240;
  uint8_t demotion_interface_down_ = 240;
  uint8_t demotion_bulk_ = 32;
  bool one_peer_ = false;  // all groups share one other node (the one that BFD watches)
  bool bulk_ = false;
  bool maintenance_ = false;
  int operator_demotion_ = 0;
  bool started_ = false;
  bool bowed_out_ = false;
  bool configuring_ = false;  // groups_ is not whole
  uint64_t role_changes_ = 0;
  std::shared_ptr<const CarpRoles> published_;
  std::array<uint64_t, carp::kVerdicts> verdicts_{};
  CarpTotals totals_;
  CarpRefusal last_refusal_;
  std::vector<LogGate> refusal_log_{carp::kVerdicts, LogGate{10s}};  // by verdict
};

}  // namespace twinwall
