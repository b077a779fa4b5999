// What a rule with `log` says about a packet: one record, copied to a ring; the worker never waits for its reader.
// It holds the packet's first bytes too, so that whoever reads can make a pflog capture of it (lib/pflog).
#pragma once

#include <cstdint>

#include "lib/base/time.h"
#include "lib/engine/reasons.h"
#include "lib/filter/rule.h"
#include "lib/inspect/signatures.h"
#include "lib/net/address.h"

namespace twinwall {

// Bytes of a packet that are kept: headers, and enough of what follows to tell what it is.
inline constexpr size_t kLogSnap = 192;

struct LogRecord {
  Time at{};
  Action action = Action::pass;
  Direction direction = Direction::in;
  DropReason reason = DropReason::match;
  bool forced = false;  // no rule asked for it: the packet is broken or carries options that nothing allows
  bool rewritten = false;
  InterfaceId interface = kNoInterface;
  Af af = Af::none;
  uint8_t proto = 0;
  uint8_t tcp_flags = 0;
  uint16_t sport = 0, dport = 0;  // host order
  int16_t icmp_type = -1, icmp_code = -1;
  uint32_t length = 0;                     // of the IP packet
  uint32_t rule_number = kNoRuleNumber;    // in its own ruleset
  uint32_t anchor_number = kNoRuleNumber;  // of the anchor rule around it; none in the main ruleset
  char ruleset[16] = {};                   // last part of the anchor's name, cut to fit
  Address src, dst;                        // as the packet came to the hook, before translation
  uint16_t new_sport = 0, new_dport = 0;   // host order, after it; meaningful when `rewritten`
  Address new_src, new_dst;
  bool inspected = false;  // what the packet carries was found: `group` and the rest of these say what
  inspect::What what = inspect::What::signature;
  uint32_t signature = 0;  // id; 0: a domain
  char group[32] = {};
  char message[128] = {};  // of the signature; else the name that was found, cut to fit
  uint16_t captured = 0;
  uint8_t packet[kLogSnap];  // from the IP header on, as it came to the hook
};

}  // namespace twinwall
