// Packets for the fragment tests: datagrams of known bytes and any fragment of them.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/random.h"
#include "lib/net/headers.h"

namespace twinwall::test {

using Buffer = std::vector<uint8_t>;

Buffer pattern(size_t length, uint64_t seed = 1);

inline Buffer slice(const Buffer& b, size_t from, size_t to) {
  return {b.begin() + static_cast<std::ptrdiff_t>(from), b.begin() + static_cast<std::ptrdiff_t>(to)};
}

struct V4 {
  uint16_t id = 77;
  uint8_t proto = kProtoUdp;
  uint8_t ttl = 64;
  uint8_t tos = 0;
  bool df = false;
  uint32_t src = 0x0a000005, dst = 0xc6336407;
  Buffer options;  // multiple of four

  [[nodiscard]] Buffer packet(const Buffer& payload, size_t offset = 0, bool more = false) const;
  // Bytes [from, to) of a datagram.
  [[nodiscard]] Buffer piece(const Buffer& data, size_t from, size_t to) const {
    return packet(slice(data, from, to), from, to < data.size());
  }
};

struct V6 {
  uint32_t id = 0x12345678;
  uint8_t proto = kProtoUdp;
  uint8_t hops = 64;
  uint8_t src_last = 5, dst_last = 7;
  Buffer extensions;             // between the fixed header and the fragment header or payload
  uint8_t first_extension = 0;   // its type
  size_t last_extension_at = 0;  // where in `extensions` the last one begins

  [[nodiscard]] Buffer whole(const Buffer& payload) const;
  [[nodiscard]] Buffer packet(const Buffer& payload, size_t offset, bool more) const;
  [[nodiscard]] Buffer piece(const Buffer& data, size_t from, size_t to) const {
    return packet(slice(data, from, to), from, to < data.size());
  }

 private:
  [[nodiscard]] Buffer start(size_t behind, uint8_t next) const;
};

}  // namespace twinwall::test
