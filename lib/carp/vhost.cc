#include "lib/carp/vhost.h"

#include <algorithm>

namespace twinwall::carp {

namespace {

// The announcement is repeated after the second advertisement that follows the first: a switch or neighbour that missed
// it, or was still learning, gets another chance while the network is settling. FreeBSD announces once.
constexpr uint8_t kAdvertsUntilRepeat = 2;

}  // namespace

void Vhost::enter(Time now, Role role, Cause cause, Actions& actions) {
  role_ = role;
  role_since_ = now;
  actions.role_changed = true;
  actions.cause = cause;
  advert_due_ = inet_down_ = inet6_down_ = kNever;
  adverts_until_repeat_ = 0;
}

void Vhost::become_master(Time now, Cause cause, Actions& actions) {
  enter(now, Role::master, cause, actions);
  ++transitions_to_master_;
  next_answer_ = now;  // the old master's second frame may be on its way
  advertise(now, actions, true);
  actions.announce = config_.announce;
  const bool repeat = config_.announce && config_.rules == Rules::openbsd;
  adverts_until_repeat_ = repeat ? kAdvertsUntilRepeat : 0;
}

void Vhost::become_backup(Time now, Cause cause, Actions& actions) {
  enter(now, Role::backup, cause, actions);
  restart_master_down(now, config_.families);
}

void Vhost::become_init(Time now, Cause cause, Actions& actions) {
  if (role_ != Role::init) enter(now, Role::init, cause, actions);
}

void Vhost::leave_init(Time now, Actions& actions) {
  if (role_ == Role::init && started_ && link_up_ && !config_.families.none())
    become_backup(now, Cause::started, actions);
}

// Re-armed from the moment of sending, so a late caller delays the series instead of bunching it.
void Vhost::advertise(Time now, Actions& actions, bool first_as_master) {
  actions.send_advert = true;
  last_advert_ = now;
  advert_due_ = now + advert_interval(config_.rules, priority(), first_as_master);
  if (adverts_until_repeat_ != 0 && --adverts_until_repeat_ == 0) actions.announce = config_.announce;
}

void Vhost::restart_master_down(Time now, Families families) {
  const Time due = now + master_down_interval(config_.rules, priority());
  if (families.inet) inet_down_ = due;
  if (families.inet6) inet6_down_ = due;
}

Actions Vhost::start(Time now) {
  Actions actions;
  started_ = true;
  leave_init(now, actions);
  return actions;
}

Actions Vhost::shutdown(Time now) {
  Actions actions;
  started_ = false;
  actions.send_bow_out = role_ == Role::master && config_.rules == Rules::openbsd;
  become_init(now, Cause::stopped, actions);
  return actions;
}

Actions Vhost::link_up(Time now) {
  Actions actions;
  link_up_ = true;
  leave_init(now, actions);
  return actions;
}

Actions Vhost::link_down(Time now) {
  Actions actions;
  link_up_ = false;
  become_init(now, Cause::link_down, actions);
  return actions;
}

Actions Vhost::receive(Time now, Af af, const Advertised& peer) {
  Actions actions;
  auto [decision, cause] = elect(config_.rules, role_, priority(), config_.preempt, peer);
  // A node that leaves says so once in each family, with the demotion it had: who has followed it by the first must not
  // give the role back by the second, however demoted it is itself.
  const bool leaving = peer.advbase == kBowOut && peer.advskew == kBowOut;
  if (leaving && config_.answer_masters && decision == Decision::become_backup) decision = Decision::stay_master;
  switch (decision) {
    case Decision::become_master: become_master(now, cause, actions); break;
    case Decision::become_backup: become_backup(now, cause, actions); break;
    case Decision::restart_timer:
      restart_master_down(
          now, {.inet = af == Af::inet && config_.families.inet, .inet6 = af == Af::inet6 && config_.families.inet6});
      break;
    case Decision::stay_master:
      // What another master sends comes from the virtual MAC: a bow-out's second frame, or an advertisement that was
      // on its way when we took over, turns the switches' tables back to the other node. Ours has to be the last word.
      // Two that stay master of one group, which is a mistake of theirs, are not to answer each other without end.
      if (config_.answer_masters && (leaving || now >= next_answer_)) {
        next_answer_ = now + kAnswerGap;
        advertise(now, actions);
      }
      break;
    case Decision::ignore: break;
  }
  return actions;
}

Actions Vhost::deadline(Time now) {
  Actions actions;
  if (now < next_deadline()) return actions;
  if (role_ == Role::master) advertise(now, actions);
  if (role_ == Role::backup) become_master(now, Cause::master_down, actions);
  return actions;
}

Actions Vhost::set_demotion(Time now, int demotion) {
  Actions actions;
  const int before = demotion_;
  demotion_ = demotion;
  const bool tell = config_.rules == Rules::openbsd ? demotion > before : demotion != before;
  if (tell && role_ == Role::master) advertise(now, actions);
  return actions;
}

Actions Vhost::configure(Time now, const VhostConfig& config) {
  Actions actions;
  const Families before = config_.families;
  const bool timing_changed = config.advbase != config_.advbase || config.advskew != config_.advskew;
  const Rules rules = config_.rules;
  config_ = config;
  config_.rules = rules;
  const Families& families = config_.families;
  if (families.none()) {
    actions.send_bow_out = role_ == Role::master && rules == Rules::openbsd;
    become_init(now, Cause::no_addresses, actions);
    return actions;
  }
  const bool added = (families.inet && !before.inet) || (families.inet6 && !before.inet6);
  if (role_ == Role::master) {
    // A new family is unknown to everybody until it is announced; new timing must not wait out a long old interval.
    if (added) {
      advertise(now, actions);
      actions.announce = config_.announce;
    } else if (timing_changed) {
      advert_due_ = std::max(now, last_advert_ + advert_interval(rules, priority()));
    }
  } else if (role_ == Role::backup) {
    if (!families.inet) inet_down_ = kNever;
    if (!families.inet6) inet6_down_ = kNever;
    if (timing_changed || added) restart_master_down(now, families);
  } else {
    leave_init(now, actions);
  }
  return actions;
}

Actions Vhost::peer_lost(Time now) {
  Actions actions;
  if (role_ == Role::backup) become_master(now, Cause::peer_lost, actions);
  return actions;
}

Actions Vhost::hand_over(Time now) {
  Actions actions;
  if (role_ != Role::master) return actions;
  actions.send_bow_out = true;
  become_backup(now, Cause::handed_over, actions);
  return actions;
}

Actions Vhost::yield(Time now) {
  Actions actions;
  if (role_ == Role::master) become_backup(now, Cause::handed_over, actions);
  return actions;
}

Time Vhost::next_deadline() const { return std::min({advert_due_, inet_down_, inet6_down_}); }

}  // namespace twinwall::carp
