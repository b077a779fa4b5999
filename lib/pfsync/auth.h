// Authenticated pfsync: a trailer behind the packet's length field, for pairs of twinwall nodes that share a key.
//
// pfsync itself proves nothing: who can send a frame on the sync link can make, change and flush states. With a key
// every frame carries a trailer of 64 bytes, big-endian:
//
//    0  magic "TWA1"          24  sequence 8: counts the sender's frames of this session from 1
//    4  zeros 4               32  offer: session 8, the receiver that the next field is for
//    8  session 8: sender's   40  offer: token 8, what that receiver must show here
//   16  token 8: receiver's   48  tag 16: HMAC-SHA-256, cut to 128 bits, of the payload and the trailer up to here
//
// Why these fields. The tag keeps forgers out, but a recording is authentic too, so each frame must prove that it was
// made for this life of the receiver and has not been taken before:
//
// - A session is a node's random number of one run (towards one peer). A token is a random number that the receiver
// made
//   and that the sender must show. A token is given to one session only and never again; a session that is replaced
//   never comes back. So a frame counts only if its sender was alive after the receiver made the token, which is after
//   the receiver started and after the session before was replaced: no recording of an earlier life of either node has
//   a token that is still good. That rests on no clock, which may be wrong after a power cut, and on nothing kept on
//   disk.
// - Within a session the sequence number and a window of 64 behind the highest one taken refuse what was taken before.
//
// How the tokens get across. Whoever has no session with its peer sends a frame without sections (a hello) now and
// then, with token 0. Who hears an authentic frame of a session it does not know answers with a hello that offers this
// session the spare token; the other one shows it in its own answer, together with an offer in return, and so on: four
// frames, after which each side knows that the other is alive. Until a session has shown the spare token nothing of the
// old session is given up, and answers are made from the frame answered alone, so replayed hellos change nothing; they
// cost one answer each, which the caller limits (its limit must allow a few in a row). After a session was taken the
// spare token is a new one.
//
// What it does not do: nothing is encrypted; who sits on the link can still drop frames; the key is one for all nodes.
// Two nodes with one key need no other distinction, as the tokens tie a frame to its receiver, and a node knows frames
// of its own session when somebody reflects them.
//
// Why HMAC-SHA-256: 1460 bytes cost 1.3 µs with the processor's SHA instructions, and 1.0 µs with AES-128-GCM (`openssl
// speed -bytes 1460`, one core that has both). For that third of a microsecond GMAC would have to be sure that no
// number is used twice under a key, in any run of any node, and one repeat gives the key away; HMAC forgives it.
//
// FrameKey and AuthSession are for one thread each. Nothing is allocated after construction. Randomness comes in
// through the function given, which must be one that nobody can guess. Source: FIPS 198-1, FIPS 180-4, RFC 4303
// section 3.4.3 (the window).
#pragma once

#include <openssl/sha.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "lib/base/bytes.h"

namespace twinwall::pfsync {

inline constexpr size_t kTrailerSize = 64;
inline constexpr size_t kTagSize = 16;
inline constexpr size_t kKeyLeast = 16, kKeyMost = 64;  // bytes of a secret

// HMAC-SHA-256 with the key as started hashes; wiped when it goes.
class FrameKey {
 public:
  explicit FrameKey(Bytes secret);  // at most kKeyMost bytes are used
  ~FrameKey();
  FrameKey(const FrameKey&) = delete;
  FrameKey& operator=(const FrameKey&) = delete;

  using Tag = std::array<uint8_t, kTagSize>;
  [[nodiscard]] Tag tag(Bytes message) const;

 private:
  SHA256_CTX inner_, outer_;
};

// Whether the payload of an IP packet of protocol 240 ends with such a trailer, whatever is in it.
[[nodiscard]] bool has_trailer(Bytes payload);

enum class AuthVerdict : uint8_t {
  accepted,
  missing,    // no trailer
  bad_tag,    // another key, or changed on the way
  reflected,  // a frame of ours
  unbound,    // authentic, but of a session that has not shown a token: a hello, or made for our life before
  replayed,   // taken before, too old to tell, or of a session that was replaced
};
inline constexpr size_t kAuthVerdicts = 6;
[[nodiscard]] const char* verdict_name(AuthVerdict v);

// What a hello says; made by open() for the frame it answers.
struct Hello {
  uint64_t token = 0;
  uint64_t offer_session = 0, offer_token = 0;
};

struct Opened {
  AuthVerdict verdict = AuthVerdict::missing;
  Bytes body;                  // accepted: the payload without the trailer
  bool old_key = false;        // authentic, with the key before the last
  bool began = false;          // a new session of the peer was taken with this frame
  std::optional<Hello> reply;  // a frame without sections should be sent with this
};

// This node's dealings with one peer.
class AuthSession {
 public:
  AuthSession(const FrameKey& key, std::function<uint64_t()> random);

  // `payload`: from the pfsync header to the end of the IP packet.
  Opened open(Bytes payload);

  // Fills the trailer in the last kTrailerSize bytes of the payload, which must hold them. Without `hello` what the
  // session needs; that counts at the peer only if established().
  void seal(MutableBytes payload, const Hello* hello = nullptr, bool probe = false);

  // From here on `fresh` is the key. The one before is good until forget_old_key(), which must come before it dies, and
  // is what is sealed with until the peer shows that it has the new one too; so that it can see that this node has it,
  // the caller seals something with `probe` now and then.
  void change_key(const FrameKey& fresh);
  void forget_old_key();
  // The peer has not shown the new key yet.
  [[nodiscard]] bool seals_with_old_key() const { return old_ != nullptr && seal_with_old_; }

  // The peer is alive and what is sent now will count.
  [[nodiscard]] bool established() const { return peer_ != 0; }

 private:
  uint64_t fresh() const;  // random, not 0
  [[nodiscard]] bool is_new(uint64_t sequence) const;
  void note(uint64_t sequence);

  const FrameKey* key_;
  const FrameKey* old_ = nullptr;
  bool seal_with_old_ = false;
  std::function<uint64_t()> random_;
  uint64_t self_;
  uint64_t sequence_ = 0;
  uint64_t spare_;           // the token that a new session must show
  uint64_t peer_ = 0;        // its session; 0: none yet
  uint64_t peer_shows_ = 0;  // the token that this session shows us
  uint64_t we_show_ = 0;
  uint64_t highest_ = 0;  // sequence number taken
  uint64_t window_ = 0;   // bit n: highest_ - n was taken
};

}  // namespace twinwall::pfsync
