// One step of the CARP election and the lengths of its timers, as functions of nothing but their arguments.
//
// Why apart from Vhost: the rules are what must agree with the other systems, and this form can be held against
// recorded and computed answers directly. OpenBSD's rules are twinwall's own; FreeBSD's are here to predict what a
// FreeBSD peer does. advbase is in seconds, advskew in 1/256 s, comparisons in whole microseconds as in the kernels.
//
// Source: OpenBSD carp(4) and FreeBSD carp(4), and the behaviour recorded in tests/data.
#pragma once

#include <cstdint>
#include <string_view>

#include "lib/base/time.h"
#include "lib/carp/advert.h"

namespace twinwall::carp {

enum class Role : uint8_t { init, backup, master };
[[nodiscard]] std::string_view to_string(Role role);

enum class Rules : uint8_t { openbsd, freebsd };

// A node's own standing. OpenBSD compares the demotion count by itself; FreeBSD adds its (global, possibly negative)
// one to the skew.
struct Priority {
  uint8_t advbase = 1;
  uint8_t advskew = 0;
  int demotion = 0;
  friend bool operator==(const Priority&, const Priority&) = default;
};

enum class Decision : uint8_t { ignore, stay_master, become_backup, become_master, restart_timer };
[[nodiscard]] std::string_view to_string(Decision decision);

// Why a role changed, for logs and counters.
enum class Cause : uint8_t {
  none,
  started,  // left INIT
  stopped,  // shut down by the operator
  link_down,
  no_addresses,
  master_down,   // no advertisement for a master-down interval
  peer_better,   // yielded to a more frequent or less demoted peer
  preempted,     // took over from a slower peer because preempt is set
  peer_demoted,  // took over from a peer more demoted than this node
  peer_slow,     // took over from a peer too slow to keep the timer from running out, e.g. its bow-out
  peer_lost,     // took over because a faster detector (BFD) says that the peer is gone
  handed_over,   // gave the role away on request
};
[[nodiscard]] std::string_view to_string(Cause cause);

struct Election {
  Decision decision = Decision::ignore;
  Cause cause = Cause::none;
};

// What a node in `role` does on an authentic advertisement.
[[nodiscard]] Election elect(Rules rules, Role role, const Priority& own, bool preempt, const Advertised& peer);

// What the node puts into its advertisements.
[[nodiscard]] Advertised advertised(Rules rules, const Priority& own);
inline constexpr Advertised bow_out_of(Advertised regular) { return {kBowOut, kBowOut, regular.demote}; }

// From one advertisement to the next. FreeBSD's first gap after becoming master uses the configured skew alone.
[[nodiscard]] Duration advert_interval(Rules rules, const Priority& own, bool first_as_master = false);
// From the last advertisement heard to taking over.
[[nodiscard]] Duration master_down_interval(Rules rules, const Priority& own);

}  // namespace twinwall::carp
