#include "lib/carp/election.h"

#include <algorithm>

namespace twinwall::carp {

namespace {

constexpr int kFreebsdMaxSkew = 240;
constexpr int64_t kMicros = 1'000'000;

constexpr int64_t frequency(int advbase, int advskew) { return advbase * kMicros + advskew * kMicros / 256; }

int effective_skew(Rules rules, const Priority& own) {
  if (rules == Rules::openbsd) return own.advskew;
  // Widened, because the sum of a configured skew and an operator's number need not fit an int.
  return static_cast<int>(std::clamp<int64_t>(int64_t{own.advskew} + own.demotion, 0, kFreebsdMaxSkew));
}

Election elect_master(int own_demotion, int peer_demotion, int64_t ours, int64_t theirs) {
  const bool yield = peer_demotion < own_demotion || (peer_demotion == own_demotion && ours >= theirs);
  if (yield) return {Decision::become_backup, Cause::peer_better};
  return {Decision::stay_master, Cause::none};
}

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case Role::init: return "init";
    case Role::backup: return "backup";
    case Role::master: return "master";
  }
  return "unknown";
}

std::string_view to_string(Decision decision) {
  switch (decision) {
    case Decision::ignore: return "ignore";
    case Decision::stay_master: return "stay-master";
    case Decision::become_backup: return "become-backup";
    case Decision::become_master: return "become-master";
    case Decision::restart_timer: return "restart-master-down-timer";
  }
  return "unknown";
}

std::string_view to_string(Cause cause) {
  switch (cause) {
    case Cause::none: return "none";
    case Cause::started: return "started";
    case Cause::stopped: return "stopped";
    case Cause::link_down: return "link down";
    case Cause::no_addresses: return "no addresses";
    case Cause::master_down: return "master timed out";
    case Cause::peer_better: return "more frequent or less demoted advertisement received";
    case Cause::preempted: return "preempting a slower master";
    case Cause::peer_demoted: return "master is more demoted";
    case Cause::peer_slow: return "master will time out";
    case Cause::peer_lost: return "peer detected as down";
    case Cause::handed_over: return "handed over";
  }
  return "unknown";
}

Election elect(Rules rules, Role role, const Priority& own, bool preempt, const Advertised& peer) {
  if (role == Role::init) return {};
  const bool openbsd = rules == Rules::openbsd;
  const int skew = effective_skew(rules, own);
  const int64_t ours = frequency(own.advbase, skew);
  const int64_t theirs = frequency(peer.advbase, peer.advskew);
  const int own_demotion = openbsd ? std::clamp(own.demotion, 0, 255) : 0;
  const int peer_demotion = openbsd ? peer.demote : 0;
  if (role == Role::master) return elect_master(own_demotion, peer_demotion, ours, theirs);

  if (preempt && ours < theirs && peer_demotion >= own_demotion) return {Decision::become_master, Cause::preempted};
  if (peer_demotion > own_demotion) return {Decision::become_master, Cause::peer_demoted};
  const bool may_time_out = own.advbase != 0 || !openbsd;
  if (may_time_out && frequency(3 * own.advbase, skew) < theirs) return {Decision::become_master, Cause::peer_slow};
  return {Decision::restart_timer, Cause::none};
}

Advertised advertised(Rules rules, const Priority& own) {
  const auto demote = rules == Rules::openbsd ? static_cast<uint8_t>(std::clamp(own.demotion, 0, 255)) : uint8_t{0};
  return {own.advbase, static_cast<uint8_t>(effective_skew(rules, own)), demote};
}

Duration advert_interval(Rules rules, const Priority& own, bool first_as_master) {
  const int skew = first_as_master ? int{own.advskew} : effective_skew(rules, own);
  // OpenBSD's floor for the fastest setting; FreeBSD refuses advbase 0.
  if (own.advbase == 0 && skew == 0) return std::chrono::microseconds(frequency(0, 1));
  return std::chrono::microseconds(frequency(own.advbase, skew));
}

Duration master_down_interval(Rules rules, const Priority& own) {
  if (rules == Rules::openbsd && own.advbase == 0)
    return std::chrono::microseconds(3 * std::max<int64_t>(own.advskew, 1) * kMicros / 256);
  return std::chrono::microseconds(frequency(3 * own.advbase, own.advskew));
}

}  // namespace twinwall::carp
