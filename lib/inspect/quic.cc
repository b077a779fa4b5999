#include "lib/inspect/quic.h"

#include <openssl/hmac.h>

#include <algorithm>
#include <string_view>

namespace twinwall::inspect {

namespace {

struct VersionFacts {
  uint32_t number;
  uint8_t initial;  // the first byte of an Initial, but for what is protected
  std::array<uint8_t, 20> salt;
  std::string_view key, iv, header;  // labels
};
// By QuicVersion.
constexpr std::array<VersionFacts, 2> kVersions = {{
    {0x00000001,
     0xc0,
     {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
      0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a},
     "quic key",
     "quic iv",
     "quic hp"},
    {0x6b3343cf,
     0xd0,
     {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
      0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9},
     "quicv2 key",
     "quicv2 iv",
     "quicv2 hp"},
}};
constexpr size_t kLongestId = 20, kTag = 16, kSample = 16, kMostNumber = 4;
constexpr int kMostFrames = 512;
constexpr uint64_t kFramePadding = 0x00, kFramePing = 0x01, kFrameAck = 0x02, kFrameAckEcn = 0x03, kFrameCrypto = 0x06;

using Secret = std::array<uint8_t, 32>;

bool hmac(Bytes key, Bytes message, Secret& out) {
  unsigned length = 0;
  return HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), message.data(), message.size(), out.data(),
              &length) != nullptr;
}

// HKDF-Expand-Label (RFC 8446 section 7.1) of at most 32 bytes without a context.
bool expand(const Secret& secret, std::string_view label, MutableBytes out) {
  std::array<uint8_t, 32> info{};
  Writer w(info);
  w.be16(static_cast<uint16_t>(out.size()));
  w.u8(static_cast<uint8_t>(6 + label.size()));
  for (const char ch : std::string_view("tls13 ")) w.u8(static_cast<uint8_t>(ch));
  for (const char ch : label) w.u8(static_cast<uint8_t>(ch));
  w.u8(0);
  w.u8(1);  // the counter of HKDF-Expand
  Secret block;
  if (!w.ok() || !hmac(secret, w.written(), block)) return false;
  std::copy_n(block.begin(), out.size(), out.begin());
  return true;
}

// RFC 9000 section 16.
uint64_t varint(Reader& r) {
  const uint8_t first = r.u8();
  uint64_t value = first & 0x3f;
  for (int more = (1 << (first >> 6)) - 1; more > 0; --more) value = value << 8 | r.u8();
  return value;
}

void skip_ack(Reader& r, bool ecn) {
  (void)varint(r);  // largest
  (void)varint(r);  // delay
  const uint64_t ranges = varint(r);
  (void)varint(r);  // first range
  for (uint64_t i = 0; i < ranges && r.ok(); ++i) {
    (void)varint(r);
    (void)varint(r);
  }
  if (!ecn) return;
  for (int i = 0; i < 3; ++i) (void)varint(r);
}

void read_frames(Bytes plain, OnCrypto found) {
  Reader r(plain);
  for (int frames = 0; r.ok() && r.left() != 0 && frames < kMostFrames;) {
    const uint64_t type = varint(r);
    if (type == kFramePadding) continue;
    ++frames;
    if (type == kFramePing) continue;
    if (type == kFrameAck || type == kFrameAckEcn) {
      skip_ack(r, type == kFrameAckEcn);
      continue;
    }
    if (type != kFrameCrypto) return;  // the connection is closed, or nothing that belongs here
    const uint64_t offset = varint(r);
    const uint64_t length = varint(r);
    if (length > r.left()) return;
    const Bytes data = r.bytes(static_cast<size_t>(length));
    if (r.ok() && !data.empty()) found.call(found.context, offset, data);
  }
}

}  // namespace

