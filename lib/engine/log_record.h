// What a rule with `log` says about a packet: one record, copied to a ring; the worker never waits for its reader.
#pragma once

#include <cstdint>

#include "lib/engine/reasons.h"
#include "lib/filter/rule.h"
#include "lib/net/address.h"

namespace twinwall {

struct LogRecord {
  Action action = Action::pass;
  Direction direction = Direction::in;
  DropReason reason = DropReason::match;
  InterfaceId interface = kNoInterface;
  Af af = Af::none;
  uint8_t proto = 0;
  uint16_t sport = 0, dport = 0;  // host order
  int16_t icmp_type = -1, icmp_code = -1;
  uint8_t tcp_flags = 0;
  uint32_t length = 0;  // of the IP packet
  uint32_t rule_number = kNoRuleNumber;
  Address src, dst;  // as the packet came to the hook, before translation
};

}  // namespace twinwall
