#include "lib/state/timeouts.h"

namespace twinwall {

namespace {

constexpr std::array<std::string_view, kTimeoutClasses> kNames = {
    "tcp.first",  "tcp.opening",  "tcp.established", "tcp.closing",  "tcp.finwait", "tcp.closed",   "udp.first",
    "udp.single", "udp.multiple", "icmp.first",      "icmp.error",   "other.first", "other.single", "other.multiple",
    "frag",       "interval",     "adaptive.start",  "adaptive.end", "src.track",   "tcp.tsdiff"};

// tcp.first, opening, established, closing, finwait, closed, tsdiff.
using Profile = std::array<uint32_t, 7>;
constexpr Profile kNormal = {120, 30, 86400, 900, 45, 90, 30};
constexpr Profile kAggressive = {30, 5, 18000, 60, 30, 30, 10};
constexpr Profile kConservative = {3600, 900, 432000, 3600, 600, 180, 60};
constexpr Profile kHighLatency = {180, 35, 86400, 905, 50, 95, 60};

const Profile& profile_of(Optimization o) {
  switch (o) {
    case Optimization::normal: return kNormal;
    case Optimization::aggressive: return kAggressive;
    case Optimization::conservative: return kConservative;
    case Optimization::high_latency:
    case Optimization::satellite: return kHighLatency;
  }
  return kNormal;
}

constexpr size_t at(TimeoutClass c) { return static_cast<size_t>(c); }

}  // namespace

Timeouts profile_timeouts(Optimization optimization) {
  const Profile& p = profile_of(optimization);
  Timeouts t = kDefaultTimeouts;
  for (size_t i = 0; i < 6; ++i) t[at(TimeoutClass::tcp_first) + i] = p[i];
  t[at(TimeoutClass::ts_diff)] = p[6];
  return t;
}

std::string_view timeout_name(TimeoutClass c) { return at(c) < kNames.size() ? kNames[at(c)] : std::string_view{}; }

std::optional<TimeoutClass> timeout_by_name(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<TimeoutClass>(i);
  return std::nullopt;
}

uint32_t scaled_timeout(TimeoutClass c, const Timeouts& global, const Timeouts* rule, uint64_t states_total,
                        uint64_t states_of_rule) {
  if (at(c) >= kTimeoutClasses) return 0;
  uint32_t timeout = rule != nullptr ? (*rule)[at(c)] : 0;
  if (timeout == 0) timeout = global[at(c)];
  const bool own = rule != nullptr && (*rule)[at(TimeoutClass::adaptive_start)] != 0;
  const Timeouts& limits = own ? *rule : global;
  const uint64_t start = limits[at(TimeoutClass::adaptive_start)];
  const uint64_t end = limits[at(TimeoutClass::adaptive_end)];
  const uint64_t n = own ? states_of_rule : states_total;
  if (end == 0 || n <= start || start >= end) return timeout;
  if (n >= end) return 0;
  return static_cast<uint32_t>(timeout * (end - n) / (end - start));
}

}  // namespace twinwall
