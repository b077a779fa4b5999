// PF's timeout classes, their names and defaults (pf.conf(5) "set timeout", "set optimization").
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace twinwall {

// Numbered as on the pfsync wire.
enum class TimeoutClass : uint8_t {
  tcp_first = 0,
  tcp_opening,
  tcp_established,
  tcp_closing,
  tcp_finwait,
  tcp_closed,
  udp_first,
  udp_single,
  udp_multiple,
  icmp_first,
  icmp_error,
  other_first,
  other_single,
  other_multiple,
  frag,
  interval,
  adaptive_start,
  adaptive_end,
  src_track,
  ts_diff,
  count,         // not a class
  purge = 0xfe,  // dead: unlink at the next look
};
inline constexpr size_t kTimeoutClasses = static_cast<size_t>(TimeoutClass::count);

// Seconds (adaptive.*: number of states).
using Timeouts = std::array<uint32_t, kTimeoutClasses>;

inline constexpr Timeouts kDefaultTimeouts = {120, 30, 86400, 900, 45, 90, 60,    30,     60, 20,
                                              10,  60, 30,    60,  60, 10, 60000, 120000, 0,  30};

enum class Optimization : uint8_t { normal, aggressive, conservative, high_latency, satellite };

// The profile's values for the tcp.* classes over the defaults.
[[nodiscard]] Timeouts profile_timeouts(Optimization optimization);

// "tcp.first" … as in pf.conf(5); empty for `count` and `purge`.
[[nodiscard]] std::string_view timeout_name(TimeoutClass c);
[[nodiscard]] std::optional<TimeoutClass> timeout_by_name(std::string_view name);

// Seconds a state of this class lives without traffic, scaled down when there are many states: PF's adaptive timeouts.
// `rule` holds the rule's own values (0: inherit). Returns 0 when the state is to go at once.
[[nodiscard]] uint32_t scaled_timeout(TimeoutClass c, const Timeouts& global, const Timeouts* rule,
                                      uint64_t states_total, uint64_t states_of_rule);

}  // namespace twinwall
