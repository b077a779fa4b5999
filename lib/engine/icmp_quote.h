// The packet that an ICMP error quotes: finding the state it belongs to, and translating it along with the error
// (PF's handling of ICMP errors; RFC 5508).
#pragma once

#include "lib/engine/packet.h"
#include "lib/engine/parse.h"
#include "lib/state/flow_key.h"

namespace twinwall {

struct Quote {
  uint8_t* ip = nullptr;  // inside the error's frame
  uint8_t* l4 = nullptr;
  size_t available = 0;  // bytes quoted, from ip
  size_t l4_available = 0;
  uint8_t proto = 0;
  Address src, dst;
  uint16_t sport = 0, dport = 0;  // network order; TCP, UDP and SCTP
  uint8_t icmp_type = 0;
  uint16_t icmp_id = 0;
};

// True for the ICMP messages that are errors about another packet (redirects of ICMPv6 are not).
[[nodiscard]] bool is_icmp_error(const Packet& p);

// Reads the quoted packet of an ICMP error. kParsed, or too_short / fragment / ip_option.
[[nodiscard]] DropReason parse_quote(Packet& error, Quote& quote);

// Takes `difference` from the sequence number of a quoted TCP segment; the error's checksum follows.
void shift_quoted_sequence(Packet& error, Quote& quote, uint32_t difference);

// Translates error and quote from the addresses of `from` to those of `to` (the state's other key), for an error that
// travels in direction `dir`.
void rewrite_quote(Packet& error, Quote& quote, const FlowKey& to, Direction dir, unsigned request_slot);

}  // namespace twinwall
