#include "lib/engine/reasons.h"

#include <array>

namespace twinwall {

namespace {
constexpr std::array<std::string_view, kDropReasons> kNames = {
    "match",         "bad-offset",   "fragment",    "short",       "normalize",      "memory",
    "bad-timestamp", "congestion",   "ip-option",   "proto-cksum", "state-mismatch", "state-insert",
    "state-limit",   "src-limit",    "synproxy",    "translate",   "no-route",       "inspect",
    "carp-backup",   "unresolved",   "foreign-mac", "ether-type",  "vlan",           "bad-header",
    "bad-address",   "ttl-exceeded", "too-big",     "blackhole",   "not-local",      "link-down",
    "tx-full",       "no-buffer",    "owner",       "punt-full",   "hop-limit",      "carp-share",
};
static_assert(!kNames.back().empty());
}  // namespace

std::string_view reason_name(DropReason r) {
  const auto i = static_cast<size_t>(r);
  return i < kNames.size() ? kNames[i] : "unknown";
}

std::string_view limit_name(LimitCounter c) {
  static constexpr std::array<std::string_view, kLimitCounters> kLimits = {
      "max states per rule", "max-src-states",           "max-src-nodes",         "max-src-conn",
      "max-src-conn-rate",   "overload table insertion", "overload flush states", "synfloods detected",
      "syncookies sent",     "syncookies validated"};
  const auto i = static_cast<size_t>(c);
  return i < kLimits.size() ? kLimits[i] : "unknown";
}

std::string_view inspect_name(InspectCounter c) {
  static constexpr std::array<std::string_view, kInspectCounters> kInspect = {"connections",
                                                                              "connections-passed",
                                                                              "connections-blocked",
                                                                              "packets",
                                                                              "blocked",
                                                                              "conflicts",
                                                                              "bad-checksum",
                                                                              "bound-passes",
                                                                              "bound-drops",
                                                                              "told",
                                                                              "told-cut",
                                                                              "told-later",
                                                                              "told-lost",
                                                                              "taken",
                                                                              "taken-afresh",
                                                                              "taken-refused",
                                                                              "missed"};
  const auto i = static_cast<size_t>(c);
  return i < kInspect.size() ? kInspect[i] : "unknown";
}

std::optional<DropReason> reason_by_name(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<DropReason>(i);
  return std::nullopt;
}

}  // namespace twinwall
