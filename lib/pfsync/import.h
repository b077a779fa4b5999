// Taking a peer's state in: which items are refused by value, and what becomes of a record that is stored.
//
// Pure: the caller says what its host knows (interfaces, rules, time) and gets back a decision with everything computed
// that the stored state needs. Times are seconds of the caller's clock. Nothing is allocated. Source: the import
// functions of OpenBSD 7.4 and FreeBSD 13 to 15; two tests are stricter than theirs: direction 0 is refused, and the
// tests of an insert are applied again when an update of an unknown state is imported.
#pragma once

#include <cstdint>
#include <span>

#include "lib/filter/rule.h"
#include "lib/pfsync/actions.h"
#include "lib/pfsync/record.h"
#include "lib/state/flow_key.h"
#include "lib/state/timeouts.h"

namespace twinwall::pfsync {

// False: count badval and drop this item only. Which tests apply depends on the kind of item (ins, upd; del has none).
[[nodiscard]] bool state_values_ok(System system, ItemKind kind, const StateRecord& r);
[[nodiscard]] bool update_values_ok(System system, const UpdateRecord& r);

struct ImportContext {
  System system = System::openbsd74;
  StateFormat format = StateFormat::openbsd;
  uint32_t now = 0;
  bool interface_known = true;                   // r.ifname
  bool orig_interface_known = true;              // r.freebsd.orig_ifname
  bool route_interface_known = true;             // r.freebsd.rt_ifname
  bool ruleset_equal = false;                    // the packet's ruleset checksum is ours
  std::span<const Rule> rules;                   // ours, by number
  const Timeouts* timeouts = &kDefaultTimeouts;  // of the default rule
  // FreeBSD since 14, for a 1301 state with a route: the rule's pool has exactly one interface.
  bool rule_names_one_route = false;
  uint32_t routing_tables = 1;  // of this host; FreeBSD 15 refuses others
};

enum class ImportResult : uint8_t { store, refuse, skip };  // refuse is counted, skip is silent
enum class ImportReason : uint8_t {
  none,
  creator_zero,
  unknown_interface,
  no_family,
  bad_values,
  bad_direction,
  no_route,
  unterminated_name,
  sctp_without_scrub,
  unknown_routing_table,
};
[[nodiscard]] const char* reason_text(ImportReason r);

struct Import {
  ImportResult result = ImportResult::refuse;
  ImportReason reason = ImportReason::none;
  int64_t creation = 0;
  // The timeout runs from here; may lie in the future, when the sender has more left than we would give, and before the
  // clock's origin.
  int64_t last_activity = 0;
  uint32_t rule = kNoRuleNumber;  // none: the default rule
  FlowKey wire, stack;
  bool two_keys = false;  // the keys differ: translated
  TimeoutClass timeout = TimeoutClass::tcp_first;
  uint16_t flags = 0;  // state flags without ack wanted
  bool acknowledge = false;
  bool announce = true;  // later changes are told to peers (the state is not marked no-sync)
};

// The class that a timer index of the wire stands for. FreeBSD's five SCTP classes count on from where the common ones
// end; here such states live by the TCP ones.
[[nodiscard]] TimeoutClass common_class(uint8_t timeout);

[[nodiscard]] Import import_state(const ImportContext& context, const StateRecord& r);

// The slot of a state's keys that holds the initiator (section "key" of pf(4)): 0 for in, 1 for out.
[[nodiscard]] constexpr int initiator_slot(uint8_t direction) { return direction == 2 ? 1 : 0; }

}  // namespace twinwall::pfsync
