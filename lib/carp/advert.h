// CARP advertisements: the 36-byte header, its digest, whole frames, and the test a received packet must pass.
//
// Why here: everything a packet needs to be believed or sent is a function of its bytes, the key and the address set,
// so it is kept apart from the election (vhost.h) and from sockets. Addresses and digests are in network byte order,
// integers in host order.
//
// Authenticator holds the key in the form of started hashes; it wipes them when it goes. All functions are free of
// allocation (building an Authenticator is not) and may be called from any thread on the same const objects. Received
// bytes are untrusted: nothing here reads behind the span it is given.
//
// Two BSDs differ in which addresses enter the digest: OpenBSD sends it without scoped IPv6 addresses and believes
// both, FreeBSD knows only the full set. twinwall does as OpenBSD does, so a vhid shared with FreeBSD must carry no
// link-local address.
//
// Source: OpenBSD carp(4), FreeBSD carp(4), ucarp 1.5.2, and frames recorded from them (tests/data); FIPS 198-1, FIPS
// 180-4.
#pragma once

#include <openssl/sha.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "lib/base/bytes.h"
#include "lib/net/address.h"
#include "lib/net/headers.h"

namespace twinwall::carp {

inline constexpr size_t kHeaderLength = 36;
inline constexpr size_t kDigestLength = 20;
inline constexpr size_t kKeyLength = 20;
inline constexpr size_t kPassphraseMax = 19;  // what the BSD tools keep of a longer one
inline constexpr size_t kFrameMax = kEthernetHeader + kIpv6Header + kHeaderLength;
inline constexpr uint8_t kVersionType = 0x21;
inline constexpr uint8_t kAuthLength = 7;
inline constexpr uint8_t kBowOut = 255;  // advbase and advskew of the last advertisement before a node leaves

using Key = std::array<uint8_t, kKeyLength>;
using Digest = std::array<uint8_t, kDigestLength>;

// 224.0.0.18 and ff02::12.
[[nodiscard]] Address group_address(Af af);

// The passphrase's bytes up to the first NUL, cut to 19, filled up with zeros, as ifconfig(8) does.
[[nodiscard]] Key key_from_passphrase(std::string_view passphrase);

// The header as fields. `md` covers the vhid, the addresses and the counter, and nothing else: advskew, advbase and
// demote can be forged by whoever saw one advertisement, which is why the hop limit test must stay.
struct Advert {
  uint8_t version_type = kVersionType;
  uint8_t vhid = 0;
  uint8_t advskew = 0;
  uint8_t auth_length = kAuthLength;
  uint8_t demote = 0;
  uint8_t advbase = 0;
  uint16_t checksum = 0;  // as on the wire; written by build_header, never taken from here
  uint64_t counter = 0;
  Digest md{};

  [[nodiscard]] uint8_t version() const { return version_type >> 4; }
  [[nodiscard]] uint8_t type() const { return version_type & 0x0f; }
};

// Fields as they stand, without judging any of them; nothing when there are fewer than 36 bytes.
[[nodiscard]] std::optional<Advert> parse_header(Bytes payload);
// Writes 36 bytes with the right checksum; false when they do not fit.
bool build_header(const Advert& advert, MutableBytes out);

enum class AddressSet : uint8_t { without_link_local, all };

class Authenticator {
 public:
  // `addresses` in any order, repeats allowed. `lladdr` only for a hand-set link-layer address, and only for the node
  // with the lowest vhid of its interface.
  Authenticator(const Key& key, uint8_t vhid, std::span<const IpAddress> addresses,
                std::optional<Mac> lladdr = std::nullopt);
  Authenticator(const Authenticator&) = default;
  Authenticator& operator=(const Authenticator&) = default;
  ~Authenticator();

  [[nodiscard]] Digest digest(AddressSet set, uint64_t counter) const;
  // Both in the same time whether they match or not.
  [[nodiscard]] bool matches(AddressSet set, uint64_t counter, const Digest& md) const;
  [[nodiscard]] bool matches_any(uint64_t counter, const Digest& md) const;

