#include "tests/unit/frag/packets.h"

#include <algorithm>
#include <cstring>

#include "lib/base/random.h"
#include "lib/net/checksum.h"

namespace twinwall::test {
namespace {

void append(Buffer& b, const Buffer& more) {
  const size_t at = b.size();
  b.resize(at + more.size());
  if (!more.empty()) std::memcpy(b.data() + at, more.data(), more.size());
}

}  // namespace

Buffer pattern(size_t length, uint64_t seed) {
  Random random(seed);
  Buffer b(length);
  for (auto& byte : b) byte = static_cast<uint8_t>(random.next());
  return b;
}

Buffer V4::packet(const Buffer& payload, size_t offset, bool more) const {
  const size_t header = kIpv4Header + options.size();
  Buffer b(header);
  b[0] = static_cast<uint8_t>(0x40 | (header / 4));
  b[1] = tos;
  store_be16(&b[2], static_cast<uint16_t>(header + payload.size()));
  store_be16(&b[4], id);
  store_be16(&b[6], static_cast<uint16_t>((df ? kIpv4DontFragment : 0) | (more ? kIpv4MoreFragments : 0) | offset / 8));
  b[8] = ttl;
  b[9] = proto;
  store_be32(&b[12], src);
  store_be32(&b[16], dst);
  std::copy(options.begin(), options.end(), b.begin() + kIpv4Header);
  store_raw(&b[10], checksum(b.data(), header));
  append(b, payload);
  return b;
}

Buffer V6::whole(const Buffer& payload) const {
  Buffer b = start(payload.size(), proto);
  append(b, payload);
  return b;
}

Buffer V6::packet(const Buffer& payload, size_t offset, bool more) const {
  Buffer b = start(payload.size() + 8, kProtoFragment);
  const size_t at = b.size();
  b.resize(at + 8);
  b[at] = proto;
  store_be16(&b[at + 2], static_cast<uint16_t>(offset | (more ? 1 : 0)));
  store_be32(&b[at + 4], id);
  append(b, payload);
  return b;
}

Buffer V6::start(size_t behind, uint8_t next) const {
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

}  // namespace twinwall::test
