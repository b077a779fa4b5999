#include "dataplane/checksum_complete.h"

#include <array>

#include "lib/net/checksum.h"

namespace twinwall {
namespace {

// Where each protocol keeps its checksum tells which one it is: TCP 16, UDP 6, SCTP 8.
constexpr uint32_t kUdpField = 6;
constexpr uint32_t kSctpField = 8;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
  return table;
}
constexpr auto kCrcTable = make_crc_table();

}  // namespace

uint32_t crc32c(Bytes data) {
  uint32_t c = 0xffffffff;
  for (const uint8_t byte : data) c = kCrcTable[(c ^ byte) & 0xff] ^ (c >> 8);
  return ~c;
}

bool complete_checksum(MutableBytes frame, uint32_t start, uint32_t offset) {
  const size_t width = offset == kSctpField ? 4 : 2;
  if (start > frame.size() || offset + width > frame.size() - start) return false;
  const MutableBytes covered = frame.subspan(start);
  if (offset == kSctpField) {
    store_raw<uint32_t>(&covered[offset], 0);
    store_raw<uint32_t>(&covered[offset], crc32c(covered));  // least significant byte first
    return true;
  }
  uint16_t sum = checksum(covered.data(), covered.size());  // over the pseudo-header's sum that the sender left there
  if (sum == 0 && offset == kUdpField) sum = 0xffff;        // in UDP zero means "none"
  store_raw(&covered[offset], sum);
  return true;
}

}  // namespace twinwall