 private:
  SHA_CTX inner_all_{};
  SHA_CTX inner_without_link_local_{};
  SHA_CTX outer_{};
};

// What one advertisement says about its sender.
struct Advertised {
  uint8_t advbase = 1;
  uint8_t advskew = 0;
  uint8_t demote = 0;
  friend bool operator==(const Advertised&, const Advertised&) = default;
};

[[nodiscard]] Advert make_advert(const Authenticator& authenticator, AddressSet set, uint8_t vhid,
                                 const Advertised& values, uint64_t counter);

enum class Dialect : uint8_t { openbsd, freebsd, ucarp };

// The digest's address set a system sends.
[[nodiscard]] constexpr AddressSet sent_address_set(Dialect dialect) {
  return dialect == Dialect::openbsd ? AddressSet::without_link_local : AddressSet::all;
}

// The headers around an advertisement.
struct Envelope {
  Dialect dialect = Dialect::openbsd;
  IpAddress source;             // the family of the frame
  std::optional<Address> peer;  // unset: the group
  // Unset: the virtual MAC, as it must be for a group. To a unicast peer OpenBSD sends from the port's own MAC, and a
  // balanced node from the MAC of its interface (01:00:5e:00:01:VV of the lowest vhid in mode ip); both are given here.
  std::optional<Mac> ethernet_source;
  std::optional<Mac> ethernet_destination;  // unset: the MAC of a group destination; needed for a unicast peer
  uint16_t ip_id = 0;                       // IPv4; OpenBSD and ucarp draw it, FreeBSD leaves 0
};

// Ethernet, IP and CARP into `out`; the bytes written (70 or 90), or 0 when they do not fit, the family is unknown, or
// a unicast peer has no MAC address.
[[nodiscard]] size_t build_frame(const Advert& advert, const Envelope& envelope, MutableBytes out);

// Why a packet was or was not believed; PF users know them from `netstat -s -p carp`.
enum class Verdict : uint8_t {
  accept,
  not_carp,  // no whole IP packet of protocol 112
  badif,     // to this node alone, where it has no vhid
  badttl,    // not sent on this wire
  badlen,    // fewer than 36 bytes
  badsum,
  badvhid,  // no such vhid here, or a unicast packet for a multicast vhid and the reverse
  badver,
  badauth,  // another key, or another set of addresses
  loop,     // our own advertisement came back
};
inline constexpr size_t kVerdicts = 10;
[[nodiscard]] std::string_view to_string(Verdict verdict);

// Where the systems differ. The defaults are what twinwall does, as OpenBSD; the others replay what a kernel of that
// kind makes of a packet. None of them looks at the type beside the version.
struct ReceiveRules {
  bool check_loop = true;            // FreeBSD does not
  bool match_destination = true;     // IPv4: unicast for unicast vhids only; FreeBSD does not
  bool match_family = false;         // FreeBSD finds the vhid only through an address of the packet's family
  bool accept_either_digest = true;  // FreeBSD knows only the one over all addresses
};
inline constexpr ReceiveRules kTwinwallReceive{};
inline constexpr ReceiveRules kOpenbsdReceive{};
inline constexpr ReceiveRules kFreebsdReceive{
    .check_loop = false, .match_destination = false, .match_family = true, .accept_either_digest = false};

// One vhid that listens on the interface a packet came in on. The authenticator is the caller's and outlives the call.
struct Receiver {
  uint8_t vhid = 0;
  const Authenticator* authenticator = nullptr;
  uint64_t own_counter = 0;  // what this node sends
  bool unicast_peer = false;
  bool has_inet = true;
  bool has_inet6 = true;
};

struct Received {
  Verdict verdict = Verdict::not_carp;
  Advert advert;  // valid once the checksum was
  Af af = Af::none;
  IpAddress source;
  size_t receiver = 0;  // index into the receivers; valid from badver on
};

// Tests a packet that starts with its IP header, in the order of the kernels: hop limit, length, checksum, vhid,
// version, digest, own counter. The IP header's own checksum is the business of whoever received the packet.
[[nodiscard]] Received verify(Bytes ip_packet, std::span<const Receiver> receivers,
                              const ReceiveRules& rules = kTwinwallReceive);

}  // namespace twinwall::carp
