#include <algorithm>
#include <array>

#include "lib/inspect/names.h"

namespace twinwall::inspect {

namespace {

constexpr uint8_t kHandshakeRecord = 22, kClientHello = 1;
constexpr uint16_t kServerName = 0;
constexpr uint8_t kHostName = 0;
constexpr size_t kRecordHeader = 5, kHandshakeHeader = 4;
constexpr size_t kLongestRecord = 16384 + 256;
constexpr size_t kLongestHello = 16384;

// Of the extension's data.
void server_names(Bytes data, OnName found) {
  Reader list(data);
  Reader names(list.bytes(list.be16()));
  while (names.ok() && names.left() != 0) {
    const uint8_t type = names.u8();
    const Bytes name = names.bytes(names.be16());
    if (names.ok() && type == kHostName && !name.empty())
      found({reinterpret_cast<const char*>(name.data()), name.size()});
  }
}

}  // namespace

Parse client_hello_names(Bytes handshake, OnName found) {
  if (handshake.empty()) return Parse::more;
  if (handshake[0] != kClientHello) return Parse::other;
  if (handshake.size() < kHandshakeHeader) return Parse::more;
  const size_t length = load_be32(handshake.data()) & 0xffffff;
  if (length > kLongestHello) return Parse::other;
  if (handshake.size() - kHandshakeHeader < length) return Parse::more;
  Reader hello(handshake.subspan(kHandshakeHeader, length));
  hello.skip(2 + 32);        // version, random
  hello.skip(hello.u8());    // session id
  hello.skip(hello.be16());  // cipher suites
  hello.skip(hello.u8());    // compression methods
  if (!hello.ok()) return Parse::other;
  if (hello.left() == 0) return Parse::done;  // no extensions
  Reader extensions(hello.bytes(hello.be16()));
  while (extensions.ok() && extensions.left() != 0) {
    const uint16_t type = extensions.be16();
    const Bytes data = extensions.bytes(extensions.be16());
    if (extensions.ok() && type == kServerName) server_names(data, found);
  }
  return hello.ok() && extensions.ok() ? Parse::done : Parse::other;
}

Parse tls_names(Bytes stream, OnName found) {
  // The records' contents one behind the other; the usual single record needs no copy.
  std::array<uint8_t, kLongestHello + kHandshakeHeader> joined;
  size_t have = 0;
  for (bool first = true;; first = false) {
    if (stream.empty()) break;
    if (stream[0] != kHandshakeRecord) return Parse::other;
    if (stream.size() > 1 && stream[1] != 3) return Parse::other;
    if (stream.size() < kRecordHeader) break;
    const size_t length = load_be16(stream.data() + 3);
    if (length == 0 || length > kLongestRecord) return Parse::other;
    const Bytes body = stream.subspan(kRecordHeader, std::min(length, stream.size() - kRecordHeader));
    if (first && body.size() == length) {
      const Parse whole = client_hello_names(body, found);
      if (whole != Parse::more) return whole;
    }
    const size_t n = std::min(body.size(), joined.size() - have);
    std::copy_n(body.begin(), n, joined.begin() + static_cast<std::ptrdiff_t>(have));
    have += n;
    if (have >= 1 && joined[0] != kClientHello) return Parse::other;
    if (body.size() < length) break;
    stream = stream.subspan(kRecordHeader + length);
  }
  return client_hello_names(Bytes(joined.data(), have), found);
}

}  // namespace twinwall::inspect
