#include "lib/scenario/capture.h"

#include "lib/base/bytes.h"
#include "lib/config/document.h"

namespace twinwall::scenario {

namespace {

constexpr size_t kFileHeader = 24, kRecordHeader = 16;
constexpr uint32_t kEthernet = 1;  // LINKTYPE_ETHERNET

uint32_t load32(const uint8_t* p, bool big) { return big ? load_be32(p) : __builtin_bswap32(load_be32(p)); }

}  // namespace

std::variant<std::vector<uint8_t>, std::string> captured_frame(const std::string& path, unsigned number) {
  std::string text, problem;
  if (!config::read_whole_file(path, text, problem)) return path + ": " + problem;
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const size_t size = text.size();
  const uint32_t magic = size < kFileHeader ? 0 : load_be32(bytes);
  const bool big = magic == 0xa1b2c3d4 || magic == 0xa1b23c4d;
  const bool little = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
  if (!big && !little) return path + ": this is no pcap file";
  if ((load32(bytes + 20, big) & 0x0fffffff) != kEthernet) return path + ": the capture is not of Ethernet frames";
  size_t at = kFileHeader;
  for (unsigned n = 1;; ++n) {
    if (size - at < kRecordHeader) return path + ": there are only " + std::to_string(n - 1) + " frames";
    const uint32_t length = load32(bytes + at + 8, big);
    at += kRecordHeader;
    if (length > size - at) return path + ": frame " + std::to_string(n) + " is cut short";
    if (n == number) return std::vector<uint8_t>(bytes + at, bytes + at + length);
    at += length;
  }
}

}  // namespace twinwall::scenario
