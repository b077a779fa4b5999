// SHA1 in one call on the stack; the EVP interface allocates.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "lib/bfd/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

namespace twinwall::bfd {

namespace {

constexpr size_t kTypeAt = kMandatoryLength;  // type, length, key ID, reserved, sequence, digest
constexpr size_t kSequenceAt = kMandatoryLength + 4;
constexpr size_t kDigestAt = kMandatoryLength + 8;
static_assert(kDigestAt + SHA_DIGEST_LENGTH == kPacketMax);

// Over the packet with the key in the digest's place.
std::array<uint8_t, SHA_DIGEST_LENGTH> digest(Bytes packet, const AuthKey& key) {
  std::array<uint8_t, kPacketMax> keyed;
  std::copy_n(packet.begin(), kDigestAt, keyed.begin());
  std::copy(key.secret.begin(), key.secret.end(), keyed.begin() + kDigestAt);
  std::array<uint8_t, SHA_DIGEST_LENGTH> out;
  SHA1(keyed.data(), keyed.size(), out.data());
  OPENSSL_cleanse(keyed.data(), keyed.size());
  return out;
}

}  // namespace

std::string_view to_string(AuthType type) {
  return type == AuthType::keyed_sha1 ? "keyed-sha1" : "meticulous-keyed-sha1";
}

Authenticator::~Authenticator() { OPENSSL_cleanse(key_.secret.data(), key_.secret.size()); }

bool Authenticator::sign(MutableBytes packet, bool changed) {
  if (packet.size() < kPacketMax) return false;
  if (changed || key_.type == AuthType::meticulous_keyed_sha1) ++sent_;
  Writer w(packet.subspan(kTypeAt));
  w.u8(static_cast<uint8_t>(key_.type));
  w.u8(kAuthLength);
  w.u8(key_.id);
  w.u8(0);
  w.be32(sent_);
  w.bytes(digest(packet, key_));
  return w.ok();
}

Verdict Authenticator::check(Bytes payload, const Packet& packet) {
  if (packet.length != kPacketMax || payload.size() < kPacketMax) return Verdict::bad_auth;
  if (payload[kTypeAt] != static_cast<uint8_t>(key_.type) || payload[kTypeAt + 1] != kAuthLength ||
      payload[kTypeAt + 2] != key_.id)
    return Verdict::bad_auth;
  const uint32_t sequence = load_be32(&payload[kSequenceAt]);
  if (known_) {
    // Circular: a number before the last one is far ahead of it.
    const uint32_t ahead = sequence - received_;
    const uint32_t least = key_.type == AuthType::meticulous_keyed_sha1 ? 1 : 0;
    if (ahead < least || ahead > 3u * packet.detect_multiplier) return Verdict::bad_sequence;
  }
  const auto expected = digest(payload, key_);
  if (CRYPTO_memcmp(expected.data(), &payload[kDigestAt], expected.size()) != 0) return Verdict::bad_auth;
  known_ = true;
  received_ = sequence;
  return Verdict::accept;
}

}  // namespace twinwall::bfd
