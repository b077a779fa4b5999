// Whole IP packets of the node's own protocols (CARP, pfsync, BFD): opening what was received, writing the header of
// what is sent.
//
// Pure; received bytes are untrusted, and nothing is read behind the span. Source: RFC 791, RFC 8200.
#pragma once

#include <cstdint>
#include <optional>

#include "lib/base/bytes.h"
#include "lib/net/address.h"

namespace twinwall {

struct IpPacket {
  IpAddress source, destination;
  uint8_t proto = 0;
  uint8_t hop_limit = 0;
  Bytes header;   // an IPv4 header's checksum is not tested
  Bytes payload;  // to the end by the IP header's length
};
// Nothing when it is not a whole, unfragmented packet. No sender of these protocols puts an IPv6 extension header in
// front, so one is not looked behind.
[[nodiscard]] std::optional<IpPacket> open_ip(Bytes packet);

struct IpHeader {
  IpAddress source;
  Address destination;
  uint8_t proto = 0;
  uint8_t hop_limit = 255;
  uint8_t tos = 0;  // or traffic class
  uint16_t id = 0;  // IPv4
  uint16_t payload_length = 0;
};
// An IPv4 packet must not be fragmented on its way.
void write_ip_header(const IpHeader& header, Writer& w);

}  // namespace twinwall
