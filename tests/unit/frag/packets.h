// Packets for the fragment tests: datagrams of known bytes and any fragment of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/random.h"
#include "lib/net/address.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall::test {

using Buffer = std::vector<uint8_t>;

inline Buffer pattern(size_t length, uint64_t seed = 1) {
  Random random(seed);
  Buffer b(length);
  for (auto& byte : b) byte = static_cast<uint8_t>(random.next());
  return b;
}

inline Buffer slice(const Buffer& b, size_t from, size_t to) {
  return {b.begin() + static_cast<std::ptrdiff_t>(from), b.begin() + static_cast<std::ptrdiff_t>(to)};
}

inline void append(Buffer& b, const Buffer& more) {
  const size_t at = b.size();
  b.resize(at + more.size());
  if (!more.empty()) std::memcpy(b.data() + at, more.data(), more.size());
}

struct V4 {
  uint16_t id = 77;
  uint8_t proto = kProtoUdp;
  uint8_t ttl = 64;
  uint8_t tos = 0;
  bool df = false;
  uint32_t src = 0x0a000005, dst = 0xc6336407;
  Buffer options;  // multiple of four

  [[nodiscard]] Buffer packet(const Buffer& payload, size_t offset = 0, bool more = false) const {
    const size_t header = kIpv4Header + options.size();
    Buffer b(header);
    b[0] = static_cast<uint8_t>(0x40 | (header / 4));
    b[1] = tos;
    store_be16(&b[2], static_cast<uint16_t>(header + payload.size()));
    store_be16(&b[4], id);
    store_be16(&b[6],
               static_cast<uint16_t>((df ? kIpv4DontFragment : 0) | (more ? kIpv4MoreFragments : 0) | offset / 8));
    b[8] = ttl;
    b[9] = proto;
    store_be32(&b[12], src);
    store_be32(&b[16], dst);
    std::copy(options.begin(), options.end(), b.begin() + kIpv4Header);
    store_raw(&b[10], checksum(b.data(), header));
    append(b, payload);
    return b;
  }
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
  uint8_t first_extension = 0;   // its type; the chain inside must end in `chain_end()`
  size_t last_extension_at = 0;  // where in `extensions` the last one begins

  [[nodiscard]] Buffer whole(const Buffer& payload) const {
    Buffer b = start(payload.size(), proto);
    append(b, payload);
    return b;
  }
  [[nodiscard]] Buffer packet(const Buffer& payload, size_t offset, bool more) const {
    Buffer b = start(payload.size() + 8, kProtoFragment);
    const size_t at = b.size();
    b.resize(at + 8);
    b[at] = proto;
    store_be16(&b[at + 2], static_cast<uint16_t>(offset | (more ? 1 : 0)));
    store_be32(&b[at + 4], id);
    append(b, payload);
    return b;
  }
  [[nodiscard]] Buffer piece(const Buffer& data, size_t from, size_t to) const {
    return packet(slice(data, from, to), from, to < data.size());
  }

 private:
  [[nodiscard]] Buffer start(size_t behind, uint8_t next) const {
    Buffer b(kIpv6Header);
    b[0] = 0x60;
    store_be16(&b[4], static_cast<uint16_t>(extensions.size() + behind));
    b[6] = extensions.empty() ? next : first_extension;
    b[7] = hops;
    b[8] = b[24] = 0xfd;
    b[23] = src_last;
    b[39] = dst_last;
    append(b, extensions);
    if (!extensions.empty()) b[kIpv6Header + last_extension_at] = next;
    return b;
  }
};

}  // namespace twinwall::test