bool quic_client_keys(QuicVersion version, Bytes connection_id, QuicKeys& out) {
  const VersionFacts& v = kVersions[static_cast<size_t>(version)];
  Secret initial, client;
  return hmac(v.salt, connection_id, initial) && expand(initial, "client in", client) &&
         expand(client, v.key, out.key) && expand(client, v.iv, out.iv) && expand(client, v.header, out.header);
}

bool quic_initial(Bytes datagram, QuicInitial& out) {
  Reader r(datagram);
  const uint8_t first = r.u8();
  const uint32_t version = r.be32();
  const auto* const v = std::find_if(kVersions.begin(), kVersions.end(),
                                     [&](const VersionFacts& known) { return known.number == version; });
  // A long header with the fixed bit, of type Initial.
  if (v == kVersions.end() || (first & 0xf0) != v->initial) return false;
  out.version = static_cast<QuicVersion>(v - kVersions.begin());
  const uint8_t to = r.u8();
  if (to > kLongestId) return false;
  out.connection_id = r.bytes(to);
  const uint8_t from = r.u8();
  if (from > kLongestId) return false;
  r.skip(from);
  const uint64_t token = varint(r);
  if (!r.ok() || token > r.left()) return false;
  r.skip(static_cast<size_t>(token));
  const uint64_t length = varint(r);
  if (!r.ok() || length > r.left() || length < kMostNumber + kSample) return false;
  out.number_at = r.position();
  out.length = r.position() + static_cast<size_t>(length);
  return true;
}

QuicReader::QuicReader() : header_(EVP_CIPHER_CTX_new()), payload_(EVP_CIPHER_CTX_new()) {}

QuicReader::~QuicReader() {
  EVP_CIPHER_CTX_free(header_);
  EVP_CIPHER_CTX_free(payload_);
}

bool QuicReader::read(Bytes packet, const QuicInitial& initial, const QuicKeys& keys, OnCrypto found) {
  if (header_ == nullptr || payload_ == nullptr || initial.length > packet.size() || initial.length > kLongestPacket)
    return false;
  std::array<uint8_t, 16> mask;
  int n = 0;
  if (EVP_EncryptInit_ex(header_, EVP_aes_128_ecb(), nullptr, keys.header.data(), nullptr) != 1 ||
      EVP_EncryptUpdate(header_, mask.data(), &n, &packet[initial.number_at + kMostNumber], kSample) != 1)
    return false;
  const uint8_t first = packet[0] ^ (mask[0] & 0x0f);
  const size_t number_length = (first & 3) + 1u;
  const size_t head = initial.number_at + number_length;
  if (initial.length < head + kTag) return false;
  std::copy_n(packet.begin(), head, head_.begin());
  head_[0] = first;
  auto nonce = keys.iv;
  for (size_t i = 0; i < number_length; ++i) {
    uint8_t& byte = head_[initial.number_at + i];
    byte ^= mask[1 + i];
    // A client's first numbers are short enough to be written in full.
    nonce[nonce.size() - number_length + i] ^= byte;
  }
  const size_t sealed = initial.length - head - kTag;
  std::array<uint8_t, kTag> tag;
  std::copy_n(packet.begin() + static_cast<std::ptrdiff_t>(head + sealed), kTag, tag.begin());
  if (EVP_DecryptInit_ex(payload_, EVP_aes_128_gcm(), nullptr, keys.key.data(), nonce.data()) != 1 ||
      EVP_DecryptUpdate(payload_, nullptr, &n, head_.data(), static_cast<int>(head)) != 1 ||
      EVP_DecryptUpdate(payload_, plain_.data(), &n, &packet[head], static_cast<int>(sealed)) != 1 ||
      EVP_CIPHER_CTX_ctrl(payload_, EVP_CTRL_GCM_SET_TAG, kTag, tag.data()) != 1 ||
      EVP_DecryptFinal_ex(payload_, plain_.data() + n, &n) != 1)
    return false;
  read_frames(Bytes(plain_.data(), sealed), found);
  return true;
}

}  // namespace twinwall::inspect
