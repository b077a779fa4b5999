// Why a packet went no further: PF's reasons (numbered as pfctl and pflog number them), then twinwall's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace twinwall {

enum class DropReason : uint8_t {
  match = 0,  // a block rule
  bad_offset,
  fragment,
  too_short,  // "short"
  normalize,
  memory,
  bad_timestamp,
  congestion,
  ip_option,
  proto_cksum,
  state_mismatch,
  state_insert,
  state_limit,
  src_limit,
  synproxy,
  translate,
  no_route,
  inspect,      // from here on twinwall's
  carp_backup,  // for a virtual address or MAC while not master
  unresolved,   // the next hop's link-layer address is not known (and could not be asked for)
  foreign_mac,  // not addressed to this node
  ether_type,   // neither IP nor ARP
  vlan,         // tagged, and no interface takes that tag
  bad_header,   // malformed below the filter: version, lengths, checksum of the IPv4 header
  bad_address,  // a source or destination that must not be forwarded
  ttl_exceeded,
  too_big,
  blackhole,
  not_local,  // for this node, but nothing here takes it
  link_down,
  tx_full,
  no_buffer,
  owner,       // the states of one connection belong to two workers
  punt_full,   // the control core does not keep up
  hop_limit,   // BFD that did not come from this wire
  carp_share,  // another node's, of a group that shares its load
  count,
};
inline constexpr size_t kDropReasons = static_cast<size_t>(DropReason::count);

[[nodiscard]] std::string_view reason_name(DropReason r);
[[nodiscard]] std::optional<DropReason> reason_by_name(std::string_view name);

// PF's limit counters: which limit refused something, and what an overload brought about (pfctl -si -v).
enum class LimitCounter : uint8_t {
  states,
  src_states,
  src_nodes,
  src_conn,
  src_conn_rate,
  overload_table,
  overload_flush,
  synfloods,
  syncookies_sent,
  syncookies_validated,
  count,
};
inline constexpr size_t kLimitCounters = static_cast<size_t>(LimitCounter::count);
[[nodiscard]] std::string_view limit_name(LimitCounter c);

// What became of the packets of inspected connections.
enum class InspectCounter : uint8_t {
  connections,          // begun
  connections_passed,   // … without being looked at: there was no place
  connections_blocked,  // … that were not let through for that
  packets,
  blocked,       // connections in which something was found
  conflicts,     // segments that contradict what came before
  bad_checksum,  // packets whose receiver would throw them away
  bound_passes,  // connections no longer looked at: no room for what came out of order, or for the patterns' state
  bound_drops,   // segments dropped for that
  // Between twinwall nodes.
  told,           // words on where a connection stands
  told_cut,       // … that were too large and say only from where on
  told_later,     // times that so much was to be told that it waited
  told_lost,      // connections for which no place was left to wait in
  taken,          // words of the peer
  taken_afresh,   // … after which the patterns begin anew: the peer's are others, or it sent no state of them
  taken_refused,  // … that nothing here could be done with: no such state, its rule does not inspect, no place
  missed,  // connections of which bytes went through the peer just before it went away, and were not looked at here
  count,
};
inline constexpr size_t kInspectCounters = static_cast<size_t>(InspectCounter::count);
[[nodiscard]] std::string_view inspect_name(InspectCounter c);

}  // namespace twinwall
