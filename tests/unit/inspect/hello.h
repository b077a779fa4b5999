// The first words of TLS and QUIC clients, made for tests.
#pragma once

#include <openssl/evp.h>

#include <string>
#include <string_view>

#include "lib/inspect/quic.h"

namespace twinwall::inspect {

inline Bytes bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

inline std::string be16_text(size_t n) { return {static_cast<char>(n >> 8), static_cast<char>(n)}; }

// The handshake message (RFC 8446 section 4.1.2), with `filler` bytes of an extension in front of the name.
inline std::string client_hello(std::string_view name, size_t filler = 0) {
  const std::string host = '\0' + be16_text(name.size()) + std::string(name);
  const std::string list = be16_text(host.size()) + host;
  std::string extensions;
  if (filler != 0) extensions += be16_text(21) + be16_text(filler) + std::string(filler, '\0');
  extensions += be16_text(0) + be16_text(list.size()) + list + be16_text(43) + be16_text(3) + "\x02\x03\x04";
  std::string body = "\x03\x03" + std::string(32, 'r') + '\0' + be16_text(2) + "\x13\x01" + "\x01" + '\0' +
                     be16_text(extensions.size()) + extensions;
  return std::string("\x01\0", 2) + be16_text(body.size()) + body;
}

inline std::string tls_record(std::string_view content) {
  return "\x16\x03\x01" + be16_text(content.size()) + std::string(content);
}

// A QUIC Initial packet with one CRYPTO frame, protected as a client does (RFC 9001 section 5), 1200 bytes.
inline std::string quic_packet(std::string_view id, uint8_t number, size_t offset, std::string_view crypto,
                               QuicVersion version = QuicVersion::v1) {
  const auto varint = [](size_t n) { return be16_text(n | 0x4000); };
  std::string plain = "\x06" + varint(offset) + varint(crypto.size()) + std::string(crypto);
  const size_t head_length = 1 + 4 + 1 + id.size() + 1 + 1 + 2 + 1;
  plain.resize(1200 - head_length - 16, '\0');
  std::string head = (version == QuicVersion::v1 ? std::string("\xc0\0\0\0\1", 5) : "\xd0\x6b\x33\x43\xcf") +
                     static_cast<char>(id.size()) + std::string(id) + std::string("\0\0", 2) +
                     varint(1 + plain.size() + 16) + static_cast<char>(number);
  QuicKeys keys;
  (void)quic_client_keys(version, bytes_of(id), keys);
  auto nonce = keys.iv;
  nonce[11] ^= number;
  std::string sealed(plain.size() + 16, '\0');
  auto* out = reinterpret_cast<uint8_t*>(sealed.data());
  int n = 0;
  EVP_CIPHER_CTX* c = EVP_CIPHER_CTX_new();
  EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), nullptr, keys.key.data(), nonce.data());
  EVP_EncryptUpdate(c, nullptr, &n, bytes_of(head).data(), static_cast<int>(head.size()));
  EVP_EncryptUpdate(c, out, &n, bytes_of(plain).data(), static_cast<int>(plain.size()));
  EVP_EncryptFinal_ex(c, out + n, &n);
  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, 16, out + plain.size());
  std::string packet = head + sealed;
  uint8_t mask[16];
  EVP_EncryptInit_ex(c, EVP_aes_128_ecb(), nullptr, keys.header.data(), nullptr);
  EVP_EncryptUpdate(c, mask, &n, bytes_of(packet).data() + head.size() + 3, 16);
  EVP_CIPHER_CTX_free(c);
  packet[0] = static_cast<char>(packet[0] ^ (mask[0] & 0x0f));
  packet[head.size() - 1] = static_cast<char>(packet[head.size() - 1] ^ mask[1]);
  return packet;
}

}  // namespace twinwall::inspect
