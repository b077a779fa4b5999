// The first packets of a client of QUIC version 1 or 2: their protection taken off, the handshake's bytes in them
// handed out.
//
// The keys follow from the connection id that the client chose, so whoever sees the packets can read them (RFC 9001
// section 5.2): HKDF, header protection (5.4) and AES-128-GCM (5.3), from libcrypto. Frames: RFC 9000 section 19.
// Version 2 has another salt, other labels and other types of packets (RFC 9369 section 3). Everything is bounded: the
// packets looked at in a datagram, the bytes of each.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>

#include "lib/base/bytes.h"

namespace twinwall::inspect {

enum class QuicVersion : uint8_t { v1, v2 };

struct QuicKeys {
  std::array<uint8_t, 16> key{}, header{};
  std::array<uint8_t, 12> iv{};
};
// False: libcrypto could not.
[[nodiscard]] bool quic_client_keys(QuicVersion version, Bytes connection_id, QuicKeys& out);

// The first packet of a datagram, as far as it can be read without keys.
struct QuicInitial {
  QuicVersion version = QuicVersion::v1;
  Bytes connection_id;
  size_t number_at = 0;  // where the protected packet number begins
  size_t length = 0;     // of the whole packet
};
// False: no Initial of a version that is known stands at the start of these bytes.
[[nodiscard]] bool quic_initial(Bytes datagram, QuicInitial& out);

struct OnCrypto {
  void (*call)(void* context, uint64_t offset, Bytes bytes);
  void* context;
};

// One worker's contexts of libcrypto.
class QuicReader {
 public:
  QuicReader();
  ~QuicReader();
  QuicReader(const QuicReader&) = delete;
  QuicReader& operator=(const QuicReader&) = delete;

  // Decrypts one packet and gives out its CRYPTO frames. False: it is not what the keys made.
  bool read(Bytes packet, const QuicInitial& initial, const QuicKeys& keys, OnCrypto found);

 private:
  static constexpr size_t kLongestPacket = 1600;
  EVP_CIPHER_CTX* header_;
  EVP_CIPHER_CTX* payload_;
  std::array<uint8_t, kLongestPacket> head_{}, plain_{};
};

}  // namespace twinwall::inspect
