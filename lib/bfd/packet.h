// BFD control packets: the mandatory section as fields, the tests that need no session, and the UDP datagram around it.
//
// Pure functions; received bytes are untrusted and nothing is read behind the span. What a packet must pass beside this
// needs the session (session.h) and its key (auth.h); the control core's runner does it in the order of RFC 5880.
//
// Source: RFC 5880 sections 4.1 and 6.8.6, RFC 5881 sections 4 and 5 (one hop: UDP port 3784, hop limit 255).
#pragma once

#include <cstdint>
#include <string_view>

#include "lib/base/bytes.h"
#include "lib/net/address.h"
#include "lib/net/headers.h"

namespace twinwall::bfd {

inline constexpr uint16_t kPort = 3784;
inline constexpr uint8_t kHopLimit = 255;
inline constexpr uint16_t kSourcePortFirst = 49152;  // to 65535
inline constexpr size_t kMandatoryLength = 24;
inline constexpr size_t kAuthLength = 28;  // of both SHA1 sections
inline constexpr size_t kPacketMax = kMandatoryLength + kAuthLength;
inline constexpr size_t kFrameMax = kEthernetHeader + kIpv6Header + kUdpHeader + kPacketMax;

enum class State : uint8_t { admin_down = 0, down = 1, init = 2, up = 3 };
[[nodiscard]] std::string_view to_string(State state);  // "AdminDown", "Down", "Init", "Up"

// Why the sender's session left Up, or was never there. Others keep their number.
enum class Diag : uint8_t {
  none = 0,
  detection_time_expired = 1,
  echo_failed = 2,
  neighbor_signaled_down = 3,
  forwarding_reset = 4,
  path_down = 5,
  concatenated_path_down = 6,
  administratively_down = 7,
  reverse_concatenated_path_down = 8,
};
inline constexpr uint8_t kDiagMax = 31;
[[nodiscard]] std::string_view to_string(Diag diag);

// Intervals in microseconds.
struct Packet {
  uint8_t version = 1;
  Diag diag = Diag::none;
  State state = State::down;
  bool poll = false, final = false;
  bool control_plane_independent = false;
  bool authenticated = false;  // an authentication section follows
  bool demand = false;
  bool multipoint = false;
  uint8_t detect_multiplier = 0;
  uint8_t length = 0;  // of the whole, authentication section included
  uint32_t my_discriminator = 0, your_discriminator = 0;
  uint32_t desired_min_tx = 0, required_min_rx = 0, required_min_echo_rx = 0;
  friend bool operator==(const Packet&, const Packet&) = default;
};

// What became of a received packet.
enum class Verdict : uint8_t {
  accept,
  not_bfd,         // no whole UDP datagram to port 3784
  bad_checksum,    // of UDP
  bad_ttl,         // not sent on this wire
  unknown_peer,    // not from a configured peer, or not on its interface
  bad_version,     // not 1
  bad_length,      // shorter than a packet can be, or longer than the datagram
  bad_multiplier,  // 0
  multipoint,      // set
  bad_mine,        // My Discriminator 0
  bad_state,       // Your Discriminator 0 in a state that knows it
  no_session,      // Your Discriminator of none of our sessions with this peer
  auth_missing,    // this node wants authentication
  auth_unwanted,   // this node has none
  bad_auth,        // another type, key or digest
  bad_sequence,    // played again, or from before
  admin_down,      // our session is administratively down
};
inline constexpr size_t kVerdicts = 17;
[[nodiscard]] std::string_view to_string(Verdict verdict);

// Fields as they stand, then the tests of RFC 5880 section 6.8.6 that need no session. `out` is set when the mandatory
// section was there.
[[nodiscard]] Verdict parse(Bytes payload, Packet& out);
// The mandatory section, 24 bytes, at the start of `out`; false when it does not fit. `length` as given.
bool build(const Packet& packet, MutableBytes out);

struct Datagram {
  IpAddress source, destination;
  uint16_t source_port = 0;
  Bytes payload;
};
// From the IP header on: UDP to port 3784 with a right checksum (IPv4: or none), hop limit 255.
[[nodiscard]] Verdict open_datagram(Bytes ip_packet, Datagram& out);

struct Envelope {
  Mac ethernet_source, ethernet_destination;
  IpAddress source;
  Address destination;
  uint16_t source_port = kSourcePortFirst;
  uint16_t ip_id = 0;
};
// The whole frame; the bytes written, 0 when they do not fit.
[[nodiscard]] size_t build_frame(Bytes payload, const Envelope& envelope, MutableBytes out);

}  // namespace twinwall::bfd
