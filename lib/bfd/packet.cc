#include "lib/bfd/packet.h"

#include <array>

#include "lib/net/checksum.h"
#include "lib/net/ip_packet.h"

namespace twinwall::bfd {

namespace {

// With the header of an authentication section: its type and length.
constexpr size_t kLengthWithAuth = kMandatoryLength + 2;
constexpr uint8_t kTosNetworkControl = 0xc0;  // RFC 2474 class selector 6: detection must outlast a full queue

constexpr uint8_t kPoll = 0x20, kFinal = 0x10, kIndependent = 0x08, kAuthentication = 0x04, kDemand = 0x02,
                  kMultipoint = 0x01;

}  // namespace

std::string_view to_string(State state) {
  switch (state) {
    case State::admin_down: return "AdminDown";
    case State::down: return "Down";
    case State::init: return "Init";
    case State::up: return "Up";
  }
  return "unknown";
}

std::string_view to_string(Diag diag) {
  static constexpr std::array<std::string_view, 9> kNames = {"none",
                                                             "control detection time expired",
                                                             "echo function failed",
                                                             "neighbor signaled session down",
                                                             "forwarding plane reset",
                                                             "path down",
                                                             "concatenated path down",
                                                             "administratively down",
                                                             "reverse concatenated path down"};
  const auto i = static_cast<size_t>(diag);
  return i < kNames.size() ? kNames[i] : "unknown";
}

std::string_view to_string(Verdict verdict) {
  static constexpr std::array<std::string_view, kVerdicts> kNames = {
      "accept",       "not-bfd",        "bad-checksum", "bad-ttl",           "unknown-peer", "bad-version",
      "bad-length",   "bad-multiplier", "multipoint",   "bad-discriminator", "bad-state",    "no-session",
      "auth-missing", "auth-unwanted",  "bad-auth",     "bad-sequence",      "admin-down"};
  const auto i = static_cast<size_t>(verdict);
  return i < kNames.size() ? kNames[i] : "unknown";
}

Verdict parse(Bytes payload, Packet& out) {
  Reader r(payload);
  const uint8_t first = r.u8();
  const uint8_t flags = r.u8();
  Packet p;
  p.version = first >> 5;
  p.diag = static_cast<Diag>(first & 0x1f);
  p.state = static_cast<State>(flags >> 6);
  p.poll = (flags & kPoll) != 0;
  p.final = (flags & kFinal) != 0;
  p.control_plane_independent = (flags & kIndependent) != 0;
  p.authenticated = (flags & kAuthentication) != 0;
  p.demand = (flags & kDemand) != 0;
  p.multipoint = (flags & kMultipoint) != 0;
  p.detect_multiplier = r.u8();
  p.length = r.u8();
  p.my_discriminator = r.be32();
  p.your_discriminator = r.be32();
  p.desired_min_tx = r.be32();
  p.required_min_rx = r.be32();
  p.required_min_echo_rx = r.be32();
  if (!r.ok()) return Verdict::bad_length;
  out = p;
  if (p.version != 1) return Verdict::bad_version;
  if (p.length < (p.authenticated ? kLengthWithAuth : kMandatoryLength)) return Verdict::bad_length;
  if (p.length > payload.size()) return Verdict::bad_length;
  if (p.detect_multiplier == 0) return Verdict::bad_multiplier;
  if (p.multipoint) return Verdict::multipoint;
  if (p.my_discriminator == 0) return Verdict::bad_mine;
  if (p.your_discriminator == 0 && p.state != State::down && p.state != State::admin_down) return Verdict::bad_state;
  return Verdict::accept;
}

bool build(const Packet& p, MutableBytes out) {
  if (out.size() < kMandatoryLength) return false;
  Writer w(out.first(kMandatoryLength));
  const auto flag = [](bool set, uint8_t bit) { return set ? bit : uint8_t{0}; };
  w.u8(static_cast<uint8_t>(p.version << 5 | static_cast<uint8_t>(p.diag)));
  w.u8(static_cast<uint8_t>(static_cast<uint8_t>(p.state) << 6 | flag(p.poll, kPoll) | flag(p.final, kFinal) |
                            flag(p.control_plane_independent, kIndependent) | flag(p.authenticated, kAuthentication) |
                            flag(p.demand, kDemand) | flag(p.multipoint, kMultipoint)));
  w.u8(p.detect_multiplier);
  w.u8(p.length);
  w.be32(p.my_discriminator);
  w.be32(p.your_discriminator);
  w.be32(p.desired_min_tx);
  w.be32(p.required_min_rx);
  w.be32(p.required_min_echo_rx);
  return w.ok();
}

Verdict open_datagram(Bytes ip_packet, Datagram& out) {
  const auto ip = open_ip(ip_packet);
  if (!ip || ip->proto != kProtoUdp || ip->payload.size() < kUdpHeader) return Verdict::not_bfd;
  const Bytes udp = ip->payload;
  const size_t length = load_be16(&udp[4]);
  if (load_be16(&udp[2]) != kPort || length < kUdpHeader || length > udp.size()) return Verdict::not_bfd;
  out.source = ip->source;
  out.destination = ip->destination;
  out.source_port = load_be16(udp.data());
  out.payload = udp.subspan(kUdpHeader, length - kUdpHeader);
  if (ip->hop_limit != kHopLimit) return Verdict::bad_ttl;
  const Af af = ip->source.af;
  const bool none = load_be16(&udp[6]) == 0;
  if (none && af == Af::inet) return Verdict::accept;
  const uint16_t sum =
      l4_checksum(af, ip->source.addr.bytes.data(), ip->destination.addr.bytes.data(), kProtoUdp, udp.data(), length);
  return none || sum != 0 ? Verdict::bad_checksum : Verdict::accept;
}

size_t build_frame(Bytes payload, const Envelope& e, MutableBytes out) {
  const Af af = e.source.af;
  const auto length = static_cast<uint16_t>(kUdpHeader + payload.size());
  Writer w(out);
  w.bytes(e.ethernet_destination.bytes);
  w.bytes(e.ethernet_source.bytes);
  w.be16(af == Af::inet ? kEtherTypeIpv4 : kEtherTypeIpv6);
  write_ip_header({.source = e.source,
                   .destination = e.destination,
                   .proto = kProtoUdp,
                   .hop_limit = kHopLimit,
                   .tos = kTosNetworkControl,
                   .id = e.ip_id,
                   .payload_length = length},
                  w);
  const size_t at = w.position();
  w.be16(e.source_port);
  w.be16(kPort);
  w.be16(length);
  w.be16(0);
  w.bytes(payload);
  if (!w.ok()) return 0;
  uint8_t* const udp = out.data() + at;
  const uint16_t sum = l4_checksum(af, e.source.addr.bytes.data(), e.destination.bytes.data(), kProtoUdp, udp, length);
  store_raw<uint16_t>(udp + 6, sum == 0 ? 0xffff : sum);  // 0 would say that there is none (RFC 768)
  return w.position();
}

}  // namespace twinwall::bfd
