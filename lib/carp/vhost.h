// One virtual host (vhid): its role, its timers, and what it must do when something happens.
//
// A pure state machine: every event is a member function that takes the present time and returns the actions the caller
// must carry out; nothing is sent, read from a clock or allocated here, so that every timing case is a unit test. The
// caller (the control core's CARP runner) owns it and calls it from one thread only. Times must not run backwards.
//
// The caller feeds received advertisements before it calls deadline() with the same time: an advertisement that waited
// in a queue while the caller was late must not lose against the timer it was sent to restart.
//
// Where OpenBSD and twinwall differ: every rise of the demotion of a master is advertised at once (OpenBSD: some rises
// wait for the next advertisement), because a planned hand-over rests on it; and hand_over() and peer_lost() are added.
//
// Source: OpenBSD carp(4), FreeBSD carp(4), and the elections recorded in tests/data.
#pragma once

#include <array>
#include <cstdint>

#include "lib/base/time.h"
#include "lib/carp/advert.h"
#include "lib/carp/election.h"

namespace twinwall::carp {

// Address families as a set.
struct Families {
  bool inet = false;
  bool inet6 = false;
  [[nodiscard]] bool none() const { return !inet && !inet6; }
  friend bool operator==(const Families&, const Families&) = default;
};

struct VhostConfig {
  uint8_t advbase = 1;
  uint8_t advskew = 0;
  bool preempt = false;
  Families families;     // of the virtual addresses; none keeps the vhost in INIT
  bool announce = true;  // false for balanced nodes, whose MAC address never moves
  Rules rules = Rules::openbsd;
  // As master, answer what another master still says with an advertisement at once; the originals keep quiet until the
  // next is due.
  bool answer_masters = false;
  friend bool operator==(const VhostConfig&, const VhostConfig&) = default;
};

// What an event calls for, in the order of the members: the bow-out must leave while the node is still master, the role
// must stand before its advertisement invites traffic, and the announcement follows the advertisement.
struct Actions {
  bool send_bow_out = false;  // one advertisement per family with Vhost::bow_out()
  bool role_changed = false;  // to Vhost::role(), because of `cause`
  Cause cause = Cause::none;
  bool send_advert = false;  // one advertisement per family with Vhost::advertised()
  bool announce = false;     // gratuitous ARP and unsolicited neighbour advertisements for every address

  [[nodiscard]] bool none() const { return !send_bow_out && !role_changed && !send_advert && !announce; }
  friend bool operator==(const Actions&, const Actions&) = default;
};

class Vhost {
 public:
  // In INIT, not started, the link assumed to be up.
  explicit Vhost(const VhostConfig& config) : config_(config) {}

  Actions start(Time now);
  // Leaves with a bow-out if it is master, so that a backup takes over at once.
  Actions shutdown(Time now);
  Actions link_up(Time now);
  Actions link_down(Time now);
  // An advertisement that verify() accepted for this vhid.
  Actions receive(Time now, Af af, const Advertised& peer);
  // To be called when next_deadline() has come; harmless at any other time.
  Actions deadline(Time now);
  // The node's demotion count: OpenBSD's 0..255 (greater values count as 255), FreeBSD's any.
  Actions set_demotion(Time now, int demotion);
  // New timing, preempt or families. Changing the rules means a new Vhost.
  Actions configure(Time now, const VhostConfig& config);
  // A detector other than CARP's own timer says that no other node is left: a backup takes over at once.
  Actions peer_lost(Time now);
  // A master tells its peer to take over and becomes backup. With preempt set it would win the role back on the next
  // advertisement it hears unless it is demoted, so the caller demotes it first.
  Actions hand_over(Time now);
  // A master becomes backup without a word (FreeBSD: ifconfig state backup); its peer waits for the timer.
  Actions yield(Time now);

  // When deadline() is to be called next; Time::max() when nothing is due.
  [[nodiscard]] Time next_deadline() const;

  [[nodiscard]] Role role() const { return role_; }
  [[nodiscard]] Time role_since() const { return role_since_; }
  [[nodiscard]] const VhostConfig& config() const { return config_; }
  [[nodiscard]] int demotion() const { return demotion_; }
  [[nodiscard]] uint64_t transitions_to_master() const { return transitions_to_master_; }
  [[nodiscard]] Advertised advertised() const { return carp::advertised(config_.rules, priority()); }
  [[nodiscard]] Advertised bow_out() const { return bow_out_of(advertised()); }

 private:
  static constexpr Time kNever = Time::max();
  static constexpr Duration kAnswerGap = std::chrono::seconds(1);

  [[nodiscard]] Priority priority() const { return {config_.advbase, config_.advskew, demotion_}; }
  void enter(Time now, Role role, Cause cause, Actions& actions);
  void become_master(Time now, Cause cause, Actions& actions);
  void become_backup(Time now, Cause cause, Actions& actions);
  void become_init(Time now, Cause cause, Actions& actions);
  void leave_init(Time now, Actions& actions);
  void advertise(Time now, Actions& actions, bool first_as_master = false);
  void restart_master_down(Time now, Families families);

  VhostConfig config_;
  Role role_ = Role::init;
  Time role_since_{};
  bool started_ = false;
  bool link_up_ = true;
  int demotion_ = 0;
  uint8_t adverts_until_repeat_ = 0;  // 0: the announcement is not repeated any more
  Time advert_due_ = kNever;
  Time last_advert_{};
  Time next_answer_{};  // to another master
  Time inet_down_ = kNever;
  Time inet6_down_ = kNever;
  uint64_t transitions_to_master_ = 0;
};

}  // namespace twinwall::carp
