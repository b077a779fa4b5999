// Authentication of BFD control packets: keyed and meticulous keyed SHA1, and the sequence numbers that keep old
// packets out.
//
// Why apart from the session: it is a layer of its own, on or off, and owns the only secret. One object a session; it
// wipes the key when it goes. Times come in. The digest is compared in the same time whether it matches or not.
//
// Keyed SHA1 stops forgeries; a packet may still be played again while its number is the newest. The meticulous kind
// takes each number once.
//
// Source: RFC 5880 sections 4.4, 6.7 (6.7.4) and 6.8.1. Both ends must have the same type, key ID and key.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/time.h"
#include "lib/bfd/packet.h"

namespace twinwall::bfd {

enum class AuthType : uint8_t { keyed_sha1 = 4, meticulous_keyed_sha1 = 5 };
[[nodiscard]] std::string_view to_string(AuthType type);

inline constexpr size_t kAuthKeyLength = 20;

struct AuthKey {
  AuthType type = AuthType::meticulous_keyed_sha1;
  uint8_t id = 0;
  std::array<uint8_t, kAuthKeyLength> secret{};  // filled up with zeros
  friend bool operator==(const AuthKey&, const AuthKey&) = default;
};

class Authenticator {
 public:
  // `sequence`: the first number to send; drawn at random.
  Authenticator(const AuthKey& key, uint32_t sequence) : key_(key), sent_(sequence) {}
  Authenticator(const Authenticator&) = default;
  Authenticator& operator=(const Authenticator&) = default;
  ~Authenticator();

  // Completes a packet whose mandatory section (with the A bit and length 52) is in place. `changed`: it says something
  // else than the last one; keyed SHA1 counts only these. False when there is no room.
  bool sign(MutableBytes packet, bool changed);

  // A packet that parse() accepted, with the A bit. Takes note of its number when all is well.
  [[nodiscard]] Verdict check(Bytes payload, const Packet& packet);
  // Nothing was received for twice the detection time: the next number is taken as it comes.
  void forget() { known_ = false; }

  [[nodiscard]] AuthType type() const { return key_.type; }

 private:
  AuthKey key_;
  uint32_t sent_;
  bool known_ = false;
  uint32_t received_ = 0;
};

}  // namespace twinwall::bfd
